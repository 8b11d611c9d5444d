"""open_clip's own text transformer in parts, where it is built as CLIP's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from art_multimodal.models.causal_text import is_as_built
from art_multimodal.models.fast_gradients import SelfAttention


class CLIPLayer:
    """A residual block of open_clip as a :class:`CausalLayer`.

    :param block: Of the class ``ResidualAttentionBlock``.
    """

    def __init__(self, block: Any) -> None:
        self._block, self.heads = block, block.attn.num_heads

    def open(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        attention = self._block.attn
        together = F.linear(self._block.ln_1(states), attention.in_proj_weight, attention.in_proj_bias)
        queries, keys, values = together.chunk(3, dim=-1)
        return queries, keys, values

    def close(self, states: Tensor, attended: Tensor) -> Tensor:
        block = self._block
        # As torch's attention does: the projection at its end is never called.
        out = block.attn.out_proj
        states = states + block.ls_1(F.linear(attended, out.weight, out.bias))
        return states + block.ls_2(block.mlp(block.ln_2(states)))


class CLIPText:
    """A text transformer of open_clip as a :class:`CausalText`.

    :param parts: What holds the layers: the model itself, or its text tower.
    :param pool_type: ``"argmax"``, the state of the largest token, or ``"eos"``, that of the first end token.
    :param end_id: That token.
    """

    def __init__(self, parts: Any, pool_type: str, end_id: int | None) -> None:
        self._parts = parts
        self._pool_type = pool_type
        self._end_id = end_id

    def ends(self, tokens: Tensor) -> Tensor:
        if self._pool_type == "argmax":
            return tokens.argmax(dim=-1)
        assert self._end_id is not None
        return (tokens == self._end_id).int().argmax(dim=-1)

    def embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        dtype = self._parts.transformer.get_cast_dtype()
        return self._parts.token_embedding(ids).to(dtype) + self._parts.positional_embedding.to(dtype)[positions]

    def transform(self, states: Tensor, allowed: Tensor) -> Tensor:
        mask = torch.zeros_like(allowed, dtype=states.dtype).masked_fill(~allowed, -torch.inf)
        return self._parts.transformer(states, attn_mask=mask)

    def layers(self) -> list[CLIPLayer] | None:
        from open_clip.transformer import ResidualAttentionBlock

        transformer = self._parts.transformer
        blocks = list(transformer.resblocks)
        if transformer.grad_checkpointing or any(type(block) is not ResidualAttentionBlock for block in blocks):
            return None
        return [CLIPLayer(block) for block in blocks] if all(_is_plain(block.attn) for block in blocks) else None

    def project(self, states: Tensor) -> Tensor:
        projection, states = self._parts.text_projection, self._parts.ln_final(states)
        if projection is None:
            return states
        return projection(states) if isinstance(projection, nn.Linear) else states @ projection


def causal_text_of(model: Any) -> CLIPText | None:
    """Take the text transformer of an open_clip model apart; ``None`` where it is not known to be causal.

    Known are the classes ``CLIP`` and ``TextTransformer`` themselves with a causal mask and nothing else in it, pooled
    at the end of the text: not those of SigLIP (all tokens see each other), CoCa (a class token behind the padding) or
    transformers' towers, and no class derived from them, which may do anything. Nor those with hooks on what sees
    whole texts, which may mix tokens or count them.
    """
    from open_clip.model import CLIP, CustomTextCLIP
    from open_clip.transformer import (
        CustomResidualAttentionBlock,
        ResidualAttentionBlock,
        TextTransformer,
        Transformer,
    )

    if type(model) is CLIP:
        parts, pool_type, end_id = model, model.text_pool_type, model.text_eos_id
    elif type(model) is CustomTextCLIP and type(model.text) is TextTransformer:
        parts, pool_type, end_id = model.text, model.text.pool_type, model.text.eos_id
        if model.text.cls_emb is not None or model.text.use_pad_mask or model.text.output_tokens:
            return None
    else:
        return None
    changed = "encode_text" in vars(model) or "forward" in vars(parts)
    if changed or pool_type not in ("argmax", "eos") or type(parts.transformer) is not Transformer:
        return None
    blocks = parts.transformer.resblocks
    if not all(type(block) in (ResidualAttentionBlock, CustomResidualAttentionBlock) for block in blocks):
        return None
    # A model's own hooks are not for its texts alone, and no part of `encode_text`.
    tower = () if parts is model else (parts,)
    if not is_as_built((*tower, parts.token_embedding, parts.transformer, *blocks, parts.ln_final)):
        return None
    mask = parts.attn_mask
    causal = mask is not None and torch.equal(mask, torch.full_like(mask, -torch.inf).triu(1))
    return CLIPText(parts, pool_type, end_id) if causal else None


def _is_plain(attention: nn.Module) -> bool:
    """Whether attention is torch's own with one matrix for queries, keys and values, and nothing else in it."""
    if type(attention) not in (nn.MultiheadAttention, SelfAttention) or not is_as_built((attention,)):
        return False
    assert isinstance(attention, nn.MultiheadAttention)
    further = attention.bias_k is not None or attention.bias_v is not None or attention.add_zero_attn
    return attention._qkv_same_embed_dim and not further and not (attention.training and attention.dropout)
