"""What edits leave of the probabilities of classes, given how probably they are seen.

``p_y`` and ``p_l`` are the probabilities with which the base classifier says class y and class l on draws from the
clean input; ``p'_y`` and ``p'_l`` are those on draws from the attacked one. With ``S`` and ``S'`` of
:class:`~art_multimodal.functional.certificates.overlap.Overlap` and ``c = S' / S``::

    p'_y >= c max(p_y - (1 - S), 0)        p'_l <= c min(p_l, S) + (1 - S')

Both are reached at once by some base classifier, so neither can be improved without knowing more than ``p``. Lower
bounds of ``p_y`` and upper bounds of ``p_l`` may stand for them. Where everything is a fraction, the result is one, and
exact. All bounds rise with ``S`` and with ``S'``.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from art_multimodal.functional.certificates.checks import Number, probability
from art_multimodal.functional.certificates.overlap import Overlap

#: Floats this close to a threshold are decided as the fractions that they are.
_CLOSE = 1e-12


def margin_bound(p_y: Number, p_l: Number, overlap: Overlap) -> Number:
    """Lower bound of ``p'_y - p'_l``, from -1 to 1.

    >>> from art_multimodal.functional.certificates.overlap import overlap
    >>> margin_bound(1, 0, overlap(6, 1, modified=1))
    Fraction(2, 3)

    :param p_y: Probability of class y, or a lower bound of it.
    :param p_l: Probability of class l, or an upper bound of it.
    :raises InputError: If one is no probability.
    """
    p_l = probability("p_l", p_l)
    if not overlap.clean:
        return Fraction(-1)
    stays, ratio = majority_bound(p_y, overlap), overlap.attacked / overlap.clean
    return stays - ratio * min(p_l, overlap.clean) - (1 - overlap.attacked)


def majority_bound(p_y: Number, overlap: Overlap) -> Number:
    """Lower bound of ``p'_y``, from 0 to 1.

    >>> from fractions import Fraction
    >>> from art_multimodal.functional.certificates.overlap import hits_overlap
    >>> majority_bound(Fraction(4, 5), hits_overlap(1, 3))
    Fraction(7, 15)

    :param p_y: Probability of class y, or a lower bound of it.
    :raises InputError: If it is no probability.
    """
    p_y = probability("p_y", p_y)
    if not overlap.clean:
        return Fraction(0)
    return overlap.attacked / overlap.clean * max(p_y - (1 - overlap.clean), 0)


def gap_bound(gap: Number, overlap: Overlap) -> Number:
    """Lower bound of ``p'_y - p'_l`` where only ``p_y - p_l`` is known, or a lower bound of it.

    >>> from fractions import Fraction
    >>> from art_multimodal.functional.certificates.overlap import Overlap
    >>> gap_bound(Fraction(1, 2), Overlap(Fraction(9, 10), Fraction(9, 10)))
    Fraction(3, 10)

    :param gap: From -1 to 1, as of :func:`~art_multimodal.functional.certificates.confidence.paired_lower`.
    :raises InputError: If it lies outside.
    """
    gap = probability("gap", gap, least=-1)
    if not overlap.clean:
        return Fraction(-1)
    return max(overlap.attacked / overlap.clean * (gap - (1 - overlap.clean)) - (1 - overlap.attacked), Fraction(-1))


def holds(p_y: Number, p_l: Number, overlap: Overlap) -> bool:
    """Whether class y stays ahead of class l, strictly: a tie may go to the other class.

    Fractions are decided exactly. Floats are decided in floats, and as the fractions that they are where these come
    within 1e-12 of the threshold.

    >>> from art_multimodal.functional.certificates.overlap import overlap
    >>> holds(1, 0, overlap(3, 1, modified=1)), holds(1, 0, overlap(2, 1, modified=1))
    (True, False)

    :param p_l: Of the most probable other class.
    """
    return _exceeds(0, margin_bound, overlap, p_y, p_l)


def holds_majority(p_y: Number, overlap: Overlap) -> bool:
    """Whether class y keeps more than half of the probability; see :func:`holds`.

    >>> from fractions import Fraction
    >>> from art_multimodal.functional.certificates.overlap import Overlap
    >>> nine = Overlap(Fraction(9, 10), Fraction(9, 10))
    >>> holds_majority(Fraction(7, 10), nine), holds_majority(Fraction(6, 10), nine)
    (True, False)
    """
    return _exceeds(Fraction(1, 2), majority_bound, overlap, p_y)


def holds_gap(gap: Number, overlap: Overlap) -> bool:
    """Whether class y stays ahead of class l, strictly, where ``p_y - p_l >= gap``; see :func:`holds`.

    >>> from fractions import Fraction
    >>> from art_multimodal.functional.certificates.overlap import Overlap
    >>> nine = Overlap(Fraction(9, 10), Fraction(9, 10))
    >>> holds_gap(Fraction(1, 2), nine), holds_gap(Fraction(1, 10), nine)
    (True, False)
    """
    return _exceeds(0, gap_bound, overlap, gap)


def holds_above(p_y: Number, threshold: Number, overlap: Overlap) -> bool:
    """Whether class y keeps more than a threshold of the probability; see :func:`holds`.

    >>> from fractions import Fraction
    >>> from art_multimodal.functional.certificates.overlap import Overlap
    >>> nine = Overlap(Fraction(9, 10), Fraction(9, 10))
    >>> holds_above(Fraction(7, 10), Fraction(1, 2), nine)
    True
    """
    return _exceeds(probability("threshold", threshold), majority_bound, overlap, p_y)


def _exceeds(threshold: Number, bound: Callable[..., Number], overlap: Overlap, *numbers: Any) -> bool:
    apart = bound(*numbers, overlap) - threshold
    # Errors of floats grow with the ratio by which they were multiplied.
    ratio = overlap.attacked / overlap.clean if overlap.clean else 0
    if isinstance(apart, float) and abs(apart) <= _CLOSE * max(1, ratio):
        apart = bound(*(Fraction(number) for number in numbers), overlap) - Fraction(threshold)
    return apart > 0
