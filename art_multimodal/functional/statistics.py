"""Intervals for the numbers in a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def proportion_ci95(successes: int, n: int) -> tuple[float, float] | None:
    """95 % percentile-bootstrap interval of a proportion, computed exactly.

    A resample of ``n`` zeros and ones has a binomial number of ones, so the bootstrap's quantiles are the binomial's:
    no random numbers are needed. With 0 or ``n`` successes the interval has no width, as any bootstrap's would.

    :return: Lower and upper end, or ``None`` when ``n`` is 0.
    """
    from scipy.stats import binom

    if n == 0:
        return None
    low, high = binom.ppf([0.025, 0.975], n, successes / n) / n
    return float(low), float(high)


def bootstrap_ci95(
    values: Sequence[float], statistic: Callable[..., np.ndarray] = np.mean, seed: int = 0
) -> tuple[float, float] | None:
    """95 % percentile-bootstrap interval of a statistic of real values (2,000 resamples).

    :param statistic: Takes an array and ``axis``.
    :return: Lower and upper end, or ``None`` without values.
    """
    from scipy.stats import bootstrap

    if len(values) == 0:
        return None
    sample = np.asarray(values, dtype=float)
    if np.ptp(sample) == 0:
        # Every resample is the same; scipy refuses a single value.
        point = float(statistic(sample, axis=0))
        return point, point
    interval = bootstrap(
        (sample,),
        statistic,
        n_resamples=2000,
        batch=100,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)
