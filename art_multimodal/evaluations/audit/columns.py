"""What is known of each sample of a run, in arrays: a further sample takes a few bytes for each attack."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from typing import Any, Self, TypeVar

import numpy as np

T = TypeVar("T")
#: Places in the data whose numbers lie side by side: few, so that samples that lie far apart need little more.
_PAGE = 64
_NO_NUMBER = -1


class Samples:
    """The samples of a run, numbered from 0 on in the order in which its log first names them.

    A log names few of a large data set, or all of them in any order: numbers are dense either way.
    """

    def __init__(self) -> None:
        self._places = array("q")
        self._pages: dict[int, array[int]] = {}

    def __len__(self) -> int:
        return len(self._places)

    @property
    def places(self) -> np.ndarray:
        """Of each number the place of the sample in the data ``(N,)``."""
        return np.array(self._places, dtype=np.int64)

    def find(self, place: int) -> int | None:
        """The number of the sample at a place in the data; ``None`` where it has none."""
        page = self._pages.get(place // _PAGE)
        number = _NO_NUMBER if page is None else page[place % _PAGE]
        return None if number == _NO_NUMBER else number

    def number(self, place: int) -> int:
        """The same, and a new one where it has none."""
        page = self._pages.get(place // _PAGE)
        if page is None:
            page = self._pages[place // _PAGE] = array("i", [_NO_NUMBER]) * _PAGE
        number = page[place % _PAGE]
        if number == _NO_NUMBER:
            number = page[place % _PAGE] = len(self._places)
            self._places.append(place)
        return number

    def column(self, dtype: Any) -> Column[Any]:
        """A column without values.

        :param dtype: Of the array that will hold them.
        """
        return Column(self, np.zeros(0, dtype), np.zeros(0, bool))


class Column(Mapping[int, T]):
    """A value of some samples of a run: by their places in the data a mapping, by their numbers two arrays.

    Its order is that of the numbers.

    :param samples: All samples of the run.
    :param values: By number; as many as there are samples, or fewer: the last ones have none.
    :param there: Which samples have a value, of the same length. Elsewhere ``values`` must be zero.
    """

    def __init__(self, samples: Samples, values: np.ndarray, there: np.ndarray) -> None:
        self.samples = samples
        self._values, self._there = values, there

    @classmethod
    def of(cls, values: Mapping[int, T], dtype: Any) -> Self:
        """The same as a mapping, in its order; of samples of its own.

        :param dtype: Of the array.
        """
        samples = Samples()
        column = cls(samples, np.zeros(len(values), dtype), np.zeros(len(values), bool))
        for place, value in values.items():
            column.put(samples.number(place), value)
        return column

    @property
    def there(self) -> np.ndarray:
        """Which samples have a value, by number ``(N,)``; not to be written."""
        return self._whole(self._there)

    @property
    def dense(self) -> np.ndarray:
        """The values by number ``(N,)``, zero where there is none; not to be written."""
        return self._whole(self._values)

    def put(self, number: int, value: T) -> None:
        """Set a value.

        :param number: Of the sample.
        """
        if number >= len(self._there):
            # Twice as many, so that all steps together copy each value about once.
            size = max(2 * number, 64)
            self._values, self._there = _longer(self._values, size), _longer(self._there, size)
        self._values[number] = value
        self._there[number] = True

    def among(self, samples: np.ndarray) -> Column[T]:
        """The values of some samples alone, in arrays of their own.

        :param samples: Which ones ``(N,)``.
        """
        there = self.there & samples
        values = self.dense.copy()
        values[~there] = 0
        return Column(self.samples, values, there)

    def _whole(self, part: np.ndarray) -> np.ndarray:
        found = part[: len(self.samples)] if len(part) >= len(self.samples) else _longer(part, len(self.samples))
        found.flags.writeable = False
        return found

    def __getitem__(self, place: int) -> T:
        number = self.samples.find(place)
        if number is None or number >= len(self._there) or not self._there[number]:
            raise KeyError(place)
        value = self._values[number]
        return value.item() if isinstance(value, np.generic) else value

    def __iter__(self) -> Iterator[int]:
        return map(int, self.samples.places[self.there])

    def __len__(self) -> int:
        return int(np.count_nonzero(self._there))


def _longer(values: np.ndarray, size: int) -> np.ndarray:
    """The same with zeros behind."""
    found = np.zeros(size, values.dtype)
    found[: len(values)] = values
    return found
