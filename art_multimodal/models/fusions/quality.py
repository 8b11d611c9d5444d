"""Quality-aware fusion: a modality counts by the energy of its own scores."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from art_multimodal.models.fusions.fusion import FUSIONS, NEGATIVE_WEIGHT
from art_multimodal.models.fusions.votes import Votes
from art_multimodal.models.multimodal import Features


class QualityAware(Votes):
    """Late fusion in which modality ``m`` has the weight ``logsumexp(l_m) / 10`` (QMF).

    Weights are unbounded, not normalised over the modalities, and negative where ``logsumexp(l_m) < 0``: such a
    modality votes for its least likely class. The weight is high where scores are, which is what an attacker raises:
    the fusion withstands noise, and no adversary.

    | Paper link: https://arxiv.org/abs/2306.02050

    >>> fusion = QualityAware({"rgb": 8, "depth": 4}, classes=3, nonnegative=True)
    >>> features, there = {"rgb": torch.ones(5, 8), "depth": torch.ones(5, 4)}, torch.ones(5, dtype=torch.bool)
    >>> weights = fusion.weights(features, {"rgb": there, "depth": there})
    >>> all(bool((weight >= 0).all()) for weight in weights.values())
    True

    :param nonnegative: Cut weights off at zero (ours).
    :param detach_weights: In training no gradient passes through the weights, as in the published code for texts and
        images. In evaluation mode it always does, or attacks would not see what they change.
    """

    summary = "each modality's own scores, weighed by their energy"
    paper = "QMF, arXiv:2306.02050"

    def __init__(
        self, widths: Mapping[str, int], classes: int, nonnegative: bool = False, detach_weights: bool = False
    ) -> None:
        super().__init__(widths, classes)
        self.nonnegative, self.detach_weights = bool(nonnegative), bool(detach_weights)

    def doubts(self, features: Features, present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        scores, there = self._stacked(features, present)
        return {NEGATIVE_WEIGHT: ((self._weigh(scores, there) < 0) & there).any(dim=1)}

    def _weigh(self, scores: Tensor, there: Tensor) -> Tensor:
        weights = torch.logsumexp(scores, dim=2) / 10
        if self.nonnegative:
            weights = weights.clamp_min(0)
        return weights.detach() if self.training and self.detach_weights else weights


FUSIONS.add("qmf", QualityAware)
