"""Masks whose votes are drawn at random, as published."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from fractions import Fraction

import numpy as np

from art_multimodal.errors import InputError, check_count
from art_multimodal.estimators.certification.masks.ballot import MOST_VOTES, Ballot, Masks
from art_multimodal.functional.certificates.overlap import (
    UNTOUCHED,
    Edits,
    Overlap,
    bernoulli_overlap,
    overlap,
)
from art_multimodal.functional.designs import subsets


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
