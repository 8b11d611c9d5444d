"""Texts as a modality: a point is a word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from art_multimodal.errors import InputError
from art_multimodal.modalities.modality import Modality, check_removed
from art_multimodal.modalities.registry import register
from art_multimodal.texts import check_strings


@register
class Text(Modality):
    """Strings; a point is a word, which white space separates.

    >>> [name for name, one in fusion.modalities.items() if isinstance(one, Text)]
    ['text']
    """

    kind: ClassVar[str] = "text"
    point: ClassVar[str] = "word"
    numeric: ClassVar[bool] = False
    colour: ClassVar[str] = "#b98217"

    @property
    def dtype(self) -> Any:
        return np.dtype(object)

    def check(self, field: np.ndarray) -> np.ndarray:
        """Return a field of texts, checked; an empty text is one that is missing.

        :raises InputError: For what is no string, naming the sample.
        """
        field = self.laid_out(field)
        check_strings(field)
        return field

    def laid_out(self, field: np.ndarray) -> np.ndarray:
        if field.dtype != object or field.ndim != 1:
            raise InputError(f"{self.name}: texts are needed, a string for each sample.")
        return field

    def missing(self, field: np.ndarray) -> np.ndarray:
        return np.array([not text.strip() for text in field], dtype=bool)

    def left_out(self, field: np.ndarray) -> np.ndarray:
        """Return as many empty texts."""
        return np.full(len(field), "", dtype=object)

    def values(self, field: np.ndarray) -> np.ndarray:
        """The strings, ``(N,)``."""
        return field

    def lengths(self, field: np.ndarray) -> np.ndarray:
        """How many words each text has."""
        return np.array([len(text.split()) for text in field], dtype=np.int64)

    def point_shape(self, field: np.ndarray) -> tuple[int, ...]:
        """The number of words of the longest text."""
        return (int(self.lengths(field).max(initial=0)),)

    def present(self, field: np.ndarray) -> np.ndarray:
        return np.arange(*self.point_shape(field)) < self.lengths(field)[:, None]

    def with_values(self, field: np.ndarray, values: np.ndarray) -> np.ndarray:
        changed = field.copy()
        changed[...] = values
        return changed

    def remove(self, field: np.ndarray, removed: np.ndarray) -> np.ndarray:
        """Return a copy with words removed; what remains is joined by single spaces.

        :param removed: Booleans ``(N, words of the longest text)``.
        :raises InputError: For another shape or dtype.
        """
        check_removed(self.name, removed, (len(field), *self.point_shape(field)))
        changed = field.copy()
        for row, text in enumerate(field):
            if removed[row].any():
                words = text.split()
                changed[row] = " ".join(word for word, gone in zip(words, removed[row], strict=False) if not gone)
        return changed


def text(name: str = "text") -> Text:
    """Describe texts.

    >>> words = text("report")
    >>> field = np.array(["no finding", ""], dtype=object)
    >>> words.lengths(field).tolist(), words.missing(field).tolist()
    ([2, 0], [False, True])

    :param name: Name of the field.
    :raises InputError: If the name is no identifier.
    """
    return Text(name, (), (), (0.0, 0.0))


def text_names(modalities: Mapping[str, Modality]) -> list[str]:
    """Names of those modalities that are texts, in their order."""
    return [name for name, modality in modalities.items() if not modality.numeric]
