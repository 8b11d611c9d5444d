"""The task of asking a function: images, or images with texts, of which nothing but the answers is seen."""

from __future__ import annotations

from typing import Any

import numpy as np

from art_multimodal.datasets import LabelledImages, UnreadableSample
from art_multimodal.errors import InputError
from art_multimodal.estimators.answers import AnsweringClassifier
from art_multimodal.evaluations.audit.classification import ClassificationSubject
from art_multimodal.evaluations.audit.defending import Views
from art_multimodal.evaluations.audit.settings import AuditSettings
from art_multimodal.models.families.custom.answers import AnsweringModel

#: Samples that are asked about twice before the work, to see whether answers stay the same.
ASKED_TWICE = 8


class AnsweringSubject(ClassificationSubject):
    """A function with labelled samples.

    :param classifier: Asks it.
    :param data: With texts where the function takes them.
    :param seed: Of the audit.
    """

    def __init__(self, classifier: AnsweringClassifier, data: LabelledImages, seed: int) -> None:
        super().__init__(Views(classifier, classifier, classifier), data, range(len(data.class_names)), seed)

    def look(self, order: np.ndarray) -> None:
        samples: list[Any] = []
        for index in map(int, order):
            try:
                samples.append(self.read(index))
            except UnreadableSample:
                continue
            if len(samples) == ASKED_TWICE:
                break
        changed = 0
        for rows in self.by_shape(samples):
            x = self.stack([samples[row] for row in rows])
            first, again = (self.estimator.predict(x) for _ in range(2))
            changed += int((first.argmax(axis=1) != again.argmax(axis=1)).sum())
        if changed:
            self.own_notes += (
                f"asked twice about the same samples, the model gives {changed} of {len(samples)} another label: "
                "each number is of one answer, and others would come out another time",
            )

    def describe(self, spec: str) -> dict[str, Any]:
        # There are no weights: the text of the function's file stands for what answers.
        return {**super().describe(spec), "weights_sha256": self.model.source_sha256}


def open_answering(settings: AuditSettings, model: AnsweringModel, data: LabelledImages) -> AnsweringSubject:
    """Open a function on data whose classes it answers with.

    :raises InputError: For settings that are about the inside of a model, or data without the texts that it takes.
    """
    what = f"{settings.model} only answers"
    if settings.defences:
        raise InputError(f"{what}: put --defence into the function, in front of what it asks.")
    if settings.smoothing is not None:
        raise InputError(f"{what}: leave out --keep, whose votes are many thousand questions about each sample.")
    if settings.templates is not None and not settings.surrogates:
        raise InputError(f"{what}: it reads no class prompts, so leave out --templates.")
    if model.takes_texts and len(data) and data.text_of(0) is None:
        raise InputError(
            f"{settings.model} takes images and texts, and {settings.data} has none. Use csv:PATH with the columns "
            "image, text and label, or a function of images alone."
        )
    return AnsweringSubject(AnsweringClassifier(model, data.class_names), data, settings.seed)
