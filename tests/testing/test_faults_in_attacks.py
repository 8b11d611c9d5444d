"""Faults planted in attacks: each is found by the property that is meant for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from testing.planted import Fault

from art_multimodal.evaluations.suite import PAIRS, Attacked, AttackEntry, PreparedAttack
from art_multimodal.evaluations.suite.costs import fixed
from art_multimodal.testing import check_attack
from art_multimodal.testing.attack import ATTACK
from art_multimodal.testing.attack_cases import small_budget


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


class SettingTheShape(Corner):
    def done(self, found: np.ndarray, x: np.ndarray) -> Attacked:
        self.estimator._input_shape = (3, 4, 4)
        return super().done(found, x)


class ReplacingPreprocessing(Corner):
    def done(self, found: np.ndarray, x: np.ndarray) -> Attacked:
        attacked = super().done(found, x)
        self.estimator.preprocessing_operations = []
        return attacked


class LeftInTraining(Corner):
    def done(self, found: np.ndarray, x: np.ndarray) -> Attacked:
        attacked = super().done(found, x)
        self.estimator.model.train()
        return attacked


class GradientsOff(Corner):
    def done(self, found: np.ndarray, x: np.ndarray) -> Attacked:
        torch.set_grad_enabled(False)
        return super().done(found, x)


class GoingOnFromTheLast(Corner):
    """What the last batch ended with is where the next one begins."""

    last = 0

    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        type(self).last += 1
        return super().attack(x, y, seed + self.last)


class BorrowingTheSamples(Corner):
    """Writes into the samples and puts them back."""

    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        x["image"] += 0
        return super().attack(x, y, seed)


class Doubles(Corner):
    def done(self, found: np.ndarray, x: np.ndarray) -> Attacked:
        wide = np.empty(len(x), dtype=[("image", np.float64, x["image"].shape[1:]), ("text", object)])
        wide["image"], wide["text"] = found["image"], found["text"]
        return Attacked(wide, self.estimator.predict_labels(found))


class LabelsInRows(Corner):
    def done(self, found: np.ndarray, x: np.ndarray) -> Attacked:
        return Attacked(found, self.estimator.predict(found))


class AskingForTheMeanOfABatch(Corner):
    """Goes back where the batch as a whole is no worse."""

    def done(self, found: np.ndarray, x: np.ndarray) -> Attacked:
        for start in range(0, len(x), self.budget.batch_size):
            rows = slice(start, start + self.budget.batch_size)
            if found["image"][rows].mean() > x["image"][rows].mean():
                found["image"][rows] = x["image"][rows]
        return super().done(found, x)


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
    ("works", Doubles, {}),
    ("works", LabelsInRows, {}),
    ("leaves-no-trace", SettingTheShape, {}),
    ("leaves-no-trace", ReplacingPreprocessing, {}),
    ("leaves-no-trace", LeftInTraining, {}),
    ("leaves-no-trace", GradientsOff, {}),
    ("repeatable", GoingOnFromTheLast, {}),
    ("odd-batches", BorrowingTheSamples, {}),
    ("batch-size", AskingForTheMeanOfABatch, {}),
]
#: A corner of the l_inf ball is none of the l_2 ball.
INF = [small_budget("inf")]


def _planted(name: str, make: type[Corner], more: dict[str, Any]) -> Fault:
    faulty = replace(entry(make), **more)
    return Fault(ATTACK, name, make.__name__, lambda: check_attack(faulty, budgets=INF))


def _with_targets(make: type[Towards]) -> Fault:
    def check() -> Any:
        return check_attack(entry(Corner), budgets=INF, targeted=make)

    return Fault(ATTACK, "targets", make.__name__, check)


FAULTS = [_planted(*one) for one in ATTACKS]
FAULTS += map(_with_targets, (FleeingTheTarget, KnowingNoTarget, TargetsBeyondTheRadius))


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_faults_are_found(fault: Fault) -> None:
    fault.is_found()


def test_an_attack_without_a_fault() -> None:
    report = check_attack(entry(Corner), budgets=INF)
    assert set(report.skipped) == {"words", "targets"}
    assert set(check_attack(entry(Corner), budgets=INF, targeted=Towards).skipped) == {"words"}


def test_an_attack_that_finds_no_way_to_a_target_is_no_fault() -> None:
    assert "no sample was changed" in check_attack(entry(Corner), budgets=INF, targeted=Staying).skipped["targets"]
