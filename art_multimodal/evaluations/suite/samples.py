"""Attacks on samples of any modalities: on one of them alone, and on all that hold numbers at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from art.attacks.attack import EvasionAttack

from art_multimodal.attacks.art_context import global_seed
from art_multimodal.attacks.budget import Budget
from art_multimodal.attacks.evasion import ModalitySwapAttack, ProjectedGradientDescentMultimodal, TimeShift
from art_multimodal.attacks.evasion.for_each_sample import for_each_sample
from art_multimodal.attacks.evasion.multimodal.raising import losses_for
from art_multimodal.evaluations.suite import costs
from art_multimodal.evaluations.suite.entry import EACH, SAMPLES, Attacked, AttackEntry, PreparedAttack, register
from art_multimodal.evaluations.suite.image import Build, apgd, art_pgd, bounded, square, square_applies
from art_multimodal.functional.perturbations import norm_of, within_budget
from art_multimodal.sample_arrays import with_field

#: Donors whose field is tried in the place of a sample's own.
DONORS = 10
#: How far a stream is shifted, at most: a share of its largest length, and steps.
SHIFT_SHARE, MOST_SHIFT = 0.1, 10


class OnSamples(PreparedAttack):
    """An attack on samples of several modalities, scored in the budget.

    :param modality: Name of the modality that changes.
    """

    def __init__(self, estimator: Any, budget: Budget, modality: str) -> None:
        super().__init__(estimator, budget)
        self.modality = modality

    def changed(self, x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
        """The samples after the attack."""
        raise NotImplementedError

    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        # ART's attacks draw from the global generators.
        with global_seed(seed):
            attacked = self.changed(x, y, seed)
            return Attacked(attacked, self.estimator.predict_labels(attacked, batch_size=self.budget.batch_size))


class WithinBall(OnSamples):
    """An attack on one modality that has a radius; the others stay as they are."""

    def __init__(self, estimator: Any, budget: Budget, modality: str) -> None:
        super().__init__(estimator, budget, modality)
        ball = budget.balls[modality]
        self.within = replace(budget, eps=ball.eps, eps_step=ball.eps_step)

    def inside(self, attacked: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Finite and in the budget, whatever the attack returns; behind the length of a sequence as it was."""
        kind = self.estimator.modalities[self.modality]
        own, found = (np.ascontiguousarray(kind.values(of[self.modality])) for of in (x, attacked))
        there = np.isfinite(own)
        clean = torch.from_numpy(np.where(there, own, 0).astype(np.float32))
        after = torch.from_numpy(np.where(np.isfinite(found) & there, found, clean.numpy()).astype(np.float32))
        low, high = (torch.as_tensor(bound, dtype=torch.float32) for bound in kind.clip_values)
        inside = within_budget(after, clean, norm_of(self.within.norm), self.within.eps, low, high).numpy()
        # A sample that lacks the modality goes on lacking it.
        return with_field(x, self.modality, kind.with_values(x[self.modality], np.where(there, inside, own)))


class OnOneModality(WithinBall):
    """An attack of ART on one modality; the others stay as they are.

    :param build: Makes the attack on a classifier of that modality.
    """

    def __init__(self, estimator: Any, budget: Budget, modality: str, build: Build) -> None:
        super().__init__(estimator, budget, modality)
        self.build = build

    def changed(self, x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
        def on_view(view: Any) -> EvasionAttack:
            return self.build(bounded(view, self.within), self.within, seed)

        attacked = for_each_sample(on_view, self.estimator, x, y, self.modality)
        return self.inside(attacked, x)


class Descent(OnSamples):
    """Our descent over one modality, or over all that have a ball at once.

    :param modality: Name of the one; empty for all.
    :param loss: As for :class:`ProjectedGradientDescentMultimodal`.
    """

    def __init__(
        self, estimator: Any, budget: Budget, modality: str = "", loss: str = "cross_entropy", starts: int = 1
    ) -> None:
        super().__init__(estimator, budget, modality)
        names = [modality] if modality else list(budget.balls)
        self.settings: dict[str, Any] = {
            "eps": {name: budget.balls[name].eps for name in names},
            "eps_step": {name: budget.balls[name].eps_step for name in names},
            "norm": budget.art_norm,
            "max_iter": budget.max_iter,
            "loss": loss,
            "num_random_init": starts,
            "batch_size": budget.batch_size,
            "verbose": False,
        }

    def changed(self, x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
        return ProjectedGradientDescentMultimodal(self.estimator, seed=seed, **self.settings).generate(x, y)


class Swap(OnSamples):
    """The field of another sample of the batch, as if a sensor were fed a recording."""

    def changed(self, x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
        if len(x) < 2:
            # There is nobody to take it from.
            return x.copy()
        size = self.budget.batch_size
        swap = ModalitySwapAttack(self.estimator, self.modality, DONORS, batch_size=size, seed=seed, verbose=False)
        return swap.generate(x, y)


class Shifted(OnSamples):
    """A stream that begins a few steps earlier or later than the others."""

    def changed(self, x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
        steps = self.estimator.modalities[self.modality].shape[0]
        most = min(MOST_SHIFT, max(1, round(SHIFT_SHARE * steps)))
        size = self.budget.batch_size
        return TimeShift(self.estimator, self.modality, most, batch_size=size, verbose=False).generate(x, y)


class Missing(OnSamples):
    """A modality fails, and the model is told."""

    def changed(self, x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
        kind = self.estimator.modalities[self.modality]
        return with_field(x, self.modality, kind.left_out(x[self.modality]))


class Removed(OnSamples):
    """All points of a modality are filled in, and the model is not told."""

    def changed(self, x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
        kind = self.estimator.modalities[self.modality]
        return with_field(x, self.modality, kind.remove(x[self.modality], kind.present(x[self.modality])))


def _any_fits(estimator: Any, modality: str, budget: Budget) -> bool:
    return True


def _missing_fits(estimator: Any, modality: str, budget: Budget) -> bool:
    return estimator.multimodal.takes_missing


def _shift_fits(estimator: Any, modality: str, budget: Budget) -> bool:
    return estimator.modalities[modality].over_time


def _allows(loss: str) -> Callable[[Any, str, Budget], bool]:
    """Whether a model allows a loss, which not every one does."""
    return lambda estimator, modality, budget: modality in budget.balls and loss in losses_for(estimator.multimodal)


def _square_fits(estimator: Any, modality: str, budget: Budget) -> bool:
    kind = estimator.modalities[modality]
    if kind.kind != "image" or None in kind.shape:
        return False
    return square_applies(kind.shape, budget)


def _add(name: str, modality: str, knowledge: str, summary: str, make: Any, **more: Any) -> None:
    register(AttackEntry(name, modality, knowledge, summary, make, tasks=(SAMPLES,), **more))


_add(
    f"art_pgd{EACH}",
    EACH,
    "white box",
    "projected gradient descent on one modality (ART's)",
    partial(OnOneModality, build=art_pgd),
    within_radius=True,
    cost=costs.DESCENT,
)
_add(
    f"apgd{EACH}",
    EACH,
    "white box",
    "auto-PGD on cross-entropy, on one modality (ART's)",
    partial(OnOneModality, build=apgd),
    within_radius=True,
    cost=costs.auto_descent,
)
_add(
    f"pgd{EACH}",
    EACH,
    "white box",
    "projected gradient descent on the margin, on one modality (ours)",
    partial(Descent, loss="margin"),
    within_radius=True,
    cost=costs.steps(1, 2),
    calls=costs.asks(1, 1, 1),
)
for _loss, _summary in (
    ("confidence", "raising what its own vote adds to each wrong class, with the weight that the fusion gives it"),
    ("agreement", "raising the probability that it adds to each wrong class of a consensus"),
):
    _add(
        f"{_loss}{EACH}",
        EACH,
        "white box",
        f"projected gradient descent on one modality, {_summary} (ours)",
        partial(Descent, loss=_loss),
        fits=_allows(_loss),
        within_radius=True,
        cost=costs.of_votes,
    )
_add(
    f"square{EACH}",
    EACH,
    "black box",
    "random search with squares, on a modality of images (ART's)",
    partial(OnOneModality, build=square),
    fits=_square_fits,
    within_radius=True,
    cost=costs.queries,
)
_add(
    "pgd_multimodal",
    "multimodal",
    "white box",
    "projected gradient descent on all modalities of numbers at once, each in its own ball (ours)",
    Descent,
    within_radius=True,
    cost=costs.steps(1, 2),
    calls=costs.asks(1, 1, 1),
)
_add(
    f"modality_swap{EACH}",
    "modality_swap",
    "black box",
    f"a modality of another sample, of up to {DONORS} the most harmful one: spoofing (ours)",
    Swap,
    fits=_any_fits,
    cost=costs.fixed(DONORS + 1),  # and one look at the result
)
_add(
    f"time_shift{EACH}",
    "time_shift",
    "black box",
    f"a stream is shifted against the others by up to {SHIFT_SHARE:.0%} of its length (ours)",
    Shifted,
    fits=_shift_fits,
    cost=costs.fixed(2 * MOST_SHIFT + 2),  # and one look at the result
)
_add(
    f"modality_missing{EACH}",
    "modality_missing",
    "outage",
    "a modality is missing and the model is told: it leaves it out",
    Missing,
    fits=_missing_fits,
    of_everyone=True,
    cost=costs.fixed(1),
)
_add(
    f"modality_removed{EACH}",
    "modality_removed",
    "outage",
    "all of a modality is filled in and the model is not told",
    Removed,
    fits=_any_fits,
    of_everyone=True,
    cost=costs.fixed(1),
)
