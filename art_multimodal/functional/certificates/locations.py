"""The worst case over where an attacker edits, for fixed masks and the votes that are known.

The bound of probabilities alone assumes that every vote that is touched said the right class. With known votes it can
be looked up which are. The attacker picks elements ``T``; votes that see one of them may become anything, all others
stay. Elements are modified in place. For votes ``v`` with margins ``1[g = y] - 1[g = l]`` the least that is left is::

    gap(T) = sum of margins of votes that see nothing of T  -  number of votes that see something of T

Class y stays ahead of class l within a budget if ``gap(T) > 0`` for all ``T`` of the budget, or if ``gap(T) >= 0``
where ties go to y.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from art_multimodal.errors import InputError
from art_multimodal.functional.coverage import LIMIT, largest_coverage


@dataclass(frozen=True)
class Worst:
    """Where edits of a budget do most, and what they leave.

    :param gap: Votes for y less votes for l at the worst: exactly, which turning all touched votes to l reaches, or a
        lower bound.
    :param touched: Of each modality the elements to edit. Fewer than the budget where more reach no other vote of
        interest.
    :param exact: Whether ``touched`` leave ``gap``. If not, they leave more, and no choice leaves less than ``gap``.
    """

    gap: int
    touched: tuple[tuple[int, ...], ...]
    exact: bool


def worst_locations(
    margins: np.ndarray, seen: Sequence[np.ndarray], budget: Sequence[int], limit: int = LIMIT
) -> Worst:
    """The least gap between votes for y and for l over all sets of elements within a budget.

    A vote that is touched loses 2 if it said y, 1 if it said another class, and nothing if it said l already. Where the
    elements that cost most are searched over all sets, the result is exact: never looser than
    :func:`~art_multimodal.functional.certificates.bound.margin_bound` for the same masks, and no attack leaves more.
    For two partitions that are crossed, only the groups of one have to be enumerated.

    >>> from art_multimodal.functional.designs import crossed, partition
    >>> grid = crossed(partition(3, 3), partition(2, 2))
    >>> worst_locations(np.array([1, 1, 1, 1, 1, 0]), grid, (1, 0))
    Worst(gap=1, touched=((0,), ()), exact=True)

    :param margins: Of each vote 1 if it said y, -1 if it said l, 0 if another class or none; ``[V]``.
    :param seen: Of each modality which vote sees which element, booleans ``[V, n_i]``, in the order of votes.
    :param budget: Of each modality how many elements may be modified.
    :param limit: Sets of elements that are tried at the most; beyond, a lower bound is made.
    :raises InputError: If margins are others, or shapes do not match, or a budget is negative.
    """
    margins = np.asarray(margins)
    if margins.ndim != 1 or margins.dtype.kind not in "iu" or not np.isin(margins, (-1, 0, 1)).all():
        raise InputError(
            f"Margins of votes must be whole numbers -1, 0 or 1, [V], not {margins.dtype} {margins.shape}."
        )
    found = largest_coverage(margins + 1, seen, budget, limit)
    return Worst(int(margins.sum()) - found.weight, found.chosen, found.exact)
