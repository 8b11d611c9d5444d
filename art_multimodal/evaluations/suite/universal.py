"""One perturbation for all images, from a file: learned elsewhere, by somebody who never asked this model."""

from __future__ import annotations

from typing import Any

import numpy as np

from art_multimodal.attacks.budget import Budget
from art_multimodal.errors import InputError
from art_multimodal.evaluations.suite import costs
from art_multimodal.evaluations.suite.entry import (
    PAIRS,
    RETRIEVAL,
    ZERO_SHOT,
    Attacked,
    AttackEntry,
    PreparedAttack,
    register,
)
from art_multimodal.evaluations.suite.gallery import also_on_gallery
from art_multimodal.evaluations.suite.image import inside_budget
from art_multimodal.evaluations.suite.selection import UNIVERSAL
from art_multimodal.pairs import is_pairs


class FromFile(PreparedAttack):
    """The universal perturbation of the budget, within the radius, at the size of the images."""

    def __init__(self, estimator: Any, budget: Budget) -> None:
        super().__init__(estimator, budget)
        if budget.universal is None:
            raise InputError("universal adds the perturbation of a file: give --universal FILE.")
        self.perturbation = budget.universal

    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        moved = x.copy()
        images = moved["image"] if is_pairs(moved) else moved
        images += self.perturbation.at(*images.shape[2:])
        moved = inside_budget(moved, x, self.budget)
        return Attacked(moved, self.estimator.predict_labels(moved, batch_size=self.budget.batch_size))


register(
    AttackEntry(
        UNIVERSAL,
        UNIVERSAL,
        "black box",
        "one perturbation for all images, from the file of --universal (ours, or published); counts for image, too",
        also_on_gallery(FromFile),
        tasks=(ZERO_SHOT, PAIRS, RETRIEVAL),
        within_radius=True,
        cost=costs.fixed(1),
    )
)
