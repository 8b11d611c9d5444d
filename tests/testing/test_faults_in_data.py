"""Faults planted in data: each is found by the property that is meant for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from testing.planted import Fault

from art_multimodal import samples
from art_multimodal.datasets import CaptionedArrays, LabelledArrays, LabelledSampleArrays, Sample
from art_multimodal.testing import check_data
from art_multimodal.testing.data import DATA as CONTRACT


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


class Nothing(Pictures):
    def __len__(self) -> int:
        return 0


class OwnMemory(Pictures):
    """Hands out the images that it keeps."""

    def image(self, index: int) -> np.ndarray:
        return self._images[index]


class FromTheBeginningAgain(Pictures):
    """Behind the last comes the first."""

    def image(self, index: int) -> np.ndarray:
        return super().image(index % 4)


class OnwardOnly(Pictures):
    """A reader that goes on from where it stands: what lies before that is what it reads next."""

    at = 0

    def image(self, index: int) -> np.ndarray:
        self.at = max(self.at, index)
        return super().image(self.at if index < 4 else index)


class Doubles(Pictures):
    def image(self, index: int) -> np.ndarray:
        return super().image(index).astype(np.float64)


class TrueAndFalse(Pictures):
    def label_of(self, index: int) -> int:
        return bool(index % 2)


class OneNote(Pictures):
    """A string where a list of strings should be."""

    def __init__(self) -> None:
        super().__init__()
        self.notes = "read me"  # type: ignore[assignment]


class Growing(Pictures):
    """Opened again there is another one."""

    opened = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).opened += 1
        self.name = f"picture of {self.opened}"

    def name_of(self, index: int) -> str:
        return f"{self.name}: {index}"


class OtherFields(Tables):
    def samples(self, rows: Any = None) -> np.ndarray:
        x = super().samples(rows)
        return samples(note=list(x["note"]), lab=x["lab"])


class NumbersForTexts(Tables):
    def samples(self, rows: Any = None) -> np.ndarray:
        x = super().samples(rows)
        x["note"] = [3] * len(x)
        return x


class DrawingForAll(Tables):
    def samples(self, rows: Any = None) -> np.ndarray:
        np.random.random(3)
        return super().samples(rows)


class Unnamed(Pictures):
    def name_of(self, index: int) -> str:
        return "" if index == 2 else super().name_of(index)


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
    ("works", Nothing),
    ("images", OwnMemory),
    ("images", FromTheBeginningAgain),
    ("images", Doubles),
    ("repeatable", OnwardOnly),
    ("repeatable", DrawingForAll),
    ("classes", TrueAndFalse),
    ("said", OneNote),
    ("fingerprint", Growing),
    ("samples", OtherFields),
    ("texts", NumbersForTexts),
    ("names", Unnamed),
]


def _planted(name: str, kind: type) -> Fault:
    return Fault(CONTRACT, name, kind.__name__, lambda: check_data(kind(), again=kind))


FAULTS = [_planted(*one) for one in DATA]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_faults_are_found(fault: Fault) -> None:
    fault.is_found()


def test_data_without_a_fault() -> None:
    check_data(Pictures(), again=Pictures)
    check_data(Tables(), again=Tables)
