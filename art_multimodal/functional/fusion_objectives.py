"""What the training of fusions minimises besides the cross-entropy of scores: scores and embeddings in, a number out.

Each follows its paper, by its formula; where the published code computes something else, the docstring says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F


def quality_ranking(weights: Tensor, losses: Tensor) -> Tensor:
    """How far the weights of a modality are from falling as its losses rise (QMF, arXiv:2306.02050).

    Of each sample and the next one in the batch, the weight of the one with the larger loss is to be smaller by at
    least the difference of the losses.

    :param weights: Weights of one modality, shape ``[N]``.
    :param losses: Its losses so far, each sample's sum over training, scaled to [0, 1] over the training set, ``[N]``.
    :return: Mean over the samples, at least 0; 0 for fewer than two.
    """
    if len(weights) < 2:
        return weights[:0].sum()
    gap = losses - losses.roll(-1)
    return F.relu(gap.sign() * (weights - weights.roll(-1)) + gap.abs()).mean()


def unimodal_contrast(features: Mapping[str, Tensor], right: Mapping[str, Tensor], temperature: float = 0.07) -> Tensor:
    """Pull modalities together where one of them is right by itself (UniS-MMC, arXiv:2305.09299, for each pair).

    Samples that a pair of modalities both get right, or one of them, are to have more similar embeddings than the rest
    of the batch; where one is right alone, the other one is pulled towards it, and it stays. The published code takes
    the first row of the similarities for the diagonal.

    :param features: Embeddings ``[N, D]`` of each modality, of one width.
    :param right: Which samples each modality answers rightly by itself, booleans ``[N]``.
    :param temperature: Divides the cosines.
    :return: Sum over pairs of modalities. A pair that gets nothing right takes no part, and one that is right about
        everything adds 0.
    """
    # Zero, with every embedding in the graph.
    total = torch.stack([of[:0].sum() for of in features.values()]).sum()
    for one, other in combinations(features, 2):
        both = right[one] | right[other]
        if not bool(both.any()):
            continue
        # Whoever is right alone is where the other one is to go.
        held = {
            name: torch.where((right[name] & ~right[rival])[:, None], features[name].detach(), features[name])
            for name, rival in ((one, other), (other, one))
        }
        cosines = F.cosine_similarity(held[one], held[other], dim=1) / temperature
        total = total + cosines.logsumexp(dim=0) - cosines[both].logsumexp(dim=0)
    return total


def worst_unimodal_margin(scores: Mapping[str, Tensor], targets: Tensor) -> Tensor:
    """A smooth maximum of how far any modality is from preferring the right class (CRMT, arXiv:2402.06244, step 1).

    ``log sum_m sum_(k != y) exp(s_mk - s_my)``, so that the worst modality is pushed most.

    :param scores: Scores ``[N, K]`` of each modality.
    :param targets: Class indices ``[N]``.
    :return: Mean over the samples.
    """
    own = F.one_hot(targets, next(iter(scores.values())).shape[1]).bool()
    gaps = [of - of.gather(1, targets[:, None]) for of in scores.values()]
    return torch.cat([gap.masked_fill(own, float("-inf")) for gap in gaps], dim=1).logsumexp(dim=1).mean()


def spread(embeddings: Tensor) -> Tensor:
    """Keep embeddings from collapsing: each coordinate varies, and none repeats another one (UmURL, arXiv:2311.03106).

    ``5 mean_d relu(1 - sqrt(var_d + 1e-4)) + sum_(i != j) cov_ij^2 / D``, the terms of VICReg.

    :param embeddings: Shape ``[N, D]``, at least two rows.
    """
    centred = embeddings - embeddings.mean(dim=0)
    deviation = (centred.square().sum(dim=0) / (len(embeddings) - 1) + 1e-4).sqrt()
    covariance = centred.T @ centred / (len(embeddings) - 1)
    off = covariance - torch.diag(covariance.diagonal())
    return 5 * F.relu(1 - deviation).mean() + off.square().sum() / embeddings.shape[1]


def unified_stream(unimodal: Mapping[str, Tensor], fused: Mapping[str, Tensor]) -> Tensor:
    """Bring what is seen in each view and in all of them together (UmURL, arXiv:2311.03106).

    With ``c = mean_m z_m`` it is ``5 [sum_m MSE(z_m, u_m) + sum_m MSE(z_m, c)] + sum_m [spread(z_m) + spread(u_m)]``:
    the fused stream holds each view, views agree, and nothing collapses.

    :param unimodal: Embeddings ``z_m`` of each view by itself, ``[N, D]``, at least two rows.
    :param fused: What each view's projector makes of the fused stream, ``u_m``, by the same names.
    """
    centre = torch.stack(list(unimodal.values())).mean(dim=0)
    pairs = [(own, fused[name]) for name, own in unimodal.items()]
    together = [F.mse_loss(own, both) + F.mse_loss(own, centre) for own, both in pairs]
    apart = [spread(own) + spread(both) for own, both in pairs]
    return 5 * torch.stack(together).sum() + torch.stack(apart).sum()


def protected(projection: Tensor, feature: Tensor, alpha: float) -> Tensor:
    """A projection that also keeps steps away from a further direction (MLA, arXiv:2311.10707).

    Recursive least squares: ``P - q (h'P)`` with ``q = P h / (alpha + h'P h)``. From the identity and features ``H`` it
    becomes ``alpha (alpha I + H H')^-1``: a gradient of a head that is multiplied by it hardly changes what the head
    says about these features. The published code divides by an outer product, element by element, and protects nothing.

    :param projection: Symmetric, shape ``[D, D]``.
    :param feature: Mean feature of a batch of one modality, ``[D]``.
    :param alpha: How much of the direction is left; greater than 0.
    """
    along = projection @ feature
    return projection - torch.outer(along, along) / (alpha + feature @ along)
