"""What the training of fusions minimises: scores and embeddings in, a number out.

An objective asks for what it needs by the names of its parameters, which a training loop fills in; parameters with a
default are settings. All are of the batch as it is trained on, attacked where there is an attack:

- ``scores``: ``[N, K]`` of the fused modalities. ``targets``: ``[N, K]``, the probability that each class should have.
- ``ablated_scores``: ``[V, N, K]``, of the samples under ``V`` masks each.
- ``unimodal_scores``, ``features``, ``weights``: scores ``[N, K]`` of each modality alone, its embedding ``[N, D]``
  and its weight ``[N]``, by name. ``present``: which samples have it, booleans ``[N]``, by name.
- ``history``: losses of each modality so far, scaled to [0, 1], ``[N]`` by name.
- ``turn``: name of the modality that is trained.
- ``steepness``: of the layer of an equilibrium at its fixed points, ``[N]``.
- ``radius``: the radius that no change within alters the answer, ``[N]``.
- ``projected``, ``fused_projected``: what projectors make of each view alone, and of all fused, ``[N, D]`` by name.

The terms below follow their papers by their formulas; where published code computes something else, a docstring says
so.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F

from art_multimodal.errors import InputError
from art_multimodal.functional.objectives import soft_cross_entropy, under_masks


def quality_ranking(weights: Tensor, losses: Tensor) -> Tensor:
    """How far the weights of a modality are from falling as its losses rise (QMF, arXiv:2306.02050).

    Of each sample and the next one in the batch, the weight of the one with the larger loss is to be smaller by at
    least the difference of the losses.

    >>> losses, falling = torch.tensor([0.1, 0.9]), torch.tensor([2.0, 1.0])
    >>> float(quality_ranking(falling, losses)), float(quality_ranking(falling.flip(0), losses)) > 0
    (0.0, True)

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

    >>> features = {"rgb": torch.eye(4), "depth": torch.eye(4).flip(0)}
    >>> both = torch.tensor([True, True, False, False])
    >>> float(unimodal_contrast(features, {"rgb": both, "depth": both})) > 0
    True

    :param features: Embeddings ``[N, D]`` of each modality, of one width.
    :param right: Which samples each modality answers rightly by itself, booleans ``[N]``.
    :param temperature: Divides the cosines; greater than 0.
    :return: Sum over pairs of modalities. A pair that gets nothing right takes no part, and one that is right about
        everything adds 0.
    :raises InputError: For another temperature.
    """
    if not temperature > 0:
        raise InputError(f"temperature divides cosines and must be greater than 0, not {temperature}.")
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


def worst_unimodal_margin(
    scores: Mapping[str, Tensor], targets: Tensor, present: Mapping[str, Tensor] | None = None
) -> Tensor:
    """A smooth maximum of how far any modality is from preferring the right class (CRMT, arXiv:2402.06244, step 1).

    ``log sum_m sum_(k != y) exp(s_mk - s_my)``, so that the worst modality is pushed most.

    >>> right, wrong = torch.tensor([[9.0, 0.0]]), torch.tensor([[0.0, 9.0]])
    >>> margin = worst_unimodal_margin({"rgb": right, "depth": wrong}, torch.tensor([0]))
    >>> round(margin.item(), 2)
    9.0

    :param scores: Scores ``[N, K]`` of each modality.
    :param targets: Class indices ``[N]``.
    :param present: Which samples have a modality, booleans ``[N]``; ``None`` for all. One that a sample lacks takes no
        part.
    :return: Mean over the samples.
    """
    own = F.one_hot(targets, next(iter(scores.values())).shape[1]).bool()
    gaps = {name: of - of.gather(1, targets[:, None]) for name, of in scores.items()}
    left_out = {name: own if present is None else own | ~present[name][:, None] for name in gaps}
    # Finite, so that a sample that lacks all has a gradient of zero.
    lowest = torch.finfo(next(iter(gaps.values())).dtype).min
    shown = torch.cat([gap.masked_fill(left_out[name], lowest) for name, gap in gaps.items()], dim=1)
    nothing = torch.cat(list(left_out.values()), dim=1).all(dim=1)
    return torch.where(nothing, 0.0, shown.logsumexp(dim=1)).mean()


def spread(embeddings: Tensor) -> Tensor:
    """Keep embeddings from collapsing: each coordinate varies, and none repeats another one (UmURL, arXiv:2311.03106).

    ``5 mean_d relu(1 - sqrt(var_d + 1e-4)) + sum_(i != j) cov_ij^2 / D``, the terms of VICReg.

    >>> apart = torch.tensor([[2.0, 2.0], [2.0, -2.0], [-2.0, 2.0], [-2.0, -2.0]])
    >>> float(spread(apart)), float(spread(torch.ones(4, 2))) > 1
    (0.0, True)

    :param embeddings: Shape ``[N, D]``.
    :return: At least 0; 0 for fewer than two rows, which cannot vary.
    """
    if len(embeddings) < 2:
        return embeddings[:0].sum()
    centred = embeddings - embeddings.mean(dim=0)
    deviation = (centred.square().sum(dim=0) / (len(embeddings) - 1) + 1e-4).sqrt()
    covariance = centred.T @ centred / (len(embeddings) - 1)
    off = covariance - torch.diag(covariance.diagonal())
    return 5 * F.relu(1 - deviation).mean() + off.square().sum() / embeddings.shape[1]


def unified_stream(projected: Mapping[str, Tensor], fused_projected: Mapping[str, Tensor]) -> Tensor:
    """Bring what is seen in each view and in all of them together (UmURL, arXiv:2311.03106).

    With ``c = mean_m z_m`` it is ``5 [sum_m MSE(z_m, u_m) + sum_m MSE(z_m, c)] + sum_m [spread(z_m) + spread(u_m)]``:
    the fused stream holds each view, views agree, and nothing collapses.

    >>> alike = {"joint": torch.eye(4), "bone": torch.eye(4)}
    >>> apart = {"joint": torch.eye(4), "bone": -torch.eye(4)}
    >>> bool(unified_stream(alike, alike) < unified_stream(apart, alike))
    True

    :param projected: Embeddings ``z_m`` of each view by itself, ``[N, D]``.
    :param fused_projected: What each view's projector makes of the fused stream, ``u_m``, by the same names.
    """
    centre = torch.stack(list(projected.values())).mean(dim=0)
    pairs = [(own, fused_projected[name]) for name, own in projected.items()]
    together = [F.mse_loss(own, both) + F.mse_loss(own, centre) for own, both in pairs]
    apart = [spread(own) + spread(both) for own, both in pairs]
    return 5 * torch.stack(together).sum() + torch.stack(apart).sum()


def protected(projection: Tensor, feature: Tensor, alpha: float) -> Tensor:
    """A projection that also keeps steps away from a further direction (MLA, arXiv:2311.10707).

    Recursive least squares: ``P - q (h'P)`` with ``q = P h / (alpha + h'P h)``. From the identity and features ``H`` it
    becomes ``alpha (alpha I + H H')^-1``: a gradient of a head that is multiplied by it hardly changes what the head
    says about these features. The published code divides by an outer product, element by element, and protects nothing.

    >>> protected(torch.eye(2), torch.tensor([1.0, 0.0]), alpha=1.0).tolist()
    [[0.5, 0.0], [0.0, 1.0]]

    :param projection: Symmetric, shape ``[D, D]``.
    :param feature: Mean feature of a batch of one modality, ``[D]``.
    :param alpha: How much of the direction is left; greater than 0.
    """
    along = projection @ feature
    return projection - torch.outer(along, along) / (alpha + feature @ along)


def sample_losses(scores: Tensor, targets: Tensor, present: Tensor) -> Tensor:
    """Cross-entropy of the scores of one modality, 0 for the samples that lack it: ``[N]``.

    >>> present = torch.tensor([True, False])
    >>> sample_losses(torch.zeros(2, 4), torch.eye(4)[:2], present).exp().round().tolist()
    [4.0, 1.0]
    """
    return torch.where(present, soft_cross_entropy(scores, targets), 0.0)


def unimodal(unimodal_scores: Mapping[str, Tensor], targets: Tensor, present: Mapping[str, Tensor]) -> Tensor:
    """Cross-entropy of each modality's own scores, the mean over the samples that have it, summed over modalities.

    >>> scores, there = {"rgb": torch.zeros(2, 4)}, {"rgb": torch.tensor([True, False])}
    >>> round(unimodal(scores, torch.eye(4)[:2], there).exp().item(), 3)
    4.0
    """
    losses = [
        sample_losses(scores, targets, present[name]).sum() / present[name].sum().clamp_min(1)
        for name, scores in unimodal_scores.items()
    ]
    return torch.stack(losses).sum()


def fused(scores: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of the scores.

    >>> round(fused(torch.zeros(2, 4), torch.eye(4)[:2]).exp().item(), 3)
    4.0
    """
    return soft_cross_entropy(scores, targets).mean()


def ablation(ablated_scores: Tensor, targets: Tensor, consistency: float = 0.0) -> Tensor:
    """Cross-entropy of samples of which some elements are hidden (arXiv:1911.09272; several modalities: 2403.19080).

    >>> round(ablation(torch.zeros(1, 2, 4), torch.eye(4)[:2]).exp().item(), 3)
    4.0

    :param consistency: Weight of the variance of two masks' votes
        (:func:`~art_multimodal.functional.objectives.vote_variance`), at least 0; above 0 each sample is seen under two
        masks.
    """
    return under_masks(ablated_scores, targets, consistency)


def auxiliary(
    scores: Tensor,
    unimodal_scores: Mapping[str, Tensor],
    targets: Tensor,
    present: Mapping[str, Tensor],
    lambda_unimodal: float = 1.0,
) -> Tensor:
    """Cross-entropy of the scores, and of each modality's own (multi-task training of late fusions).

    >>> zero, there = torch.zeros(2, 4), torch.ones(2, dtype=torch.bool)
    >>> loss = auxiliary(zero, {"rgb": zero}, torch.eye(4)[:2], {"rgb": there}, lambda_unimodal=0.5)
    >>> round(loss.exp().item(), 3)
    8.0

    :param lambda_unimodal: Weight of the modalities' own.
    """
    return fused(scores, targets) + lambda_unimodal * unimodal(unimodal_scores, targets, present)


def qmf(
    scores: Tensor,
    unimodal_scores: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    history: Mapping[str, Tensor],
    targets: Tensor,
    present: Mapping[str, Tensor],
    lambda_rank: float = 0.1,
) -> Tensor:
    """Cross-entropies of all scores, and weights that fall as a modality's losses rise (QMF, arXiv:2306.02050).

    Samples that lack a modality take no part in its ranking.

    >>> zero, there = torch.zeros(2, 4), torch.ones(2, dtype=torch.bool)
    >>> given = {"weights": {"rgb": torch.tensor([2.0, 1.0])}, "history": {"rgb": torch.tensor([0.1, 0.9])}}
    >>> loss = qmf(zero, {"rgb": zero}, targets=torch.eye(4)[:2], present={"rgb": there}, **given)
    >>> round(loss.exp().item(), 3)
    16.0

    :param lambda_rank: Weight of the ranking: 1 for texts and images, 0.1 for colour and depth in the paper.
    """
    ranks = [quality_ranking(of[present[name]], history[name][present[name]]) for name, of in weights.items()]
    return auxiliary(scores, unimodal_scores, targets, present) + lambda_rank * torch.stack(ranks).sum()


def right_alone(
    unimodal_scores: Mapping[str, Tensor], targets: Tensor, present: Mapping[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Which samples have all modalities, booleans ``[N]``, and about which of these each modality is right alone.

    >>> scores, there = {"rgb": torch.eye(2), "depth": torch.eye(2).flip(0)}, torch.tensor([True, True])
    >>> right_alone(scores, torch.eye(2), dict.fromkeys(scores, there))[1]
    {'rgb': tensor([True, True]), 'depth': tensor([False, False])}
    """
    everything = torch.stack(list(present.values())).all(dim=0)
    labels = targets.argmax(dim=1)
    return everything, {name: (of.argmax(dim=1) == labels)[everything] for name, of in unimodal_scores.items()}


def unis_mmc(
    scores: Tensor,
    unimodal_scores: Mapping[str, Tensor],
    features: Mapping[str, Tensor],
    targets: Tensor,
    present: Mapping[str, Tensor],
    lambda_contrast: float = 0.1,
    temperature: float = 0.07,
) -> Tensor:
    """Cross-entropies of all scores, and embeddings drawn towards the modality that is right (arXiv:2305.09299).

    Samples that lack a modality take no part in the contrast.

    >>> unit, there = torch.eye(4), {name: torch.ones(4, dtype=torch.bool) for name in ("rgb", "depth")}
    >>> alone, features = dict.fromkeys(there, 9 * unit), dict.fromkeys(there, unit)
    >>> bool(unis_mmc(9 * unit, alone, features, unit, there) < 0.1)
    True

    :param lambda_contrast: Weight of the contrast.
    :param temperature: Divides the cosines.
    """
    everything, right = right_alone(unimodal_scores, targets, present)
    whole = {name: of[everything] for name, of in features.items()}
    contrast = unimodal_contrast(whole, right, temperature)
    return auxiliary(scores, unimodal_scores, targets, present) + lambda_contrast * contrast


def mla(
    unimodal_scores: Mapping[str, Tensor],
    targets: Tensor,
    present: Mapping[str, Tensor],
    turn: str,
    alpha: float = 0.1,
) -> Tensor:
    """Cross-entropy of the modality whose turn it is (MLA, arXiv:2311.10707).

    >>> scores, there = {"rgb": torch.zeros(2, 4), "depth": 9 * torch.eye(4)[:2]}, torch.ones(2, dtype=torch.bool)
    >>> loss = mla(scores, torch.eye(4)[:2], {"rgb": there, "depth": there}, turn="rgb")
    >>> round(loss.exp().item(), 3)
    4.0

    :param alpha: How much of a protected direction the shared head may still move in, at the start of training; its
        exponent grows from 1 to 2.
    """
    return sample_losses(unimodal_scores[turn], targets, present[turn]).sum() / present[turn].sum().clamp_min(1)


def crmt(
    scores: Tensor,
    unimodal_scores: Mapping[str, Tensor],
    targets: Tensor,
    present: Mapping[str, Tensor],
    rho: float = 2.0,
) -> Tensor:
    """Cross-entropy, and margins of the modality that is worst (CRMT, arXiv:2402.06244, step 1).

    >>> unit, there = torch.eye(4), {"rgb": torch.ones(4, dtype=torch.bool)}
    >>> bool(crmt(9 * unit, {"rgb": 9 * unit}, unit, there) < crmt(9 * unit, {"rgb": -9 * unit}, unit, there))
    True

    :param rho: Weight of the margins.
    """
    margin = worst_unimodal_margin(unimodal_scores, targets.argmax(dim=1), present)
    return fused(scores, targets) + rho * margin


def deq(scores: Tensor, targets: Tensor, steepness: Tensor, gamma: float = 1.0) -> Tensor:
    """Cross-entropy, and a layer that is not steep at its fixed points (DEQ fusion, arXiv:2306.16645).

    A layer that contracts converges in fewer steps, and its implicit gradient is exact.

    >>> unit, steep = torch.eye(4), torch.full((4,), 0.5)
    >>> round((deq(0 * unit, unit, steep, gamma=2.0) - fused(0 * unit, unit)).item(), 3)
    1.0

    :param gamma: Weight of the steepness; published with 20 on data of gene expression.
    """
    return fused(scores, targets) + gamma * steepness.mean()


def larger_radius(radius: Tensor, largest_radius: float = 1.0) -> Tensor:
    """The radius within which no change alters the answer, to be raised (CRMT, arXiv:2402.06244, step 2).

    >>> larger_radius(torch.tensor([0.5, 3.0]), largest_radius=1.0).item()
    -0.75

    :param largest_radius: What counts as large enough, in the units of the inputs.
    :return: Minus the mean, each radius at most ``largest_radius``.
    :raises InputError: If that is not greater than 0.
    """
    if not largest_radius > 0:
        raise InputError(f"largest_radius is a radius that is large enough, greater than 0, not {largest_radius}.")
    return -radius.clamp_max(largest_radius).mean()
