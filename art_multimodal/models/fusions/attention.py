"""Modalities that look at each other: a transformer over one token for each."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from art_multimodal.models.fusions.blocks import Block, check_widths
from art_multimodal.models.fusions.fusion import FUSIONS, Fusion, modules_by_name
from art_multimodal.models.multimodal import Features


class CrossAttention(Fusion):
    """Embeddings as tokens of a small transformer, beside a token of its own whose state is the fused vector.

    | Paper link: https://arxiv.org/abs/1706.03762 (attention), https://arxiv.org/abs/1909.02950 (modalities in one
        transformer)

    >>> fusion = CrossAttention({"rgb": 8, "depth": 4}, classes=3, hidden=16, layers=1)
    >>> features, there = {"rgb": torch.ones(5, 8), "depth": torch.ones(5, 4)}, torch.ones(5, dtype=torch.bool)
    >>> fusion.predict(fusion(features, {"rgb": there, "depth": there})).shape
    torch.Size([5, 3])

    :param hidden: Width of the tokens.
    :param layers: Number of layers.
    :param heads: Attention heads in each; they divide ``hidden``.
    :raises InputError: If these do not fit together.
    """

    summary = "a transformer over one token for each modality"
    paper = "arXiv:1706.03762"

    def __init__(
        self, widths: Mapping[str, int], classes: int, hidden: int = 64, layers: int = 2, heads: int = 4
    ) -> None:
        super().__init__(widths, classes)
        check_widths(hidden, layers, heads)
        self.hidden, self.layers, self.heads = hidden, layers, heads
        self.into = modules_by_name({name: nn.Linear(width, hidden) for name, width in self.widths.items()})
        self.places = nn.Parameter(torch.randn(len(self.widths), hidden) * 0.02)
        self.first = nn.Parameter(torch.randn(hidden) * 0.02)
        self.blocks = nn.ModuleList(Block(hidden, heads) for _ in range(layers))
        self.last = nn.LayerNorm(hidden)
        self.head = nn.Linear(hidden, classes)

    def forward(self, features: Features, present: Mapping[str, Tensor]) -> Tensor:
        there = zip(self.widths, self._there(features, present), self.places, strict=True)
        tokens = torch.stack([self.into[name](values) + place for name, values, place in there], dim=1)
        states = torch.cat([self.first.expand(len(tokens), 1, -1), tokens], dim=1)
        # The first token is always there, so nothing is without anything to look at.
        missing = ~torch.stack([present[name] for name in self.widths], dim=1)
        missing = torch.cat([torch.zeros_like(missing[:, :1]), missing], dim=1)
        for block in self.blocks:
            states = block(states, missing)
        return self.last(states[:, 0])

    def predict(self, fused: Tensor) -> Tensor:
        return self.head(fused)


FUSIONS.add("cross_attention", CrossAttention)
