"""Attacks that are made on surrogates, one by one and all together, and scored on the model, which they never ask."""

from __future__ import annotations

from typing import Any

import numpy as np

from art_multimodal.attacks.budget import Budget
from art_multimodal.attacks.evasion.transfer import TransferAttack
from art_multimodal.evaluations.suite.costs import Cost, Texts
from art_multimodal.evaluations.suite.entry import (
    EACH_SURROGATE,
    LABELS,
    ZERO_SHOT,
    Attacked,
    AttackEntry,
    PreparedAttack,
    register,
)
from art_multimodal.evaluations.suite.image import inside_budget
from art_multimodal.evaluations.suite.selection import ENSEMBLE, TRANSFER

#: Fewest gradient steps: nobody counts what an attacker asks of models of their own.
LEAST_STEPS = 50


def steps_on_surrogates(budget: Budget) -> int:
    """Gradient steps on surrogates."""
    return max(budget.max_iter, LEAST_STEPS)


def transfer_attack(surrogates: Any, budget: Budget, seed: int) -> TransferAttack:
    """What a row is made with.

    :param surrogates: One or several.
    """
    steps = steps_on_surrogates(budget)
    return TransferAttack(
        surrogates,
        norm=budget.art_norm,
        eps=budget.eps,
        eps_step=min(budget.eps_step, 2.5 * budget.eps / steps),
        max_iter=steps,
        batch_size=budget.batch_size,
        seed=seed,
        verbose=False,
        **budget.transfer,
    )


class Transferred(PreparedAttack):
    """Images made on one surrogate, or on all at once; the model is asked once about what comes out.

    :param modality: Name of the surrogate, or :data:`ENSEMBLE`.
    """

    def __init__(self, estimator: Any, budget: Budget, modality: str) -> None:
        super().__init__(estimator, budget)
        known = budget.surrogates
        self.surrogates = list(known.values()) if modality == ENSEMBLE else [known[modality]]

    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        found = inside_budget(transfer_attack(self.surrogates, self.budget, seed).generate(x, y), x, self.budget)
        return Attacked(found, self.estimator.predict_labels(found, batch_size=self.budget.batch_size))


def _cost(budget: Budget, texts: Texts) -> Cost:
    """Passes through a surrogate, which are taken to cost what one of the model does; the model itself is asked once.

    An ensemble costs as many times that as it has members.
    """
    views = max(1, budget.transfer.get("crops", 0)) + len(budget.transfer.get("scales", ()))
    return Cost(1 + views * steps_on_surrogates(budget), views * steps_on_surrogates(budget))


register(
    AttackEntry(
        f"{TRANSFER}{EACH_SURROGATE}",
        TRANSFER,
        "black box",
        f"gradients of a surrogate, with momentum and input diversity, at least {LEAST_STEPS} steps; of several "
        f"also of all at once ({TRANSFER}@{ENSEMBLE}). The model itself is asked once about the result (ours)",
        Transferred,
        tasks=(ZERO_SHOT,),
        needs=LABELS,
        within_radius=True,
        cost=_cost,
    )
)
