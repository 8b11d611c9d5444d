"""Bounds of how much towers stretch distances: closed forms, and never less than what two points show."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from art_multimodal.errors import InputError
from art_multimodal.models.lipschitz import lipschitz_bound


def test_of_a_linear_layer_it_is_the_largest_singular_value() -> None:
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, 0.0, 4.0], [0.0, 2.0, 0.0]]))
    assert lipschitz_bound(layer, [3]) == pytest.approx(5.0, rel=1e-12)
    # Layers one after the other multiply; a batch normalisation divides by the root of its variance.
    norm = nn.BatchNorm1d(2, eps=0.0)
    norm.running_var.fill_(4.0)
    assert lipschitz_bound(nn.Sequential(layer, nn.ReLU(), norm), [3]) == pytest.approx(2.5, rel=1e-7)


@pytest.mark.parametrize(
    ("activation", "steepest"),
    [(nn.ELU(), 1.0), (nn.ELU(alpha=3.0), 3.0), (nn.LeakyReLU(-2.0), 2.0), (nn.LeakyReLU(0.1), 1.0), (nn.Tanh(), 1.0)],
)
def test_an_activation_may_be_steeper_below_zero(activation: nn.Module, steepest: float) -> None:
    assert lipschitz_bound(activation, [1]) == steepest
    line = torch.linspace(-4, 4, 4001, dtype=torch.float64)[:, None]
    slopes = activation(line).diff(dim=0).abs() / line.diff(dim=0)
    # Between two points of a fine grid the slope is that of the steepest place, up to the width of the grid.
    assert slopes.max().item() == pytest.approx(steepest, rel=2e-3)


def test_of_a_convolution_it_is_that_of_the_whole_map() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 3, 3, stride=2, padding=1).double()
    matrix = torch.func.jacrev(lambda flat: layer(flat.view(1, 2, 5, 4)).flatten())(
        torch.zeros(40, dtype=torch.float64)
    )
    expected = torch.linalg.svdvals(matrix)[0].item()
    assert lipschitz_bound(layer, [2, 5, 4]) == pytest.approx(expected, rel=1e-12)
    tower = nn.Sequential(layer, nn.ReLU(), nn.Flatten(), nn.Linear(18, 4, dtype=torch.float64))
    assert lipschitz_bound(tower, [2, 5, 4]) == pytest.approx(expected * lipschitz_bound(tower[3], [18]), rel=1e-12)


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(InputError, match="of class GELU can stretch a distance is not known"):
        lipschitz_bound(nn.Sequential(nn.Linear(2, 2), nn.GELU()), [2])
    with pytest.raises(InputError, match="too large to bound"):
        lipschitz_bound(nn.Conv2d(1, 4, 3), [1, 200, 200])
