"""Causal text transformers in parts: no state is computed that no embedding depends on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor, nn

from art_multimodal.functional.prefix_tree import prefix_trees

#: Tokens of a forward pass: enough to keep a processor busy, few enough that attention among them costs little.
POSITIONS_AT_ONCE = 256


class CausalText(Protocol):
    """A transformer in which a token attends to itself and to what stands before it, and whose feature is one state."""

    def ends(self, tokens: Tensor) -> Tensor:
        """The column ``[M]`` of tokens ``[M, L]`` whose state becomes the feature."""

    def embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        """First states ``[..., P, W]`` of tokens ``[..., P]`` at positions ``[P]``."""

    def transform(self, states: Tensor, allowed: Tensor) -> Tensor:
        """Last states from first states ``[N, P, W]``; ``allowed`` ``[P, P]``: whether a row attends to a column."""

    def project(self, states: Tensor) -> Tensor:
        """Features ``[M, D]``, not normalised, from last states ``[M, W]``."""


def is_as_built(parts: Iterable[nn.Module]) -> bool:
    """Whether modules compute what their classes say: no hook takes part, and no other ``forward`` was put in."""
    return not any(part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part) for part in parts)


def encode_trimmed(tower: CausalText, tokens: Tensor) -> Tensor:
    """Features ``[M, D]`` of tokens ``[M, L]``, cut behind the last state that becomes a feature: exact, and less work.

    :param tokens: At least one row.
    """
    ends = tower.ends(tokens)
    positions = torch.arange(int(ends.max()) + 1, device=tokens.device)
    states = tower.embed(tokens[:, : len(positions)], positions)
    states = tower.transform(states, positions[:, None] >= positions)
    return tower.project(states[torch.arange(len(states), device=states.device), ends])


def encode_sharing_prefixes(tower: CausalText, tokens: Tensor, device: torch.device) -> tuple[Tensor, int]:
    """Features ``[M, D]`` of tokens ``[M, L]``, a beginning that texts share computed once: exact, too.

    :param tokens: At least one row.
    :param device: Where the tower is.
    :return: The features, and how many tokens have gone through the tower.
    """
    tokens = tokens.cpu()
    features, rows, count = [], [], 0
    for tree in prefix_trees(tokens, tower.ends(tokens), POSITIONS_AT_ONCE):
        tree = tree.to(device)
        states = tower.transform(tower.embed(tree.ids[None], tree.positions), tree.ancestors)
        features.append(tower.project(states[0, tree.ends]))
        rows.append(tree.texts)
        count += len(tree.ids)
    return torch.cat(features)[torch.cat(rows).argsort()], count
