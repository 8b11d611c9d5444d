"""Planted faults in attacks and objectives: each is found by the property that is meant for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from testing.planted import assert_found
from torch import Tensor

from art_multimodal.evaluations.suite import PAIRS, Attacked, AttackEntry, PreparedAttack
from art_multimodal.evaluations.suite.costs import fixed
from art_multimodal.functional.objectives import soft_cross_entropy, tecoa
from art_multimodal.testing import check_attack, check_objective
from art_multimodal.testing.attack_cases import small_budget

# --- attacks


class Corner(PreparedAttack):
    """Goes to a random corner of the ball, which the seed draws: an attack without a fault."""

    def eps(self) -> float:
        return self.budget.eps

    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        found = x.copy()
        drawn = np.random.default_rng(seed).standard_normal(x["image"].shape)
        found["image"] = np.clip(x["image"] + np.float32(self.eps()) * np.sign(drawn), 0, 1)
        return self.done(found, x)

    def done(self, found: np.ndarray, x: np.ndarray) -> Attacked:
        return Attacked(found, self.estimator.predict_labels(found))


class BeyondTheRadius(Corner):
    def eps(self) -> float:
        return self.budget.eps * 1.001


class BeyondTheRange(Corner):
    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        found = x.copy()
        found["image"] += np.float32(self.budget.eps)
        return Attacked(found, np.zeros(len(x), dtype=int))


class NotANumber(Corner):
    def done(self, found: np.ndarray, x: np.ndarray) -> Attacked:
        found["image"][1, 0, 0, 0] = np.nan
        return Attacked(found, np.zeros(len(x), dtype=int))


class TextsToo(Corner):
    def done(self, found: np.ndarray, x: np.ndarray) -> Attacked:
        found["text"][0] += "!"
        return super().done(found, x)


class LabelsOfBefore(Corner):
    def done(self, found: np.ndarray, x: np.ndarray) -> Attacked:
        return Attacked(found, 1 - np.minimum(1, self.estimator.predict_labels(found)))


class InPlace(Corner):
    def done(self, found: np.ndarray, x: np.ndarray) -> Attacked:
        x["image"][...] = found["image"]
        return super().done(found, x)


class SeedingAll(Corner):
    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        torch.manual_seed(seed)
        return super().attack(x, y, seed)


class Freezing(Corner):
    def done(self, found: np.ndarray, x: np.ndarray) -> Attacked:
        self.estimator.model.requires_grad_(False)
        return super().done(found, x)


class LeavingGradients(Corner):
    def done(self, found: np.ndarray, x: np.ndarray) -> Attacked:
        for parameter in self.estimator.model.parameters():
            parameter.grad = torch.ones_like(parameter)
        return super().done(found, x)


class Unseeded(Corner):
    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        return super().attack(x, y, int(np.random.default_rng().integers(2**30)))


class ByBatches(Corner):
    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        return super().attack(x, y, seed + self.budget.batch_size)


class AskingThreeTimes(Corner):
    def done(self, found: np.ndarray, x: np.ndarray) -> Attacked:
        self.estimator.predict_labels(x)
        self.estimator.predict_labels(x)
        return super().done(found, x)


class WantingTwo(Corner):
    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        return super().attack(x, y, seed) if len(x) > 1 else Attacked(x[:0], y[:0])


class LabelsMissing(Corner):
    def done(self, found: np.ndarray, x: np.ndarray) -> Attacked:
        return Attacked(found, None)


class TwoWords(Corner):
    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        found = x.copy()
        found["text"] = [text.replace("a ", "the ").replace("on", "off") for text in x["text"]]
        return self.done(found, x)


class StackingRows(Corner):
    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        return super().attack(np.concatenate([x[row : row + 1] for row in range(len(x))]), y, seed)


class LabelOfNothing(Corner):
    def done(self, found: np.ndarray, x: np.ndarray) -> Attacked:
        return super().done(found, x) if len(x) else Attacked(found, np.zeros(1, dtype=int))


class Towards(Corner):
    """One step down the loss of the targets: an attack without a fault, where labels are targets."""

    sign = -1.0

    def aim(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return y

    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        found = x.copy()
        slope = self.estimator.loss_gradient(x, self.aim(x, y), modality="image")
        found["image"] = np.clip(x["image"] + np.float32(self.sign * self.eps()) * np.sign(slope), 0, 1)
        return self.done(found, x)


class FleeingTheTarget(Towards):
    sign = 1.0


class KnowingNoTarget(Towards):
    def aim(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (self.estimator.predict_labels(x) + 1) % self.estimator.nb_classes


class TargetsBeyondTheRadius(Towards):
    def eps(self) -> float:
        return self.budget.eps * 1.001


class Staying(Corner):
    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        return self.done(x.copy(), x)


def entry(make: Any, **more: Any) -> AttackEntry:
    given = {"modality": "image", "cost": fixed(2), "tasks": (PAIRS,), "within_radius": True, **more}
    return AttackEntry("corner", knowledge="black box", summary="a corner of the ball", make=make, **given)


ATTACKS: list[tuple[str, type[Corner], dict[str, Any]]] = [
    ("budget", BeyondTheRadius, {}),
    ("range", BeyondTheRange, {}),
    ("range", NotANumber, {}),
    ("untouched", TextsToo, {}),
    ("labels", LabelsOfBefore, {}),
    ("leaves-no-trace", InPlace, {}),
    ("leaves-no-trace", SeedingAll, {}),
    ("leaves-no-trace", Freezing, {}),
    ("leaves-no-trace", LeavingGradients, {}),
    ("repeatable", Unseeded, {}),
    ("batch-size", ByBatches, {}),
    ("queries", AskingThreeTimes, {}),
    ("odd-batches", WantingTwo, {}),
    ("empty", StackingRows, {}),
    ("empty", LabelOfNothing, {}),
    ("works", LabelsMissing, {}),
    ("words", TwoWords, {"modality": "text"}),
    ("described", Corner, {"summary": ""}),
]
#: A corner of the l_inf ball is none of the l_2 ball.
INF = [small_budget("inf")]


def test_an_attack_without_a_fault() -> None:
    report = check_attack(entry(Corner), budgets=INF)
    assert set(report.skipped) == {"words", "targets"}
    assert set(check_attack(entry(Corner), budgets=INF, targeted=Towards).skipped) == {"words"}


def test_an_attack_that_finds_no_way_to_a_target_is_no_fault() -> None:
    assert "no sample was changed" in check_attack(entry(Corner), budgets=INF, targeted=Staying).skipped["targets"]


@pytest.mark.parametrize("make", [FleeingTheTarget, KnowingNoTarget, TargetsBeyondTheRadius])
def test_faults_of_attacks_with_targets(make: type[Towards]) -> None:
    assert_found("targets", lambda: check_attack(entry(Corner), budgets=INF, targeted=make))


@pytest.mark.parametrize(("name", "make", "more"), ATTACKS, ids=[make.__name__ for _, make, _ in ATTACKS])
def test_faults_of_attacks(name: str, make: type[Corner], more: dict[str, Any]) -> None:
    faulty = replace(entry(make), **more)
    assert_found(name, lambda: check_attack(faulty, budgets=INF))


# --- objectives


def cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    return soft_cross_entropy(scores, targets).mean()


def half_a_gradient(scores: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(scores / 2 + scores.detach() / 2, targets)


def no_gradient(scores: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(scores.detach(), targets)


def of_neighbours(scores: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(scores, targets) + 1e-3 * (scores - scores.roll(1, dims=0)).abs().mean()


def of_the_first_class(scores: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(scores, targets) + 1e-3 * scores[:, 0].mean()


def of_a_deviation(scores: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(scores / scores.std(dim=0), targets)


def in_single(scores: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(scores, targets).float()


def in_place(scores: Tensor, targets: Tensor) -> Tensor:
    targets.mul_(0.9)
    return cross_entropy(scores, targets)


def drawing(scores: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(scores, targets) + 1e-6 * torch.rand(())


def undocumented(scores: Tensor, targets: Tensor, weight: float = 1.0) -> Tensor:
    return weight * cross_entropy(scores, targets)


def of_each_sample(scores: Tensor, targets: Tensor) -> Tensor:
    return soft_cross_entropy(scores, targets)


def of_what_nobody_gives(scores: Tensor, target: Tensor) -> Tensor:
    return cross_entropy(scores, target)


OBJECTIVES: list[tuple[str, Callable[..., Tensor]]] = [
    ("gradient", half_a_gradient),
    ("decreases", no_gradient),
    ("batch-order", of_neighbours),
    ("class-order", of_the_first_class),
    ("one-sample", of_a_deviation),
    ("dtypes", in_single),
    ("leaves-no-trace", in_place),
    ("leaves-no-trace", drawing),
    ("settings", undocumented),
    ("works", of_each_sample),
    ("works", of_what_nobody_gives),
]


def test_an_objective_without_a_fault() -> None:
    assert not check_objective(cross_entropy).skipped and not check_objective(tecoa).skipped


@pytest.mark.parametrize(("name", "objective"), OBJECTIVES, ids=[one.__name__ for _, one in OBJECTIVES])
def test_faults_of_objectives(name: str, objective: Callable[..., Tensor]) -> None:
    assert_found(name, lambda: check_objective(objective))
