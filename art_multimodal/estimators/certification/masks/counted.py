"""Masks whose votes are all counted: every view of one modality meets every view of the others."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from math import prod
from typing import Literal

import numpy as np

from art_multimodal.errors import InputError, unknown_name
from art_multimodal.estimators.certification.masks.ballot import MOST_VOTES, Ballot, Masks
from art_multimodal.functional.certificates.overlap import (
    UNTOUCHED,
    Edits,
    Overlap,
    hits_overlap,
    overlap,
)
from art_multimodal.functional.designs import affine_plane, all_subsets, most_hits, partition, window_hits


class Grid(Masks):
    """Every view of one modality meets every view of the others: all votes are counted, and nothing is estimated."""

    def ballot(self, counts: Mapping[str, int]) -> Ballot:
        self.check(counts)
        kept = {name: self.views(name, counts[name]) for name in self.keep}
        sizes = [len(views) for views in kept.values()]
        if prod(sizes) > MOST_VOTES:
            raise InputError(
                f"These masks take {prod(sizes):,} votes about a sample ({' x '.join(map(str, sizes))}): choose masks "
                f"with fewer, or other numbers to keep; at most {MOST_VOTES:,}."
            )
        return Ballot(kept, np.indices(sizes).reshape(len(sizes), -1).T.astype(np.int64), exact=True)

    def overlap(self, counts: Mapping[str, int], edits: Mapping[str, Edits]) -> Overlap:
        total = UNTOUCHED
        for name in self.keep:
            total = total * self._overlap_of(name, counts[name], edits.get(name, Edits()))
        return total

    @abstractmethod
    def views(self, name: str, count: int) -> np.ndarray:
        """The views of a modality, booleans ``(G, n)``."""

    def _overlap_of(self, name: str, count: int, edits: Edits) -> Overlap:
        if edits.deleted or edits.added:
            raise InputError(f"Masks {self.name} certify modifications only: elements stay in place.")
        views = self.views(name, count)
        return hits_overlap(_hits(views.tobytes(), views.shape, min(edits.modified, count)), len(views))

    def sees(self, name: str, counts: Mapping[str, int]) -> tuple[int, int]:
        seen = self.views(name, counts[name]).sum(axis=1)
        return int(seen.min()), int(seen.max())


class AllSubsets(Grid):
    """Every way to keep ``k`` of ``n`` elements votes once.

    >>> AllSubsets({"image": 2}).views("image", 4).shape
    (6, 4)
    """

    name = "all"
    any_edits = True

    def views(self, name: str, count: int) -> np.ndarray:
        return _all_subsets(count, self.keep[name])

    def sees(self, name: str, counts: Mapping[str, int]) -> tuple[int, int]:
        # Without writing all of them down.
        return Masks.sees(self, name, counts)

    def _overlap_of(self, name: str, count: int, edits: Edits) -> Overlap:
        return overlap(count, self.keep[name], *edits)


class Partition(Grid):
    """Each modality is cut into groups of about ``k`` elements, each of which votes (feature partition aggregation).

    | Paper link: https://arxiv.org/abs/2302.11628

    >>> Partition({"image": 2}, layout="contiguous").views("image", 4).astype(int).tolist()
    [[1, 1, 0, 0], [0, 0, 1, 1]]

    :param keep: Size of a group by the name of the modality. 0 keeps nothing; as many as there are, everything.
    :param layout: ``"interleaved"`` or ``"contiguous"``: blocks, where a sticker touches few of them.
    """

    name = "partition"

    def __init__(self, keep: Mapping[str, int], layout: Literal["interleaved", "contiguous"] = "interleaved") -> None:
        super().__init__(keep)
        if layout not in ("interleaved", "contiguous"):
            raise unknown_name("layout of groups", layout, ("interleaved", "contiguous"))
        self.layout = layout

    def said(self, name: str) -> str:
        return f"a group of about {self.keep[name]} of {name}" if self.keep[name] else super().said(name)

    def views(self, name: str, count: int) -> np.ndarray:
        if not self.keep[name]:
            return np.zeros((1, count), dtype=bool)
        return partition(count, max(1, count // self.keep[name]), self.layout)

    def reached(self, name: str, grid: tuple[int, int], side: int) -> int:
        # One edit in each group that the square touches is enough.
        groups = window_hits(self.views(name, prod(grid)), grid, side)
        return min(groups or prod(grid), super().reached(name, grid, side))


class Design(Grid):
    """Fixed views in which every two elements meet once: the lines of an affine plane over ``q x q`` places.

    ``q`` is the smallest prime with ``q * q`` elements or more; places without an element are left out. So a view
    keeps about ``q`` elements, and of each modality ``q * q + q`` views vote. A modality of which 0 is kept is not
    seen; one of which all elements are kept is seen whole.

    >>> Design({"image": 3}).views("image", 9).shape
    (12, 9)

    :param keep: Only whether 0, all, or some of a modality: how many is given by the plane.
    """

    name = "design"

    def said(self, name: str) -> str:
        return f"a line of a plane of {name}" if self.keep[name] else super().said(name)

    def views(self, name: str, count: int) -> np.ndarray:
        if self.keep[name] in (0, count):
            return np.full((1, count), bool(self.keep[name]))
        return _lines(count)


@lru_cache(maxsize=64)
def _lines(count: int) -> np.ndarray:
    side = next(q for q in range(2, count + 3) if q * q >= count and all(q % d for d in range(2, int(q**0.5) + 1)))
    return affine_plane(side)[:, :count]


@lru_cache(maxsize=64)
def _all_subsets(count: int, kept: int) -> np.ndarray:
    return all_subsets(count, kept)


@lru_cache(maxsize=4096)
def _hits(views: bytes, shape: tuple[int, int], touched: int) -> int:
    return most_hits(np.frombuffer(views, dtype=bool).reshape(shape), touched)
