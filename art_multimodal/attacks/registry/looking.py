"""Attacks that also look whether the model hides its gradients: one of every audit that follows them does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from art_multimodal.attacks.gradient_checks import check_gradients
from art_multimodal.attacks.registry.entry import ATTACKS, Attacked, Budget, Estimator, Prepare, Run
from art_multimodal.attacks.registry.gallery import on_gallery
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.zero_shot import ZeroShotClassifier

#: Looks by itself, and compares its members besides.
_LOOKS_ANYWAY = "worst_image"
#: What the headline of images rests on: its row is where a reader looks first.
_PREFERRED = "pgd_targeted"


def who_looks(attacks: Sequence[str]) -> str | None:
    """The name of the attack that is to look, so that one does; ``None`` where none follows gradients of images."""
    if _LOOKS_ANYWAY in attacks:
        return None
    entries = {name: ATTACKS[name] for name in attacks}
    follow = [
        name for name, e in entries.items() if e.knowledge == "white box" and e.modality in ("image", "multimodal")
    ]
    return _PREFERRED if _PREFERRED in follow else next(iter(follow), None)


def also_looking(prepare: Prepare) -> Prepare:
    """The same attack, whose flags say besides what :func:`check_gradients` saw."""

    def prepare_both(estimator: Estimator, budget: Budget) -> Run:
        attack, look = prepare(estimator, budget), on_gallery(_look)(estimator, budget)

        def run(x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
            attacked = attack(x, y, seed)
            return replace(attacked, flags={**attacked.flags, **look(x, y, seed).flags})

        return run

    return prepare_both


def _look(estimator: Estimator, budget: Budget) -> Run:
    assert isinstance(estimator, (FusionClassifier, ZeroShotClassifier))

    def run(x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        seen = check_gradients(estimator, x, y, budget.norm, budget.eps, seed, budget.batch_size)
        return Attacked(x, None, flags=seen.flags())

    return run
