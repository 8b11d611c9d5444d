"""Fusions by agreement: a modality that says something else than the others counts less, however sure it is."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from art_multimodal.errors import InputError
from art_multimodal.models.fusions.fusion import FUSIONS
from art_multimodal.models.fusions.votes import Votes, softmax_over
from art_multimodal.models.multimodal import Features

#: The logarithm of the vote of a modality that is not there: its exponential is zero, and it is a number.
_NO_VOTE = -1e4


class Consensus(Votes):
    """A mixture of the modalities' own predictions, weighed by how far each is from those of the others (ours).

    With ``p_m = softmax(l_m)``, modality ``m`` has the weight ``softmax_m(-beta d_m)``, where ``d_m`` is the mean
    Jensen-Shannon divergence of ``p_m`` and the predictions of the other modalities. Scores are the logarithms of the
    weighted mean of the ``p_m``. Since probabilities are mixed and no scores, one modality can add no more than its
    weight, however sure it is. With two modalities both are equally far from each other: it is then their mean, since
    there is no majority.

    It moves robustness to the case that fewer than half of the modalities are attacked, and pays for it where all are.

    >>> fusion = Consensus({name: 8 for name in ("rgb", "depth", "thermal")}, classes=3, beta=20.0)
    >>> features = {name: torch.ones(2, 8) for name in fusion.widths}
    >>> there = {name: torch.ones(2, dtype=torch.bool) for name in fusion.widths}
    >>> weights = torch.stack(list(fusion.weights(features, there).values()))
    >>> weights.shape, bool(torch.allclose(weights.sum(dim=0), torch.ones(2)))
    (torch.Size([3, 2]), True)

    :param beta: How steeply the weight falls with the divergence (in nats, at most ``log 2``).
    :raises InputError: If it is negative.
    """

    summary = "each modality's own prediction, weighed by agreement with the others"
    paper = "ours"
    by_agreement = True

    def __init__(self, widths: Mapping[str, int], classes: int, beta: float = 20.0) -> None:
        super().__init__(widths, classes)
        if not 0 <= beta < float("inf"):
            raise InputError(f"beta must be at least 0 and finite, not {beta}.")
        self.beta = beta

    def forward(self, features: Features, present: Mapping[str, Tensor]) -> Tensor:
        scores, there = self._stacked(features, present)
        weights = self._weigh(scores, there)
        # In logarithms, where nothing that is small is lost, and no gradient with it.
        votes = torch.log_softmax(scores, dim=2) + torch.log(torch.where(there, weights, 1.0))[:, :, None]
        return torch.where(there[:, :, None], votes, _NO_VOTE).flatten(1)

    def predict(self, fused: Tensor) -> Tensor:
        return torch.logsumexp(self._by_modality(fused), dim=1)

    def _weigh(self, scores: Tensor, there: Tensor) -> Tensor:
        divergence = pairwise_divergence(torch.log_softmax(scores, dim=2))
        itself = torch.eye(there.shape[1], dtype=torch.bool, device=there.device)
        both = there[:, :, None] & there[:, None, :] & ~itself
        others = both.sum(dim=2).clamp_min(1)
        mean = torch.where(both, divergence, 0.0).sum(dim=2) / others
        return softmax_over(-self.beta * mean, there)


class Median(Votes):
    """The median over the modalities of the logarithm of each class's probability (ours).

    Of three modalities one alone never moves a class's score beyond those that the two others give it.

    >>> fusion = Median({name: 8 for name in ("rgb", "depth", "thermal")}, classes=3)
    >>> features = {name: torch.ones(2, 8) for name in fusion.widths}
    >>> there = {name: torch.ones(2, dtype=torch.bool) for name in fusion.widths}
    >>> fusion.predict(fusion(features, there)).shape
    torch.Size([2, 3])
    """

    summary = "the median of the modalities' own predictions"
    paper = "ours"
    weighs = False

    def forward(self, features: Features, present: Mapping[str, Tensor]) -> Tensor:
        scores, there = self._stacked(features, present)
        logs = torch.where(there[:, :, None], torch.log_softmax(scores, dim=2), float("inf"))
        # What is not there is last, and behind the middle of those that are.
        ordered = logs.sort(dim=1).values
        count = there.sum(dim=1).clamp_min(1)
        low, high = ((count - 1) // 2, count // 2)
        found = [ordered.gather(1, at[:, None, None].expand(-1, 1, self.classes)).squeeze(1) for at in (low, high)]
        nobody = ~there.any(dim=1)
        return torch.where(nobody[:, None], 0.0, (found[0] + found[1]) / 2)

    def predict(self, fused: Tensor) -> Tensor:
        return fused

    def weights(self, features: Features, present: Mapping[str, Tensor]) -> None:
        """None: the median weighs no modality as a whole."""


def pairwise_divergence(logs: Tensor) -> Tensor:
    """Jensen-Shannon divergences ``[N, M, M]`` of log-probabilities ``[N, M, K]``, in nats."""
    one, other = logs[:, :, None], logs[:, None, :]
    mean = torch.logaddexp(one, other) - torch.log(torch.tensor(2.0, dtype=logs.dtype, device=logs.device))
    towards = (one.exp() * (one - mean)).sum(dim=3)
    return (towards + towards.transpose(1, 2)) / 2


FUSIONS.add("consensus", Consensus)
FUSIONS.add("median", Median)
