"""The task of classification: images by class prompts, or pairs by a fusion model's answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from art_multimodal.attacks.evasion.decoupling.importance import labels_without
from art_multimodal.attacks.registry import PAIRS, ZERO_SHOT, Attacked
from art_multimodal.datasets import LabelledImages, Sample
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.evaluations.audit.subject import Subject
from art_multimodal.models.fusion import FusionModel
from art_multimodal.pairs import image_text_pairs

_TEXTS_PER_BATCH = 256


class ClassificationSubject(Subject):
    """A classifier with labelled samples.

    :param estimator: Of images for a dual encoder, of pairs for a fusion model.
    :param data: Labelled samples; with texts for a fusion model.
    :param labels: For each class of the data its index among the estimator's classes.
    :param templates: Prompt templates of a dual encoder.
    """

    def __init__(
        self,
        estimator: ZeroShotClassifier | FusionClassifier,
        data: LabelledImages,
        labels: Sequence[int],
        templates: tuple[str, ...] = (),
    ) -> None:
        self.on_pairs = isinstance(estimator, FusionClassifier)
        self.task = PAIRS if self.on_pairs else ZERO_SHOT
        self.model = estimator.image_text_model
        self.estimator: ZeroShotClassifier | FusionClassifier = estimator
        self.data: LabelledImages = data
        self.class_names = estimator.class_names
        self.templates = templates
        self._labels = tuple(labels)

    def read(self, index: int) -> Sample:
        sample = self.data.read(index)
        return Sample(sample.name, sample.image, self._labels[sample.label], sample.text if self.on_pairs else None)

    def stack(self, samples: Sequence[Sample]) -> np.ndarray:
        images = np.stack([sample.image for sample in samples])
        return image_text_pairs(images, [sample.text or "" for sample in samples]) if self.on_pairs else images

    def labels(self, samples: Sequence[Sample]) -> np.ndarray:
        return np.array([sample.label for sample in samples], dtype=np.int64)

    def answers(self, indices: Sequence[int], samples: Sequence[Sample], batch_size: int) -> list[dict[str, Any]]:
        x = self.stack(samples)
        predicted = self.estimator.predict_labels(x, batch_size=batch_size)
        without = {m: labels_without(self.estimator, x, m, batch_size=batch_size) for m in self.weighed}
        return [
            {
                "label": sample.label,
                "predicted": int(predicted[row]),
                **{f"without_{modality}": int(labels[row]) for modality, labels in without.items()},
            }
            for row, sample in enumerate(samples)
        ]

    def judged(
        self, indices: Sequence[int], samples: Sequence[Sample], attacked: Attacked, batch_size: int
    ) -> list[dict[str, Any]]:
        assert attacked.labels is not None
        details = attacked.details or [{} for _ in samples]
        return [
            {"label": sample.label, "predicted": int(label), **detail}
            for sample, label, detail in zip(samples, attacked.labels, details, strict=True)
        ]

    def prepare(self, order: np.ndarray, batch_size: int) -> str:
        """Nothing: a sample's answer depends on no other sample."""
        return ""

    def select(self, order: np.ndarray) -> None:
        if isinstance(self.model, FusionModel):
            texts = list(dict.fromkeys(self.data.text_of(int(index)) or "" for index in order))
            for start in range(0, len(texts), _TEXTS_PER_BATCH):
                self.model.tokenize(texts[start : start + _TEXTS_PER_BATCH])
