"""Layers of vision transformers whose gradients cost less CPU time: the same weights, outputs and names.

Attacks need gradients of pixels, for which the layers below are not made: a CLIP ViT-B/32 spends a fifth of a step of
PGD on them (``benchmarks/training_step_cost.py``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PatchEmbedding(nn.Conv2d):
    """A convolution of patches that do not overlap, on a CPU as a matrix product: equal but for rounding.

    What a convolution takes to come back to the pixels is five times as much.
    """

    def forward(self, input: Tensor) -> Tensor:
        height, width = self.kernel_size
        fits = input.ndim == 4 and len(input) and input.shape[1] == self.in_channels
        if input.is_cuda or not fits or input.shape[2] < height or input.shape[3] < width:
            return super().forward(input)
        # What is left over at the right and at the bottom is in no patch.
        patches = input.unfold(2, height, height).unfold(3, width, width)
        rows, columns = patches.shape[2:4]
        pixels = patches.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
        states = F.linear(pixels, self.weight.flatten(1), self.bias)
        return states.transpose(1, 2).unflatten(2, (rows, columns))


class SelfAttention(nn.MultiheadAttention):
    """Attention that puts the sequence first where a gradient is wanted: equal bit for bit.

    Batch first, torch multiplies the weights with each sample by itself, forth and back.
    """

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        options: dict[str, Any] = {
            "key_padding_mask": key_padding_mask,
            "need_weights": need_weights,
            "attn_mask": attn_mask,
            "average_attn_weights": average_attn_weights,
            "is_causal": is_causal,
        }
        wanted = torch.is_grad_enabled() and query.requires_grad
        itself = query is key is value and query.ndim == 3 and self._qkv_same_embed_dim
        if not (wanted and itself and self.batch_first):
            return super().forward(query, key, value, **options)
        states = query.transpose(0, 1).contiguous()
        found, weights = F.multi_head_attention_forward(
            states,
            states,
            states,
            self.embed_dim,
            self.num_heads,
            self.in_proj_weight,
            self.in_proj_bias,
            self.bias_k,
            self.bias_v,
            self.add_zero_attn,
            self.dropout,
            self.out_proj.weight,
            self.out_proj.bias,
            training=self.training,
            **options,
        )
        return found.transpose(0, 1), weights


#: What each of the layers above is in all but name.
_PLAIN: dict[type[nn.Module], type[nn.Module]] = {SelfAttention: nn.MultiheadAttention, PatchEmbedding: nn.Conv2d}


def with_fast_gradients(model: nn.Module) -> None:
    """Give the layers of a model that are one of the above in all but name their class.

    Done to the models that are loaded here; to one that was handed in only if its owner calls this.
    :func:`without_fast_gradients` undoes it.

    >>> net = torch.nn.Sequential(torch.nn.LayerNorm(4))
    >>> with_fast_gradients(net)
    >>> net(torch.ones(1, 4)).shape
    torch.Size([1, 4])
    >>> without_fast_gradients(net)
    >>> type(net[0]) is torch.nn.LayerNorm
    True
    """
    for module in model.modules():
        if type(module) is nn.MultiheadAttention:
            module.__class__ = SelfAttention
        elif type(module) is nn.Conv2d and embeds_patches(module):
            module.__class__ = PatchEmbedding


def without_fast_gradients(model: nn.Module) -> None:
    """Give the layers of a model the classes back that :func:`with_fast_gradients` found.

    >>> net = torch.nn.Sequential(torch.nn.LayerNorm(4))
    >>> with_fast_gradients(net)
    >>> without_fast_gradients(net)
    >>> type(net[0]) is torch.nn.LayerNorm
    True
    """
    for module in model.modules():
        plain = _PLAIN.get(type(module))
        if plain is not None:
            module.__class__ = plain


def embeds_patches(layer: nn.Module) -> bool:
    """Whether a layer is a convolution of patches that do not overlap, and nothing else."""
    if type(layer) not in (nn.Conv2d, PatchEmbedding):
        return False
    assert isinstance(layer, nn.Conv2d)
    plain = layer.groups == 1 and set(layer.dilation) == {1} and layer.padding in ((0, 0), 0, "valid")
    return plain and layer.in_channels <= 4 and layer.kernel_size == layer.stride
