"""A fusion: the mean of the embeddings of the modalities that a sample has."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from art_multimodal.models.fusions.fusion import FUSIONS, Fusion
from art_multimodal.models.multimodal import Features


class Mean(Fusion):
    """The mean of the embeddings that are there, and a linear layer; all towers have one width."""

    summary = "mean of the embeddings, and a linear layer"

    def __init__(self, widths: Mapping[str, int], classes: int) -> None:
        super().__init__(widths, classes)
        self.head = nn.Linear(self._one_width("the mean"), classes)

    def forward(self, features: Features, present: Mapping[str, Tensor]) -> Tensor:
        there = torch.stack([present[name] for name in self.widths]).sum(dim=0).clamp(min=1)
        return torch.stack(self._there(features, present)).sum(dim=0) / there[:, None]

    def predict(self, fused: Tensor) -> Tensor:
        return self.head(fused)


FUSIONS.add("mean", Mean)
