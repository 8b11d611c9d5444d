"""Fusions against closed forms: what each is said to compute, of one sample, by hand.

What all of them have in common tests/testing/test_in_tree.py checks.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from art_multimodal.errors import InputError
from art_multimodal.models.fusions import (
    Consensus,
    Late,
    Median,
    Orthogonal,
    QualityAware,
    SharedHead,
    new_fusion,
)
from art_multimodal.models.fusions.consensus import pairwise_divergence

from .closed_forms import CLASSES, COUNT, WIDTHS, answer, drawn, made, saying

# --- qmf


def test_quality_is_the_energy_of_scores() -> None:
    fusion = made("qmf")
    scores = {"a": torch.tensor([[1.0, 2, 3]]), "b": torch.tensor([[-5.0, -6, -7]]), "c": torch.zeros(1, 3)}
    features, present = saying(fusion, scores)
    weights = fusion.weights(features, present)
    assert weights is not None
    for name, of in scores.items():
        assert weights[name].item() == pytest.approx(math.log(sum(math.exp(v) for v in of[0].tolist())) / 10)
    # A modality whose energy is below zero votes against what it holds likely.
    assert weights["b"].item() < 0
    expected = sum(weights[name].item() * of[0].double() for name, of in scores.items())
    torch.testing.assert_close(answer(fusion, features, present)[0], expected)
    # Adding c to all scores of one modality leaves its softmax, and raises its weight by c / 10.
    raised, _ = saying(fusion, {**scores, "a": scores["a"] + 2})
    assert fusion.weights(raised, present)["a"].item() == pytest.approx(weights["a"].item() + 0.2)  # type: ignore[index]


def test_two_scores_below_zero() -> None:
    fusion = QualityAware({"a": 2, "b": 2}, 2).double().eval()
    with torch.no_grad():
        for head in fusion.heads.values():
            head.weight.copy_(torch.eye(2))
            head.bias.zero_()
    features = {"a": torch.tensor([[-5.0, -6.0]], dtype=torch.float64), "b": torch.zeros(1, 2, dtype=torch.float64)}
    there = {"a": torch.tensor([True]), "b": torch.tensor([False])}
    assert fusion.weights(features, there)["a"].item() == pytest.approx(-0.4687, abs=1e-4)
    np.testing.assert_allclose(answer(fusion, features, there)[0].detach().numpy(), [2.343, 2.812], atol=1e-3)
    fusion.nonnegative = True
    assert not answer(fusion, features, there).any()


def test_equal_energies_are_late_fusion() -> None:
    fusion, late = made("qmf"), made("late")
    scores = {name: torch.randn(5, 3, generator=torch.Generator().manual_seed(seed)) for seed, name in enumerate("abc")}
    scores = {name: of - torch.logsumexp(of, dim=1, keepdim=True) + 4 for name, of in scores.items()}
    features, present = saying(fusion, scores)
    saying(late, scores)
    torch.testing.assert_close(answer(fusion, features, present), 3 * 0.4 * answer(late, features, present))


def test_weights_have_gradients_unless_training_says_no() -> None:
    fusion, (features, present) = made("qmf", detach_weights=True), drawn(count=2)

    def slope() -> Tensor:
        given = features["a"].clone().requires_grad_()
        answer(fusion, {**features, "a": given}, present)[:, 0].sum().backward()
        assert given.grad is not None
        return given.grad

    whole = slope()
    fusion.train()
    assert not torch.allclose(slope(), whole)
    fusion.detach_weights = False
    torch.testing.assert_close(slope(), whole)


# --- mla


def test_entropies_weigh_a_shared_head() -> None:
    fusion, (features, present) = made("mla"), drawn()
    weights = fusion.weights(features, present)
    assert weights is not None and isinstance(fusion, SharedHead)
    torch.testing.assert_close(sum(weights.values()), torch.ones(COUNT, dtype=torch.float64))
    entropies = {}
    for name, scores in fusion.unimodal_scores(features).items():
        p = scores.softmax(dim=1)
        entropies[name] = -(p * p.log()).sum(dim=1)
    for one, other in itertools.permutations(WIDTHS, 2):
        ratio = weights[one] / weights[other]
        torch.testing.assert_close(ratio, (entropies[other] - entropies[one]).exp())
        assert ratio.max() <= CLASSES
    same = dict.fromkeys(WIDTHS, features["a"])
    for of in fusion.weights(same, present).values():  # type: ignore[union-attr]
        torch.testing.assert_close(of, torch.full((COUNT,), 1 / 3, dtype=torch.float64))


def test_what_is_missing_is_left_out_of_a_shared_head() -> None:
    fusion, (features, present) = made("mla"), drawn()
    fewer = SharedHead({"a": 4, "c": 4}, CLASSES).double().eval()
    fewer.load_state_dict(fusion.state_dict())
    left = answer(fusion, features, {**present, "b": torch.zeros(COUNT, dtype=torch.bool)})
    torch.testing.assert_close(left, answer(fewer, features, present))


def test_a_shared_head_wants_towers_of_one_width() -> None:
    with pytest.raises(InputError, match="towers of one width, not rgb 4, depth 5"):
        new_fusion("mla", {"rgb": 4, "depth": 5}, 3)


# --- consensus and median


def test_divergences_are_those_of_the_definition() -> None:
    p = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.7, 0.2, 0.1]], dtype=torch.float64)
    found = pairwise_divergence(p.log()[None])[0]

    def kl(one: Tensor, other: Tensor) -> float:
        return float((one * (one / other).log()).sum())

    for i, j in itertools.product(range(3), repeat=2):
        mean = (p[i] + p[j]) / 2
        assert found[i, j].item() == pytest.approx((kl(p[i], mean) + kl(p[j], mean)) / 2, abs=1e-12)
    # The furthest that two predictions can be apart.
    apart = pairwise_divergence(torch.tensor([[[0.0, -800.0], [-800.0, 0.0]]], dtype=torch.float64))
    assert apart[0, 0, 1].item() == pytest.approx(math.log(2))


def test_equal_predictions_are_their_own_consensus() -> None:
    fusion = made("consensus")
    scores = dict.fromkeys(WIDTHS, torch.randn(4, 3, generator=torch.Generator().manual_seed(1)))
    features, present = saying(fusion, scores)
    torch.testing.assert_close(answer(fusion, features, present), scores["a"].double().log_softmax(dim=1))
    for of in fusion.weights(features, present).values():  # type: ignore[union-attr]
        torch.testing.assert_close(of, torch.full((4,), 1 / 3, dtype=torch.float64))


def test_two_modalities_have_no_majority() -> None:
    fusion = Consensus({"a": 4, "b": 4}, CLASSES).double().eval()
    features, present = drawn()
    weights = fusion.weights(features, present)
    for of in weights.values():
        torch.testing.assert_close(of, torch.full((COUNT,), 0.5, dtype=torch.float64))


@pytest.mark.parametrize("name", ["consensus", "median"])
def test_whatever_one_of_three_says_two_that_are_sure_are_heard(name: str) -> None:
    """By enumeration: a grid over everything that a third modality may predict, and scores without any bound."""
    fusion = made(name)
    grid = [(i / 40, j / 40, 1 - (i + j) / 40) for i in range(41) for j in range(41 - i)]
    said = torch.log(torch.tensor(grid, dtype=torch.float64).clamp_min(1e-12))
    said = torch.cat([said, *(torch.eye(3, dtype=torch.float64) * scale for scale in (1e2, 1e6, -1e6))])
    sure = torch.log(torch.tensor([0.9, 0.06, 0.04], dtype=torch.float64)).expand(len(said), 3)
    for attacked in WIDTHS:
        scores = {of: said if of == attacked else sure for of in WIDTHS}
        found = answer(fusion, *saying(fusion, scores))
        assert torch.isfinite(found).all() and (found.argmax(dim=1) == 0).all()
    # Late fusion follows whoever speaks loudest.
    late = made("late")
    assert (answer(late, *saying(late, {"a": said, "b": sure, "c": sure})).argmax(dim=1) != 0).any()


def test_the_median_is_that_of_the_modalities_that_are_there() -> None:
    fusion, (features, present) = made("median"), drawn()
    present["a"][:2] = False
    present["b"][0] = False
    present["b"][5] = present["a"][5] = present["c"][5] = False
    found = answer(fusion, features, present).detach()
    logs = {name: of.log_softmax(dim=1).detach() for name, of in fusion.unimodal_scores(features).items()}  # type: ignore[union-attr]
    for row in range(COUNT):
        there = [logs[name][row].numpy() for name in WIDTHS if present[name][row]]
        np.testing.assert_allclose(found[row].numpy(), np.median(there, axis=0) if there else np.zeros(3))
    assert isinstance(fusion, Median) and fusion.weights(features, present) is None


@pytest.mark.parametrize("beta", [-1.0, float("inf"), float("nan")])
def test_a_beta_that_is_none(beta: float) -> None:
    with pytest.raises(InputError, match="beta must be at least 0"):
        new_fusion("consensus", WIDTHS, CLASSES, beta=beta)


def test_without_steepness_consensus_is_a_mixture() -> None:
    fusion, (features, present) = made("consensus", beta=0.0), drawn()
    scores = fusion.unimodal_scores(features)
    assert scores is not None
    mean = torch.stack([of.softmax(dim=1) for of in scores.values()]).mean(dim=0)
    torch.testing.assert_close(answer(fusion, features, present), mean.log())


# --- orthogonal


@pytest.mark.parametrize("width", [3, 8])
def test_rows_are_orthonormal(width: int) -> None:
    fusion = Orthogonal({"a": width, "b": 5}, 3).double()
    for of in fusion.directions.values():
        torch.testing.assert_close(of.rows @ of.rows.T, torch.eye(3, dtype=torch.float64), atol=1e-12, rtol=0)
    assert (fusion.scales > 0).all() and fusion.scales.detach().numpy() == pytest.approx(0.1)


def test_more_classes_than_columns_leave_unit_rows() -> None:
    fusion = Orthogonal({"a": 2, "b": 5}, 3).double()
    torch.testing.assert_close(fusion.directions["a"].rows.norm(dim=1), torch.ones(3, dtype=torch.float64))


def test_scores_are_weighed_by_class_and_modality() -> None:
    fusion, (features, present) = made("orthogonal"), drawn()
    assert isinstance(fusion, Orthogonal)
    expected = fusion.bias.expand(COUNT, -1).clone()
    for number, name in enumerate(WIDTHS):
        rows = fusion.directions[name].rows
        for k in range(CLASSES):
            expected[:, k] += fusion.scales[number, k] * (features[name] @ rows[k])
    torch.testing.assert_close(answer(fusion, features, present), expected)


def test_signs_of_rows_do_not_jump() -> None:
    """A small step of the free parameters is a small step of the rows."""
    fusion = Orthogonal({"a": 6}, 3).double()
    rows = fusion.directions["a"]
    before = rows.rows.detach().clone()
    for _ in range(20):
        with torch.no_grad():
            rows.free.add_(1e-7 * torch.randn(rows.free.shape, dtype=torch.float64))
    assert (rows.rows - before).abs().max() < 1e-4


# --- the others


def test_a_factor_of_one_is_a_modality_that_is_not_there() -> None:
    fusion, (features, present) = made("bilinear"), drawn()
    there = {**present, "b": torch.zeros(COUNT, dtype=torch.bool)}
    product = 1.0
    for name in ("a", "c"):
        product = product * torch.tanh(fusion.factors[name](features[name]))  # type: ignore[index, operator]
    torch.testing.assert_close(fusion(features, there), product)


def test_heads_beside_concatenation_change_no_answer() -> None:
    fusion, plain = made("unis_mmc"), made("concat")
    plain.load_state_dict({key: of for key, of in fusion.state_dict().items() if not key.startswith("heads.")})
    features, present = drawn()
    torch.testing.assert_close(answer(fusion, features, present), answer(plain, features, present))
    assert set(fusion.unimodal_scores(features) or {}) == set(WIDTHS)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("cross_attention", {"hidden": 10, "heads": 4}, "multiple of heads"),
        ("cross_attention", {"layers": 0}, "layers at least 1"),
        ("bilinear", {"hidden": 0}, "hidden must be at least 1"),
        ("qmf", {"beta": 3}, "beta"),
        ("consensos", {}, "Did you mean consensus"),
    ],
)
def test_options_that_are_none(name: str, options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        new_fusion(name, WIDTHS, CLASSES, **options)


def test_late_fusion_is_a_mean_of_what_is_there() -> None:
    fusion, (features, present) = made("late"), drawn()
    assert isinstance(fusion, Late)
    scores = fusion.unimodal_scores(features)
    torch.testing.assert_close(answer(fusion, features, present), sum(scores.values()) / 3)
