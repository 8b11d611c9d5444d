"""A layer of a transformer that leaves out what is not there, as several fusions use it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from art_multimodal.errors import InputError
from art_multimodal.models.fusions.fusion import mlp


class Block(nn.Module):
    """A layer of a transformer, normalised before each part: attention, then a perceptron four times as wide.

    :param width: Of the states.
    :param heads: Of the attention; they divide ``width``.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.further = mlp([width, 4 * width, width])

    def forward(self, states: Tensor, missing: Tensor, source: Tensor | None = None) -> Tensor:
        """The next states ``[N, T, width]``. A sample with nothing to look at passes the perceptron alone.

        :param states: Shape ``[N, T, width]``.
        :param missing: Which steps of the source a sample lacks, booleans ``[N, S]``.
        :param source: What the states look at, ``[N, S, width]``; without it themselves.
        """
        if not len(states):
            # torch's attention does not know the shape of an empty mask.
            return states
        seen = self.before(states)
        looked_at = seen if source is None else self.before(source)
        nothing = missing.all(dim=1, keepdim=True)
        # A softmax over nothing is NaN, and so are its gradients: such a sample looks at everything, in vain.
        found = self.attention(seen, looked_at, looked_at, key_padding_mask=missing & ~nothing, need_weights=False)[0]
        states = states + torch.where(nothing[:, :, None], 0.0, found)
        return states + self.further(self.between(states))


def check_widths(hidden: int, layers: int, heads: int) -> None:
    """Refuse what is no transformer.

    :raises InputError: If the heads do not divide the width, or a number is below 1.
    """
    if min(hidden, layers, heads) < 1 or hidden % heads:
        raise InputError(f"hidden ({hidden}) must be a multiple of heads ({heads}), and layers at least 1 ({layers}).")
