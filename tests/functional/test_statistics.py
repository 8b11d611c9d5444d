"""Intervals: how often they hold the truth is computed or simulated for each kind."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import binom, multinomial

from art_multimodal.functional.statistics import (
    bootstrap_ci95,
    holm_adjusted,
    mean_ci95,
    paired_difference_ci95,
    proportion_ci95,
    with_runs_ci95,
)

#: What "95 %" may mean at the least.
LEAST = 0.93


@pytest.mark.parametrize("n", [20, 40, 100, 1000])
def test_intervals_of_proportions_cover_every_truth(n):
    # Exact: the probability of all counts whose interval holds the truth. It jumps where an interval ends.
    counts = np.arange(min(n, n // 2 + 100) + 1)
    intervals = np.array([proportion_ci95(k, n) for k in counts])
    ends = intervals[(intervals > 0.01) & (intervals < 0.5)]
    truths = np.concatenate([np.linspace(0.01, 0.5, 99), ends[:99] - 1e-9, ends[:99] + 1e-9])[:, None]
    covered = ((intervals[:, 0] <= truths) & (truths <= intervals[:, 1])) * binom.pmf(counts, n, truths)
    assert covered.sum(axis=1).min() >= 0.95
    # Half of the proportion that no success is compatible with: not everything is covered by being wide.
    assert intervals[0, 1] < 5 / n
    assert intervals[n // 2, 1] - intervals[n // 2, 0] < 2.1 / np.sqrt(n)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@example((0, 1))
@example((1, 1))
def test_interval_of_a_proportion_holds_it_and_mirrors(counts):
    successes, n = counts
    low, high = proportion_ci95(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    assert low < high
    mirrored = proportion_ci95(n - successes, n)
    np.testing.assert_allclose((1 - mirrored[1], 1 - mirrored[0]), (low, high), atol=1e-9)


@pytest.mark.parametrize("n", [1, 10, 1000])
def test_no_success_at_all_does_not_mean_that_there_are_none(n):
    assert proportion_ci95(0, n)[0] == 0
    assert proportion_ci95(n, n)[1] == 1
    # The rule of three: fewer than 3 / n cannot be excluded.
    assert proportion_ci95(0, n)[1] > min(0.9, 3 / n)


def test_nothing_to_say_without_samples():
    assert proportion_ci95(0, 0) is None
    assert paired_difference_ci95([], []) is None
    assert mean_ci95([], (0, 1)) is None
    assert bootstrap_ci95([]) is None


@pytest.mark.parametrize("n", [20, 40])
def test_intervals_of_paired_differences_cover_the_truth(n):
    gained, lost = (counts.ravel() for counts in np.indices((n + 1, n + 1)))
    gained, lost = gained[gained + lost <= n], lost[gained + lost <= n]
    some = np.arange(n)
    intervals = np.array(
        [paired_difference_ci95(some < g, (some >= g) & (some < g + q)) for g, q in zip(gained, lost, strict=True)]
    )
    counts = np.stack([gained, lost, n - gained - lost], axis=1)
    for more, less in [(0, 0), (0.01, 0), (0.02, 0.01), (0.1, 0), (0.1, 0.05), (0.3, 0.01), (0.3, 0.3), (0.5, 0.5)]:
        truth = more - less
        held = (intervals[:, 0] <= truth + 1e-12) & (truth - 1e-12 <= intervals[:, 1])
        assert multinomial.pmf(counts, n, [more, less, 1 - more - less])[held].sum() >= LEAST, (more, less)


def test_a_paired_difference_is_narrower_than_two_proportions():
    these, others = np.arange(200) < 100, np.arange(200) < 90
    low, high = paired_difference_ci95(these, others)
    assert 0 < low < 0.05 < high < 0.1
    np.testing.assert_allclose(paired_difference_ci95(others, these), (-high, -low))
    low, high = paired_difference_ci95(these, these)
    assert low < 0 < high


#: Shares that are skewed, or take a few values, as removals of quadrants do; with their means.
SHARES = {
    "skewed": (lambda rng, n: rng.beta(0.5, 5, n), 1 / 11),
    "small": (lambda rng, n: rng.beta(2, 20, n), 1 / 11),
    "uniform": (lambda rng, n: rng.random(n), 0.5),
    "quadrants": (lambda rng, n: rng.choice([1 / 4, 1 / 16, 1 / 64], n, p=[0.3, 0.3, 0.4]), 0.1),
    "one in twenty": (lambda rng, n: rng.choice([1 / 4, 1 / 2], n, p=[0.95, 0.05]), 0.2625),
}


@pytest.mark.parametrize(
    ("name", "n"), [*((name, 20) for name in SHARES), ("skewed", 40), ("skewed", 100), ("one in twenty", 100)]
)
def test_intervals_of_means_of_shares_cover_the_truth(name, n):
    draw, truth = SHARES[name]
    rng, runs = np.random.default_rng(n), 100
    intervals = np.array([mean_ci95(draw(rng, n), (0, 1)) for _ in range(runs)])
    held = ((intervals[:, 0] <= truth) & (truth <= intervals[:, 1])).sum()
    # Three standard deviations of so few runs below the least.
    assert held >= runs * LEAST - 3 * np.sqrt(runs * LEAST * (1 - LEAST))
    assert (intervals >= 0).all() and (intervals <= 1).all()


#: Of many samples a few cases: what is wrong with an interval shows with few, and earlier.
_OF_MANY = ((0.0, 0.0, 0.0), (0.3, 0.0, 2.0), (0.1, 2.0, 1.0))


@pytest.mark.parametrize(
    ("n", "apart", "easy", "spread"),
    [
        pytest.param(n, *case, marks=[pytest.mark.slow] if n == 1000 and case not in _OF_MANY else [])
        for n in (20, 100, 1000)
        for case in itertools.product((0.0, 0.1, 0.3), (0.0, 2.0), (0.0, 1.0, 2.0))
        if case[1:] in ((0.0, 0.0), (0.0, 2.0), (2.0, 1.0))
    ],
)
def test_intervals_over_samples_and_three_runs_cover_the_truth(n, apart, easy, spread):
    """Samples are easy or hard, runs good or bad: what is drawn of either says how often the interval holds the mean.

    :param apart: Standard deviation of the runs, in log-odds: 0.3 is up to 7 points.
    """
    rng, times = np.random.default_rng(n), 60
    odds = easy + apart * rng.standard_normal((2000, 1)) + spread * rng.standard_normal((1, 2000))
    truth = (1 / (1 + np.exp(-odds))).mean()
    held, widths, wide = 0, [], []
    for _ in range(times):
        odds = easy + apart * rng.standard_normal((3, 1)) + spread * rng.standard_normal((1, n))
        right = rng.random((3, n)) < 1 / (1 + np.exp(-odds))
        samples = mean_ci95(right.mean(axis=0), (0, 1))
        low, high = with_runs_ci95(samples, [right.mean(axis=1)], (0, 1))
        assert 0 <= low <= samples[0] <= samples[1] <= high <= 1
        held += low <= truth <= high
        widths.append(high - low)
        wide.append(4 * np.sqrt(truth * (1 - truth) / n) + 8 * right.mean(axis=1).std())
    assert held >= times * LEAST - 3 * np.sqrt(times * LEAST * (1 - LEAST))
    # Not everything is covered by being wide.
    assert np.mean(widths) < np.mean(wide)


def test_runs_widen_an_interval_as_variances_add_up():
    runs, half = [0.4, 0.5, 0.6], 4.302653 * 0.1 / np.sqrt(3)
    expected = 0.5 - np.hypot(0.1, half), 0.5 + np.hypot(0.2, half)
    assert with_runs_ci95((0.4, 0.7), [runs], (0, 1)) == pytest.approx(expected, rel=1e-6)
    both = 0.5 - np.hypot(0.1, np.sqrt(2) * half), 0.5 + np.hypot(0.2, np.sqrt(2) * half)
    assert with_runs_ci95((0.4, 0.7), [runs, runs], (0, 1)) == pytest.approx(both, rel=1e-6)
    # Nothing is known of other runs than a single one, and equal ones add nothing.
    for runs in ([[0.5]], [[0.5, 0.5]], []):
        assert with_runs_ci95((0.4, 0.7), runs, (0, 1)) == pytest.approx((0.4, 0.7))
    assert with_runs_ci95((0.1, 0.9), [[0.0, 1.0]], (0, 1)) == (0, 1)


def test_interval_of_a_mean_is_the_normal_one_for_many_values():
    values = np.random.default_rng(1).exponential(size=400)
    half_width = 1.96 * values.std() / np.sqrt(len(values))
    low, high = mean_ci95(values)
    assert (low, high) == pytest.approx((values.mean() - half_width, values.mean() + half_width), abs=0.15 * half_width)
    assert isinstance(low, float)
    assert isinstance(high, float)


@pytest.mark.parametrize("n", [1, 9, 400])
def test_equal_values_leave_room_for_others(n):
    low, high = mean_ci95([0.25] * n, (0, 1))
    unseen = proportion_ci95(0, n)[1]
    assert (low, high) == pytest.approx((0.25 - 0.25 * unseen, 0.25 + 0.75 * unseen))
    assert mean_ci95([0.25] * n) is None
    assert bootstrap_ci95([0.25] * n) is None


@pytest.mark.parametrize("function", [mean_ci95, lambda values, seed=0: bootstrap_ci95(values, np.median, seed)])
def test_intervals_are_determined_by_their_seed(function):
    values = list(np.random.default_rng(2).random(30))
    assert function(values) == function(values)
    assert function(values) != function(values, seed=1)


def test_bootstrap_of_a_ratio_covers_the_truth():
    # What benchmarks bootstrap: a sum over another one, of the same rows.
    rng, runs, held = np.random.default_rng(0), 60, 0
    for _ in range(runs):
        of = rng.integers(1, 6, size=40)
        counts = rng.binomial(of, 0.3)
        low, high = bootstrap_ci95(
            range(40), lambda rows, axis, c=counts, o=of: c[rows.astype(int)].sum(axis) / o[rows.astype(int)].sum(axis)
        )
        held += low <= 0.3 <= high
    assert held >= runs * LEAST - 3 * np.sqrt(runs * LEAST * (1 - LEAST))


def closed_test(p, one):
    """Holm by its definition: Bonferroni's test of every set of hypotheses that holds this one (Holm, 1979)."""
    others = [place for place in range(len(p)) if place != one]
    sets = [[one, *more] for size in range(len(p)) for more in itertools.combinations(others, size)]
    return max(min(1.0, len(some) * min(p[place] for place in some)) for some in sets)


def test_holm_rejects_what_every_set_of_hypotheses_rejects():
    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 9):
        # Tenths, so that some are equal.
        for p in (rng.random(size), rng.integers(0, 11, size) / 10, rng.random(size) / 50):
            np.testing.assert_array_equal(holm_adjusted(p), [closed_test(p, one) for one in range(size)])
    assert holm_adjusted([]).shape == (0,) and holm_adjusted([[1.0, 0.0]]).tolist() == [[1.0, 0.0]]
