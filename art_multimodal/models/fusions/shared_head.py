"""One head for all modalities, which count by the entropy of what it says about them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from art_multimodal.models.fusions.fusion import FUSIONS
from art_multimodal.models.fusions.votes import Votes, softmax_over
from art_multimodal.models.multimodal import Features


class SharedHead(Votes):
    """One linear head for every modality, weighed by ``softmax(-entropy)`` over the modalities of a sample (MLA).

    An entropy lies between 0 and ``log K``, so no modality can outweigh another one by more than a factor ``K``: none
    is ever muted. The published code takes the softmax over the batch, too, so that a sample's answer depends on its
    neighbours; here each sample is weighed by itself.

    | Paper link: https://arxiv.org/abs/2311.10707

    >>> fusion = SharedHead({"rgb": 8, "depth": 8}, classes=3)
    >>> features, there = {"rgb": torch.ones(5, 8), "depth": torch.ones(5, 8)}, torch.ones(5, dtype=torch.bool)
    >>> fusion.weights(features, {"rgb": there, "depth": there})["rgb"].tolist()
    [0.5, 0.5, 0.5, 0.5, 0.5]

    :raises InputError: If towers have different widths.
    """

    summary = "one head for all modalities, weighed by the entropy of what it says"
    paper = "MLA, arXiv:2311.10707"

    def _new_heads(self) -> nn.Module:
        return _OneForAll(self._one_width("One head for all modalities"), self.classes)

    def _weigh(self, scores: Tensor, there: Tensor) -> Tensor:
        logs = torch.log_softmax(scores, dim=2)
        entropy = -(logs.exp() * logs).sum(dim=2)
        return softmax_over(-entropy, there)


class _OneForAll(nn.Module):
    """The same linear head on each modality."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(width, classes)

    def forward(self, features: Features) -> dict[str, Tensor]:
        return {name: self.head(values) for name, values in features.items()}


FUSIONS.add("mla", SharedHead)
