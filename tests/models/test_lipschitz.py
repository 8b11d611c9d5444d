"""Bounds of towers, and the radius of orthonormal heads: against closed forms, and against what attacks find."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from art_multimodal import InputError
from art_multimodal.models.fusions.orthogonal import Orthogonal
from art_multimodal.models.lipschitz import lipschitz_bound, one_lipschitz

TOWERS = {
    "linear": (nn.Sequential(nn.Linear(6, 4)), (6,)),
    "deep": (nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Dropout(), nn.Linear(5, 3), nn.Tanh()), (2, 3)),
    "convolution": (
        nn.Sequential(nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4)),
        (2, 4, 3),
    ),
    "normalised": (nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 2)), (5,)),
    "steps": (nn.Sequential(nn.Conv1d(2, 4, 3, padding=2, dilation=2), nn.LeakyReLU(0.3)), (2, 7)),
}


def tower(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    module, shape = TOWERS[name]
    torch.manual_seed(1)
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv1d | nn.Conv2d):
            part.reset_parameters()
        elif isinstance(part, nn.BatchNorm1d):
            part.running_var.uniform_(0.2, 3.0)
            part.weight.data.uniform_(-2.0, 2.0)
    return module.eval(), shape


@pytest.mark.parametrize("name", TOWERS)
def test_no_pair_of_points_is_brought_further_apart(name: str) -> None:
    module, shape = tower(name)
    bound = lipschitz_bound(module, shape)
    module = module.double()
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(500, *shape, generator=generator, dtype=torch.float64) for _ in range(2))
    # Near pairs as well, of which some go where the map stretches most.
    other[::2] = one[::2] + 1e-3 * other[::2]
    with torch.no_grad():
        apart = (module(one) - module(other)).flatten(1).norm(dim=1)
    ratio = apart / (one - other).flatten(1).norm(dim=1)
    assert float(ratio.max()) <= bound * (1 + 1e-9)
    module.float()


def test_linear_layers_are_exact() -> None:
    module, shape = tower("linear")
    expected = torch.linalg.matrix_norm(module[0].weight.detach().double(), ord=2)
    assert lipschitz_bound(module, shape) == pytest.approx(float(expected), rel=1e-12)
    # A convolution is the matrix of all that it does.
    layer = nn.Conv2d(1, 1, 3, padding=1, bias=True)
    rows = torch.stack(
        [layer(row.view(1, 1, 3, 4)).flatten() - layer(torch.zeros(1, 1, 3, 4)).flatten() for row in torch.eye(12)]
    )
    expected = torch.linalg.matrix_norm(rows.detach().double(), ord=2)
    assert lipschitz_bound(layer, (1, 3, 4)) == pytest.approx(float(expected), rel=1e-5)


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


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        (nn.Sequential(nn.LayerNorm(4)), (4,), "class LayerNorm"),
        (nn.Sequential(nn.Softmax(dim=1)), (4,), "class Softmax"),
        (nn.Sequential(nn.GELU()), (4,), "class GELU"),
        (nn.Conv2d(3, 64, 3, padding=1), (3, 224, 224), "too large to bound"),
    ],
)
def test_what_is_not_known_is_refused(module: nn.Module, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        lipschitz_bound(module, shape)


def fusion(classes: int = 4) -> Orthogonal:
    torch.manual_seed(2)
    made = Orthogonal({"a": 6, "b": 5, "c": 7}, classes).double()
    with torch.no_grad():
        made.raw.uniform_(-2, 1)
        made.bias.normal_()
    return made


def fused_of(made: Orthogonal, features: dict[str, torch.Tensor]) -> torch.Tensor:
    return made(features, {name: torch.ones(len(of), dtype=torch.bool) for name, of in features.items()})


@pytest.mark.parametrize("classes", [2, 4, 9])
def test_the_radius_is_the_formula_class_by_class(classes: int) -> None:
    made = fusion(classes)
    features = {name: torch.randn(30, width, dtype=torch.float64) for name, width in made.widths.items()}
    labels = torch.arange(30) % classes
    constants = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
    fused = fused_of(made, features)
    scores, found = made.predict(fused), made.radius(fused, labels, constants)
    for n in range(30):
        radii = []
        for j in set(range(classes)) - {int(labels[n])}:
            squares = [
                (constant * (scale[labels[n]] * rows[labels[n]] - scale[j] * rows[j]).norm()) ** 2
                for constant, scale, rows in zip(
                    constants, made.scales, [made.directions[name].rows for name in made.widths], strict=True
                )
            ]
            radii.append((scores[n, labels[n]] - scores[n, j]) / torch.stack(squares).sum().sqrt())
        torch.testing.assert_close(found[n], torch.stack(radii).min(), rtol=1e-10, atol=1e-12)


def test_with_linear_towers_the_radius_is_the_distance_to_the_nearest_other_answer() -> None:
    """Towers that are the identity: the least change is along the difference of two classes' rows, and no more."""
    made = fusion()
    features = {name: torch.randn(20, width, dtype=torch.float64) for name, width in made.widths.items()}
    fused = fused_of(made, features)
    labels = made.predict(fused).argmax(dim=1)
    radius = made.radius(fused, labels, torch.ones(3, dtype=torch.float64))
    assert (radius > 0).all()
    weights = torch.cat(
        [scale[:, None] * made.directions[name].rows for name, scale in zip(made.widths, made.scales, strict=True)],
        dim=1,
    )
    whole, scores = torch.cat(list(features.values()), dim=1), made.predict(fused)
    for n in range(20):
        y = int(labels[n])
        gaps = [
            (scores[n, y] - scores[n, j]) / (weights[y] - weights[j]).norm() if j != y else torch.inf for j in range(4)
        ]
        j = min(range(4), key=lambda other: float(gaps[other]))
        towards = (weights[j] - weights[y]) / (weights[j] - weights[y]).norm()
        for factor, expected in ((1 - 1e-9, y), (1 + 1e-9, j)):
            moved = (whole[n] + factor * radius[n] * towards).split(list(made.widths.values()))
            answer = made.predict(fused_of(made, {name: m[None] for name, m in zip(made.widths, moved, strict=True)}))
            assert int(answer.argmax()) == expected


def test_budgets_of_several_modalities_are_a_polytope() -> None:
    """Towers that are the identity: the worst change within a budget is known for every other class."""
    made = fusion()
    features = {name: torch.randn(40, width, dtype=torch.float64) for name, width in made.widths.items()}
    fused, constants = fused_of(made, features), torch.ones(3, dtype=torch.float64)
    labels = made.predict(fused).argmax(dim=1)
    radii = made.radii(fused, labels, constants)
    weights = [
        scale[:, None] * made.directions[name].rows for name, scale in zip(made.widths, made.scales, strict=True)
    ]
    beyond = covered = 0
    for eps in torch.rand(30, 3, dtype=torch.float64) * radii.median(dim=0).values:
        found = made.covers(fused, labels, constants, eps)
        # What the radii of single modalities bound is part of it.
        within = (eps / radii).sum(dim=1) < 1
        assert not (within & ~found).any()
        beyond += int((found & ~within).sum())
        covered += int(found.sum())
        for n, y in enumerate(labels.tolist()):
            stays = []
            for j in set(range(4)) - {y}:
                towards = [rows[j] - rows[y] for rows in weights]
                moved = {
                    name: (features[name][n] + length * way / way.norm())[None]
                    for name, length, way in zip(made.widths, eps, towards, strict=True)
                }
                scores = made.predict(fused_of(made, moved))[0]
                stays.append(bool(scores[y] > scores[j]))
            assert bool(found[n]) == all(stays)
    assert covered > 100 and beyond > 0


@pytest.mark.parametrize("name", TOWERS)
def test_layers_that_are_held_stretch_nothing_whatever_they_learn(name: str) -> None:
    module, shape = tower(name)
    x = torch.randn(5, *shape)
    normal = [one for one in module.modules() if isinstance(one, nn.BatchNorm1d)]
    keys = list(module.state_dict())
    with one_lipschitz(module):
        for step in range(3):
            optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
            optimizer.zero_grad()
            # It is taught to bring points apart.
            (-module(x).square().sum()).backward()
            optimizer.step()
            # Normalisations are trained freely.
            allowed = lipschitz_bound(normal[0], shape) if normal else 1.0
            assert lipschitz_bound(module, shape) <= allowed * (1 + 1e-4), step
        before = module(x).detach()
    torch.testing.assert_close(module(x), before, rtol=1e-5, atol=1e-6)
    assert list(module.state_dict()) == keys and lipschitz_bound(module, shape) <= allowed * (1 + 1e-4)


def test_layers_that_stretch_less_stay_as_they_are() -> None:
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight.mul_(0.1)
    before = layer.weight.detach().clone()
    with one_lipschitz(layer):
        pass
    torch.testing.assert_close(layer.weight.detach(), before, rtol=0, atol=0)
