"""95 % intervals for the numbers in a report, each kind with its coverage tested.

Measured coverage at 20 to 1,000 samples: proportions at least 95 %, differences of paired proportions and means of
bounded values at least 93 %; see docs/audit.md. Of means over a few training runs see :func:`with_runs_ci95`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal

import numpy as np

#: Draws of a bootstrap.
_RESAMPLES = 2000


def proportion_ci95(successes: int, n: int) -> tuple[float, float] | None:
    """95 % interval of a proportion: Wilson's, with the correction for continuity.

    It holds the truth in at least 95 % of all cases, whatever the truth is. Without the correction Wilson's falls below
    93 % at places that matter: to 92 % for 100 samples and a proportion of .01. It has a width everywhere, with 0 or
    ``n`` successes too.

    >>> low, high = proportion_ci95(90, 100)
    >>> round(low, 2), round(high, 2)
    (0.82, 0.95)

    :return: Lower and upper end, or ``None`` when ``n`` is 0.
    """
    return None if n == 0 else _wilson(int(successes), int(n))


@lru_cache(maxsize=4096)
def _wilson(successes: int, n: int) -> tuple[float, float]:
    """Kept, for reports ask for the same few numbers again and again, and a test that nobody wants comes with each."""
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(0.95, method="wilsoncc")
    return float(interval.low), float(interval.high)


def paired_difference_ci95(these: Sequence[bool], others: Sequence[bool]) -> tuple[float, float] | None:
    """95 % interval of the difference of two proportions on the same samples: ``these`` less ``others``.

    Bonett and Price's: Wald's with one more sample on either side, by Student's t. Only samples on which the two differ
    say anything, and with none of them it still has a width.

    :param these: Of each sample whether it counts, ``(N,)``.
    :param others: Likewise, what is subtracted.
    :return: Lower and upper end, or ``None`` without samples.
    """
    from scipy.stats import t

    apart = np.asarray(these, dtype=bool).astype(int) - np.asarray(others, dtype=bool).astype(int)
    n = len(apart)
    if n == 0:
        return None
    gained, lost = ((apart == 1).sum() + 1) / (n + 2), ((apart == -1).sum() + 1) / (n + 2)
    half = t.ppf(0.975, max(1, n - 1)) * np.sqrt((gained + lost - (gained - lost) ** 2) / (n + 2))
    return max(-1.0, float(gained - lost - half)), min(1.0, float(gained - lost + half))


def mean_ci95(
    values: Sequence[float], bounds: tuple[float, float] | None = None, seed: int = 0
) -> tuple[float, float] | None:
    """95 % interval of a mean: the widest, at either end, of Student's t and of the studentised bootstrap.

    Student's t alone covers too little where values are skewed, as shares of removed pixels are; the bootstrap alone
    where few values differ. Where one value is more than half of all, the interval of the share of the others counts,
    too: a bootstrap does not know of those that were not drawn.

    :param values: ``(N,)``.
    :param bounds: Between which values can lie at all. Where all that were seen are equal, no more than Wilson's
        share of those that were not seen may lie at the bounds: of that the interval is made.
    :param seed: Of the resampling.
    :return: Lower and upper end; ``None`` without values, and without bounds where all are equal: how far others lie
        is unknown then.
    """
    from scipy.stats import t

    sample = np.asarray(values, dtype=float)
    n = len(sample)
    if n == 0:
        return None
    mean = float(sample.mean())
    if np.ptp(sample) == 0:
        unseen = proportion_ci95(0, n)
        if bounds is None or unseen is None:
            return None
        return mean - (mean - bounds[0]) * unseen[1], mean + (bounds[1] - mean) * unseen[1]
    error = sample.std(ddof=1) / np.sqrt(n)
    ends = t.ppf(0.975, n - 1) * np.array([-1.0, 1.0])
    drawn = _studentised(sample, mean, np.random.default_rng(seed))
    if len(drawn):
        low, high = np.quantile(drawn, [0.025, 0.975])
        ends = np.array([min(ends[0], -high), max(ends[1], -low)])
    low, high = mean + ends * error
    distinct, counts = np.unique(sample, return_counts=True)
    if 2 * counts.max() > n:
        mode, rest = distinct[counts.argmax()], n - int(counts.max())
        # Means if the others, such as they are, had the lowest and the highest share that is possible.
        either = mode + np.array(proportion_ci95(rest, n)) * (mean - mode) * n / rest
        low, high = min(low, *either), max(high, *either)
    return (float(low), float(high)) if bounds is None else (max(bounds[0], float(low)), min(bounds[1], float(high)))


def with_runs_ci95(
    interval: tuple[float, float], means: Sequence[Sequence[float]], bounds: tuple[float, float]
) -> tuple[float, float]:
    """95 % interval of a mean over samples that was measured in a few runs: samples and runs were both drawn.

    The length to either side is that over the samples and half of Student's interval over the runs, added as variances
    are. Of a single run the interval stays: it says nothing of others. With three runs it holds the truth in 94 % of
    all cases or more while their means lie within some points of one another; of runs that differ by tens of points,
    near an end of the range, in 89 %.

    :param interval: Over the samples, of the mean over all runs.
    :param means: The means of the runs, training seeds for example. Several kinds of runs, such as seeds and prompts,
        are several sequences; the mean of each is the same.
    :param bounds: Between which means can lie at all.
    """
    from scipy.stats import t

    parts = [np.asarray(part, dtype=float) for part in means if len(part)]
    if not parts:
        return interval
    middle = float(parts[0].mean())
    variance = sum(t.ppf(0.975, len(part) - 1) ** 2 * part.var(ddof=1) / len(part) for part in parts if len(part) > 1)
    low, high = (float(np.hypot(end - middle, np.sqrt(variance))) for end in interval)
    return max(bounds[0], middle - low), min(bounds[1], middle + high)


def _studentised(sample: np.ndarray, mean: float, rng: np.random.Generator, at_once: int = 100) -> np.ndarray:
    """Of each resample how far its mean is from the sample's, in its own standard errors; those that have one."""
    n, found = len(sample), []
    for _ in range(_RESAMPLES // at_once):
        drawn = sample[rng.integers(n, size=(at_once, n))]
        error = drawn.std(axis=1, ddof=1) / np.sqrt(n)
        # Values that are equal but for the last bit of their sum have no error either.
        there = error > 1e-12 * np.abs(sample).max()
        found.append((drawn.mean(axis=1)[there] - mean) / error[there])
    return np.concatenate(found)


def mean_of_means_ci95(
    means: Sequence[float], intervals: Sequence[tuple[float, float]], bounds: tuple[float, float] = (0.0, 1.0)
) -> tuple[float, float] | None:
    """95 % interval of the plain mean of independent estimates, such as accuracies on several data sets.

    The length to either side is the root of the summed squares of the single lengths, over their number: the method of
    variance estimates recovery (MOVER), with which an interval of a sum inherits the coverage of its parts. The data
    sets are these; of others it says nothing.

    | Paper link: https://doi.org/10.1016/j.csda.2008.09.033

    :param means: Of each part.
    :param intervals: 95 % interval of each of them.
    :param bounds: Between which the mean can lie at all.
    :return: Lower and upper end, or ``None`` without parts.
    """
    if not len(means):
        return None
    middle, ends = np.asarray(means, dtype=float), np.asarray(intervals, dtype=float)
    low, high = (float(np.sqrt(((ends[:, side] - middle) ** 2).sum())) / len(middle) for side in (0, 1))
    mean = float(middle.mean())
    return max(bounds[0], mean - low), min(bounds[1], mean + high)


def stratified_sign_test(
    gained: Sequence[int], lost: Sequence[int], n: Sequence[int], draws: int = 99_999, seed: int = 0
) -> float:
    """p value of no difference between two paired proportions, averaged over several data sets with equal weights.

    Under no difference each pair that differs is as likely to differ either way. The sum over data sets of
    ``(gained - lost) / n`` is compared with what such coins give, by drawing: the share of draws that lie as far from
    zero, itself counted, which keeps the level exactly.

    | Paper link: https://doi.org/10.2202/1544-6115.1585

    :param gained: Of each data set, pairs that differ in one way.
    :param lost: Pairs that differ in the other way.
    :param n: Pairs.
    :param draws: Of the coins.
    :param seed: Of the draws.
    :return: 1 where no pair differs.
    """
    differ = np.asarray(gained) + np.asarray(lost)
    if not differ.sum():
        return 1.0
    weights = 1 / np.maximum(1, np.asarray(n, dtype=float))
    seen = abs(float((weights * (np.asarray(gained) - np.asarray(lost))).sum()))
    heads = np.random.default_rng(seed).binomial(differ, 0.5, (draws, len(differ)))
    drawn = np.abs(((2 * heads - differ) * weights).sum(axis=1))
    # Equal sums in another order may differ in the last bits.
    return float((1 + (drawn >= seen * (1 - 1e-9)).sum()) / (1 + draws))


def bootstrap_ci95(
    values: Sequence[float], statistic: Callable[..., np.ndarray] = np.mean, seed: int = 0
) -> tuple[float, float] | None:
    """95 % bootstrap interval of any statistic of real values: bias-corrected and accelerated, 2,000 resamples.

    Its level is that of Student's t for so many values, as a bootstrap is too narrow for few. Of a mean
    :func:`mean_ci95` covers better, of a proportion :func:`proportion_ci95`.

    :param statistic: Takes an array and ``axis``.
    :return: Lower and upper end; ``None`` without values, and where all of them are equal: resamples then say nothing.
    """
    from scipy.stats import bootstrap, norm, t

    sample = np.asarray(values, dtype=float)
    n = len(sample)
    if n == 0 or np.ptp(sample) == 0:
        return None
    level = 1 - 2 * norm.sf(t.ppf(0.975, n - 1) * np.sqrt(n / (n - 1)))
    ends = (np.nan, np.nan)
    for method in ("BCa", "percentile"):
        # Where the statistic is the same without any one of the values, there is no acceleration.
        with np.errstate(invalid="ignore", divide="ignore"):
            interval = bootstrap(
                (sample,),
                statistic,
                n_resamples=_RESAMPLES,
                batch=100,
                confidence_level=level,
                method=method,
                rng=np.random.default_rng(seed),
            ).confidence_interval
        ends = float(interval.low), float(interval.high)
        if np.isfinite(ends).all():
            break
    return ends


def mcnemar(gained: int, lost: int, alternative: Literal["two-sided", "greater"] = "two-sided") -> float:
    """p value of McNemar's exact test: how often pairs that differ would split as unevenly if it were by chance.

    | Paper link: https://doi.org/10.1007/BF02295996

    :param gained: Pairs that differ in one way.
    :param lost: Pairs that differ in the other way.
    :param alternative: ``"greater"`` asks for more of the first alone.
    :return: 1 where no pair differs.
    """
    from scipy.stats import binomtest

    return float(binomtest(gained, gained + lost, 0.5, alternative=alternative).pvalue) if gained + lost else 1.0


def holm_adjusted(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """p-values that are corrected for their number by Holm's step-down procedure.

    Whoever rejects the hypotheses whose corrected value is at most alpha rejects a true one with a chance of alpha at
    the most, however they depend on each other. The i-th smallest of m, from 0 on, becomes the largest of
    ``(m - j) p_j`` over all j up to i, and 1 at the most.

    >>> holm_adjusted([0.25, 0.125, 0.5]).tolist()
    [0.5, 0.375, 0.5]

    | Paper link: https://www.jstor.org/stable/4615733

    :param p_values: Between 0 and 1, of any shape.
    :return: Of that shape.
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, axis=None, kind="stable")
    corrected = np.empty(p.size)
    corrected[order] = np.minimum(np.maximum.accumulate(p.ravel()[order] * np.arange(p.size, 0, -1)), 1)
    return corrected.reshape(p.shape)
