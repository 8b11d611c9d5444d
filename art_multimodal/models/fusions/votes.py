"""What fusions have in common in which every modality votes with scores of its own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from art_multimodal.models.fusions.fusion import Fusion, Heads
from art_multimodal.models.multimodal import Features


class Votes(Fusion):
    """Scores of each modality alone, and weights that depend on them.

    The fused vector holds the votes one after the other, ``(w_1 l_1, ..., w_M l_M)``, and the prediction is their sum:
    so one sees what each modality contributes. Those that a sample lacks vote zero.
    """

    weighs = True

    def __init__(self, widths: Mapping[str, int], classes: int) -> None:
        super().__init__(widths, classes)
        self.heads = self._new_heads()

    def _new_heads(self) -> nn.Module:
        """What makes scores ``[N, K]`` of embeddings, by name: a linear layer for each modality."""
        return Heads(self.widths, self.classes)

    def unimodal_scores(self, features: Features) -> dict[str, Tensor]:
        return self.heads(features)

    def forward(self, features: Features, present: Mapping[str, Tensor]) -> Tensor:
        scores, there = self._stacked(features, present)
        weights = self._weigh(scores, there)
        return torch.where(there[:, :, None], weights[:, :, None] * scores, 0.0).flatten(1)

    def predict(self, fused: Tensor) -> Tensor:
        return self._by_modality(fused).sum(dim=1)

    def weights(self, features: Features, present: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        scores, there = self._stacked(features, present)
        weights = torch.where(there, self._weigh(scores, there), 0.0)
        return dict(zip(self.widths, weights.unbind(dim=1), strict=True))

    def _weigh(self, scores: Tensor, there: Tensor) -> Tensor:
        """Weights ``[N, M]`` of scores ``[N, M, K]``, whatever they are where a modality is not ``there``."""
        raise NotImplementedError

    def _stacked(self, features: Features, present: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Scores ``[N, M, K]``, and which modalities a sample has, ``[N, M]``."""
        said = self.unimodal_scores(features)
        scores = torch.stack([said[name] for name in self.widths], dim=1)
        return scores, torch.stack([present[name] for name in self.widths], dim=1)

    def _by_modality(self, fused: Tensor) -> Tensor:
        return fused.unflatten(1, (len(self.widths), self.classes))


def softmax_over(values: Tensor, there: Tensor) -> Tensor:
    """Softmax over the modalities that a sample has, ``[N, M]``; zero for the others, and where there is none."""
    lowest = torch.finfo(values.dtype).min
    exps = torch.softmax(torch.where(there, values, lowest), dim=1)
    return torch.where(there, exps, 0.0)
