"""Fixed points of fusion: that they are some, how gradients pass them, and what is said where none is reached."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from art_multimodal.errors import InputError
from art_multimodal.models.fusions import Equilibrium, new_fusion

from .closed_forms import CLASSES, COUNT, WIDTHS, answer, drawn, made, saying


@pytest.fixture(autouse=True)
def exact_fixed_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """As exact as double precision allows: what is compared here is not how far an iteration came."""
    monkeypatch.setattr(Equilibrium.__init__, "__defaults__", (64, 2000, 1e-13, 0))


def equilibrium(seed: int = 0, **options: object) -> Equilibrium:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        fusion = new_fusion("deq", dict.fromkeys(WIDTHS, 96), CLASSES, **options).double().eval()
    assert isinstance(fusion, Equilibrium)
    return fusion


def wide(count: int = COUNT) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(5)
    features = {name: torch.randn(count, 96, generator=generator, dtype=torch.float64) for name in WIDTHS}
    return features, {name: torch.ones(count, dtype=torch.bool) for name in WIDTHS}


def test_an_equilibrium_is_fixed_in_either_mode() -> None:
    fusion, (features, present) = equilibrium(), wide()
    slopes = []
    for training in (False, True):
        fusion.train(training)
        given = features["a"].clone().requires_grad_()
        answer(fusion, {**features, "a": given}, present)[:, 0].sum().backward()
        assert fusion.found is not None and fusion.found.converged.all()
        slopes.append(given.grad)
    torch.testing.assert_close(slopes[0], slopes[1])
    assert slopes[0] is not None and slopes[0].abs().min() > 0
    # The long way has the same end, and the same gradient.
    fusion.unroll = 300
    given = features["a"].clone().requires_grad_()
    answer(fusion, {**features, "a": given}, present)[:, 0].sum().backward()
    torch.testing.assert_close(given.grad, slopes[0], atol=1e-7, rtol=1e-6)


def test_modalities_meet_in_the_fused_state_alone() -> None:
    fusion, (features, present) = equilibrium(), wide()
    fusion(features, present)
    assert fusion.found is not None
    before = fusion.found.state.unflatten(1, (4, 96))
    fusion({**features, "a": features["a"].flip(0)}, present)
    after = fusion.found.state.unflatten(1, (4, 96))
    assert (after[:, 0] - before[:, 0]).abs().max() > 0.1 and (after[:, 3] - before[:, 3]).abs().max() > 1e-3
    torch.testing.assert_close(after[:, 1:3], before[:, 1:3], atol=1e-9, rtol=0)


def test_a_fixed_point_that_is_not_reached_is_said() -> None:
    fusion, (features, present) = equilibrium(max_iter=2), wide()
    with pytest.warns(RuntimeWarning, match=r"7 of 7 fixed points were not reached in 2 steps \(residual up to"):
        fusion(features, present)
    assert fusion.found is not None and not fusion.found.converged.any()


def test_what_is_doubtful_is_told_sample_by_sample() -> None:
    features, present = wide()
    missed = equilibrium(max_iter=2).doubts(features, present)["no_equilibrium"]
    assert missed.shape == (COUNT,) and missed.all()
    assert not equilibrium().doubts(features, present)["no_equilibrium"].any()
    assert equilibrium(unroll=3).doubts(features, present) == {}
    fusion = equilibrium(max_iter=2)
    for _ in range(2):
        with pytest.warns(RuntimeWarning, match="not reached"):
            fusion(features, present)
    assert (fusion.asked, fusion.missed) == (2 * COUNT, 2 * COUNT)
    # Of weights, those below zero, of modalities that are there.
    scores = {
        "a": torch.tensor([[-5.0, -6, -7], [1, 2, 3], [-5, -6, -7]]),
        "b": torch.ones(3, 3),
        "c": torch.ones(3, 3),
    }
    for nonnegative in (False, True):
        fusion = made("qmf", nonnegative=nonnegative)
        features, present = saying(fusion, scores)
        present["a"][2] = False
        assert fusion.doubts(features, present)["negative_weight"].tolist() == [not nonnegative, False, False]
    assert made("late").doubts(*drawn()) == {}


@pytest.mark.parametrize(
    ("options", "said"),
    [({"max_iter": 0}, "at least 1"), ({"tolerance": 0.0}, "between 0 and 1"), ({"unroll": -1}, "at least 0")]
    + [({name: 10**9}, "at most 10,000") for name in ("max_iter", "unroll")],
)
def test_options_of_an_equilibrium(options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        new_fusion("deq", WIDTHS, CLASSES, **options)
    with pytest.raises(InputError, match="towers of one width"):
        new_fusion("deq", {"a": 4, "b": 8}, CLASSES)
