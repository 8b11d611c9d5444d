"""Ranks and recall of retrieval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from art_multimodal.errors import InputError
from art_multimodal.functional.statistics import proportion_ci95

#: Scores held at once.
_SCORES_AT_ONCE = 2**23


@dataclass(frozen=True)
class Recall:
    """Share of queries that find something relevant among the ``k`` best items.

    :param image_to_text: For each ``k``, the share of images that find one of their texts.
    :param text_to_image: For each ``k``, the share of texts that find one of their images.
    :param image_to_text_ci95: 95 % intervals.
    :param text_to_image_ci95: 95 % intervals.
    :param nb_images: Images: queries in one direction, the gallery in the other.
    :param nb_texts: Texts, likewise.
    """

    image_to_text: dict[int, float]
    text_to_image: dict[int, float]
    image_to_text_ci95: dict[int, tuple[float, float]]
    text_to_image_ci95: dict[int, tuple[float, float]]
    nb_images: int
    nb_texts: int


def best_ranks(scores: Tensor, relevant: Tensor) -> Tensor:
    """Rank of the best relevant item for each query, 1 being the top.

    An irrelevant item with the same score ranks before it: a model that scores everything alike finds nothing first.

    :param scores: Queries against items, shape ``[Q, G]``.
    :param relevant: Boolean, shape ``[Q, G]``; at least one item for each query.
    :return: Shape ``[Q]``, whole numbers from 1 to ``G``.
    :raises InputError: If a query has no relevant item, or a score is NaN.
    """
    if scores.shape != relevant.shape:
        raise InputError(f"Scores {tuple(scores.shape)} and relevance {tuple(relevant.shape)} must have one shape.")
    _check_answerable(relevant.any(dim=1).cpu().numpy())
    if bool(scores.isnan().any()):
        raise InputError(
            "Scores are NaN: the model's weights are damaged, or it overflows. No rank would mean anything."
        )
    best = scores.masked_fill(~relevant, -torch.inf).amax(dim=1, keepdim=True)
    return 1 + ((scores >= best) & ~relevant).sum(dim=1)


def cosine_ranks(queries: Tensor, gallery: Tensor, relevant: Any) -> np.ndarray:
    """Rank of the best relevant item for each query, by the cosine of features; see :func:`best_ranks`.

    Never holds all scores at once.

    :param queries: Shape ``[Q, D]``, of any length.
    :param gallery: Shape ``[G, D]``, of any length.
    :param relevant: Boolean, shape ``(Q, G)``: an array, a tensor, or a scipy sparse array in CSR format.
    :return: Shape ``(Q,)``, whole numbers from 1 to ``G``.
    :raises InputError: If shapes do not fit, a query has no relevant item, or features are NaN.
    """
    if tuple(relevant.shape) != (len(queries), len(gallery)):
        raise InputError(
            f"Relevance has shape {tuple(relevant.shape)}, but there are {len(queries)} queries and {len(gallery)} "
            "items."
        )
    _check_answerable(np.asarray(relevant.sum(1)).ravel() > 0)
    # Summed in float64 and then rounded, equal features score alike wherever they stand, so that ties are ties.
    units = F.normalize(gallery.detach().cpu().double(), dim=-1).T
    rows = max(1, _SCORES_AT_ONCE // max(1, len(gallery)))
    ranks = []
    for start in range(0, len(queries), rows):
        part = slice(start, start + rows)
        scores = (F.normalize(queries[part].detach().cpu().double(), dim=-1) @ units).float()
        mask = relevant[part]
        mask = mask.toarray() if hasattr(mask, "toarray") else mask
        ranks.append(best_ranks(scores, torch.as_tensor(mask).cpu().bool()))
    return torch.cat(ranks).numpy() if ranks else np.zeros(0, dtype=np.int64)


def check_ks(ks: Sequence[int]) -> None:
    """Check the numbers of best items that recall looks at.

    :raises InputError: If there is none, or one is no whole number of at least 1.
    """
    whole = [isinstance(k, (int, np.integer)) and not isinstance(k, bool) and k >= 1 for k in ks]
    if not whole or not all(whole):
        raise InputError(f"ks must be whole numbers of at least 1, such as (1, 5, 10), not {ks!r}.")


def recall_at(ranks: np.ndarray, ks: Sequence[int]) -> tuple[dict[int, float], dict[int, tuple[float, float]]]:
    """Share of queries whose best relevant item is among the ``k`` best, and its 95 % interval, for each ``k``.

    :param ranks: Shape ``(Q,)``, at least one.
    :param ks: Whole numbers of at least 1; more than there are items is allowed.
    """
    found = {int(k): int((ranks <= k).sum()) for k in ks}
    intervals = {k: proportion_ci95(count, len(ranks)) for k, count in found.items()}
    return (
        {k: count / len(ranks) for k, count in found.items()},
        {k: interval for k, interval in intervals.items() if interval is not None},
    )


def _check_answerable(answerable: np.ndarray) -> None:
    if not answerable.all():
        raise InputError(
            f"Query {int(answerable.argmin())} has no relevant item in the gallery. Leave it out, or add what it "
            "looks for."
        )
