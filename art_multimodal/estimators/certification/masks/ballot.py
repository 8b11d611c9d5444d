"""Who votes about a sample, and what all kinds of masks say of themselves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from art_multimodal.errors import InputError, check_count
from art_multimodal.functional.certificates.overlap import (
    Edits,
    Overlap,
)

#: Most votes about one sample.
MOST_VOTES = 1 << 20


@dataclass(frozen=True)
class Ballot:
    """Who votes about samples with so many elements.

    :param kept: The views of each modality by name, booleans ``(G, n)``: which elements a view keeps.
    :param seen: Which view of each modality a vote sees, ``(V, M)``, modalities in the order of ``kept``.
    :param exact: Whether these are all votes that there are, and not some drawn at random.
    """

    kept: Mapping[str, np.ndarray]
    seen: np.ndarray
    exact: bool

    @property
    def votes(self) -> int:
        """``V``."""
        return len(self.seen)

    @cached_property
    def elements_seen(self) -> list[np.ndarray]:
        """Of each modality which elements each vote sees, booleans ``(V, n)``."""
        return [kept[self.seen[:, place]] for place, kept in enumerate(self.kept.values())]


class Masks(ABC):
    """How the elements that votes see are chosen; public, and the same whatever a sample holds.

    >>> from art_multimodal.estimators.certification import Partition
    >>> Partition({"image": 4, "text": 2}).sees("image", {"image": 16, "text": 6})
    (4, 4)

    :param keep: How many elements of each modality a vote sees, by name.
    """

    #: By which the command line knows it.
    name: ClassVar[str]
    #: Whether all votes are counted, so that nothing is estimated.
    exact: ClassVar[bool] = True
    #: Whether elements may be added and deleted, and not only modified.
    any_edits: ClassVar[bool] = False

    def __init__(self, keep: Mapping[str, int]) -> None:
        for modality, count in keep.items():
            check_count(f"keep of {modality}", count, least=0)
        if not any(keep.values()):
            raise InputError("keep is 0 for every modality, so no vote would see anything: keep some of one of them.")
        self.keep = dict(keep)

    def check(self, counts: Mapping[str, int]) -> None:
        """Refuse a sample with fewer elements than are kept.

        :param counts: Elements of a sample by the name of the modality.
        :raises InputError: Naming the modality.
        """
        for name, count in self.keep.items():
            if count > counts[name]:
                raise InputError(
                    f"keep is {count} for {name}, and a sample has {counts[name]} there that can be hidden: keep at "
                    f"most {counts[name]}, or leave such samples out."
                )

    @abstractmethod
    def ballot(self, counts: Mapping[str, int]) -> Ballot:
        """Who votes about a sample.

        :param counts: Elements of the sample by the name of the modality.
        """

    def sees(self, name: str, counts: Mapping[str, int]) -> tuple[int, int]:
        """The fewest and the most elements of a modality that a vote about a sample sees.

        :param counts: Elements of the sample by the name of the modality.
        """
        return self.keep[name], self.keep[name]

    def reached(self, name: str, grid: tuple[int, int], side: int) -> int:
        """How many edits of elements anywhere reach all votes that those within one square can reach, and more.

        What is certified against so many edits is certified against a sticker, too.

        :param grid: Rows and columns of the elements of a sample.
        :param side: Of the square, in elements; it may lie anywhere.
        """
        return min(side, grid[0]) * min(side, grid[1])

    def said(self, name: str) -> str:
        """What a vote sees of a modality, in words."""
        return f"{self.keep[name]} of {name}" if self.keep[name] else f"nothing of {name}"

    @abstractmethod
    def overlap(self, counts: Mapping[str, int], edits: Mapping[str, Edits]) -> Overlap:
        """The chance that a vote sees no touched element, before and after the attack (CERTIFICATES §2.3, §2.4).

        :param counts: Elements of the clean sample by the name of the modality.
        :param edits: Of each modality.
        """

    def __repr__(self) -> str:
        kept = ", ".join(f"{name}={count}" for name, count in self.keep.items())
        return f"{type(self).__name__}({kept})"
