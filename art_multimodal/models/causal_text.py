"""Causal text transformers in parts: no state is computed that no embedding depends on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from art_multimodal.functional.prefix_tree import PrefixTree, Windows, prefix_trees

#: Tokens of a forward pass: enough to keep a processor busy, few enough that what they need stays near to it.
POSITIONS_AT_ONCE = 512
#: Tokens of it that attend together: few of their keys are for others among them alone.
_ROWS = 32


class CausalLayer(Protocol):
    """A layer whose tokens meet in plain attention, the softmax of scaled products, and nowhere else."""

    #: How many heads attend.
    heads: int

    def open(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, ``[..., W]`` each, of states ``[..., W]``."""

    def close(self, states: Tensor, attended: Tensor) -> Tensor:
        """States behind the layer, of those before it and of what the heads found, ``[..., W]`` both."""


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


@runtime_checkable
class LayeredText(CausalText, Protocol):
    """One whose layers are known, too."""

    def layers(self) -> Sequence[CausalLayer] | None:
        """What :meth:`transform` consists of; ``None`` where it has to be asked itself, as with hooks inside."""


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
    layers = tower.layers() if isinstance(tower, LayeredText) else None
    for tree in prefix_trees(tokens, tower.ends(tokens), POSITIONS_AT_ONCE):
        tree = tree.to(device)
        first = tower.embed(tree.ids[None], tree.positions)
        last = _through(layers, first[0], tree) if layers else tower.transform(first, tree.ancestors)[0, tree.ends]
        features.append(tower.project(last))
        rows.append(tree.texts)
        count += len(tree.ids)
    return torch.cat(features)[torch.cat(rows).argsort()], count


def _through(layers: Sequence[CausalLayer], states: Tensor, tree: PrefixTree) -> Tensor:
    """Last states ``[T, W]`` of the ends of a tree's texts, from first states ``[P, W]`` of all its tokens."""
    windows = tree.windows(_ROWS)
    for layer in layers:
        attended = _attended(*layer.open(states), layer.heads, windows)
        if layer is layers[-1]:
            # Nobody attends to what comes out of the last layer.
            states, attended = states[tree.ends], attended[tree.ends]
        states = layer.close(states, attended)
    return states


def _attended(queries: Tensor, keys: Tensor, values: Tensor, heads: int, windows: Windows) -> Tensor:
    """What the heads find ``[P, W]`` for queries ``[P, W]`` in their windows."""
    size, width = queries.shape
    count, rows, _ = windows.allowed.shape
    places = windows.keys.flatten()

    def by_head(states: Tensor) -> Tensor:
        return states.reshape(count, -1, heads, width // heads).transpose(1, 2)

    found = F.scaled_dot_product_attention(
        by_head(F.pad(queries, (0, 0, 0, count * rows - size))),
        by_head(keys[places]),
        by_head(values[places]),
        attn_mask=windows.allowed[:, None],
    )
    return found.transpose(1, 2).reshape(-1, width)[:size]
