"""An attack on images: ART's momentum iterative method, as audits run it."""

from __future__ import annotations

from typing import Any

from art.attacks.evasion import MomentumIterativeMethod

from art_multimodal.attacks.budget import Budget
from art_multimodal.evaluations.suite import costs
from art_multimodal.evaluations.suite.entry import PAIRS, RETRIEVAL, ZERO_SHOT, AttackEntry, register
from art_multimodal.evaluations.suite.image import image_attack


def momentum(classifier: Any, budget: Budget, seed: int) -> MomentumIterativeMethod:
    """The attack on a classifier of images, within a budget."""
    return MomentumIterativeMethod(
        classifier,
        norm=budget.art_norm,
        eps=budget.eps,
        eps_step=budget.eps_step,
        decay=1.0,
        max_iter=budget.max_iter,
        batch_size=budget.batch_size,
        verbose=False,
    )


register(
    AttackEntry(
        "momentum",
        "image",
        "white box",
        "the momentum iterative method (arXiv:1710.06081, ART's)",
        image_attack(momentum),
        tasks=(ZERO_SHOT, PAIRS, RETRIEVAL),
        within_radius=True,
        cost=costs.steps(starts=1, forward=4),
    )
)
