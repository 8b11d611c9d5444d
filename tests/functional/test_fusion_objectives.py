"""What the training of fusions minimises, against closed forms and hand-made batches."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from art_multimodal.functional.fusion_objectives import (
    protected,
    quality_ranking,
    spread,
    unimodal_contrast,
    worst_unimodal_margin,
)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- the ranking of qualities


@pytest.mark.parametrize(
    ("weights", "losses", "expected"),
    [
        # Each pair of neighbours in a ring: the one with the larger loss has the smaller weight, by the difference.
        ((0.2, 0.8, 0.5), (0.8, 0.2, 0.5), 0.0),
        # Turned round: the gaps of weights and of losses add up, 1.2, 0.6 and 0.6.
        ((0.8, 0.2, 0.5), (0.8, 0.2, 0.5), (1.2 + 0.6 + 0.6) / 3),
        # Equal losses ask for nothing.
        ((0.1, 0.9, 0.4), (0.5, 0.5, 0.5), 0.0),
        # The right order by too little: 0.6 - 0.2, 0.3 - 0.1, 0.3 - 0.1.
        ((0.4, 0.6, 0.5), (0.8, 0.2, 0.5), (0.4 + 0.2 + 0.2) / 3),
    ],
)
def test_weights_are_ranked_against_losses(weights: tuple, losses: tuple, expected: float) -> None:
    found = quality_ranking(torch.tensor(weights, dtype=torch.float64), torch.tensor(losses, dtype=torch.float64))
    assert found.item() == pytest.approx(expected)


def test_a_single_sample_has_no_rank() -> None:
    given = torch.tensor([0.3], requires_grad=True)
    assert quality_ranking(given, torch.tensor([0.9])).item() == 0


# --- the contrast


def cosines(one: Tensor, other: Tensor) -> list[float]:
    return [float(a @ b / (a.norm() * b.norm())) for a, b in zip(one, other, strict=True)]


def test_a_batch_of_four_by_hand() -> None:
    features = {"a": drawn(4, 5), "b": drawn(4, 5, seed=1)}
    right = {"a": torch.tensor([True, True, False, False]), "b": torch.tensor([True, False, True, False])}
    said = [math.exp(c / 0.5) for c in cosines(features["a"], features["b"])]
    expected = -math.log(sum(said[:3]) / sum(said))
    assert unimodal_contrast(features, right, 0.5).item() == pytest.approx(expected, abs=1e-9)
    # In any order.
    order = torch.tensor([2, 0, 3, 1])
    turned = unimodal_contrast({n: f[order] for n, f in features.items()}, {n: r[order] for n, r in right.items()}, 0.5)
    assert turned.item() == pytest.approx(expected, abs=1e-9)


def test_who_is_right_stays_and_the_other_one_comes() -> None:
    a, b = drawn(4, 5).requires_grad_(), drawn(4, 5, seed=1).requires_grad_()
    right = {"a": torch.tensor([True, True, False, False]), "b": torch.tensor([True, False, True, False])}
    unimodal_contrast({"a": a, "b": b}, right).backward()
    assert a.grad is not None and b.grad is not None
    # Sample 1 is a's, sample 2 is b's; sample 3 is nobody's, and pushed apart.
    assert not a.grad[1].any() and b.grad[1].any()
    assert not b.grad[2].any() and a.grad[2].any()
    before = cosines(a.detach(), b.detach())[3]
    after = cosines((a - 1e-3 * a.grad).detach(), (b - 1e-3 * b.grad).detach())[3]
    assert after < before


def test_it_is_silent_where_all_is_right_and_where_nothing_is() -> None:
    a, b = drawn(6, 3).requires_grad_(), drawn(6, 3, seed=1).requires_grad_()
    for answer in (True, False):
        loss = unimodal_contrast({"a": a, "b": b}, dict.fromkeys("ab", torch.full((6,), answer)))
        assert loss.item() == pytest.approx(0, abs=1e-12)
        for gradient in torch.autograd.grad(loss, (a, b)):
            assert gradient.abs().max() < 1e-12


def test_three_modalities_are_three_pairs() -> None:
    features = {name: drawn(5, 4, seed=seed) for seed, name in enumerate("abc")}
    right = {name: drawn(5, seed=9 + seed) > 0 for seed, name in enumerate("abc")}
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    each = [unimodal_contrast({n: features[n] for n in pair}, {n: right[n] for n in pair}) for pair in pairs]
    torch.testing.assert_close(unimodal_contrast(features, right), sum(each))


# --- margins


def test_the_worst_margin_is_a_smooth_maximum() -> None:
    scores = {"a": drawn(4, 3), "b": drawn(4, 3, seed=1)}
    targets = torch.tensor([0, 2, 1, 1])
    expected = 0.0
    for row, y in enumerate(targets.tolist()):
        gaps = [float(of[row, k] - of[row, y]) for of in scores.values() for k in range(3) if k != y]
        expected += math.log(sum(map(math.exp, gaps))) / 4
        assert max(gaps) <= math.log(sum(map(math.exp, gaps))) <= max(gaps) + math.log(len(gaps))
    assert worst_unimodal_margin(scores, targets).item() == pytest.approx(expected)
    # However large margins are, there is a gradient, and nothing overflows.
    sure = {"a": (1e4 * torch.eye(3, dtype=torch.float64)).requires_grad_()}
    loss = worst_unimodal_margin(sure, torch.arange(3))
    loss.backward()
    assert loss.item() == pytest.approx(-1e4 + math.log(2)) and sure["a"].grad.abs().sum() > 0


# --- spread


def test_what_has_collapsed_and_what_has_not() -> None:
    assert spread(torch.zeros(8, 3, dtype=torch.float64)).item() == pytest.approx(5 * (1 - 0.01))
    # Orthogonal columns of variance above one, which add up to nothing.
    white = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    assert spread(2 * white).item() == 0
    # A coordinate that repeats another one: covariance 16/3 twice, over two coordinates.
    twice = 2 * white[:, :1].expand(4, 2)
    assert spread(twice).item() == pytest.approx(2 * (16 / 3) ** 2 / 2)


# --- the projection


def test_the_recursion_is_its_closed_form() -> None:
    width, alpha, features = 6, 0.3, drawn(4, 6)
    projection = torch.eye(width, dtype=torch.float64)
    for feature in features:
        projection = protected(projection, feature, alpha)
    closed = alpha * torch.linalg.inv(alpha * torch.eye(width, dtype=torch.float64) + features.T @ features)
    torch.testing.assert_close(projection, closed, atol=1e-10, rtol=0)
    assert torch.linalg.eigvalsh(projection).min() > 0


def test_what_is_protected_hardly_changes_and_what_is_orthogonal_changes_in_full() -> None:
    basis = torch.linalg.qr(drawn(16, 16)).Q
    seen, other = basis[:, :4].T, basis[:, 4:].T
    projection = torch.eye(16, dtype=torch.float64)
    for feature in seen:
        projection = protected(projection, feature, 1e-4)
    gradient = drawn(3, 16, seed=2)
    step = gradient @ projection
    assert (step @ seen.T).norm() <= 1e-3 * (gradient @ seen.T).norm()
    torch.testing.assert_close(step @ other.T, gradient @ other.T, atol=1e-9, rtol=0)
