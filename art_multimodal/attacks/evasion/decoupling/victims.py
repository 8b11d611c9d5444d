"""How the decoupling attack asks a model: removals in, answers out, in full batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from art_multimodal.attacks.evasion.decoupling.search import Answer
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.functional.occlusion import Block, Removal, fill_blocks, without_words
from art_multimodal.prompts import PLACEHOLDER


def removable_words(templates: Sequence[str] | None) -> list[tuple[int, int]]:
    """Return (template, word) of every word that may be removed: all of the templates' words but the class name's own.

    Removing the class name would change the question instead of attacking the model. Prompts that were given as they
    stand have no words that are known to be shared by all classes, hence none to remove. A word that is alone besides
    the placeholder's is removable; the prompt then is the class name.
    """
    return [
        (number, index)
        for number, template in enumerate(templates or ())
        for index, word in enumerate(template.split())
        if PLACEHOLDER not in word
    ]


def templates_without(templates: Sequence[str], words: Sequence[int]) -> tuple[str, ...]:
    """Return templates with removable words deleted.

    :param words: Indices into :func:`removable_words`.
    """
    places = removable_words(templates)
    return tuple(
        without_words(template, [places[word][1] for word in words if places[word][0] == number])
        for number, template in enumerate(templates)
    )


class ZeroShotVictim:
    """Answers removals on a :class:`ZeroShotClassifier`.

    The text of every sample is the set of templates, shared by all classes. The towers are separate, so the untouched
    one is never computed again: the intact images are embedded once, and the class prompts once per set of removed
    words.

    :param estimator: The classifier.
    :param images: Shape ``(N, C, H, W)``.
    :param fill: The colour of removed pixels, shape ``(C, 1, 1)``.
    :param batch_size: Images per forward pass.
    """

    def __init__(self, estimator: ZeroShotClassifier, images: np.ndarray, fill: np.ndarray, batch_size: int) -> None:
        self.estimator = estimator
        self.images = images
        self.fill = fill
        self.batch_size = batch_size
        self.words = len(removable_words(estimator.templates))
        self._class_features: dict[frozenset[int], Tensor] = {frozenset(): estimator.class_features()}
        self._intact = estimator.image_features(images, batch_size)
        # One buffer for all probes: a row is copied only when its sample changes, otherwise just its blocks are
        # restored.
        self._buffer = np.empty((batch_size, *images.shape[1:]), dtype=np.float32)
        self._holds: list[tuple[int, tuple[Block, ...]] | None] = [None] * batch_size

    def clean(self) -> list[Answer]:
        """Answers to the intact samples."""
        return self._answers(self.estimator.scores(self._intact, self._class_features[frozenset()]))

    def ask(self, probes: list[tuple[int, Removal]]) -> list[Answer]:
        """Answer removals ``(index of the sample, removal)``."""
        features = self._image_features(probes)
        answers: list[Answer | None] = [None] * len(probes)
        rows_of: dict[frozenset[int], list[int]] = {}
        for row, (_, removal) in enumerate(probes):
            rows_of.setdefault(frozenset(removal.words), []).append(row)
        for words, rows in rows_of.items():
            scores = self.estimator.scores(features[rows], self._features_without(words))
            for row, answer in zip(rows, self._answers(scores), strict=True):
                answers[row] = answer
        return [answer for answer in answers if answer is not None]

    def _answers(self, scores: np.ndarray) -> list[Answer]:
        # The fused vector of a dual encoder is the similarity to the prompts: its largest coordinate is the label.
        return [Answer(decision=int(label), label=int(label)) for label in scores.argmax(axis=1)]

    def _features_without(self, words: frozenset[int]) -> Tensor:
        if words not in self._class_features:
            templates = templates_without(self.estimator.templates or (), sorted(words))
            self._class_features[words] = self.estimator.with_templates(templates).class_features()
        return self._class_features[words]

    def _image_features(self, probes: list[tuple[int, Removal]]) -> Tensor:
        samples = torch.tensor([sample for sample, _ in probes])
        features = self._intact[samples]
        touched = [row for row, (_, removal) in enumerate(probes) if removal.blocks]
        for start in range(0, len(touched), self.batch_size):
            rows = touched[start : start + self.batch_size]
            for slot, row in enumerate(rows):
                self._write(slot, *probes[row])
            features[rows] = self.estimator.image_features(self._buffer[: len(rows)], self.batch_size)
        return features

    def _write(self, slot: int, sample: int, removal: Removal) -> None:
        image, held = self.images[sample], self._holds[slot]
        if held is not None and held[0] == sample:
            for block in held[1]:
                where = (slice(None), *block.slices)
                self._buffer[slot][where] = image[where]
        else:
            self._buffer[slot] = image
        fill_blocks(self._buffer[slot], removal.blocks, self.fill)
        self._holds[slot] = (sample, removal.blocks)
