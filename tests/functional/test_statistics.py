import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from art_multimodal.functional.statistics import bootstrap_ci95, proportion_ci95


@pytest.mark.parametrize(("successes", "n"), [(1, 7), (5, 10), (37, 64), (99, 100), (301, 1000)])
def test_interval_of_a_proportion_is_that_of_a_bootstrap(successes, n):
    # 95 % of 200,000 resamples, drawn one by one from the zeros and ones themselves.
    values = np.repeat([1, 0], [successes, n - successes])
    rng = np.random.default_rng(0)
    means = np.concatenate(
        [values[rng.integers(n, size=(2000, n))].mean(axis=1) for _ in range(100 if n < 1000 else 20)]
    )
    expected = np.quantile(means, [0.025, 0.975], method="inverted_cdf")
    # A quantile that falls between two possible counts may come out as either.
    np.testing.assert_allclose(proportion_ci95(successes, n), expected, atol=1.01 / n)


@settings(deadline=None)
@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@example((0, 1))
@example((1, 1))
def test_interval_of_a_proportion_holds_it_and_mirrors(counts):
    successes, n = counts
    low, high = proportion_ci95(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    mirrored = proportion_ci95(n - successes, n)
    # The distribution is discrete, and so is its mirror image: one count of play at either end.
    np.testing.assert_allclose((1 - mirrored[1], 1 - mirrored[0]), (low, high), atol=1.01 / n)


@pytest.mark.parametrize("n", [1, 10, 1000])
def test_no_width_where_every_resample_is_the_same(n):
    assert proportion_ci95(0, n) == (0.0, 0.0)
    assert proportion_ci95(n, n) == (1.0, 1.0)


def test_interval_of_a_proportion_covers_the_truth():
    # Exact coverage for p = 0.3 and n = 200: the probability of a count whose interval holds 0.3.
    from scipy.stats import binom

    covered = [low <= 0.3 <= high for low, high in (proportion_ci95(k, 200) for k in range(201))]
    assert 0.93 < binom.pmf(np.arange(201), 200, 0.3)[covered].sum() < 0.97


def test_nothing_to_say_without_samples():
    assert proportion_ci95(0, 0) is None
    assert bootstrap_ci95([]) is None


def test_bootstrap_of_a_mean_is_the_normal_interval_for_many_values():
    values = np.random.default_rng(1).exponential(size=400)
    half_width = 1.96 * values.std() / np.sqrt(len(values))
    low, high = bootstrap_ci95(values)
    assert (low, high) == pytest.approx((values.mean() - half_width, values.mean() + half_width), abs=0.15 * half_width)
    assert isinstance(low, float)
    assert isinstance(high, float)


def test_bootstrap_of_zeros_and_ones_agrees_with_the_exact_interval():
    assert bootstrap_ci95([1.0] * 60 + [0.0] * 140) == pytest.approx(proportion_ci95(60, 200), abs=0.011)


def test_bootstrap_is_determined_by_its_seed():
    values = list(np.random.default_rng(2).random(30))
    assert bootstrap_ci95(values, np.median) == bootstrap_ci95(values, np.median)
    assert bootstrap_ci95(values) != bootstrap_ci95(values, seed=1)


@pytest.mark.parametrize("values", [[0.25], [0.25] * 9])
def test_equal_values_have_an_interval_without_width(values):
    assert bootstrap_ci95(values) == (0.25, 0.25)
    assert bootstrap_ci95(values, np.std) == (0.0, 0.0)
