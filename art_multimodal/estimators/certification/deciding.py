"""From votes to what is certified: votes that are all known, and votes that were drawn at random."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import product
from typing import Literal, Protocol

import numpy as np

from art_multimodal.estimators.certification.masks import Ballot, Masks
from art_multimodal.functional.certificates.bound import holds, holds_gap, holds_majority
from art_multimodal.functional.certificates.confidence import one_sided_lower, paired_lower, published_bounds
from art_multimodal.functional.certificates.locations import worst_locations
from art_multimodal.functional.certificates.overlap import Overlap, worst_edits

#: Kinds of edits: in place alone, or also additions and deletions.
EditKind = Literal["modify", "any"]


class Decision(Protocol):
    """What votes about one sample say."""

    @property
    def prediction(self) -> int:
        """Class index."""

    def holds(self, budget: Sequence[int]) -> bool:
        """Whether no attack with so many edits in each modality changes the prediction."""


def overlaps(masks: Masks, counts: Mapping[str, int], budget: Sequence[int], kind: EditKind) -> Iterator[Overlap]:
    """The overlap for each way to spend a budget: every one must hold."""
    for chosen in product(*(worst_edits(edits, kind) for edits in budget)):
        yield masks.overlap(counts, dict(zip(counts, chosen, strict=True)))


class Counted:
    """All votes are known, so nothing is estimated, and one can ask where an attack would hurt most.

    :param masks: Which elements votes see.
    :param kind: Kind of edits.
    :param counts: Elements of the sample by the name of the modality.
    :param ballot: Which elements each vote sees.
    :param votes: What each vote says, ``(V,)``.
    :param tally: Votes for each class, ``(K,)``.
    :param location_aware: Whether the worst places are looked for where the bound that knows none fails.
    """

    def __init__(
        self,
        masks: Masks,
        kind: EditKind,
        counts: Mapping[str, int],
        ballot: Ballot,
        votes: np.ndarray,
        tally: np.ndarray,
        location_aware: bool,
    ) -> None:
        self._masks, self._kind, self._counts, self._ballot = masks, kind, counts, ballot
        self._votes, self._tally = votes, tally
        self._location_aware = location_aware and kind == "modify"
        self.prediction = int(tally.argmax())

    def holds(self, budget: Sequence[int]) -> bool:
        if not any(budget):
            # The answer to the clean sample is the answer to the clean sample.
            return True
        own, total = int(self._tally[self.prediction]), len(self._votes)
        others = np.delete(self._tally, self.prediction)
        p_own, p_other = Fraction(own, total), Fraction(int(others.max(initial=0)), total)
        if all(holds(p_own, p_other, one) for one in overlaps(self._masks, self._counts, budget, self._kind)):
            return True
        return self._location_aware and self._holds_at_the_worst_places(budget)

    def _holds_at_the_worst_places(self, budget: Sequence[int]) -> bool:
        for other, behind in self._rivals():
            margins = (self._votes == self.prediction).astype(np.int64) - (self._votes == other)
            gap = worst_locations(margins, self._ballot.elements_seen, budget).gap
            # Of equal numbers of votes the class that comes first wins.
            if gap < 0 or (gap == 0 and not behind):
                return False
        return True

    def _rivals(self) -> Iterator[tuple[int, bool]]:
        """Classes that could win, and whether each stands behind the prediction; of those without a vote the worst."""
        without_votes = [of for of in range(len(self._tally)) if not self._tally[of] and of != self.prediction]
        for other in range(len(self._tally)):
            if other != self.prediction and (self._tally[other] or other in without_votes[:1]):
                yield other, self.prediction < other


class Estimated:
    """Votes were drawn at random, so their shares are bounded with some confidence.

    :param masks: Which elements votes see.
    :param kind: Kind of edits.
    :param counts: Elements of the sample by the name of the modality.
    :param prediction: Class index, chosen by other votes than those that bounds are computed from, unless the bounds
        hold for all classes at once.
    :param stays: Whether the prediction stays, given the overlap.
    """

    def __init__(
        self,
        masks: Masks,
        kind: EditKind,
        counts: Mapping[str, int],
        prediction: int,
        stays: Callable[[Overlap], bool],
    ) -> None:
        self._masks, self._kind, self._counts = masks, kind, counts
        self.prediction, self._stays = prediction, stays

    def holds(self, budget: Sequence[int]) -> bool:
        return all(map(self._stays, overlaps(self._masks, self._counts, budget, self._kind)))


#: From the class that was chosen, the votes for each class ``(K,)``, their number and alpha to the prediction, and
#: whether it stays, given the overlap.
Rule = Callable[[int, np.ndarray, int, float], tuple[int, Callable[[Overlap], bool]]]


def _majority(chosen: int, tally: np.ndarray, votes: int, alpha: float) -> tuple[int, Callable[[Overlap], bool]]:
    share = one_sided_lower(int(tally[chosen]), votes, alpha)
    return chosen, lambda overlap: holds_majority(share, overlap)


def _paired(chosen: int, tally: np.ndarray, votes: int, alpha: float) -> tuple[int, Callable[[Overlap], bool]]:
    own, others = int(tally[chosen]), np.delete(tally, chosen)
    gap = min(paired_lower(own, int(other), votes, alpha / len(others)) for other in others)
    return chosen, lambda overlap: holds_gap(gap, overlap)


def _published(chosen: int, tally: np.ndarray, votes: int, alpha: float) -> tuple[int, Callable[[Overlap], bool]]:
    # The bounds hold for all classes at once, so the same votes may choose.
    bounds = published_bounds(tally, alpha, votes)
    return bounds.label, lambda overlap: holds(bounds.p_y, bounds.p_l, overlap)


RULES: dict[str, Rule] = {"majority": _majority, "paired": _paired, "published": _published}
#: Rules that need no votes besides those that they bound: the same ones choose the class.
OF_THE_SAME_VOTES = frozenset({"published"})
