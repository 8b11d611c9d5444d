"""Intervals: how often they hold the truth is computed or simulated for each kind."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import binom, multinomial

from art_multimodal.functional.statistics import bootstrap_ci95, mean_ci95, paired_difference_ci95, proportion_ci95

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
