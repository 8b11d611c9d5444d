"""Averaged embeddings of encoders on a line, whose means over noise are sums of normal probabilities."""

import numpy as np
import pytest
from scipy.stats import norm

from art_multimodal.errors import InputError
from art_multimodal.functional.certificates.confidence import betting_lower
from art_multimodal.functional.certificates.embeddings import class_directions, class_radius, cosine_lower

SIGMA = 0.5


def encoders(count, cuts, width, rng):
    """Unit vectors on intervals of a line: ends ``[count, cuts]``, vectors ``[count, cuts + 1, width]``."""
    vectors = rng.normal(size=(count, cuts + 1, width)) + rng.normal(size=(count, 1, width)) * 2
    return np.sort(rng.normal(0, 1, (count, cuts)), axis=1), vectors / np.linalg.norm(vectors, axis=2, keepdims=True)


def masses(ends, x):
    """Probabilities of the intervals around ``x``, ``[count, cuts + 1]``."""
    below = norm.cdf((ends - np.asarray(x)[..., None]) / SIGMA)
    return np.diff(np.pad(below, ((0, 0), (1, 1)), constant_values=((0, 0), (0, 1))), axis=1)


def test_cosines_of_random_encoders_are_above_the_bound():
    rng = np.random.default_rng(0)
    ends, vectors = encoders(4_000, 4, 3, rng)
    eps = rng.uniform(0, 0.8, 4_000)
    clean, attacked = ((masses(ends, x)[..., None] * vectors).sum(axis=1) for x in (np.zeros(4_000), eps))
    lengths = np.linalg.norm(clean, axis=1)
    cosine = (clean * attacked).sum(axis=1) / lengths / np.linalg.norm(attacked, axis=1)
    lower = np.array([cosine_lower(length, e, SIGMA) for length, e in zip(lengths, eps, strict=True)])
    assert (lower <= cosine + 1e-12).all()
    assert (lower >= 0).mean() > 0.3 and ((lower == -1) | (lower >= 0)).all()


def test_products_are_reached_by_half_spaces():
    # +u below the cut, -u above it.
    for cut, eps in [(0.4, 0.1), (1.2, 0.7), (0.2, 0.2)]:
        clean, attacked = (2 * norm.cdf((cut - x) / SIGMA) - 1 for x in (0, eps))
        assert attacked >= 0
        assert cosine_lower(clean, eps, SIGMA) == pytest.approx(attacked, abs=1e-12)
        assert class_radius([clean], SIGMA) == pytest.approx(cut, abs=1e-12)


def test_a_class_stays_within_its_radius():
    rng = np.random.default_rng(1)
    ends, vectors = encoders(2_000, 4, 3, rng)
    prompts = rng.normal(size=(4, 3))
    away = class_directions(prompts / np.linalg.norm(prompts, axis=1, keepdims=True), 2)
    found = 0
    for clip in (1.0, 0.3, 0.05):
        scores = np.clip(vectors @ away.T, -clip, clip)

        def means(x, scores=scores):
            return (masses(ends, x)[..., None] * scores).sum(axis=1)

        radius = class_radius(means(np.zeros(2_000)), SIGMA, clip)
        inside = (radius > 0) & (radius < np.inf)
        found += inside.sum()
        for share in (-0.999, -0.5, 0.5, 0.999):
            assert (means(np.where(inside, radius, 0) * share)[inside] > 0).all()
    assert found > 500


def test_clipping_towards_zero_is_the_vote_of_labels():
    # Three draws of ten are against class y.
    scores = np.array([0.5] * 7 + [-0.9] * 3)
    for clip in (0.4, 0.1, 1e-6):
        assert class_radius([np.clip(scores, -clip, clip).mean()], SIGMA, clip) == pytest.approx(SIGMA * norm.ppf(0.7))
    assert class_radius([scores.mean()], SIGMA) < SIGMA * norm.ppf(0.7)


def test_estimates_fit_the_bets():
    rng = np.random.default_rng(2)
    scores = np.clip(rng.normal(0.2, 0.1, 400), -0.5, 0.5)
    lower = 2 * 0.5 * betting_lower((scores + 0.5) / (2 * 0.5), 0.001) - 0.5
    assert 0 < class_radius([lower], SIGMA, 0.5) < class_radius([scores.mean()], SIGMA, 0.5)


def test_shapes_and_ends():
    assert class_radius(np.array([[0.4, 0.2], [0.3, -0.1], [1, 1]]), SIGMA).tolist() == [
        pytest.approx(SIGMA * norm.ppf(0.6)),
        0,
        np.inf,
    ]
    assert cosine_lower(np.array([0.9, 0.2, 1.0]), 0.25, SIGMA).tolist() == [
        pytest.approx(2 * norm.cdf(norm.ppf(0.95) - 0.5) - 1),
        -1,
        1,
    ]
    assert cosine_lower(0.4, 0, SIGMA) == pytest.approx(0.4)
    prompts = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    np.testing.assert_allclose(class_directions(prompts, 0), [[0.5**0.5, -(0.5**0.5)], [1, 0]])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: cosine_lower(1.1, 0.1, 0.5), "lengths from 0 to 1, not 1.1"),
        (lambda: cosine_lower(0.5, 0.1, 0), "sigma must be above 0"),
        (lambda: cosine_lower(0.5, -0.1, 0.5), "eps must be 0 or more"),
        (lambda: class_radius([0.5], 0.5, clip=0.25), "from -0.25 to 0.25"),
        (lambda: class_radius([], 0.5), "against other classes"),
        (lambda: class_radius([0.5], 0.5, clip=2), "clip must be above 0 and at most 1, not 2"),
        (lambda: class_directions(np.eye(2), 2), "no class 2"),
        (lambda: class_directions(np.ones((2, 3)), 0), "Another class has the prompt of class 0"),
    ],
)
def test_nonsense_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()
