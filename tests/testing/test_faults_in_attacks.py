"""Faults planted in an attack, an objective, a preprocessor and data: each is found by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from art.defences.preprocessor import SpatialSmoothing
from testing.planted import assert_found
from torch import Tensor

from art_multimodal import samples
from art_multimodal.datasets import CaptionedArrays, LabelledArrays, LabelledSampleArrays, Sample
from art_multimodal.defences.preprocessor import TextPreprocessor, UnicodeNormalisation
from art_multimodal.evaluations.suite import PAIRS, Attacked, AttackEntry, PreparedAttack
from art_multimodal.evaluations.suite.costs import fixed
from art_multimodal.functional.objectives import soft_cross_entropy, tecoa
from art_multimodal.testing import check_attack, check_data, check_objective, check_preprocessor
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
    ("works", LabelsMissing, {}),
    ("words", TwoWords, {"modality": "text"}),
    ("described", Corner, {"summary": ""}),
]
#: A corner of the l_inf ball is none of the l_2 ball.
INF = [small_budget("inf")]


def test_an_attack_without_a_fault() -> None:
    report = check_attack(entry(Corner), budgets=INF)
    assert set(report.skipped) == {"words"}


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


# --- preprocessors


class Lower(TextPreprocessor):
    """Without a fault."""

    def _repaired(self, text: str) -> str:
        return text.lower()


class Growing(Lower):
    def _repaired(self, text: str) -> str:
        return text + "!"


class LosingEmpty(Lower):
    def __call__(self, x: np.ndarray, y: Any = None) -> Any:
        x, y = super().__call__(x, y)
        return (x[[bool(text) for text in x]], y) if x.dtype == object else (x, y)


class WritingImages(Lower):
    def __call__(self, x: np.ndarray, y: Any = None) -> Any:
        x, y = super().__call__(x, y)
        if x.dtype.names:
            x["image"] *= 0.5
        return x, y


class TakingAll(Lower):
    def repair(self, texts: Any) -> list[str]:
        return [str(text).lower() for text in texts or ()]


class Drawing(Lower):
    def _repaired(self, text: str) -> str:
        return text + str(np.random.default_rng().integers(10**6))


class KeptOpen(Lower):
    def __init__(self) -> None:
        super().__init__()
        self.change = lambda text: text


class Smooth(SpatialSmoothing):
    """ART's, which has no fault."""

    def __init__(self) -> None:
        super().__init__(channels_first=True, clip_values=(0, 1))


class Brighter(Smooth):
    def __call__(self, x: np.ndarray, y: Any = None) -> Any:
        return x * np.float32(1.2), y


class InPlaceSmooth(Smooth):
    def __call__(self, x: np.ndarray, y: Any = None) -> Any:
        x *= np.float32(0.5)
        return x, y


class Centred(Smooth):
    def __call__(self, x: np.ndarray, y: Any = None) -> Any:
        return np.clip(x - x.mean(axis=0) if len(x) else x, 0, 1), y


class Doubling(Smooth):
    def __call__(self, x: np.ndarray, y: Any = None) -> Any:
        return x.astype(np.float64), y


class NoneWhenEmpty(Smooth):
    def __call__(self, x: np.ndarray, y: Any = None) -> Any:
        return x / x.max(), y


class FlatGradient(Smooth):
    def estimate_gradient(self, x: np.ndarray, grad: np.ndarray) -> np.ndarray:
        return grad.reshape(len(grad), -1)


PREPROCESSORS: list[tuple[str, type]] = [
    ("idempotent", Growing),
    ("works", LosingEmpty),
    ("pairs", WritingImages),
    ("strings", TakingAll),
    ("repeatable", Drawing),
    ("copies", KeptOpen),
    ("range", Brighter),
    ("leaves-no-trace", InPlaceSmooth),
    ("batch-independence", Centred),
    ("dtype", Doubling),
    ("empty", NoneWhenEmpty),
    ("gradient", FlatGradient),
]


def test_preprocessors_without_a_fault() -> None:
    for preprocessor in (Lower(), Smooth(), UnicodeNormalisation()):
        check_preprocessor(preprocessor)


@pytest.mark.parametrize(("name", "kind"), PREPROCESSORS, ids=[kind.__name__ for _, kind in PREPROCESSORS])
def test_faults_of_preprocessors(name: str, kind: type) -> None:
    assert_found(name, lambda: check_preprocessor(kind()))


# --- data


class Pictures(LabelledArrays):
    """Without a fault."""

    def __init__(self) -> None:
        images = np.random.default_rng(0).random((4, 3, 5, 5), dtype=np.float32)
        super().__init__(images, [0, 1, 1, 0], ("cat", "dog"), ["a", "b", "c", "d"])


class SameClasses(Pictures):
    def __init__(self) -> None:
        super().__init__()
        self.class_names = ("cat", "cat")


class LabelTooLarge(Pictures):
    def label_of(self, index: int) -> int:
        return index


class Bytes(Pictures):
    def image(self, index: int) -> np.ndarray:
        return super().image(index) * np.float32(255)


class ReadsOthers(Pictures):
    def read(self, index: int) -> Sample:
        return super().read((index + 1) % 4)


class SomeTexts(Pictures):
    def text_of(self, index: int) -> str | None:
        return super().text_of(index) if index else None


class SameNames(Pictures):
    def name_of(self, index: int) -> str:
        return f"picture {index // 2}"


class Augmented(Pictures):
    def image(self, index: int) -> np.ndarray:
        return np.clip(super().image(index) + np.float32(0.01 * np.random.default_rng().random()), 0, 1)


class HashOfAnAddress(Pictures):
    def fingerprint(self) -> str:
        return super().fingerprint() + str(id(object())) + str(np.random.default_rng().random())


class LongNotes(Pictures):
    notes = ("two\nlines",)

    def __init__(self) -> None:
        super().__init__()
        self.notes = ("two\nlines",)


class Tables(LabelledSampleArrays):
    """Without a fault."""

    def __init__(self) -> None:
        table = np.random.default_rng(0).random((4, 3), dtype=np.float32)
        super().__init__(samples(lab=table, note=["a", "b", "c", ""]), [0, 1, 1, 0], ("no", "yes"))


class SharedMemory(Tables):
    def samples(self, rows: Any = None) -> np.ndarray:
        return (
            self._x
            if rows is None
            else self._x[rows]
            if isinstance(rows, slice)
            else self._x[rows.min() :][: len(rows)]
        )


class RowsFromTheEnd(Tables):
    def samples(self, rows: Any = None) -> np.ndarray:
        return super().samples(rows if rows is None or isinstance(rows, slice) else np.asarray(rows) % 4)


class OutOfRange(Tables):
    def samples(self, rows: Any = None) -> np.ndarray:
        x = super().samples(rows)
        x["lab"] *= 3
        return x


class CaptionsTwice(CaptionedArrays):
    def __init__(self) -> None:
        super().__init__(np.zeros((2, 3, 4, 4), dtype=np.float32), [["a cat"], ["a dog", "a hound"]])

    def captions_of(self, index: int) -> tuple[str, ...]:
        return super().captions_of(index) * 2


DATA: list[tuple[str, type]] = [
    ("classes", SameClasses),
    ("classes", LabelTooLarge),
    ("images", Bytes),
    ("images", ReadsOthers),
    ("texts", SomeTexts),
    ("names", SameNames),
    ("repeatable", Augmented),
    ("fingerprint", HashOfAnAddress),
    ("said", LongNotes),
    ("rows", SharedMemory),
    ("rows", RowsFromTheEnd),
    ("samples", OutOfRange),
    ("texts", CaptionsTwice),
]


def test_data_without_a_fault() -> None:
    check_data(Pictures(), again=Pictures)
    check_data(Tables(), again=Tables)


@pytest.mark.parametrize(("name", "kind"), DATA, ids=[kind.__name__ for _, kind in DATA])
def test_faults_of_data(name: str, kind: type) -> None:
    assert_found(name, lambda: check_data(kind(), again=kind))
