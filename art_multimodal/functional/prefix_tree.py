"""Texts that begin alike as trees of tokens: what a causal transformer makes of a common beginning, it makes once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Windows:
    """What the tokens of a tree attend to, so many consecutive ones together, ``R``.

    Texts stand in their order, so consecutive tokens have few ancestors that are not among them: those of the first.

    :param keys: Places of the tokens that some token of a window attends to, ``[B, K]``; filled up where there are
        fewer.
    :param allowed: Whether a token of the window attends to a key, ``[B, R, K]``. Behind the last token of the tree
        there is nobody, who attends to something all the same.
    """

    keys: Tensor
    allowed: Tensor


@dataclass(frozen=True)
class PrefixTree:
    """Distinct beginnings of some texts, written one after the other: each stands for its last token.

    In a causal transformer the state of a token depends on what stands before it in its text, and on nothing else. So
    one sequence of ``P`` tokens, each at its own position and attending to its own ancestors, has every state of all
    texts.

    :param ids: The tokens, ``[P]``.
    :param positions: Where each stands in its texts, ``[P]``.
    :param ancestors: ``[P, P]``, true where the column's token stands before the row's in its text, or is the same.
    :param texts: Which rows of the tokens are in this tree, ``[T]``.
    :param ends: Where in ``ids`` the last token of each of them is, ``[T]``.
    """

    ids: Tensor
    positions: Tensor
    ancestors: Tensor
    texts: Tensor
    ends: Tensor

    def to(self, device: torch.device) -> PrefixTree:
        """The same on a device."""
        return PrefixTree(*(part.to(device) for part in vars(self).values()))

    def windows(self, rows: int) -> Windows:
        """The ancestors again, for attention at a cost that grows with the size of the tree, and not with its square.

        :param rows: Tokens of a window; of a smaller tree there is one window.
        """
        size = len(self.ids)
        rows = min(rows, size)
        allowed = F.pad(self.ancestors, (0, 0, 0, -size % rows)).view(-1, rows, size)
        needed = allowed.any(dim=1)
        most = int(needed.sum(dim=1).max())
        # The needed ones first, in their order.
        keys = needed.int().argsort(dim=1, descending=True, stable=True)[:, :most]
        allowed = allowed.gather(2, keys[:, None].expand(-1, rows, -1))
        allowed[..., 0] |= ~allowed.any(dim=2)
        return Windows(keys, allowed)


def prefix_trees(tokens: Tensor, ends: Tensor, most_positions: int) -> Iterator[PrefixTree]:
    """Arrange texts in trees, those that begin alike together.

    What several trees have in common is in each of them, so the fewer trees the better; but the cost of attention
    grows with the square of their size.

    :param tokens: ``[M, L]``, on the CPU.
    :param ends: The last column of each text that matters, ``[M]``; what follows is left out.
    :param most_positions: Most tokens of a tree, unless a single text has more.
    """
    if not len(tokens):
        return
    lengths = ends + 1
    columns = torch.arange(int(lengths.max()))
    ids = tokens[:, : len(columns)].masked_fill(columns > ends[:, None], -1)
    order = torch.from_numpy(np.lexsort(ids.numpy().T[::-1]))
    ids, lengths = ids[order], lengths[order]
    # So many tokens of a text are those of the text before it.
    alike = (ids[1:] == ids[:-1]).int().cumprod(dim=1).sum(dim=1)
    alike = torch.cat([alike.new_zeros(1), alike.minimum(lengths[1:]).minimum(lengths[:-1])])
    start, size = 0, 0
    for row, (length, common) in enumerate(zip(lengths.tolist(), alike.tolist(), strict=True)):
        size += length - common
        if row > start and size > most_positions:
            yield _tree(order[start:row], ids[start:row], lengths[start:row], alike[start:row])
            start, size = row, length
    yield _tree(order[start:], ids[start:], lengths[start:], alike[start:])


def _tree(texts: Tensor, ids: Tensor, lengths: Tensor, alike: Tensor) -> PrefixTree:
    columns = torch.arange(int(lengths.max()))
    first = torch.arange(len(ids)) == 0
    new = (columns >= alike.masked_fill(first, 0)[:, None]) & (columns < lengths[:, None])
    number = new.flatten().cumsum(0).view_as(new) - 1
    # What is not new was, in that column, when something last was.
    path = number.masked_fill(~new, -1).cummax(dim=0).values
    rows, positions = new.nonzero(as_tuple=True)
    before = columns <= positions[:, None]
    ancestors = torch.zeros(len(rows), len(rows), dtype=torch.bool)
    ancestors[before.nonzero(as_tuple=True)[0], path[rows][before]] = True
    return PrefixTree(ids[rows, positions], positions, ancestors, texts, path[torch.arange(len(ids)), lengths - 1])
