"""Cross-modal transformers over sequences that need not be aligned, at all levels of each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from art_multimodal.errors import InputError, unknown_name
from art_multimodal.functional.sequences import mean_over_steps, positions_of
from art_multimodal.models.fusions.blocks import Block, check_widths
from art_multimodal.models.fusions.fusion import FUSIONS, Fusion, mlp, modules_by_name
from art_multimodal.models.multimodal import Features

#: Which levels of the other stream a layer looks at.
SCALES = ("all", "last", "first")
#: How the states of a modality become one vector.
POOLINGS = ("mean", "token")


class MultiScale(Fusion):
    """Each modality looks at each other one, at all levels of it (MCMulT; with ``scales="first"`` MulT).

    Modalities are sequences of any lengths, each of its own; one that is embedded as a whole is a sequence of one step.
    A convolution over time brings each to the width ``hidden``, and sines and cosines mark its steps: ``Z0_a``. For
    each ordered pair, a stream of states of the target ``a`` begins with ``Z0_a`` and looks at the source ``b``, layer
    by layer; streams into ``a`` are put side by side and look at each other over time, and the mean over the steps is
    what the fused vector holds of ``a``.

    The abstract alone of MCMulT was at hand, so these formulas are our reading of "multi-level features of the source"
    and of "each pair builds hierarchies cooperatively", and not its authors':

    | ``K_i = [Z_0(a to b) + e_0; ...; Z_(i-1)(a to b) + e_(i-1)]`` along time, with ``e_j`` a learned vector
    | ``Z_i(b to a) = Z' + MLP(LN(Z'))``, ``Z' = Z_(i-1)(b to a) + Attention(LN(Z_(i-1)(b to a)), LN(K_i))``

    In MulT ``K_i = Z0_b``; the rest is as there: self-attention over what a modality has seen, and a residual
    perceptron before the scores. Its code masks what comes later and not what is padded, and keeps the last step; here
    every step sees all steps of the source, none sees padding, and steps are averaged.

    | Paper link: https://arxiv.org/abs/2206.07981 (MCMulT), https://arxiv.org/abs/1906.00295 (MulT)

    >>> fusion = MultiScale({"audio": 8, "video": 4}, classes=3, hidden=10, layers=1, heads=2, self_layers=0)
    >>> features = {"audio": torch.ones(2, 6, 8), "video": torch.ones(2, 3, 4)}
    >>> there = {"audio": torch.ones(2, 6, dtype=torch.bool), "video": torch.ones(2, 3, dtype=torch.bool)}
    >>> fusion.predict(fusion(features, there)).shape
    torch.Size([2, 3])

    :param hidden: Width of a step.
    :param layers: Of each stream.
    :param heads: Attention heads in each layer; they divide ``hidden``.
    :param scales: What layer ``i`` looks at: ``"all"`` levels of the other stream so far, its ``"last"`` one, or the
        ``"first"`` one, which is the source itself.
    :param self_layers: Of the self-attention over what a modality has seen; at least 0.
    :param kernel: Steps that the convolution spans; odd. Steps behind a length are zero to it.
    :param positions: Mark steps. Without, and with ``kernel=1``, their order changes nothing.
    :param pooling: ``"mean"`` over the steps, or the state of a ``"token"`` that looks at them.
    :raises InputError: If these do not fit together.
    """

    summary = "each modality looks at every other one over time, at all levels of it"
    paper = "MCMulT, arXiv:2206.07981"
    takes_steps = True

    def __init__(
        self,
        widths: Mapping[str, int],
        classes: int,
        hidden: int = 30,
        layers: int = 5,
        heads: int = 5,
        scales: str = "all",
        self_layers: int = 3,
        kernel: int = 1,
        positions: bool = True,
        pooling: str = "mean",
    ) -> None:
        super().__init__(widths, classes)
        check_widths(hidden, layers, heads)
        if self_layers < 0 or kernel < 1 or kernel % 2 == 0:
            raise InputError(f"self_layers ({self_layers}) must be at least 0, and kernel ({kernel}) odd.")
        for what, name, known in (("scales", scales, SCALES), ("pooling", pooling, POOLINGS)):
            if name not in known:
                raise unknown_name(what, name, known)
        self.hidden, self.layers, self.heads, self.scales = hidden, layers, heads, scales
        self.self_layers, self.kernel, self.positions, self.pooling = self_layers, kernel, bool(positions), pooling
        self.into = modules_by_name(
            {name: nn.Conv1d(width, hidden, kernel, padding=kernel // 2) for name, width in self.widths.items()}
        )
        self.levels = nn.Parameter(torch.randn(layers, hidden) * 0.02) if scales == "all" else None
        self.streams = nn.ModuleDict(
            {_key(*pair): nn.ModuleList(Block(hidden, heads) for _ in range(layers)) for pair in self._pairs()}
        )
        self.ends = nn.ModuleDict({key: nn.LayerNorm(hidden) for key in self.streams})
        width = hidden * max(1, len(self.widths) - 1)
        self.over_time = nn.ModuleDict(
            {name: nn.ModuleList(Block(width, heads) for _ in range(self_layers)) for name in self.widths}
        )
        self.lasts = nn.ModuleDict({name: nn.LayerNorm(width) for name in self.widths})
        self.tokens = nn.Parameter(torch.randn(len(self.widths), width) * 0.02) if pooling == "token" else None
        self.further = mlp([len(self.widths) * width] * 3)
        self.head = nn.Linear(len(self.widths) * width, classes)

    def forward(self, features: Features, present: Mapping[str, Tensor]) -> Tensor:
        there = {name: _steps(features[name], present[name]) for name in self.widths}
        starts = {name: self._start(name, features[name], there[name]) for name in self.widths}
        streams = self._streams(starts, there)
        pooled = []
        for number, name in enumerate(self.widths):
            seen = [self.ends[_key(*pair)](streams[pair][-1]) for pair in self._pairs() if pair[1] == name]
            pooled.append(self._pooled(number, name, torch.cat(seen or [starts[name]], dim=2), there[name]))
        return torch.cat(pooled, dim=1)

    def predict(self, fused: Tensor) -> Tensor:
        return self.head(fused + self.further(fused))

    def _pairs(self) -> Iterator[tuple[str, str]]:
        """All ordered pairs of modalities, ``(source, target)``."""
        return ((one, other) for other in self.widths for one in self.widths if one != other)

    def _start(self, name: str, values: Tensor, there: Tensor) -> Tensor:
        """Level 0 of a modality: its steps ``[N, T, hidden]``."""
        steps = values if values.ndim == 3 else values[:, None]
        steps = torch.where(there[:, :, None], steps, 0.0)
        found = self.into[name](steps.transpose(1, 2)).transpose(1, 2)
        return found + positions_of(found.shape[1], self.hidden, found) if self.positions else found

    def _streams(
        self, starts: Mapping[str, Tensor], there: Mapping[str, Tensor]
    ) -> dict[tuple[str, str], list[Tensor]]:
        """All levels of all streams, by source and target. Both streams of a pair rise together."""
        streams = {(source, target): [starts[target]] for source, target in self._pairs()}
        for number in range(self.layers):
            risen = {}
            for (source, target), levels in streams.items():
                looked_at = self._levels(streams[target, source])
                missing = ~there[source].repeat(1, looked_at.shape[1] // there[source].shape[1])
                stream: Any = self.streams[_key(source, target)]
                risen[source, target] = stream[number](levels[-1], missing, looked_at)
            for pair, states in risen.items():
                streams[pair].append(states)
        return streams

    def _levels(self, levels: list[Tensor]) -> Tensor:
        """What the next layer looks at of the levels so far, ``[N, S, hidden]``."""
        if self.levels is None:
            return levels[0 if self.scales == "first" else -1]
        return torch.cat([states + level for states, level in zip(levels, self.levels, strict=False)], dim=1)

    def _pooled(self, number: int, name: str, states: Tensor, there: Tensor) -> Tensor:
        """What a modality has seen, as one vector ``[N, D]``; zero where it is missing."""
        anything = there.any(dim=1, keepdim=True)
        if self.tokens is not None:
            states = torch.cat([self.tokens[number].expand(len(states), 1, -1), states], dim=1)
            there = torch.cat([anything, there], dim=1)
        blocks: Any = self.over_time[name]
        for block in blocks:
            states = block(states, ~there)
        states = self.lasts[name](states)
        if self.tokens is not None:
            return torch.where(anything, states[:, 0], 0.0)
        return mean_over_steps(states, there)


def _steps(values: Tensor, present: Tensor) -> Tensor:
    """Which steps a sample has, booleans ``[N, T]``."""
    count = values.shape[1] if values.ndim == 3 else 1
    return present if present.ndim == 2 else present[:, None].expand(-1, count)


def _key(source: str, target: str) -> str:
    # No name of a modality holds this, so no two pairs share a key.
    return f"{source}->{target}"


FUSIONS.add("mcmult", MultiScale)
