"""Planted faults in preprocessors and data: each is found by the property that is meant for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from art.defences.preprocessor import SpatialSmoothing
from testing.planted import assert_found

from art_multimodal import samples
from art_multimodal.datasets import CaptionedArrays, LabelledArrays, LabelledSampleArrays, Sample
from art_multimodal.defences.preprocessor import TextPreprocessor, UnicodeNormalisation
from art_multimodal.testing import check_data, check_preprocessor

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
