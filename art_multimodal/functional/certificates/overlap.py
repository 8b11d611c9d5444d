"""How probably a draw of kept elements shows none that was edited, before and after the edits.

Let ``E`` be the event that only untouched elements were drawn. Given ``E``, ablated clean and attacked inputs have the
same distribution. So all that a certificate needs of a sampler is ``S``, the probability of ``E`` for the clean input,
and ``S'``, that for the attacked one (MMCert, arXiv:2403.19080).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

from art_multimodal.errors import InputError, unknown_name
from art_multimodal.functional.certificates.checks import probability, whole


@dataclass(frozen=True)
class Overlap:
    """Probability that a draw shows no touched element. Overlaps of independent modalities are multiplied.

    >>> from fractions import Fraction
    >>> Overlap(Fraction(1, 2), Fraction(1, 2)) * Overlap(Fraction(1, 2), Fraction(1, 4)) == Overlap(0.25, 0.125)
    True

    :param clean: ``S``, of draws from the clean input, from 0 to 1. Any rational number or float is taken, as the
        fraction that it is.
    :param attacked: ``S'``, of draws from the attacked input.
    :raises InputError: If one is no probability.
    """

    clean: Fraction
    attacked: Fraction

    def __post_init__(self) -> None:
        for name in ("clean", "attacked"):
            object.__setattr__(self, name, Fraction(probability(f"Overlap.{name}", getattr(self, name))))

    def __mul__(self, other: Overlap) -> Overlap:
        if not isinstance(other, Overlap):
            return NotImplemented
        return Overlap(self.clean * other.clean, self.attacked * other.attacked)


#: Nothing is touched.
UNTOUCHED = Overlap(Fraction(1), Fraction(1))
_NOTHING_HOLDS = Overlap(Fraction(0), Fraction(0))


class Edits(NamedTuple):
    """Numbers of elements that an attacker edits in one modality.

    >>> overlap(10, 2, *Edits(modified=1)).clean
    Fraction(4, 5)

    :param modified: Elements with a new value.
    :param deleted: Elements that are gone.
    :param added: Elements that are new.
    """

    modified: int = 0
    deleted: int = 0
    added: int = 0


#: Choices of edits by name.
EDITS = {"modify": ("modified",), "delete": ("deleted",), "add": ("added",), "any": Edits._fields}


def overlap(n: int, k: int, modified: int = 0, deleted: int = 0, added: int = 0) -> Overlap:
    """The overlap where ``k`` of ``n`` elements are kept, drawn without replacement; exact.

    ========================================== =====================================================
    ``S``                                      product over j < deleted + modified of (n - k - j) / (n - j)
    ``S'``, with n' = n + added - deleted      product over j < added + modified of (n' - k - j) / (n' - j)
    all elements are touched, or more          0 (1 where nothing is kept: nothing can be seen)
    the attacked input has fewer than ``k``    0: the smoothed classifier is not defined there
    ========================================== =====================================================

    >>> overlap(3, 1, modified=1)
    Overlap(clean=Fraction(2, 3), attacked=Fraction(2, 3))
    >>> overlap(6, 1, added=1)
    Overlap(clean=Fraction(1, 1), attacked=Fraction(6, 7))
    >>> round(float((overlap(108, 5, modified=8) * overlap(79380, 1000, modified=8)).clean), 4)
    0.6103

    :param n: Elements of the clean input. Of several modalities that are drawn from jointly, the sum.
    :param k: Elements that are kept, from 0 to ``n``. Where elements are added or deleted it must not depend on ``n``.
    :param modified: Elements with a new value.
    :param deleted: Elements that are gone; more than there are count as all.
    :param added: Elements that are new.
    :raises InputError: If a number is negative or no whole number, or if ``k`` is more than ``n``.
    """
    n, k = whole("n", n), whole("k", k)
    modified, deleted, added = _edits(modified, deleted, added)
    if k > n:
        raise InputError(f"Cannot keep {k} of {n} elements: keep {n} or fewer, or leave the input out.")
    deleted = min(deleted, n)
    modified = min(modified, n - deleted)
    attacked = n + added - deleted
    if attacked < k:
        return _NOTHING_HOLDS
    return Overlap(_unseen(n, k, deleted + modified), _unseen(attacked, k, added + modified))


def bernoulli_overlap(keep: float | Fraction, modified: int = 0, deleted: int = 0, added: int = 0) -> Overlap:
    """The overlap where each element is kept with probability ``keep``, whatever the length of the input.

    ``S = (1 - keep)^(deleted + modified)`` and ``S' = (1 - keep)^(added + modified)``.

    >>> from fractions import Fraction
    >>> bernoulli_overlap(Fraction(1, 4), modified=1, added=1)
    Overlap(clean=Fraction(3, 4), attacked=Fraction(9, 16))

    :param keep: From 0 to 1; a float stands for the fraction that it is.
    :raises InputError: If ``keep`` is no probability, or another number is negative or no whole number.
    """
    hidden = 1 - Fraction(probability("keep", keep))
    modified, deleted, added = _edits(modified, deleted, added)
    return Overlap(hidden ** (deleted + modified), hidden ** (added + modified))


def hits_overlap(hits: int, votes: int) -> Overlap:
    """The overlap of a fixed list of masks, each of which votes once: those that no edit reaches.

    >>> hits_overlap(8, 56)
    Overlap(clean=Fraction(6, 7), attacked=Fraction(6, 7))

    :param hits: Most votes that see a touched element: :func:`~art_multimodal.functional.designs.most_hits`.
    :param votes: All votes.
    :raises InputError: If these are no whole numbers with hits from 0 to votes.
    """
    votes = whole("votes", votes, least=1)
    left = Fraction(votes - whole("hits", hits, most=votes), votes)
    return Overlap(left, left)


def worst_edits(radius: int, edits: str | Collection[str] = "modify") -> tuple[Edits, ...]:
    """The edits of up to ``radius`` elements that a certificate has to hold for; it then holds for all others.

    Every bound of this package rises with ``S`` and with ``S'``. Modifying ``radius`` elements makes both as small as
    any mixture can, whether elements are drawn without replacement or kept with a probability each. So where elements
    may be modified, that is the only case. Additions alone and deletions alone have one case each, too. Where both are
    allowed and modifications are not, all ways to share ``radius`` between them are returned.

    >>> worst_edits(2, "any")
    (Edits(modified=2, deleted=0, added=0),)
    >>> worst_edits(1, ("added", "deleted"))
    (Edits(modified=0, deleted=0, added=1), Edits(modified=0, deleted=1, added=0))

    :param radius: Most elements that are edited.
    :param edits: ``"modify"``, ``"delete"``, ``"add"`` or ``"any"``; or names of :class:`Edits`.
    :raises InputError: If a name is unknown or ``radius`` is no whole number from 0.
    """
    radius = whole("radius", radius)
    if isinstance(edits, str):
        if edits not in EDITS:
            raise unknown_name("choice of edits", edits, EDITS)
        edits = EDITS[edits]
    for name in edits:
        if name not in Edits._fields:
            raise unknown_name("kind of edit", name, Edits._fields)
    if not edits:
        raise InputError(f"No kind of edit is named: give one or more of {', '.join(Edits._fields)}.")
    if "modified" in edits:
        return (Edits(modified=radius),)
    if len(set(edits)) == 1:
        return (Edits(**{next(iter(edits)): radius}),)
    return tuple(Edits(deleted=gone, added=radius - gone) for gone in range(radius + 1))


def _edits(*numbers: Any) -> tuple[int, ...]:
    return tuple(whole(name, number) for name, number in zip(Edits._fields, numbers, strict=True))


@lru_cache(maxsize=2**14)
def _unseen(n: int, k: int, touched: int) -> Fraction:
    """Probability that ``k`` of ``n`` elements are none of those that were touched.

    A product of as many factors as elements are touched, or kept if these are fewer. The binomials themselves would
    have thousands of digits.
    """
    few, many = sorted((k, touched))
    # A factor of zero stands among them where n is less than both together.
    return Fraction(prod(n - many - j for j in range(few)), prod(n - j for j in range(few)))
