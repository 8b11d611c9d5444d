"""Causal text transformers in parts: no state is computed that no embedding depends on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from art_multimodal.functional.prefix_tree import PrefixTree, prefix_trees

#: Tokens of a forward pass: enough to keep a processor busy, few enough that what they need stays near to it.
POSITIONS_AT_ONCE = 512
#: Tokens of it that attend together: few of their keys are for others among them alone.
_ROWS = 32
#: Trees whose tokens open the first layer together.
TREES_AT_ONCE = 64


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
    trees = prefix_trees(tokens, tower.ends(tokens), POSITIONS_AT_ONCE)
    while group := [tree.to(device) for tree in islice(trees, TREES_AT_ONCE)]:
        if layers:
            firsts = _firsts(tower, layers[0], group)
            last = [_through(layers, first, tree) for first, tree in zip(firsts, group, strict=True)]
        else:
            last = [tower.transform(tower.embed(t.ids[None], t.positions), t.ancestors)[0, t.ends] for t in group]
        features += [tower.project(states) for states in last]
        rows += [tree.texts for tree in group]
        count += sum(len(tree.ids) for tree in group)
    return torch.cat(features)[torch.cat(rows).argsort()], count


#: Queries, keys and values, ``[T, W]`` each.
_Opened = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class _First:
    """First states ``[T, W]`` of distinct tokens, and what the first layer opens of them.

    :param places: Which of them the tokens of a tree are, ``[P]``.
    """

    states: Tensor
    opened: _Opened
    places: Tensor


def _firsts(tower: CausalText, layer: CausalLayer, trees: Sequence[PrefixTree]) -> list[_First]:
    """What the first layer meets in each tree: the same for a token at a position, whatever stands before it."""
    ids, positions = torch.cat([tree.ids for tree in trees]), torch.cat([tree.positions for tree in trees])
    most = int(ids.max()) + 1
    numbers, places = (positions * most + ids).unique(return_inverse=True)
    states = [tower.embed(part % most, part // most) for part in numbers.split(POSITIONS_AT_ONCE)]
    queries, keys, values = (torch.cat(parts) for parts in zip(*map(layer.open, states), strict=True))
    first = torch.cat(states)
    return [_First(first, (queries, keys, values), own) for own in places.split([len(tree.ids) for tree in trees])]


def _through(layers: Sequence[CausalLayer], first: _First, tree: PrefixTree) -> Tensor:
    """Last states ``[T, W]`` of the ends of a tree's texts."""
    windows = tree.windows(_ROWS)
    size = len(tree.ids)
    # Behind the last token of the tree its last window asks for that token once more.
    asking = torch.arange(windows.allowed.shape[:2].numel(), device=tree.ids.device).clamp(max=size - 1)
    asked = windows.keys.flatten()
    # Attention would turn what is allowed into what is added, in every layer.
    added = first.opened[0].new_zeros(windows.allowed.shape).masked_fill(~windows.allowed, -torch.inf)
    attended = _attended(first.opened, layers[0].heads, first.places[asking], first.places[asked], added)
    states = first.states[first.places]
    for layer, following in pairwise(layers):
        states = layer.close(states, attended[:size])
        attended = _attended(following.open(states), following.heads, asking, asked, added)
    # Nobody attends to what comes out of the last layer.
    return layers[-1].close(states[tree.ends], attended[tree.ends])


def _attended(opened: _Opened, heads: int, asking: Tensor, asked: Tensor, added: Tensor) -> Tensor:
    """What the heads find ``[B * R, W]`` for the places of queries ``[B * R]`` among those of keys ``[B * K]``.

    :param added: To products of queries and keys, ``[B, R, K]``.
    """
    queries, keys, values = (
        part.index_select(0, places).view(len(added), -1, heads, part.shape[1] // heads).transpose(1, 2)
        for part, places in zip(opened, (asking, asked, asked), strict=True)
    )
    found = F.scaled_dot_product_attention(queries, keys, values, attn_mask=added[:, None])
    return found.transpose(1, 2).reshape(len(asking), -1)
