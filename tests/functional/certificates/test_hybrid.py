"""Hidden elements beside Gaussian noise: against classifiers whose probabilities are known exactly."""

from fractions import Fraction
from itertools import product
from math import comb, inf

import numpy as np
import pytest
from scipy.stats import norm

from art_multimodal.errors import InputError
from art_multimodal.functional.certificates.bound import holds, holds_majority, majority_bound, margin_bound
from art_multimodal.functional.certificates.confidence import one_sided_lower
from art_multimodal.functional.certificates.hybrid import (
    filter_radius,
    gaussian_distance,
    hybrid_lower,
    hybrid_radius,
    hybrid_upper,
    kernel_lower,
    top_two_radius,
    uniform_lower,
)
from art_multimodal.functional.certificates.overlap import Overlap, bernoulli_overlap, overlap


def test_without_noise_it_is_the_bound_of_edits():
    assert hybrid_lower(0.8, Fraction(2, 3), 0) == pytest.approx(0.8 - 1 / 3, abs=1e-15)
    rng = np.random.default_rng(0)
    for _ in range(200):
        seen = Overlap(Fraction(int(rng.integers(1, 13)), 12), Fraction(int(rng.integers(0, 13)), 12))
        p_y = float(rng.random())
        p_l = float(rng.random()) * (1 - p_y)
        lower, upper = hybrid_lower(p_y, seen, 0), hybrid_upper(p_l, seen, 0)
        assert lower == pytest.approx(majority_bound(p_y, seen), abs=1e-12)
        assert lower - upper == pytest.approx(margin_bound(p_y, p_l, seen), abs=1e-12)
        assert (hybrid_radius(p_y, seen) > 0) == holds_majority(p_y, seen)
        assert (top_two_radius(p_y, p_l, seen) > 0) == holds(p_y, p_l, seen)


def test_without_hidden_elements_it_is_that_of_cohen():
    for p_y, p_l in [(0.6, 0.3), (0.99, 0.01), (0.5001, 0.4), (0.9, 0.0)]:
        assert hybrid_radius(p_y, 1) == pytest.approx(norm.ppf(p_y), abs=1e-12)
        assert hybrid_lower(p_y, 1, 0.3) == pytest.approx(norm.cdf(norm.ppf(p_y) - 0.3), rel=1e-12)
        assert hybrid_upper(p_l, 1, 0.3) == pytest.approx(norm.cdf(norm.ppf(p_l) + 0.3), rel=1e-12)
        if p_l:
            closed = (norm.ppf(p_y) - norm.ppf(p_l)) / 2
            assert top_two_radius(p_y, p_l, 1) == pytest.approx(closed, abs=1e-9)


def test_radii_are_where_bounds_meet_their_limits():
    rng = np.random.default_rng(1)
    for _ in range(200):
        seen = Overlap(float(rng.uniform(0.6, 1)), float(rng.uniform(0.6, 1)))
        p_y = float(rng.uniform(0.8, 1))
        p_l = float(rng.random() * (1 - p_y))
        radius, rival = hybrid_radius(p_y, seen), top_two_radius(p_y, p_l, seen)
        assert rival >= radius - 1e-9
        assert top_two_radius(p_y, 1 - p_y, seen) == pytest.approx(radius, abs=1e-9)
        if radius:
            assert hybrid_lower(p_y, seen, radius) == pytest.approx(0.5, abs=1e-10)
        if rival:
            assert hybrid_lower(p_y, seen, rival) - hybrid_upper(p_l, seen, rival) == pytest.approx(0, abs=1e-10)
        threshold = float(rng.uniform(0, 0.7))
        if limit := filter_radius(p_y, seen, threshold):
            assert hybrid_lower(p_y, seen, limit) == pytest.approx(threshold, abs=1e-10)
        else:
            assert hybrid_lower(p_y, seen, 0) <= threshold + 1e-12


def test_radii_without_an_end_and_without_a_beginning():
    assert hybrid_radius(1, Fraction(3, 4)) == top_two_radius(1, 0, Fraction(3, 4)) == inf
    assert filter_radius(0.9, 1, 0) == inf
    # At S' = 1/2 and at an exact tie nothing holds.
    assert hybrid_radius(1, Fraction(1, 2)) == top_two_radius(1, 0, Fraction(1, 2)) == 0
    assert hybrid_radius(Fraction(5, 6), Fraction(2, 3)) == 0
    assert hybrid_radius(Fraction(5, 6) + Fraction(1, 10**6), Fraction(2, 3)) > 0
    assert hybrid_lower(0.9, 0, 0.5) == 0 and hybrid_upper(0.1, 0, 0.5) == 1


def test_curves_come_from_arrays():
    rho = np.linspace(0, 2, 5)
    curve = hybrid_lower(0.9, Overlap(0.9, 0.8), rho)
    assert curve.shape == (5,) and (np.diff(curve) < 0).all()
    assert curve[2] == hybrid_lower(0.9, Overlap(0.9, 0.8), 1.0)
    assert hybrid_lower(np.array([0.9, 0.95]), 0.9, 0.5).shape == (2,)
    assert isinstance(hybrid_lower(0.9, 0.9, 0.5), float)
    assert gaussian_distance([0.3, 0.4], [0.5, 1.0]) == pytest.approx(np.hypot(0.6, 0.4))
    assert gaussian_distance(0.5, 0.25) == 2


def test_random_classifiers_never_cross_the_bounds():
    """Of n elements k are kept, and one number has noise. A classifier has intervals of that number for each view."""
    rng = np.random.default_rng(2)
    crossed = 0
    for n, k, touched, added in [(3, 1, 1, 0), (4, 2, 1, 0), (3, 1, 0, 1), (4, 1, 1, 2), (5, 1, 0, 0)]:
        left, seen = comb(n - touched, k), overlap(n, k, modified=touched, added=added)
        before, after = comb(n, k), comb(n + added, k)
        worlds, cuts = 800, 3
        ends = np.sort(rng.normal(0, 1.5, (worlds, before + after - left, cuts)), axis=2)
        labels = rng.choice(3, p=[0.6, 0.3, 0.1], size=(worlds, before + after - left, cuts + 1))
        shift = rng.uniform(0, 1.5, worlds)

        def probability(label, views, moved, ends=ends, labels=labels, worlds=worlds):
            below = norm.cdf(ends[:, views] - moved[:, None, None])
            mass = np.diff(np.pad(below, ((0, 0), (0, 0), (1, 1)), constant_values=((0, 0), (0, 0), (0, 1))), axis=2)
            return np.where(labels[:, views] == label, mass, 0).sum(axis=2).mean(axis=1)

        # The first views are those without touched elements: they are common to both.
        clean, attacked = np.arange(before), np.r_[:left, before : before + after - left]
        for label in range(3):
            p, moved = probability(label, clean, np.zeros(worlds)), probability(label, attacked, shift)
            lower = np.array([hybrid_lower(a, seen, b) for a, b in zip(p, shift, strict=True)])
            upper = np.array([hybrid_upper(a, seen, b) for a, b in zip(p, shift, strict=True)])
            assert (lower <= moved + 1e-12).all() and (moved <= upper + 1e-12).all()
            crossed += worlds
    assert crossed == 12_000


@pytest.mark.parametrize("rho", [0.0, 0.4, 1.3])
def test_half_spaces_reach_both_bounds(rho):
    # Views with touched elements said y and say l; untouched ones say y below a cut and l above another.
    seen = overlap(5, 2, modified=1, added=1)
    clean, attacked = float(seen.clean), float(seen.attacked)
    for cut, other in [(0.3, 0.3), (1.0, 1.4), (-0.2, 2.0)]:
        p_y, p_l = 1 - clean + clean * norm.cdf(cut), clean * norm.sf(other)
        after_y, after_l = attacked * norm.cdf(cut - rho), 1 - attacked + attacked * norm.sf(other - rho)
        assert hybrid_lower(p_y, seen, rho) == pytest.approx(after_y, rel=1e-10)
        assert hybrid_upper(p_l, seen, rho) == pytest.approx(after_l, rel=1e-10)


def test_kernels_of_masks_have_the_closed_form():
    rng = np.random.default_rng(3)
    for _ in range(100):
        s, t, p, rho = rng.uniform(0.1, 1), rng.uniform(0.1, 1), rng.random(), rng.choice([0, 0.01, 0.5, 2])
        found = kernel_lower(p, [s, 1 - s, 0], [t, 0, 1 - t], rho)
        closed = hybrid_lower(p, Overlap(s, t), rho)
        assert found == pytest.approx(closed, rel=1e-7, abs=1e-11)
        assert found <= closed + 1e-13


@pytest.mark.parametrize("rho", [0.0, 0.5])
@pytest.mark.parametrize(("vocabulary", "distance"), [(2, 3), (3, 2), (4, 2)])
def test_kernels_of_tokens_against_every_token(rho, vocabulary, distance):
    """Draws are grouped by what they show; here every sequence of tokens is a draw of its own."""
    keep = 0.6
    views = list(product(range(vocabulary), repeat=distance))
    change = (1 - keep) / (vocabulary - 1)
    clean = [np.prod([keep if token == 0 else change for token in view]) for view in views]
    attacked = [np.prod([keep if token == 1 else change for token in view]) for view in views]
    assert sum(clean) == pytest.approx(1) and sum(attacked) == pytest.approx(1)
    for p in (0.3, 0.7, 0.95, 0.999, 1.0):
        one_by_one = kernel_lower(p, clean, attacked, rho)
        assert uniform_lower(p, keep, vocabulary, distance, rho) == pytest.approx(one_by_one, rel=1e-9)
        assert uniform_lower(p, keep, vocabulary, 0, rho) == pytest.approx(hybrid_lower(p, 1, rho), abs=1e-9)
        # No classifier of these draws gets below, where there is no noise: draws are taken by their ratio.
        if rho == 0:
            rng = np.random.default_rng(4)
            picks = rng.random((2_000, len(views))) < rng.random((2_000, 1))
            enough = picks @ np.array(clean) >= p
            assert (picks @ np.array(attacked) >= one_by_one - 1e-12)[enough].all()


def test_random_tokens_of_a_real_vocabulary_are_masks():
    table = {1: (0.24786, 0.24783, 5), 3: (0.014260, 0.014248, 6), 5: (2.93e-4, 2.91e-4, 6)}
    for distance, (random, masked, digits) in table.items():
        found = uniform_lower(0.9995, 0.75, 30_000, distance, 0.5)
        hidden = hybrid_lower(0.9995, bernoulli_overlap(0.75, modified=distance), 0.5)
        assert (round(found, digits), round(hidden, digits)) == (random, masked)
        assert hidden < found < 1.006 * hidden


def test_no_model_is_certified_beyond_these_distances():
    # 10,000 votes, all of them unsafe, alpha = .01: what is left of the score is more than nothing up to here.
    p = one_sided_lower(10_000, 10_000, 0.01)
    for hidden, most in [(0.1, 3), (0.25, 5), (0.5, 11)]:
        left = [hybrid_lower(p, bernoulli_overlap(1 - hidden, modified=d), 0) > 0 for d in range(20)]
        assert left == [d <= most for d in range(20)]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: hybrid_lower(1.5, 1, 0), "Probabilities must lie from 0 to 1, not at 1.5"),
        (lambda: hybrid_lower(0.5, 1, -1), "rho must be a finite number of 0 or more, not -1"),
        (lambda: hybrid_lower(0.5, 1, inf), "rho must be a finite number"),
        (lambda: hybrid_lower(0.5, 1.5, 0), "Overlap.clean must lie from 0 to 1"),
        (lambda: hybrid_radius(1.1, 1), "p_y must lie from 0 to 1"),
        (lambda: filter_radius(0.9, 1, -0.1), "threshold must lie from 0 to 1"),
        (lambda: gaussian_distance(1, 0), "sigma must be above 0, not 0.0"),
        (lambda: gaussian_distance(-1, 1), "eps must be 0 or more, not -1"),
        (lambda: kernel_lower(0.5, [0.5, 0.5], [1.0], 0), "a probability before and after each"),
        (lambda: uniform_lower(0.5, 1.0, 10, 1, 0), "keep must lie between 0 and 1, not at 1"),
        (lambda: uniform_lower(0.5, 0.5, 1, 1, 0), "vocabulary must be at least 2"),
        (lambda: uniform_lower(0.5, 0.5, 9, -1, 0), "distance must be at least 0"),
    ],
)
def test_nonsense_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()
