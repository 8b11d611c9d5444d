"""Which elements a vote sees of each modality, and how many votes some touched elements can reach."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from math import prod
from typing import ClassVar, Literal

import numpy as np

from art_multimodal.errors import InputError, check_count, unknown_name
from art_multimodal.functional.certificates.overlap import (
    UNTOUCHED,
    Edits,
    Overlap,
    bernoulli_overlap,
    hits_overlap,
    overlap,
)
from art_multimodal.functional.designs import affine_plane, all_subsets, most_hits, partition, subsets, window_hits

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


class Sampled(Masks):
    """Votes drawn at random, as published.

    :param keep: As in :class:`Masks`.
    :param samples: Votes that bounds are computed from (``N``).
    :param choosing: Further votes that choose the class (``n0``); these are not used again.
    :param seed: Of the draws, which are the same for every sample with as many elements.
    """

    exact = False
    any_edits = True

    def __init__(self, keep: Mapping[str, int], samples: int = 1000, choosing: int = 100, seed: int = 0) -> None:
        super().__init__(keep)
        check_count("samples", samples, most=MOST_VOTES)
        check_count("choosing", choosing, most=MOST_VOTES)
        check_count("The seed", seed, least=0, most=2**63 - 1)
        self.samples, self.choosing, self.seed = samples, choosing, seed

    def ballot(self, counts: Mapping[str, int]) -> Ballot:
        return self.drawn(counts, self.samples, 0)

    def choosers(self, counts: Mapping[str, int]) -> Ballot:
        """Those who choose the class."""
        return self.drawn(counts, self.choosing, 1)

    def drawn(self, counts: Mapping[str, int], votes: int, stream: int) -> Ballot:
        """Votes of one stream of random numbers."""
        self.check(counts)
        rng = np.random.default_rng([self.seed, stream, *counts.values()])
        kept = self._draw(counts, votes, rng)
        return Ballot(kept, np.repeat(np.arange(votes)[:, None], len(kept), axis=1), exact=False)

    @abstractmethod
    def _draw(self, counts: Mapping[str, int], votes: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Views of each modality, booleans ``(votes, n)``."""


class Independent(Sampled):
    """``k`` of ``n`` elements of each modality by itself, without replacement (MMCert).

    | Paper link: https://arxiv.org/abs/2403.19080

    >>> Independent({"image": 2}).sees("image", {"image": 10})
    (2, 2)
    """

    name = "independent"

    def _draw(self, counts: Mapping[str, int], votes: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {name: subsets(counts[name], kept, votes, rng) for name, kept in self.keep.items()}

    def overlap(self, counts: Mapping[str, int], edits: Mapping[str, Edits]) -> Overlap:
        total = UNTOUCHED
        for name, kept in self.keep.items():
            total = total * overlap(counts[name], kept, *edits.get(name, Edits()))
        return total


class Joint(Sampled):
    """As many elements of all modalities together as ``keep`` adds up to, without replacement: randomised ablation.

    | Paper link: https://arxiv.org/abs/1911.09272

    >>> Joint({"image": 2, "text": 1}).sees("image", {"image": 10, "text": 5})
    (0, 3)
    """

    name = "joint"

    def _draw(self, counts: Mapping[str, int], votes: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        sizes = [counts[name] for name in self.keep]
        drawn = subsets(sum(sizes), sum(self.keep.values()), votes, rng)
        return dict(zip(self.keep, np.split(drawn, np.cumsum(sizes)[:-1], axis=1), strict=True))

    def check(self, counts: Mapping[str, int]) -> None:
        total = sum(counts[name] for name in self.keep)
        if self._all > total:
            raise InputError(f"keep is {self._all} in all, and a sample has {total} elements: keep fewer.")

    @property
    def _all(self) -> int:
        """How many elements a vote sees of all modalities together."""
        return sum(self.keep.values())

    def sees(self, name: str, counts: Mapping[str, int]) -> tuple[int, int]:
        others = sum(counts[other] for other in self.keep if other != name)
        return max(0, self._all - others), min(self._all, counts[name])

    def said(self, name: str) -> str:
        return f"as many of {name} as are among {self._all} of all"

    def overlap(self, counts: Mapping[str, int], edits: Mapping[str, Edits]) -> Overlap:
        together = (sum(edits.get(name, Edits())[of] for name in self.keep) for of in range(3))
        return overlap(sum(counts[name] for name in self.keep), sum(self.keep.values()), *together)


class Bernoulli(Sampled):
    """Each element is kept with a chance of its own, so that any length is certified.

    >>> Bernoulli({"text": 0.3}, samples=100).said("text")
    'each of text with chance 0.3'

    :param keep: The chance by the name of the modality, in [0, 1].
    """

    name = "bernoulli"

    def __init__(self, keep: Mapping[str, float], samples: int = 1000, choosing: int = 100, seed: int = 0) -> None:
        for modality, chance in keep.items():
            if not 0 <= chance <= 1:
                raise InputError(f"The chance to keep an element of {modality} must lie in [0, 1], not be {chance}.")
        super().__init__(dict.fromkeys(keep, 1), samples, choosing, seed)
        if not any(keep.values()):
            raise InputError("The chance to be kept is 0 for every modality: no vote would see anything.")
        self.chances = {name: Fraction(chance) for name, chance in keep.items()}

    def check(self, counts: Mapping[str, int]) -> None:
        """Any number of elements will do."""

    def sees(self, name: str, counts: Mapping[str, int]) -> tuple[int, int]:
        chance = self.chances[name]
        return counts[name] if chance == 1 else 0, counts[name] if chance else 0

    def said(self, name: str) -> str:
        return f"each of {name} with chance {float(self.chances[name]):g}"

    def _draw(self, counts: Mapping[str, int], votes: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {name: rng.random((votes, counts[name])) < float(chance) for name, chance in self.chances.items()}

    def overlap(self, counts: Mapping[str, int], edits: Mapping[str, Edits]) -> Overlap:
        total = UNTOUCHED
        for name, chance in self.chances.items():
            total = total * bernoulli_overlap(chance, *edits.get(name, Edits()))
        return total


#: By name, for the command line.
MASKS: dict[str, type[Masks]] = {
    kind.name: kind for kind in (AllSubsets, Partition, Design, Independent, Joint, Bernoulli)
}


def masks_of(name: str, keep: Mapping[str, int], **options: object) -> Masks:
    """Make masks by their name.

    >>> type(masks_of("partition", {"image": 4})).__name__
    'Partition'

    :raises InputError: For an unknown name; one that is not known must never go on without hiding anything.
    """
    if name not in MASKS:
        raise unknown_name("kind of masks", name, MASKS)
    return MASKS[name](keep, **options)


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
