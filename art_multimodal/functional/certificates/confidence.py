"""What the counts of random votes say about probabilities, with an error of ``alpha`` at the most.

Every bound here holds for any number of votes, not only for many. ``alpha`` is the error for one input.

==================================== ======================================================================
:func:`one_sided_lower`              of class y that was picked on other votes; then the majority form of the bound
:func:`published_bounds`             of the top class and of the best other, from the votes that picked them
:func:`paired_lower`                 of ``p_y - p_l``, for y and l that were picked on other votes
:func:`betting_lower`                of the mean of scores between 0 and 1, whenever one stops
:func:`pixel_p_value`, :func:`holm`  of many pixels at once
:func:`top_two_test`                 a prediction, or none
==================================== ======================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any, NamedTuple

import numpy as np

from art_multimodal.errors import InputError
from art_multimodal.functional.certificates.checks import level, whole
from art_multimodal.functional.certificates.overlap import Overlap
from art_multimodal.functional.statistics import holm_adjusted

#: Share of alpha for how often votes differ, and cells in which that is searched, in :func:`paired_lower`.
_NUISANCE, _CELLS = 0.1, 64
#: Largest share of the capital that a bet may lose, in :func:`betting_lower`.
_STAKE = 0.75


def one_sided_lower(count: int, n: int, alpha: float) -> float:
    """Clopper and Pearson's lower bound of a probability: below it, so many successes have a probability below alpha.

    >>> round(one_sided_lower(100, 100, 0.001) - 0.5, 4)  # alpha^(1/n) - 1/2
    0.4333

    :param count: Successes in ``n`` independent trials.
    :param alpha: With this probability at the most the bound is above the truth.
    :raises InputError: If counts are no whole numbers with ``count`` from 0 to ``n``, or alpha is not between 0 and 1.
    """
    from scipy.special import betaincinv

    count, n, alpha = _trials(count, n, alpha)
    return float(betaincinv(count, n - count + 1, alpha)) if count else 0.0


def one_sided_upper(count: int, n: int, alpha: float) -> float:
    """Clopper and Pearson's upper bound of a probability; see :func:`one_sided_lower`.

    >>> one_sided_upper(0, 1000, alpha=0.001) < 0.007
    True
    """
    from scipy.special import betainccinv

    count, n, alpha = _trials(count, n, alpha)
    return float(betainccinv(count + 1, n - count, alpha)) if count < n else 1.0


class Bounds(NamedTuple):
    """The top class and what its probability is at least, and that of every other class at most.

    >>> isinstance(published_bounds([90, 5, 5], 0.001), Bounds)
    True
    """

    label: int
    p_y: float
    p_l: float


def published_bounds(counts: Sequence[int] | np.ndarray, alpha: float, n: int | None = None) -> Bounds:
    """MMCert's bounds: two-sided Clopper-Pearson intervals of all C classes from the same votes, at ``alpha / C`` each.

    They hold for all classes at once, so the top class may be picked from these votes. One-sided bounds of a class that
    was picked before need half as much of ``alpha`` and no share for other classes.

    >>> label, p_y, p_l = published_bounds([100, 0, 0, 0, 0, 0, 0, 0], 0.001)
    >>> label, round((p_y - p_l) / 2, 4)
    (0, 0.4077)

    :param counts: Votes for each class, ``[C]``.
    :param n: All votes, if some were for no class; by default the sum of ``counts``.
    :return: The class with the most votes (of several the first), its lower bound, and the upper bound of the others.
    :raises InputError: If these are no counts, of two classes or more.
    """
    votes = _counts(counts)
    n = int(votes.sum()) if n is None else whole("n", n, least=int(votes.sum()))
    label = int(votes.argmax())
    share = level(alpha) / (2 * len(votes))
    other = int(np.delete(votes, label).max())
    return Bounds(label, one_sided_lower(int(votes[label]), n, share), one_sided_upper(other, n, share))


def paired_lower(plus: int, minus: int, n: int, alpha: float) -> float:
    """Lower bound of the mean of a variable in {-1, 0, 1}, as ``1[g = y] - 1[g = l]`` is, from counts.

    Tighter than a lower bound of ``p_y`` less an upper bound of ``p_l``, and than the majority form where many votes
    are for third classes. A share of alpha bounds how often the variable is not 0 (Berger and Boos, 1994); with the
    rest, means are left out under which a sum as large as the one seen is too improbable, however often that is within
    the bound. Probabilities of sums are computed exactly, and cells of that nuisance by their worst corner.

    >>> round(paired_lower(60, 10, 100, 0.001), 2), round(one_sided_lower(60, 100, 0.001) * 2 - 1, 2)
    (0.22, -0.12)

    :param plus: How often it was 1.
    :param minus: How often it was -1.
    :param n: Draws.
    :param alpha: With this probability at the most the bound is above the mean. For several l, their shares.
    :return: From -1 to 1.
    :raises InputError: If counts are no whole numbers from 0, together up to ``n``, or alpha is not between 0 and 1.
    """
    from scipy.optimize import brentq

    differ = whole("plus", plus) + whole("minus", minus)
    differ, n, alpha = _trials(differ, n, alpha, "plus + minus")
    total, nuisance = int(plus) - int(minus), alpha * _NUISANCE
    if total == -n:
        return -1.0
    ends = np.linspace(one_sided_lower(differ, n, nuisance / 2), one_sided_upper(differ, n, nuisance / 2), _CELLS + 1)
    allowed = alpha - nuisance

    def over(mean: float, cells: Any) -> np.ndarray:
        """How much more probable such a sum is than allowed, in the worst corner of each cell."""
        least = np.clip((ends[cells] - mean) / 2, 0, 1)
        most = np.clip((ends[cells + 1] + mean) / 2, 0, 1 - least)
        return _probability_of_sums(total, n, most, least) - allowed

    worst, top = _CELLS - 1, total / n
    # The bound of a single cell is found, until none asks for a lower one.
    for _ in range(_CELLS):
        if over(-1.0, np.array([worst]))[0] > 0:
            return -1.0
        one = np.array([worst])
        if over(top, one)[0] > 0:
            top = brentq(lambda mean, one=one: over(mean, one)[0], -1.0, top, xtol=1e-9) - 2e-9
        values = over(top, np.arange(_CELLS))
        if values.max() <= 0:
            break
        worst = int(values.argmax())
    return float(max(top, -1.0))


def betting_lower(values: Sequence[float] | np.ndarray, alpha: float, planned: int | None = None) -> float:
    """Lower bound of the mean of values between 0 and 1, by betting against every smaller mean.

    Waudby-Smith and Ramdas (2024, section 4): a mean m is left out as soon as a capital grows to ``1 / alpha`` that
    could not grow if the mean were m or less. The bound holds at all times at once: one may look after every value,
    and stop when it is large enough. Values need not be 0 or 1: the less they spread, the tighter the bound.

    >>> round(betting_lower([1] * 100, 0.001), 2), round(betting_lower([0.8] * 100, 0.001), 2)
    (0.91, 0.73)

    :param values: In the order in which they were drawn, each independently of those before; ``[N]``.
    :param alpha: With this probability at the most the bound is above the mean at any time.
    :param planned: How many values are meant to be drawn, decided before: bets are then made for this number. The bound
        still holds at all times.
    :return: From 0 to 1.
    :raises InputError: If a value is not between 0 and 1, or alpha is not.
    """
    drawn = np.asarray(values, dtype=float)
    if drawn.ndim != 1 or not ((drawn >= 0) & (drawn <= 1)).all():
        raise InputError("Values must be a list of numbers from 0 to 1: rescale scores with other bounds.")
    goal = log(1 / level(alpha))
    if not len(drawn):
        return 0.0
    times = np.arange(1, len(drawn) + 1)
    # Each bet knows the values before it alone.
    means = (0.5 + np.cumsum(drawn)) / (times + 1)
    spreads = (0.25 + np.cumsum((drawn - means) ** 2)) / (times + 1)
    before = np.concatenate([[0.25], spreads[:-1]])
    horizon = times * np.log(times + 1) if planned is None else np.full(len(times), whole("planned", planned, least=1))
    bets = np.sqrt(2 * goal / (before * horizon))

    def is_left_out(mean: float) -> bool:
        stakes = np.minimum(bets, _STAKE / mean) if mean else bets
        return bool(np.cumsum(np.log1p(stakes * (drawn - mean))).max() >= goal)

    # Capital falls as the mean grows, so what is left out is all below one end.
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if is_left_out(middle) else (low, middle)
    return low


def holm(p_values: Sequence[float] | np.ndarray, alpha: float) -> np.ndarray:
    """Holm's step-down test: which hypotheses are rejected so that any wrong one is among them with alpha at the most.

    The i-th smallest of m p-values, from 0 on, is compared with ``alpha / (m - i)``, up to the first that exceeds it:
    see :func:`art_multimodal.functional.statistics.holm_adjusted`.

    >>> holm([0.001, 0.04, 0.03, 0.2], 0.05).tolist()
    [True, False, False, False]

    :param p_values: Of any shape.
    :return: Booleans of that shape.
    :raises InputError: If a p-value is not between 0 and 1, or alpha is not.
    """
    p = np.asarray(p_values, dtype=float)
    if not ((p >= 0) & (p <= 1)).all():
        raise InputError("p-values must be numbers from 0 to 1.")
    return holm_adjusted(p) <= level(alpha)


def pixel_p_value(count: Any, n: int, overlap: Overlap) -> np.ndarray:
    """p-value of "class y does not keep the majority under attack", for each pixel.

    The probability of so many votes for y or more if ``p_y`` were at the limit ``1 - S + S / (2 S')`` that the majority
    form leaves, which is ``1/2 + (1 - S)`` for modifications.

    >>> from art_multimodal.functional.certificates.overlap import Overlap
    >>> f"{pixel_p_value(100, 100, Overlap(0.7, 0.7)):.2e}"
    '2.04e-10'

    :param count: Votes for y, of ``n``; whole numbers of any shape. y must not have been picked on these votes.
    :param overlap: Of the budget.
    :return: Of that shape.
    :raises InputError: If counts are no whole numbers from 0 to ``n``.
    """
    from scipy.special import betainc

    votes, n = np.asarray(count), whole("n", n, least=1)
    if votes.dtype.kind not in "iu" or (votes < 0).any() or (votes > n).any():
        raise InputError(f"Votes must be whole numbers from 0 to {n}.")
    if not overlap.attacked or not overlap.clean:
        return np.ones(votes.shape)
    limit = min(1.0, float(1 - overlap.clean + overlap.clean / (2 * overlap.attacked)))
    some = np.arange(1, n + 1)
    return np.concatenate([[1.0], betainc(some, n - some + 1, limit)])[votes]


def top_two_test(counts: Sequence[int] | np.ndarray, alpha: float) -> int:
    """The class with the most votes, or -1 if the next one could as well have got them.

    The two-sided binomial test of the top two at 1/2, as predictions under randomised smoothing abstain (Cohen et al.,
    arXiv:1902.02918; ART's ``predict``).

    >>> top_two_test([70, 20, 10], 0.001), top_two_test([50, 40, 10], 0.001)
    (0, -1)

    :param counts: Votes for each class, ``[C]``.
    :param alpha: With this probability at the most another class than the most probable one is returned.
    :raises InputError: If these are no counts, of two classes or more.
    """
    from scipy.stats import binomtest

    votes = _counts(counts)
    alpha, label = level(alpha), int(votes.argmax())
    most, next_ = int(votes[label]), int(np.delete(votes, label).max())
    return label if most and binomtest(most, most + next_, 0.5).pvalue <= alpha else -1


def _probability_of_sums(total: int, n: int, plus: np.ndarray, minus: np.ndarray) -> np.ndarray:
    """Probability that a sum of ``n`` variables in {-1, 0, 1} is ``total`` or more, by the characteristic function."""
    from scipy.fft import next_fast_len

    size = next_fast_len(2 * n + 1)
    turn = np.exp(2j * np.pi * np.arange(size // 2 + 1) / size)
    one = (1 - plus - minus)[:, None] + plus[:, None] * turn + minus[:, None] * turn.conj()
    density = np.fft.hfft(one**n, size, axis=1) / size
    # Sums below zero stand at the end. What rounding may hide is added.
    at = np.arange(total, n + 1) % size
    return density[:, at].sum(axis=1) + 1e-15 * n


def _trials(count: Any, n: Any, alpha: float, name: str = "count") -> tuple[int, int, float]:
    n = whole("n", n)
    return whole(name, count, most=n), n, level(alpha)


def _counts(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    votes = np.asarray(counts)
    if votes.ndim != 1 or len(votes) < 2 or votes.dtype.kind not in "iu" or (votes < 0).any():
        raise InputError(
            f"Votes must be whole numbers from 0 for two classes or more, not {votes.dtype} {votes.shape}."
        )
    return votes
