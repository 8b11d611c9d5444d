import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from art_multimodal.functional.perturbations import (
    INF,
    ascent_step,
    norm_of,
    project,
    projected_gradient_ascent,
    random_start,
    within_budget,
)

NORMS = (INF, 2.0)
GRADIENTS = ("normal", "zero", "huge", "tiny", "sparse", "not finite")

radii = st.one_of(st.sampled_from([0.0, 1 / 255, 8 / 255]), st.floats(1e-12, 3), st.floats(1e-12, 1e-3))
seeds = st.integers(0, 9999)
shapes = st.tuples(st.integers(0, 3), st.just(3), st.integers(1, 7), st.integers(1, 7))
fast = settings(deadline=None, max_examples=80)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def clean_images(shape, seed):
    """Images of which a third of the pixels is black and a third white."""
    return (3 * torch.rand(shape, generator=generator(seed)) - 1).clamp(0, 1)


def gradient_of_kind(kind, shape, draw):
    gradient = torch.randn(shape, generator=draw)
    if kind == "zero":
        return torch.zeros(shape)
    if kind == "huge":
        return (gradient * 1e38).clamp(-3e38, 3e38)
    if kind == "tiny":
        return gradient * 1e-37
    if kind == "sparse":
        return gradient * (torch.rand(shape, generator=draw) < 0.1)
    if kind == "not finite":
        odd = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0])
        return torch.where(
            torch.rand(shape, generator=draw) < 0.5, gradient, odd[torch.randint(4, shape, generator=draw)]
        )
    return gradient


def norms(delta, norm):
    """Exact norm per sample."""
    flat = delta.double().flatten(1)
    return flat.abs().amax(dim=1) if norm == INF else flat.square().sum(dim=1).sqrt()


def assert_within(images, clean, norm, eps):
    """In [0, 1], and in the ball up to one rounding: of eps to float32, and of every pixel."""
    assert images.shape == clean.shape
    assert images.dtype == clean.dtype
    assert not images.requires_grad
    assert ((images >= 0) & (images <= 1)).all()
    pixels = 1 if norm == INF else clean[0].numel() if len(clean) else 1
    slack = pixels**0.5 * 2**-25 + eps * 4 * 2**-23
    assert (norms(images.double() - clean.double(), norm) <= eps + slack).all()


@pytest.mark.parametrize(("name", "norm"), [(2, 2.0), ("2", 2.0), (np.inf, INF), ("inf", INF), (np.float32(2), 2.0)])
def test_norms_are_written_as_art_writes_them(name, norm):
    assert norm_of(name) == norm


@pytest.mark.parametrize("name", [1, 0, -2, "1", float("nan"), "l2"])
def test_other_norms_are_refused(name):
    with pytest.raises(ValueError, match=r"norm|float"):
        norm_of(name)


@pytest.mark.parametrize("norm", NORMS)
@fast
@given(shape=shapes, eps=radii, scale=st.sampled_from([0.0, 1e-6, 0.1, 1.0, 1e4]), seed=seeds)
@example(shape=(0, 3, 4, 4), eps=0.1, scale=1.0, seed=0)
def test_projection_is_the_nearest_point_of_the_ball(norm, shape, eps, scale, seed):
    draw = generator(seed)
    delta = scale * torch.randn(shape, generator=draw)
    projected = project(delta, norm, eps)
    assert (norms(projected, norm) <= eps * (1 + 4 * 2**-23)).all()
    torch.testing.assert_close(project(projected, norm, eps), projected, rtol=4 * 2**-23, atol=0)
    inside = norms(delta, norm) <= eps * (1 - 4 * 2**-23)
    assert torch.equal(projected[inside], delta[inside])
    # A point of a convex set is the nearest one just when no other point of it lies further in the direction of delta.
    others = project(eps * torch.randn((20, *shape), generator=draw).flatten(0, 1), norm, eps).view(20, *shape)
    corners = eps * others.sign() if norm == INF else others
    away = ((delta - projected) * (torch.stack([others, corners]) - projected)).double().flatten(3).sum(dim=(3, 2))
    assert (away <= 1e-5 * (scale + eps) * eps).all()


@pytest.mark.parametrize("norm", NORMS)
@fast
@given(shape=shapes, eps=radii, seed=seeds)
def test_starts_lie_in_the_ball_and_follow_the_seed(norm, shape, eps, seed):
    like = torch.empty(shape)
    delta = random_start(like, norm, eps, generator(seed))
    assert delta.shape == like.shape
    assert (norms(delta, norm) <= eps * (1 + 4 * 2**-23)).all()
    assert torch.equal(delta, random_start(like, norm, eps, generator(seed)))
    torch.testing.assert_close(random_start(like.double(), norm, eps, generator(seed)), delta.double(), rtol=0, atol=0)


def test_starts_leave_the_global_random_state_alone():
    before = torch.get_rng_state()
    random_start(torch.empty(2, 3, 4, 4), 2.0, 1.0, generator())
    assert torch.equal(torch.get_rng_state(), before)


def test_starts_in_the_box_are_uniform():
    delta = random_start(torch.empty(50, 3, 16, 16), INF, 0.5, generator())
    assert kstest(delta.flatten().numpy(), "uniform", args=(-0.5, 1.0)).pvalue > 0.01
    assert abs(np.corrcoef(delta[0].flatten(), delta[1].flatten())[0, 1]) < 0.1


def test_starts_in_the_l2_ball_have_uniform_lengths_and_any_direction():
    delta = random_start(torch.empty(4000, 3, 2, 2), 2.0, 0.5, generator())
    lengths = norms(delta, 2.0)
    assert kstest(lengths.numpy(), "uniform", args=(0.0, 0.5)).pvalue > 0.01
    directions = delta.flatten(1).double() / lengths[:, None]
    assert directions.mean(dim=0).abs().max() < 0.03
    torch.testing.assert_close(directions.T @ directions / 4000, torch.eye(12).double() / 12, atol=0.01, rtol=0)


@fast
@given(shape=shapes, eps_step=st.floats(1e-6, 10), kind=st.sampled_from(GRADIENTS), seed=seeds)
def test_steps_go_uphill_and_have_their_length(shape, eps_step, kind, seed):
    gradient = gradient_of_kind(kind, shape, generator(seed))
    finite = gradient.nan_to_num()
    sign_step = ascent_step(gradient, INF, eps_step)
    assert torch.equal(sign_step, eps_step * finite.sign())
    step = ascent_step(gradient, 2.0, eps_step)
    moves = finite.flatten(1).abs().sum(dim=1) > 0
    expected = torch.where(moves, eps_step, 0.0).double()
    torch.testing.assert_close(norms(step, 2.0), expected, rtol=1e-5, atol=0)
    if kind not in ("huge", "not finite"):
        # No step of that length gains more on a linear objective: the gain is eps_step times the dual norm.
        flat = finite.double().flatten(1)
        gain = (flat * step.double().flatten(1)).sum(dim=1)
        torch.testing.assert_close(gain, eps_step * flat.norm(dim=1), rtol=1e-5, atol=0)


def test_l2_steps_do_not_depend_on_the_scale_of_the_gradient():
    # A confident classifier's gradients are below 1e-10, an overconfident float32's squares above 1e38.
    gradient = torch.randn(2, 3, 5, 5, generator=generator())
    step = ascent_step(gradient, 2.0, 0.1)
    for scale in (1e-30, 1e-20, 1e-12, 1e12, 1e30, 1e37):
        torch.testing.assert_close(ascent_step(gradient * scale, 2.0, 0.1), step)


@pytest.mark.parametrize("norm", NORMS)
@fast
@given(shape=shapes, eps=radii, far=st.sampled_from([0.0, 0.01, 1.0, 1e3]), seed=seeds)
def test_anything_is_brought_into_the_budget(norm, shape, eps, far, seed):
    clean = clean_images(shape, seed)
    images = clean + far * torch.randn(shape, generator=generator(seed + 1))
    inside = within_budget(images, clean, norm, eps)
    assert_within(inside, clean, norm, eps)
    assert torch.equal(within_budget(clean, clean, norm, eps), clean)
    torch.testing.assert_close(within_budget(inside, clean, norm, eps), inside, rtol=0, atol=2**-22)


@pytest.mark.parametrize("norm", NORMS)
def test_the_budget_holds_for_large_images_too(norm):
    # A plain float32 sum over 600,000 pixels is off by 6e-6.
    clean = torch.full((2, 3, 448, 448), 0.5)
    delta = within_budget(clean + torch.randn(clean.shape, generator=generator()), clean, norm, 0.5) - clean
    assert (norms(delta, norm) <= 0.5 * (1 + 5e-7)).all()


@pytest.mark.parametrize("norm", NORMS)
@settings(deadline=None, max_examples=150)
@given(
    shape=shapes,
    eps=radii,
    eps_step=st.one_of(st.floats(1e-6, 2), st.just(1e6)),
    max_iter=st.integers(0, 4),
    start=st.booleans(),
    masked=st.booleans(),
    kind=st.sampled_from(GRADIENTS),
    seed=seeds,
)
def test_ascent_never_leaves_its_budget(norm, shape, eps, eps_step, max_iter, start, masked, kind, seed):
    clean = clean_images(shape, seed)
    before = clean.clone()
    draw = generator(seed)
    mask = (torch.rand(shape[2:], generator=draw) < 0.5).float() if masked else None
    seen = []

    def gradient(images):
        assert_within(images, clean, norm, eps)
        seen.append(images)
        return gradient_of_kind(kind, images.shape, draw)

    result = projected_gradient_ascent(
        gradient, clean, norm, eps, eps_step, max_iter, generator=generator(seed) if start else None, mask=mask
    )
    assert_within(result, clean, norm, eps)
    assert len(seen) == max_iter
    assert torch.equal(clean, before)
    if masked:
        forbidden = (mask == 0).expand_as(clean)
        assert torch.equal(result[forbidden], clean[forbidden])
    if not start and (max_iter == 0 or kind == "zero"):
        assert torch.equal(result, clean)


@fast
@given(shape=shapes, eps=st.floats(1e-4, 1), start=st.booleans(), seed=seeds)
def test_linear_objective_in_the_box_is_solved_exactly(shape, eps, start, seed):
    clean = clean_images(shape, seed)
    slope = (
        gradient_of_kind("sparse", shape, generator(seed))
        if seed % 2
        else torch.randn(shape, generator=generator(seed))
    )
    result = projected_gradient_ascent(
        lambda _: slope, clean, INF, eps, eps / 2, 4, generator=generator(seed) if start else None
    )
    best = (clean + eps * slope.sign()).clamp(0, 1)
    matters = slope != 0
    torch.testing.assert_close(result[matters], best[matters], rtol=0, atol=2**-23)


@fast
@given(shape=shapes, eps=st.floats(1e-3, 0.2), scale=st.sampled_from([1e-30, 1e-12, 1.0, 1e30]), seed=seeds)
@pytest.mark.parametrize("start", [False, True])
def test_linear_objective_in_the_l2_ball_is_solved_exactly(start, shape, eps, scale, seed):
    clean = torch.full(shape, 0.5)
    slope = torch.randn(shape, generator=generator(seed))
    # Every step halves the angle to the optimum.
    result = projected_gradient_ascent(
        lambda _: slope * scale, clean, 2.0, eps, eps, 30, generator=generator(seed) if start else None
    )
    best = clean + eps * torch.nn.functional.normalize(slope.flatten(1), dim=1).view(shape)
    torch.testing.assert_close(result, best, rtol=0, atol=2**-22)


@pytest.mark.parametrize("norm", NORMS)
def test_ascent_finds_a_maximum_inside_the_ball(norm):
    clean, peak = torch.full((2, 3, 4, 4), 0.4), torch.full((2, 3, 4, 4), 0.41)
    result = projected_gradient_ascent(lambda x: peak - x, clean, norm, 1.0, 1e-2, 150, generator=generator())
    assert (norms(result - peak, norm) <= 2e-2).all()


@pytest.mark.parametrize("norm", NORMS)
def test_equal_seeds_give_equal_images_and_others_do_not(norm):
    clean = clean_images((2, 3, 6, 6), 0)

    def attack(seed):
        return projected_gradient_ascent(lambda x: 0.3 - x, clean, norm, 0.1, 0.01, 3, generator=generator(seed))

    assert torch.equal(attack(1), attack(1))
    assert not torch.equal(attack(1), attack(2))


@pytest.mark.parametrize("norm", NORMS)
def test_float64_images_stay_float64(norm):
    clean = clean_images((2, 3, 6, 6), 0).double()
    result = projected_gradient_ascent(torch.ones_like, clean, norm, 0.1, 0.01, 3, generator=generator())
    assert_within(result, clean, norm, 0.1)
    assert (norms(result - clean, norm) <= 0.1 * (1 + 1e-12)).all()


@pytest.mark.parametrize("norm", NORMS)
def test_the_result_carries_no_graph(norm):
    images = clean_images((2, 3, 4, 4), 0).requires_grad_(True)
    result = projected_gradient_ascent(torch.ones_like, images, norm, 0.1, 0.01, 2, generator=generator())
    assert not result.requires_grad


def test_a_sample_whose_gradient_is_not_a_number_stays_where_it_is():
    clean = torch.full((2, 3, 2, 2), 0.5)
    gradient = torch.ones_like(clean)
    gradient[0] = torch.nan
    for norm in NORMS:
        result = projected_gradient_ascent(lambda _: gradient, clean, norm, 0.1, 0.1, 2)
        assert torch.equal(result[0], clean[0])
        assert (result[1] > clean[1]).all()
