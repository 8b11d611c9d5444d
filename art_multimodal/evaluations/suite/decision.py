"""Attacks on images that see the label of each answer alone: decision-based ones, with exact budgets of queries."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from art_multimodal.attacks.budget import Budget
from art_multimodal.attacks.evasion.image_ascent import own_generators
from art_multimodal.attacks.evasion.label_only import SEARCHES, Search, search_labels
from art_multimodal.evaluations.suite import costs
from art_multimodal.evaluations.suite.detail import Detail
from art_multimodal.evaluations.suite.entry import (
    LABELS,
    PAIRS,
    ZERO_SHOT,
    Attacked,
    AttackEntry,
    PreparedAttack,
    register,
)
from art_multimodal.evaluations.suite.selection import DECISION
from art_multimodal.functional.perturbations import norm_of
from art_multimodal.pairs import image_text_pairs, is_pairs


class LabelOnly(PreparedAttack):
    """A search for each sample by itself; texts of pairs stay as they are.

    :param search: One of :data:`SEARCHES`.
    """

    def __init__(self, estimator: Any, budget: Budget, search: Search) -> None:
        super().__init__(estimator, budget)
        self.search = search

    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        pairs = is_pairs(x)
        images = np.ascontiguousarray(x["image"] if pairs else x)
        after, labels, details = images.copy(), np.array(y, dtype=np.int64), []
        # Random numbers belong to an image, whatever stands beside it.
        seeds = [generator.initial_seed() for generator in own_generators(seed, images)]
        for row, image in enumerate(images):
            found = search_labels(
                self.search,
                partial(self._scores, text=str(x["text"][row]) if pairs else None),
                image,
                int(y[row]),
                norm_of(self.budget.norm),
                self.budget.eps,
                self.budget.max_queries,
                self.estimator.nb_classes,
                seeds[row] % 2**32,
            )
            after[row], labels[row] = found.image, found.label
            details.append(Detail(queries=found.queries))
        attacked = after
        if pairs:
            attacked = x.copy()
            attacked["image"] = after
        return Attacked(attacked, labels, details)

    def _scores(self, images: np.ndarray, text: str | None) -> np.ndarray:
        x = images if text is None else image_text_pairs(images, [text] * len(images))
        return self.estimator.predict(x, batch_size=self.budget.batch_size)


for _name, _said in (
    ("hop_skip_jump", "along the boundary between labels, which alone are seen (ART's HopSkipJump)"),
    ("sign_opt", "the direction in which another label is nearest, in Euclidean length (ART's Sign-OPT)"),
):
    register(
        AttackEntry(
            _name,
            DECISION,
            "black box",
            f"{_said}; stopped at exactly --max-queries",
            partial(LabelOnly, search=SEARCHES[_name]),
            tasks=(ZERO_SHOT, PAIRS),
            needs=LABELS,
            within_radius=True,
            cost=costs.queries,
        )
    )
