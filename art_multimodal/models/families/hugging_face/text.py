"""transformers' CLIP text transformer in parts, where it is built as published."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from art_multimodal.models.causal_text import is_as_built


class HuggingFaceCLIPLayer:
    """A layer of transformers' CLIP as a :class:`CausalLayer`.

    :param layer: Of the class ``CLIPEncoderLayer``.
    """

    def __init__(self, layer: Any) -> None:
        self._layer, self.heads = layer, layer.self_attn.num_heads

    def open(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        attention, states = self._layer.self_attn, self._layer.layer_norm1(states)
        return attention.q_proj(states), attention.k_proj(states), attention.v_proj(states)

    def close(self, states: Tensor, attended: Tensor) -> Tensor:
        layer = self._layer
        states = states + layer.self_attn.out_proj(attended)
        return states + layer.mlp(layer.layer_norm2(states))


class HuggingFaceCLIPText:
    """The text transformer of a ``CLIPModel`` as a :class:`CausalText`.

    :param model: The ``CLIPModel``.
    """

    def __init__(self, model: Any) -> None:
        self._model, self._tower = model, model.text_model

    def ends(self, tokens: Tensor) -> Tensor:
        end = self._tower.eos_token_id
        # Configurations from before transformers 4.31 have a wrong number there; the end is the largest token then.
        return (tokens if end == 2 else (tokens == end).int()).argmax(dim=-1)

    def embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        embeddings = self._tower.embeddings
        return embeddings.token_embedding(ids) + embeddings.position_embedding(positions)

    def transform(self, states: Tensor, allowed: Tensor) -> Tensor:
        mask = torch.zeros_like(allowed, dtype=states.dtype).masked_fill(~allowed, torch.finfo(states.dtype).min)
        mask = mask.expand(len(states), 1, *allowed.shape)
        return self._tower.encoder(inputs_embeds=states, attention_mask=mask, is_causal=False)[0]

    def layers(self) -> list[HuggingFaceCLIPLayer] | None:
        from transformers.models.clip.modeling_clip import CLIPAttention, CLIPEncoderLayer

        layers = list(self._tower.encoder.layers)
        for layer in layers:
            attention = layer.self_attn
            if type(layer) is not CLIPEncoderLayer or type(attention) is not CLIPAttention:
                return None
            drops = attention.training and attention.dropout
            if drops or getattr(layer, "gradient_checkpointing", False) or not is_as_built((attention,)):
                return None
        return [HuggingFaceCLIPLayer(layer) for layer in layers]

    def project(self, states: Tensor) -> Tensor:
        return self._model.text_projection(self._tower.final_layer_norm(states))


def causal_text_of(model: Any) -> HuggingFaceCLIPText | None:
    """Take the text transformer of a ``CLIPModel`` apart; ``None`` for other families, and where hooks see whole texts.

    Nor with an attention that takes no mask of ours, nor in releases of transformers whose layers take two masks.
    """
    from transformers import CLIPModel

    if type(model) is not CLIPModel or "get_text_features" in vars(model):
        return None
    tower = model.text_model
    if "causal_attention_mask" in inspect.signature(tower.encoder.forward).parameters:
        return None
    if getattr(tower.config, "_attn_implementation", "") not in ("sdpa", "eager"):
        return None
    parts = (tower, tower.embeddings, tower.encoder, *tower.encoder.layers, tower.final_layer_norm)
    parts = (*parts, tower.embeddings.token_embedding, model.text_projection)
    return HuggingFaceCLIPText(model) if is_as_built(parts) else None
