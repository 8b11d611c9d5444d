"""How often bounds are above the truth: computed where outcomes can be listed, simulated elsewhere."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from scipy.stats import beta, binom, binomtest, multinomial

from art_multimodal.errors import InputError
from art_multimodal.functional.certificates.bound import holds, holds_gap, holds_majority
from art_multimodal.functional.certificates.confidence import (
    betting_lower,
    holm,
    one_sided_lower,
    one_sided_upper,
    paired_lower,
    pixel_p_value,
    published_bounds,
    top_two_test,
)
from art_multimodal.functional.certificates.overlap import Overlap, overlap

ALPHA = 0.001


@pytest.mark.parametrize("n", [1, 7, 40])
def test_one_sided_bounds_cover_every_truth(n):
    counts = np.arange(n + 1)
    for alpha in (0.001, 0.2):
        lower = np.array([one_sided_lower(int(k), n, alpha) for k in counts])
        upper = np.array([one_sided_upper(int(k), n, alpha) for k in counts])
        np.testing.assert_allclose(upper, 1 - lower[::-1], atol=1e-12)
        assert (lower <= counts / n).all()
        # Just below an end it is above the truth most often.
        truths = np.concatenate([np.linspace(0, 1, 51), lower[1:] - 1e-12])[:, None]
        wrong = (binom.pmf(counts, n, truths) * (lower > truths)).sum(axis=1)
        assert wrong.max() <= alpha * (1 + 1e-9)
        assert wrong.max() >= 0.999 * alpha


def test_one_sided_bounds_are_those_of_scipy():
    for count, n in [(0, 10), (3, 10), (10, 10), (9_321, 10_000)]:
        interval = binomtest(count, n).proportion_ci(1 - 2 * ALPHA, method="exact")
        assert one_sided_lower(count, n, ALPHA) == pytest.approx(interval.low, rel=1e-9)
        assert one_sided_upper(count, n, ALPHA) == pytest.approx(interval.high, rel=1e-9)


@pytest.mark.parametrize(
    ("n", "one_sided", "published"), [(100, 0.4333, 0.4077), (1_000, 0.4931, 0.4904), (10_000, 0.4993, 0.4990)]
)
def test_limits_where_all_votes_agree(n, one_sided, published):
    assert one_sided_lower(n, n, ALPHA) - 0.5 == pytest.approx(ALPHA ** (1 / n) - 0.5, rel=1e-12)
    assert round(one_sided_lower(n, n, ALPHA) - 0.5, 4) == one_sided
    label, p_y, p_l = published_bounds([0, 0, n, 0, 0, 0, 0, 0], ALPHA)
    assert label == 2 and round((p_y - p_l) / 2, 4) == published


def last(certified, r_1, r_2):
    """The last multiple of (r_1, r_2) that is certified."""
    steps = next(i for i in range(1, 200) if not certified(i * r_1, i * r_2)) - 1
    return steps * r_1, steps * r_2


def ravdess(r_1, r_2):
    return overlap(108, 5, modified=r_1) * overlap(79_380, 1_000, modified=r_2)


def kitti(r_1, r_2):
    return overlap(375 * 1242, 8_988, modified=r_1) * overlap(375 * 1242, 996, modified=r_2)


@pytest.mark.parametrize(
    ("n", "published", "one_sided"),
    [
        (100, [(8, 8), (6, 18), (8, 4)], [(9, 9), (6, 18), (10, 5)]),
        (1_000, [(10, 10), (7, 21), (10, 5)], [(10, 10), (7, 21), (12, 6)]),
        (10_000, [(11, 11), (7, 21), (12, 6)], [(11, 11), (7, 21), (12, 6)]),
    ],
)
def test_published_curves_end_where_votes_do(n, published, one_sided):
    """RAVDESS: 8 classes, and all votes agree. With 100 votes the published curves drop to 0 behind these budgets."""
    _, p_y, p_l = published_bounds([n] + [0] * 7, ALPHA)
    ways = [(1, 1), (1, 3), (2, 1)]
    assert [last(lambda *r: holds(p_y, p_l, ravdess(*r)), *way) for way in ways] == published
    p_y = one_sided_lower(n, n, ALPHA)
    assert [last(lambda *r: holds_majority(p_y, ravdess(*r)), *way) for way in ways] == one_sided


def test_what_known_probabilities_would_certify():
    exact = [last(lambda *r: holds(1, 0, ravdess(*r)), *way) for way in [(1, 1), (1, 3), (2, 1)]]
    assert exact == [(11, 11), (7, 21), (12, 6)]
    assert last(lambda *r: holds(1, 0, kitti(*r)), 1, 2) == (29, 58)


@pytest.mark.parametrize(("n", "limit"), [(100, (16, 32)), (1_000, (27, 54)), (10_000, (28, 56))])
def test_published_pixels_end_where_votes_do(n, limit):
    """KITTI: 465,750 pixels at once, so the most certain one has alpha / 465,750."""
    pixels = 375 * 1242
    assert last(lambda *r: pixel_p_value(n, n, kitti(*r)) <= ALPHA / pixels, 1, 2) == limit


def test_mmcert_beside_randomised_ablation():
    def joint(r_1, r_2):
        return overlap(108 + 79_380, 3_000, modified=r_1 + r_2)

    both = [[round(float(s(*r).clean), 3) for s in (ravdess, joint)] for r in [(1, 1), (8, 8), (4, 2), (2, 20)]]
    assert both == [[0.942, 0.926], [0.610, 0.540], [0.804, 0.794], [0.706, 0.429]]


def test_published_bounds_hold_for_all_classes_at_once():
    counts = [12, 70, 18]
    label, p_y, p_l = published_bounds(counts, 0.03)
    # statsmodels' proportion_confint(method="beta") at alpha / 3, written out.
    assert (label, p_y) == (1, pytest.approx(beta.ppf(0.005, 70, 31)))
    assert p_l == pytest.approx(beta.ppf(1 - 0.005, 19, 82))
    assert published_bounds([3, 3], 0.1).label == 0
    # Votes for no class count, too.
    assert published_bounds(counts, 0.03, n=120).p_y < p_y


@pytest.mark.parametrize(("n", "alpha"), [(1, 0.1), (6, 0.05), (14, 0.01), (14, 0.3)])
def test_paired_bounds_cover_every_truth(n, alpha):
    plus, minus = (counts.ravel() for counts in np.indices((n + 1, n + 1)))
    plus, minus = plus[plus + minus <= n], minus[plus + minus <= n]
    lower = np.array([paired_lower(int(p), int(m), n, alpha) for p, m in zip(plus, minus, strict=True)])
    assert (lower <= (plus - minus) / n).all()
    counts = np.stack([plus, minus, n - plus - minus], axis=1)
    truths = [(p, m) for p in np.linspace(0, 1, 26) for m in np.linspace(0, 1, 26) if p + m <= 1]
    # Also where no third value is possible, just below each end.
    truths += [((1 + low) / 2 - 1e-9, (1 - low) / 2 + 1e-9) for low in lower if low > -1]
    worst = 0.0
    for p, m in truths:
        wrong = multinomial.pmf(counts, n, [p, m, max(0.0, 1 - p - m)])[lower > p - m].sum()
        assert wrong <= alpha * (1 + 1e-9)
        worst = max(worst, wrong)
    assert worst >= 0.7 * alpha


def test_paired_bounds_are_tighter_than_two_bounds():
    for plus, minus, n in [(60, 10, 100), (600, 100, 1_000), (900, 50, 1_000), (400, 100, 1_000), (500, 499, 1_000)]:
        paired = paired_lower(plus, minus, n, ALPHA)
        apart = one_sided_lower(plus, n, ALPHA / 2) - one_sided_upper(minus, n, ALPHA / 2)
        assert max(apart, 2 * one_sided_lower(plus, n, ALPHA) - 1) < paired < (plus - minus) / n
    # All votes agree: no bound exceeds that of the majority form, which takes all others to be for l.
    best = 2 * ALPHA ** (1 / 100) - 1
    assert best - 0.003 < paired_lower(100, 0, 100, ALPHA) <= best
    assert paired_lower(0, 100, 100, ALPHA) == -1
    assert paired_lower(3, 7, 10, ALPHA) >= -1
    # A majority is not needed: 45 % for y, 15 % for l.
    assert holds_gap(paired_lower(450, 150, 1_000, ALPHA), Overlap(Fraction(9, 10), Fraction(9, 10)))
    assert not holds_majority(one_sided_lower(450, 1_000, ALPHA), Overlap(1, 1))


@pytest.mark.parametrize("name", ["coin", "rare", "beta", "two"])
@pytest.mark.parametrize("planned", [None, 60])
def test_betting_covers_at_every_stopping_time(name, planned):
    rng = np.random.default_rng([ord(name[0]), planned or 0])
    runs, n, alpha = 500, 100, 0.1
    values, mean = {
        "coin": (rng.random((runs, n)) < 0.6, 0.6),
        "rare": (rng.random((runs, n)) < 0.98, 0.98),
        "beta": (rng.beta(4, 1, (runs, n)), 0.8),
        "two": (np.where(rng.random((runs, n)) < 0.5, 0.2, 0.4), 0.3),
    }[name]
    # Above the truth at the end is above it at some time before, as nothing that was left out comes back.
    wrong = sum(betting_lower(row, alpha, planned) > mean for row in values)
    assert wrong <= binom.ppf(0.9999, runs, alpha)


def test_betting_on_scores_beats_betting_on_coins():
    # Scores with mean .8 and spread .15.
    rng = np.random.default_rng(0)
    odds = 0.8 * 0.2 / 0.15**2 - 1
    for n, coin, least in [(100, 0.66, 0.70), (1_000, 0.758, 0.775)]:
        bounds = [betting_lower(rng.beta(0.8 * odds, 0.2 * odds, n), ALPHA) for _ in range(20)]
        assert np.mean(bounds) > least > coin > one_sided_lower(int(0.8 * n), n, ALPHA) - 0.005
    row = rng.beta(4, 1, 60)
    so_far = [betting_lower(row[:i], 0.05) for i in range(61)]
    assert so_far[0] == 0 and (np.diff(so_far) >= 0).all() and so_far[-1] < row.mean()


def test_betting_on_all_throws_of_a_coin():
    n, p, alpha = 8, 0.5, 0.3
    throws = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    wrong = np.array([betting_lower(row, alpha) > p for row in throws])
    assert 0 < wrong.mean() <= alpha


def published_step_down(p, alpha):
    """As the published code counts: passes behind the first failure, and one rank more."""
    order = np.argsort(p, kind="stable")
    count = int((p[order] <= alpha / (len(p) - np.arange(len(p)) + 1)).sum())
    found = np.zeros(len(p), dtype=bool)
    found[order[: count + 1]] = True
    return found


def test_holm_keeps_the_error_where_the_published_rule_does_not():
    rng = np.random.default_rng(0)
    n, pixels, alpha, runs, left = 100, 300, 0.05, 400, Overlap(0.9, 0.9)
    # Every pixel at the limit, so none may be certified.
    p = pixel_p_value(rng.binomial(n, 0.6, size=(runs, pixels)), n, left)
    ours = np.mean([holm(row, alpha).any() for row in p])
    theirs = np.mean([published_step_down(row, alpha).any() for row in p])
    assert ours <= binom.ppf(0.9999, runs, alpha) / runs
    assert theirs == 1


def test_holm_step_by_step():
    p = np.array([[0.01, 0.04], [0.02, 0.011]])
    # .01 <= .05 / 4, .011 <= .05 / 3, .02 <= .05 / 2, .04 <= .05.
    assert holm(p, 0.05).all()
    # .02 > .03 / 2 stops; .03 would pass again alone.
    assert holm([0.001, 0.02, 0.03], 0.03).tolist() == [True, False, False]
    assert holm([], 0.05).shape == (0,)
    assert holm(np.zeros(3), 0.05).all() and not holm(np.ones(3), 0.05).any()
    rng = np.random.default_rng(1)
    for _ in range(200):
        p = rng.random(6) ** 4
        expected = np.zeros(6, dtype=bool)
        for i, at in enumerate(np.argsort(p)):
            if p[at] > 0.05 / (6 - i):
                break
            expected[at] = True
        assert (holm(p, 0.05) == expected).all()


def test_p_values_of_pixels():
    assert f"{binom.sf(99, 100, 0.8):.2e}" == f"{pixel_p_value(100, 100, Overlap(0.7, 0.7)):.2e}" == "2.04e-10"
    counts = np.array([[0, 1, 50], [80, 99, 100]])
    np.testing.assert_allclose(
        pixel_p_value(counts, 100, Overlap(0.9, 0.9)), binom.sf(counts - 1, 100, 0.6), rtol=1e-10
    )
    # Edits that change the length have another limit; and where it is 1, votes say nothing.
    np.testing.assert_allclose(
        pixel_p_value(counts, 100, Overlap(0.9, 0.75)), binom.sf(counts - 1, 100, 0.7), rtol=1e-10
    )
    assert (pixel_p_value(counts, 100, Overlap(0.5, 0.5)) == 1).all()
    assert (pixel_p_value(counts, 100, Overlap(0, 0)) == 1).all()
    # At the level alpha exactly where the one-sided bound certifies.
    left = ravdess(5, 5)
    for count in range(80, 101):
        assert (pixel_p_value(count, 100, left) <= ALPHA) == holds_majority(one_sided_lower(count, 100, ALPHA), left)


def test_predictions_abstain():
    assert top_two_test([70, 20, 10], ALPHA) == 0
    assert top_two_test([20, 10, 70], ALPHA) == 2
    assert top_two_test([50, 50], 0.999) == -1
    assert top_two_test([0, 0], 0.5) == -1
    # The probability of a split as uneven, by hand.
    for most in range(6, 11):
        p = 2 * sum(comb(10, i) for i in range(most, 11)) / 2**10
        assert (top_two_test([10 - most, most], 0.05) == 1) == (p <= 0.05)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: one_sided_lower(5, 4, 0.1), "count must be at most 4, not 5"),
        (lambda: one_sided_lower(3.5, 4, 0.1), "count must be a whole number, not 3.5"),
        (lambda: one_sided_upper(1, 4, 0), "alpha must lie between 0 and 1"),
        (lambda: paired_lower(3, 2, 4, 0.1), r"plus \+ minus must be at most 4, not 5"),
        (lambda: paired_lower(-1, 2, 4, 0.1), "plus must be at least 0"),
        (lambda: published_bounds([5], 0.1), "two classes or more"),
        (lambda: published_bounds([5, 5], 0.1, n=9), "n must be at least 10, not 9"),
        (lambda: top_two_test([0.5, 0.5], 0.1), "Votes must be whole numbers"),
        (lambda: betting_lower([0.5, 1.5], 0.1), "numbers from 0 to 1"),
        (lambda: betting_lower([0.5, float("nan")], 0.1), "numbers from 0 to 1"),
        (lambda: betting_lower([0.5], 0.1, planned=0), "planned must be at least 1"),
        (lambda: holm([0.5, float("nan")], 0.1), "p-values must be numbers from 0 to 1"),
        (lambda: pixel_p_value([101], 100, Overlap(1, 1)), "whole numbers from 0 to 100"),
        (lambda: pixel_p_value([1.0], 100, Overlap(1, 1)), "whole numbers from 0 to 100"),
    ],
)
def test_nonsense_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()
