"""Fusion as a fixed point: modalities and their fused vector are refined together until nothing moves."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from art_multimodal.errors import InputError
from art_multimodal.functional.fixed_point import FixedPoint, anderson, fixed_point, jacobian_size, unrolled
from art_multimodal.models.fusions.fusion import FUSIONS, NO_EQUILIBRIUM, Fusion, mlp, modules_by_name
from art_multimodal.models.multimodal import Features

#: Gain of the last normalisations at the start: with the usual 1 the iteration does not contract.
_GAIN = 0.5
#: Most applications of the layer: a file of a model may ask for any number.
_MOST = 10_000
#: Fewest values that are normalised together.
_LEAST_IN_A_GROUP = 8


class Equilibrium(Fusion):
    """The fixed point of a layer that purifies each modality and combines them (DEQ fusion).

    For each modality ``z_i = N(relu(N(W relu(N(V z_i)) + x_i) + z_i))``, and together
    ``z = N(relu(F(sum_i z * G(z_i + z)) + sum_i w_i x_i + b))``, with group normalisations ``N``. The fused vector is
    ``z`` where all of them are fixed.

    Gradients are implicit, in evaluation mode too, where the published code has none. A sample stops by itself; which
    ones did not converge :attr:`found` says, and a warning.

    | Paper link: https://arxiv.org/abs/2306.16645

    >>> seed = torch.manual_seed(0)
    >>> fusion = Equilibrium({"rgb": 8, "depth": 8}, classes=3, unroll=5).eval()
    >>> features, there = {"rgb": torch.ones(5, 8), "depth": torch.ones(5, 8)}, torch.ones(5, dtype=torch.bool)
    >>> fusion.predict(fusion(features, {"rgb": there, "depth": there})).shape
    torch.Size([5, 3])

    :param hidden: Width of the perceptron's hidden layer.
    :param max_iter: Applications of the layer, at most.
    :param tolerance: Relative residual at which a sample stops.
    :param unroll: Instead of the fixed point so many plain applications, with gradients through all of them; ``0`` for
        the fixed point. An attack that compares gradients sets it.
    :raises InputError: If towers have different widths, or a number cannot be used.
    """

    summary = "a fixed point in which modalities and their sum refine each other"
    paper = "DEQ, arXiv:2306.16645"

    def __init__(
        self,
        widths: Mapping[str, int],
        classes: int,
        hidden: int = 64,
        max_iter: int = 100,
        tolerance: float = 1e-5,
        unroll: int = 0,
    ) -> None:
        super().__init__(widths, classes)
        self.width = width = self._one_width("An equilibrium")
        if min(hidden, max_iter) < 1 or not 0 <= unroll <= _MOST or max_iter > _MOST or not 0 < tolerance < 1:
            raise InputError(
                f"hidden ({hidden}) and max_iter ({max_iter}) must be at least 1, unroll ({unroll}) at least 0, both "
                f"at most {_MOST:,}, and tolerance ({tolerance}) between 0 and 1."
            )
        self.hidden, self.max_iter, self.tolerance, self.unroll = hidden, max_iter, tolerance, unroll
        self.cells = modules_by_name({name: _Cell(width) for name in self.widths})
        self.gate, self.combine = nn.Linear(width, width), nn.Linear(width, width)
        self.norm = _norm(width, _GAIN)
        self.scales = nn.Parameter(torch.ones(len(self.widths)))
        self.bias = nn.Parameter(torch.zeros(width))
        self.head = mlp([width, hidden, classes])
        #: How the last batch's fixed points were found; ``None`` before the first, and where it was unrolled.
        self.found: FixedPoint | None = None
        #: How many fixed points were asked for so far, and how many of them were not reached.
        self.asked = self.missed = 0

    def forward(self, features: Features, present: Mapping[str, Tensor]) -> Tensor:
        layer, start = self.iteration(features, present)
        if self.unroll:
            self.found, states = None, unrolled(layer, start, self.unroll)
        else:
            states, self.found = fixed_point(layer, start, self.max_iter, self.tolerance)
            self._say(self.found)
        return states[:, -self.width :]

    def predict(self, fused: Tensor) -> Tensor:
        return self.head(fused)

    def iteration(self, features: Features, present: Mapping[str, Tensor]) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """The layer as a function of states ``[N, (M + 1) D]``, and the states that it starts from.

        :param features: As for :meth:`forward`.
        :param present: Likewise.
        """
        inputs = torch.stack(self._there(features, present), dim=1)
        there = torch.stack([present[name] for name in self.widths], dim=1)[:, :, None]

        def layer(states: Tensor) -> Tensor:
            return self._layer(states.unflatten(1, (-1, self.width)), inputs, there).flatten(1)

        return layer, inputs.new_zeros(len(inputs), (len(self.widths) + 1) * self.width)

    def steepness(self, features: Features, present: Mapping[str, Tensor], states: Tensor, vectors: Tensor) -> Tensor:
        """How steep the layer is: estimates of the mean square of its Jacobian's columns, ``[N]``, with gradients.

        :param features: As for :meth:`forward`.
        :param present: Likewise.
        :param states: Where, ``[N, (M + 1) D]``: fixed points, as :attr:`found` and :meth:`solve` have them.
        :param vectors: Random ones, as :func:`~art_multimodal.functional.fixed_point.jacobian_size` takes them.
        """
        layer, _ = self.iteration(features, present)
        return jacobian_size(layer, states, vectors) / states.shape[1]

    def doubts(self, features: Features, present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self.unroll:
            return {}
        with torch.no_grad():
            return {NO_EQUILIBRIUM: ~self.solve(features, present).converged}

    def solve(self, features: Features, present: Mapping[str, Tensor]) -> FixedPoint:
        """How the fixed points of a batch are found, without gradients."""
        return anderson(*self.iteration(features, present), self.max_iter, self.tolerance)

    def _layer(self, states: Tensor, inputs: Tensor, there: Tensor) -> Tensor:
        """The next states ``[N, M + 1, D]``: of each modality, and fused."""
        fused = states[:, -1]
        cells = [self.cells[name](states[:, number], inputs[:, number]) for number, name in enumerate(self.widths)]
        own = torch.where(there, torch.stack(cells, dim=1), 0.0)
        votes = torch.where(there, fused[:, None] * self.gate(own + fused[:, None]), 0.0).sum(dim=1)
        given = (self.scales[:, None] * inputs).sum(dim=1) + self.bias
        return torch.cat([own, self.norm(torch.relu(self.combine(votes) + given))[:, None]], dim=1)

    def _say(self, found: FixedPoint) -> None:
        missed = int((~found.converged).sum())
        self.asked, self.missed = self.asked + len(found.converged), self.missed + missed
        if missed:
            said = f"{missed} of {len(found.converged)} fixed points were not reached in {self.max_iter} steps"
            residual = float(found.residual.max())
            warnings.warn(
                f"{said} (residual up to {residual:.1g}): scores are no equilibrium, and gradients are not exact.",
                RuntimeWarning,
                stacklevel=3,
            )


class _Cell(nn.Module):
    """The part of the layer that sees one modality alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.norms = nn.ModuleList([_norm(width), _norm(width), _norm(width, _GAIN)])

    def forward(self, state: Tensor, given: Tensor) -> Tensor:
        inner = self.norms[1](self.second(torch.relu(self.norms[0](self.first(state)))) + given)
        return self.norms[2](torch.relu(inner + state))


def _norm(width: int, gain: float = 1.0) -> nn.GroupNorm:
    # Of groups of two values a normalisation leaves signs alone.
    groups = next((groups for groups in (4, 2) if width % groups == 0 and width // groups >= _LEAST_IN_A_GROUP), 1)
    norm = nn.GroupNorm(groups, width)
    nn.init.constant_(norm.weight, gain)
    return norm


FUSIONS.add("deq", Equilibrium)
