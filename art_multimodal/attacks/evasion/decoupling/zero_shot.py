"""The decoupling attack on dual encoders: the text of every sample is the prompt templates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from art_multimodal.attacks.evasion.decoupling.victim import Asked, Victim
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.functional.occlusion import without_words
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


#: Class features with words removed, by templates, kept from batch to batch for as long as those of the intact
#: templates, which come first, are still what the classifier has: they are computed again when weights change.
_KEPT: WeakKeyDictionary[ZeroShotClassifier, tuple[Tensor, dict[tuple[str, ...], Tensor]]] = WeakKeyDictionary()


def class_features_without(estimator: ZeroShotClassifier, words: Sequence[int]) -> Tensor:
    """Return the unit embeddings ``(K, D)`` of the classes with removable words deleted from the templates.

    :param words: Indices into :func:`removable_words`.
    """
    intact = estimator.class_features()
    if not words:
        return intact
    if estimator not in _KEPT or _KEPT[estimator][0] is not intact:
        _KEPT[estimator] = (intact, {})
    templates = templates_without(estimator.templates or (), words)
    kept = _KEPT[estimator][1]
    if templates not in kept:
        kept[templates] = estimator.with_templates(templates).class_features()
    return kept[templates]


class ZeroShotVictim(Victim):
    """Answers removals on a :class:`ZeroShotClassifier`.

    The text of every sample is the set of templates, shared by all classes: class prompts are embedded once per set of
    removed words, and intact images once. The fused vector is the similarity to the prompts.
    """

    def __init__(self, estimator: ZeroShotClassifier, images: np.ndarray, *args: Any, **kwargs: Any) -> None:
        super().__init__(estimator, images, *args, **kwargs)
        self.estimator = estimator
        self._words = len(removable_words(estimator.templates))
        self._class_features: dict[frozenset[int], Tensor] = {}
        self._intact = estimator.image_features(images, self.batch_size)

    def words(self, sample: int) -> int:
        return self._words

    def _states(self, asked: list[Asked]) -> Tensor:
        states = self._intact[[sample for sample, _ in asked]]
        touched = [row for row, (_, removal) in enumerate(asked) if removal.touches_image]
        for rows, inputs in self._occluded([asked[row] for row in touched]):
            with torch.no_grad():
                states[touched[rows]] = self.estimator.model.image_features(inputs)
        return states

    def _states_of(self, inputs: Tensor, asked: list[Asked]) -> Tensor:
        return self.estimator.model.image_features(inputs)

    def _read(self, states: Tensor, asked: list[Asked]) -> tuple[Tensor, Tensor]:
        rows_of: dict[frozenset[int], list[int]] = {}
        for row, (_, removal) in enumerate(asked):
            rows_of.setdefault(frozenset(removal.words), []).append(row)
        head, parts, order = self.estimator.model.head, [], []
        for words, rows in rows_of.items():
            parts.append(head.similarity(states[rows], self._features_without(words)))
            order += rows
        scores = torch.cat(parts)[torch.tensor(order).argsort()]
        return scores, scores

    def _postprocess(self, scores: Tensor) -> np.ndarray:
        return self.estimator.as_predicted(scores)

    def _features_without(self, words: frozenset[int]) -> Tensor:
        if words not in self._class_features:
            self._class_features[words] = class_features_without(self.estimator, sorted(words))
        return self._class_features[words]
