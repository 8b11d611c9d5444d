"""MUROAN's attack: pixels and words are removed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from art_multimodal.attacks.budget import Budget
from art_multimodal.attacks.evasion.decoupling import DecouplingAttack
from art_multimodal.evaluations.suite import costs
from art_multimodal.evaluations.suite.detail import Detail
from art_multimodal.evaluations.suite.entry import (
    PAIRS,
    RETRIEVAL,
    SAMPLES,
    ZERO_SHOT,
    Attacked,
    AttackEntry,
    Make,
    PreparedAttack,
    register,
    task_of,
)
from art_multimodal.evaluations.suite.gallery import also_on_gallery
from art_multimodal.prompts import fill_templates, removable_words

_BOTH = ("image", "text")


class Removing(PreparedAttack):
    """Points are removed until the answer changes.

    :param search: As for :class:`DecouplingAttack`.
    :param modalities: Which of them lose points.
    """

    def __init__(self, estimator: Any, budget: Budget, search: str, modalities: tuple[str, ...]) -> None:
        super().__init__(estimator, budget)
        self.of_samples = task_of(estimator) == SAMPLES
        # Thousands of pixels must not hide twenty time steps.
        further: dict[str, Any] = {"cost": "modalities"} if self.of_samples else {"modalities": modalities}
        self.removing = DecouplingAttack(
            estimator,
            search=search,
            **further,
            max_queries=budget.max_queries,
            batch_size=budget.batch_size,
            verbose=False,
        )

    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        estimator, removing = self.estimator, self.removing
        adversarial = removing.generate(x)
        if self.of_samples:
            return self._from_samples(adversarial)
        # Where a removed word stood: (number of the text, number of the word).
        if estimator.texts_are_prompts:
            removable = removable_words(estimator.templates)
            places = [[removable[word] for word in record.words] for record in removing.records]
        else:
            places = [[(0, word) for word in record.words] for record in removing.records]
        labels = np.array([record.label_after for record in removing.records], dtype=np.int64)
        details = [
            Detail(
                share_removed=record.share_removed,
                pixels=record.pixels,
                blocks=tuple((block.row, block.column, block.height, block.width) for block in record.blocks),
                words=len(record.words),
                removed_words=tuple(words),
                queries=record.queries,
            )
            for record, words in zip(removing.records, places, strict=True)
        ]
        prompts = None
        if estimator.texts_are_prompts and estimator.templates:
            prompts = _prompts_without(estimator, [removing.templates_of(record) for record in removing.records])
        return Attacked(adversarial, labels, details, prompts=prompts)

    def _from_samples(self, adversarial: np.ndarray) -> Attacked:
        """What was removed from samples of several modalities."""
        details = [
            Detail(
                share_removed=record.share_removed,
                removed=dict(record.removed),
                pixels=record.pixels,
                words=len(record.words),
                queries=record.queries,
            )
            for record in self.removing.records
        ]
        labels = np.array([record.label_after for record in self.removing.records], dtype=np.int64)
        return Attacked(adversarial, labels, details)


def _removing(search: str, modalities: tuple[str, ...] = _BOTH) -> Make:
    return also_on_gallery(partial(Removing, search=search, modalities=modalities))


def _prompts_without(estimator: Any, templates: Sequence[Sequence[str]]) -> np.ndarray:
    """Prompts ``(N, K)`` of the classes by the templates that each sample was left with."""
    prompts = np.empty((len(templates), estimator.nb_classes), dtype=object)
    for row, left in enumerate(templates):
        for number, entry in enumerate(fill_templates(estimator.class_names, left)):
            prompts[row, number] = entry
    return prompts


register(
    AttackEntry(
        "decoupling_guided",
        "decoupling",
        "white box",
        "removes as few pixels and words, or other points, as it can (ours)",
        _removing("guided"),
        tasks=(ZERO_SHOT, PAIRS, SAMPLES),
        cost=costs.removal,
    )
)
register(
    AttackEntry(
        "decoupling_image",
        "decoupling",
        "white box",
        "removes as few pixels as it can (ours)",
        _removing("guided", ("image",)),
        tasks=(ZERO_SHOT, PAIRS, RETRIEVAL),
        cost=costs.removal,
    )
)
register(
    AttackEntry(
        "decoupling_exhaustive",
        "decoupling",
        "black box",
        "removes blocks of pixels, or of other points, and single words (MUROAN's search)",
        _removing("exhaustive"),
        tasks=(ZERO_SHOT, PAIRS, SAMPLES, RETRIEVAL),
        cost=costs.exhaustive_removal,
        # It looks into blocks that change the answer alone: measured were 13 to 26 queries on average, of 1,870 at
        # most, on demo:digits, all of demo:shapes, and a model of CIFAR-10.
        typical_share=0.02,
    )
)
