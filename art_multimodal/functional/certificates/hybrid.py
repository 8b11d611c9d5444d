"""Elements that are hidden beside continuous modalities with Gaussian noise: one bound for both.

A draw hides elements of some modalities, with the overlap ``(S, S')``, and adds ``N(0, sigma_i^2 I)`` to others, which
an attacker moves by ``eps_i`` in l2. Given that no touched element is drawn, the bound of Gaussian noise (Cohen et al.,
arXiv:1902.02918) applies inside. With ``rho^2`` the sum of ``(eps_i / sigma_i)^2``::

    q_y = (p_y - (1 - S)) / S              p'_y >= S' Phi(Phi^-1(q_y) - rho)
    q_l = min(p_l, S) / S                  p'_l <= 1 - S' + S' Phi(Phi^-1(q_l) + rho)

``rho = 0`` is the bound of edits alone, ``S = S' = 1`` that of Gaussian noise alone. Half-spaces reach both, so
neither can be improved without knowing more than ``p``. Hiding each of d changed tokens with probability b has
``S = S' = b^d``; replacing tokens by random ones instead (arXiv:2605.12876) certifies almost the same, see
:func:`uniform_lower`.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import comb, inf, log
from typing import Any

import numpy as np

from art_multimodal.errors import InputError
from art_multimodal.functional.certificates.bound import holds, holds_above
from art_multimodal.functional.certificates.checks import Number, positive, probability, whole
from art_multimodal.functional.certificates.overlap import Overlap
from art_multimodal.shown import brief


def gaussian_distance(eps: Sequence[float] | float, sigma: Sequence[float] | float) -> float:
    """``rho``: how far continuous modalities are moved, each in units of its noise, together.

    >>> gaussian_distance([3, 4], [1, 1])
    5.0

    :param eps: l2 radius in each modality.
    :param sigma: Standard deviation of the noise in each modality, in the units of ``eps``.
    :raises InputError: If a radius is negative or a deviation is not above 0.
    """
    radii, deviations = np.atleast_1d(np.asarray(eps, dtype=float)), np.atleast_1d(np.asarray(sigma, dtype=float))
    for one in deviations:
        positive("sigma", one)
    if not (radii >= 0).all():
        raise InputError(f"eps must be 0 or more, not {brief(eps)}.")
    return float(np.linalg.norm(radii / deviations))


def hybrid_lower(p: Any, overlap: Overlap | Number, rho: Any) -> Any:
    """Lower bound of ``p'_y``.

    >>> from fractions import Fraction
    >>> round(hybrid_lower(0.8, Fraction(2, 3), 0), 6)  # .8 - 1/3
    0.466667

    :param p: Probability of class y (or a lower bound of it), or the mean of a score from 0 to 1. A number or an array.
    :param overlap: ``S`` and ``S'``; or one number for both, where elements are only modified.
    :param rho: See :func:`gaussian_distance`; a number or an array.
    :raises InputError: If ``p`` or the overlap is no probability, or ``rho`` is negative.
    """
    return _like(_kept(1 - _probabilities(p), _overlap(overlap), _distances(rho)))


def hybrid_upper(p: Any, overlap: Overlap | Number, rho: Any) -> Any:
    """Upper bound of ``p'_l``: 1 less the lower bound of all other classes together; see :func:`hybrid_lower`.

    >>> round(hybrid_upper(0.2, 1, 0.0), 6), hybrid_upper(0.2, 0.9, 0.5) > 0.2
    (0.2, True)
    """
    return _like(1 - _kept(_probabilities(p), _overlap(overlap), _distances(rho)))


def hybrid_radius(p_y: Number, overlap: Overlap | Number) -> float:
    """Below which ``rho`` class y keeps the majority; 0 if not even at ``rho = 0``.

    ``Phi^-1(q_y) - Phi^-1(1 / (2 S'))``. With ``S' <= 1/2`` nothing holds.

    >>> from fractions import Fraction
    >>> round(hybrid_radius(0.99, 1), 4), round(hybrid_radius(0.99, Fraction(3, 4)), 4)  # Cohen et al.: Phi^-1(.99)
    (2.3263, 1.7856)

    :param p_y: Probability of class y, or a lower bound of it.
    :raises InputError: If it or the overlap is no probability.
    """
    return filter_radius(p_y, overlap, Fraction(1, 2))


def filter_radius(p_y: Number, overlap: Overlap | Number, threshold: Number) -> float:
    """Below which ``rho`` a score stays above a threshold, as of a filter that says "unsafe"; 0 if not even at 0.

    ``Phi^-1(q_y) - Phi^-1(threshold / S')``.

    >>> round(filter_radius(0.9, 1, threshold=0.5), 2), filter_radius(0.9, 0.5, threshold=0.5)
    (1.28, 0.0)

    :param p_y: Mean of the score, from 0 to 1, or a lower bound of it.
    :param threshold: From 0 to 1.
    :raises InputError: If one of these is no probability.
    """
    from scipy.special import ndtri

    seen, p_y = _overlap(overlap), probability("p_y", p_y)
    if not holds_above(p_y, threshold, seen):
        return 0.0
    missing = float((1 - p_y) / seen.clean)
    return max(0.0, float(-ndtri(missing) - ndtri(float(threshold / seen.attacked))))


def top_two_radius(p_y: Number, p_l: Number, overlap: Overlap | Number) -> float:
    """Below which ``rho`` class y stays ahead of class l; 0 if not even at ``rho = 0``.

    Never less than :func:`hybrid_radius` where ``p_l <= 1 - p_y``, and as large where that is equal. With
    ``S = S' = 1`` it is ``(Phi^-1(p_y) - Phi^-1(p_l)) / 2``.

    >>> round(top_two_radius(0.9, 0.1, 1), 2), top_two_radius(0.5, 0.4, 0.5)
    (1.28, 0.0)

    :param p_y: Probability of class y, or a lower bound of it.
    :param p_l: Of the most probable other class, or an upper bound of it.
    :raises InputError: If one is no probability.
    """
    from scipy.optimize import brentq

    seen = _overlap(overlap)
    if not holds(p_y, p_l, seen):
        return 0.0

    def ahead(rho: float) -> float:
        return hybrid_lower(p_y, seen, rho) - hybrid_upper(p_l, seen, rho)

    # No class is as near to certain as floats allow and yet 40 deviations away, unless nothing can reach it.
    if ahead(40.0) > 0:
        return inf
    if ahead(0.0) <= 0:
        return 0.0
    root = brentq(ahead, 0.0, 40.0, xtol=1e-12)
    return root if ahead(root) >= 0 else max(0.0, root - 1e-11)


def kernel_lower(p: float, clean: Sequence[float], attacked: Sequence[float], rho: float) -> float:
    """Lower bound of ``p'_y`` for any discrete draws beside Gaussian noise (Neyman and Pearson).

    Of all classifiers with probability ``p`` on clean draws, the worst one for the attacked input says y where draws
    are most probable for the clean input in comparison. Its threshold is found in logarithms, and where it is rounded,
    the bound is too low.

    >>> round(kernel_lower(0.8, [2 / 3, 1 / 3, 0], [2 / 3, 0, 1 / 3], 0), 6)  # what hybrid_lower says
    0.466667

    :param p: Probability of class y, or a lower bound of it.
    :param clean: Probabilities of the kinds of draws from the clean input. Draws of one kind have one ratio.
    :param attacked: The same kinds drawn from the attacked input.
    :param rho: See :func:`gaussian_distance`.
    :raises InputError: If these are no probabilities, or ``rho`` is negative.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr

    before, after = _probabilities(clean), _probabilities(attacked)
    if before.shape != after.shape or before.ndim != 1:
        raise InputError(f"Kinds of draws need a probability before and after each, not {before.shape}, {after.shape}.")
    p, rho = float(_probabilities(p)), float(_distances(rho))
    # What cannot be drawn from the clean input says nothing for y, and what only it shows is used up first.
    p -= float(before[after == 0].sum())
    both = (before > 0) & (after > 0)
    before, after = before[both], after[both]
    if p <= 0 or not both.any():
        return 0.0
    ratios = np.log(after) - np.log(before)
    if rho == 0:
        order = np.argsort(ratios)
        used = np.clip(p - (np.cumsum(before[order]) - before[order]), 0, before[order])
        return float((used / before[order] * after[order]).sum())

    def chosen(threshold: float) -> float:
        return float((before * ndtr(rho / 2 + (threshold - ratios) / rho)).sum())

    reach = 60 * (1 + rho)
    low, high = ratios.min() - reach, ratios.max() + reach
    threshold = high
    if chosen(high) > p:
        threshold, step = brentq(lambda at: chosen(at) - p, low, high), 1e-12 * (1 + high - low)
        while chosen(threshold) > p:
            threshold, step = threshold - step, 2 * step
    return float((after * ndtr((threshold - ratios) / rho - rho / 2)).sum())


def uniform_lower(p: float, keep: float, vocabulary: int, distance: int, rho: float) -> float:
    """Lower bound of ``p'_y`` where each token is kept, or else replaced by any other one of the vocabulary.

    With a real vocabulary it is that of hiding tokens with the same probability, to within a hundredth of the attacked
    probability, so that nothing is gained by random tokens.

    >>> from art_multimodal.functional.certificates.overlap import bernoulli_overlap
    >>> round(uniform_lower(0.9995, 0.75, 30_000, 1, 0.5), 5)
    0.24786
    >>> round(hybrid_lower(0.9995, bernoulli_overlap(0.75, modified=1), 0.5), 5)
    0.24783

    :param p: Probability of class y, or a lower bound of it.
    :param keep: Probability with which a token stays, strictly between 0 and 1.
    :param vocabulary: Number of tokens, 2 or more.
    :param distance: Tokens that the attacker changes.
    :param rho: See :func:`gaussian_distance`.
    :raises InputError: If one of these is outside its range.
    """
    keep, vocabulary, distance = float(probability("keep", keep)), whole("vocabulary", vocabulary, 2), int(distance)
    whole("distance", distance)
    if keep in (0, 1):
        raise InputError(f"keep must lie between 0 and 1, not at {keep:g}: draws then say everything or nothing.")
    # Positions show the clean token, the attacker's, or neither. Exchanging the first two exchanges the inputs.
    own, other, neither = (
        log(keep),
        log((1 - keep) / (vocabulary - 1)),
        (1 - keep) * (vocabulary - 2) / (vocabulary - 1),
    )
    clean, attacked = [], []
    for new in range(distance + 1):
        for rest in range(distance - new + 1):
            old = distance - new - rest
            ways = comb(distance, new) * comb(distance - new, rest) * neither**rest
            clean.append(ways * np.exp(old * own + new * other))
            attacked.append(ways * np.exp(new * own + old * other))
    return kernel_lower(p, clean, attacked, rho)


def _kept(missing: np.ndarray, seen: Overlap, rho: np.ndarray) -> np.ndarray:
    """Lower bound of what is ``1 - missing`` for the clean input: complements of numbers near 1 keep their digits."""
    from scipy.special import ndtr, ndtri

    if not seen.clean:
        return np.zeros(np.broadcast(missing, rho).shape)
    return float(seen.attacked) * ndtr(-ndtri(np.minimum(missing / float(seen.clean), 1)) - rho)


def _overlap(overlap: Overlap | Number) -> Overlap:
    return overlap if isinstance(overlap, Overlap) else Overlap(overlap, overlap)  # type: ignore[arg-type]


def _probabilities(p: Any) -> np.ndarray:
    values = np.asarray(p, dtype=float)
    # Sums of probabilities may exceed 1 by their rounding.
    if not ((values >= 0) & (values <= 1 + 1e-12)).all():
        raise InputError(f"Probabilities must lie from 0 to 1, not at {brief(p)}.")
    return np.minimum(values, 1)


def _distances(rho: Any) -> np.ndarray:
    values = np.asarray(rho, dtype=float)
    if not ((values >= 0) & (values < inf)).all():
        raise InputError(f"rho must be a finite number of 0 or more, not {brief(rho)}.")
    return values


def _like(values: np.ndarray) -> Any:
    """A float for numbers, an array for arrays."""
    return float(values) if np.ndim(values) == 0 else values
