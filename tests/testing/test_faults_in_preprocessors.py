"""Faults planted in preprocessors: each is found by the property that is meant for it."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from art.defences.preprocessor import SpatialSmoothing
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch
from testing.planted import Fault

from art_multimodal.defences.preprocessor import TextPreprocessor, UnicodeNormalisation
from art_multimodal.testing import check_preprocessor
from art_multimodal.testing.preprocessor import PREPROCESSOR


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


class Inventing(Smooth):
    """Returns labels where none were given."""

    def __call__(self, x: np.ndarray, y: Any = None) -> Any:
        x, y = super().__call__(x, y)
        return x, np.zeros(len(x)) if y is None else y


class Borrowing(Smooth):
    """Writes into the samples and puts them back."""

    def __call__(self, x: np.ndarray, y: Any = None) -> Any:
        x += np.float32(0)
        return super().__call__(x, y)


class ScalingTheGradient(Smooth):
    """Writes into the gradient that it is given."""

    def estimate_gradient(self, x: np.ndarray, grad: np.ndarray) -> np.ndarray:
        grad *= 0.5
        return grad


class RunningMean(Smooth):
    """Changes with what it has seen."""

    seen = 0.0

    def __call__(self, x: np.ndarray, y: Any = None) -> Any:
        self.seen = 0.9 * self.seen + 0.1 * float(x.mean()) if len(x) else self.seen
        return np.clip(x - np.float32(self.seen), 0, 1), y


class GlobalNoise(Smooth):
    def __call__(self, x: np.ndarray, y: Any = None) -> Any:
        np.random.random(3)
        return super().__call__(x, y)


class ShapesLost(Smooth):
    def __call__(self, x: np.ndarray, y: Any = None) -> Any:
        return x.squeeze() if len(x) > 1 else x[0], y


class Unfaithful(PreprocessorPyTorch):
    """A differentiable one whose gradient is half of what it should be."""

    params: ClassVar[list[str]] = []

    def __init__(self) -> None:
        super().__init__(device_type="cpu")

    @property
    def apply_fit(self) -> bool:
        return False

    @property
    def apply_predict(self) -> bool:
        return True

    def forward(self, x: torch.Tensor, y: Any = None) -> Any:
        return (x / 2 + x.detach() / 2) ** 2, y


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
    ("gradient", ScalingTheGradient),
    ("gradient", Unfaithful),
    ("works", Inventing),
    ("works", ShapesLost),
    ("memory-layout", Borrowing),
    ("repeatable", RunningMean),
    ("leaves-no-trace", GlobalNoise),
]


def _planted(name: str, kind: type) -> Fault:
    return Fault(PREPROCESSOR, name, kind.__name__, lambda: check_preprocessor(kind()))


FAULTS = [_planted(*one) for one in PREPROCESSORS]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_faults_are_found(fault: Fault) -> None:
    fault.is_found()


def test_preprocessors_without_a_fault() -> None:
    for preprocessor in (Lower(), Smooth(), UnicodeNormalisation()):
        check_preprocessor(preprocessor)
