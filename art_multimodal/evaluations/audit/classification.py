"""The task of classification: images by class prompts, or pairs by a fusion model's answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from art_multimodal.attacks.evasion.decoupling.importance import labels_without
from art_multimodal.datasets import LabelledImages, Sample, UnreadableSample
from art_multimodal.datasets.reading import unreadable_texts
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.image_classifier import finite_labels
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.evaluations.audit.defending import Views
from art_multimodal.evaluations.audit.lines import Classified, SampleRecord
from art_multimodal.evaluations.audit.subject import Subject
from art_multimodal.evaluations.suite import PAIRS, ZERO_SHOT, Attacked
from art_multimodal.pairs import image_text_pairs


class ClassificationSubject(Subject):
    """A classifier with labelled samples.

    :param views: Estimators of images for a dual encoder, of pairs for a fusion model.
    :param data: Labelled samples; with texts for a fusion model.
    :param labels: For each class of the data its index among the estimator's classes.
    :param seed: Of random defences. What most of the draws say is the answer; where as many say otherwise, that.
    :param templates: Prompt templates of a dual encoder.
    """

    def __init__(
        self,
        views: Views[Any],
        data: LabelledImages,
        labels: Sequence[int],
        seed: int = 0,
        templates: tuple[str, ...] = (),
    ) -> None:
        self.views, self.seed = views, seed
        estimator = views.evaluated
        self.on_pairs = not estimator.texts_are_prompts
        self.task = PAIRS if self.on_pairs else ZERO_SHOT
        self.model = estimator.image_text_model
        self.estimator: ZeroShotClassifier | FusionClassifier = estimator
        self.data: LabelledImages = data
        self.class_names = estimator.class_names
        self.templates = templates
        self._labels = tuple(labels)
        self._unreadable: dict[str, str] = {}

    def read(self, index: int) -> Sample:
        if (reason := self._unreadable.get(self.data.text_of(index) or "")) is not None:
            raise UnreadableSample(self.data.name_of(index), reason)
        sample = self.data.read(index)
        return Sample(sample.name, sample.image, self._labels[sample.label], sample.text if self.on_pairs else None)

    def stack(self, samples: Sequence[Sample]) -> np.ndarray:
        images = np.stack([sample.image for sample in samples])
        return image_text_pairs(images, [sample.text or "" for sample in samples]) if self.on_pairs else images

    def labels(self, samples: Sequence[Sample]) -> np.ndarray:
        return np.array([sample.label for sample in samples], dtype=np.int64)

    def answers(self, indices: Sequence[int], samples: Sequence[Sample], batch_size: int) -> list[SampleRecord]:
        x, truth = self.stack(samples), self.labels(samples)
        with self.seeded(*indices):
            predicted = self.voted(lambda: self.estimator.predict_labels(x, batch_size=batch_size), truth)
            without = {m: labels_without(self.estimator, x, m, batch_size=batch_size) for m in self.weighed}
        return [
            SampleRecord(
                index,
                sample.name,
                Classified(sample.label, int(predicted[row])),
                without={modality: int(labels[row]) for modality, labels in without.items()},
            )
            for row, (index, sample) in enumerate(zip(indices, samples, strict=True))
        ]

    def scored(self, attacked: Attacked, y: np.ndarray, batch_size: int) -> Attacked:
        labels = self.voted(lambda: finite_labels(self.scores(attacked, batch_size)), y)
        # What misled the one that was attacked need not mislead the one that answers.
        details = [
            replace(said, broken_by=None) if right else said
            for said, right in zip(attacked.said_of_each(), labels == y, strict=True)
        ]
        return replace(attacked, labels=labels, details=details)

    def scores(self, attacked: Attacked, batch_size: int) -> np.ndarray:
        if attacked.prompts is None:
            return self.estimator.predict(attacked.x, batch_size=batch_size)
        return self.estimator.predict_on(attacked.x, attacked.prompts, batch_size)

    def voted(self, predict: Callable[[], np.ndarray], truth: np.ndarray) -> np.ndarray:
        """Labels ``(N,)`` that most draws give; of a tie one that is wrong."""
        rows = np.arange(len(truth))
        votes = np.zeros((len(truth), self.estimator.nb_classes))
        for _ in range(self.views.draws):
            votes[rows, predict()] += 1
        votes[rows, truth] -= 0.5
        return votes.argmax(axis=1)

    def judged(
        self, indices: Sequence[int], samples: Sequence[Sample], attacked: Attacked, batch_size: int
    ) -> list[SampleRecord]:
        assert attacked.labels is not None
        rows = zip(indices, samples, attacked.labels, attacked.said_of_each(), strict=True)
        return [
            SampleRecord(index, sample.name, Classified(sample.label, int(label)), detail)
            for index, sample, label, detail in rows
        ]

    def prepare(self, order: np.ndarray, batch_size: int) -> str:
        """Nothing: a sample's answer depends on no other sample."""
        return ""

    def select(self, order: np.ndarray) -> None:
        if self.on_pairs:
            self._unreadable = unreadable_texts(self.model.tokenize, (self.data.text_of(int(i)) or "" for i in order))
