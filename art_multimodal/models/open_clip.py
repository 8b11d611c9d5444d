"""Adapter for every contrastive model of open_clip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from art_multimodal.errors import InputError
from art_multimodal.models.causal_text import CausalText, encode_trimmed
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.open_clip_text import causal_text_of
from art_multimodal.models.preprocessing import ImagePreprocessing, check_sides
from art_multimodal.models.texts import check_context, reserved_positions

#: What open_clip itself calls them in a folder.
WEIGHTS_FILE, CONFIG_FILE = "open_clip_model.safetensors", "open_clip_config.json"


class OpenCLIPEncoder(DualEncoder):
    """An open_clip model behind the :class:`DualEncoder` contract.

    :param model: What ``open_clip.create_model`` returns; it stays as it is.
    :param tokenizer: What ``open_clip.get_tokenizer`` returns for the same architecture.
    :param architecture: What ``open_clip.get_model_config`` returns; only saving needs it.
    """

    def __init__(self, model: Any, tokenizer: Any, architecture: dict[str, Any] | None = None) -> None:
        from open_clip import get_model_preprocess_cfg

        config = get_model_preprocess_cfg(model)
        size = config["size"]
        check_sides(size if isinstance(size, list | tuple) else [size], "The size that open_clip prepares pictures in")
        preprocess = ImagePreprocessing(
            size=(size, size) if isinstance(size, int) else tuple(size),
            mean=config["mean"],
            std=config["std"],
            interpolation=config.get("interpolation", "bicubic"),
            resize_mode=config.get("resize_mode", "shortest"),
            fill=config.get("fill_color", 0) / 255,
        )
        inner = getattr(tokenizer, "tokenizer", None)  # HFTokenizer wraps a transformers tokenizer
        pad_id = getattr(inner, "pad_token_id", None) or 0
        # Text towers of transformers without a table of positions (mT5) do not say how many they read.
        length = model.context_length or tokenizer.context_length
        context = check_context(length, reserved=reserved_positions(model))
        super().__init__(preprocess, context_length=context, pad_id=int(pad_id))
        self.model = model
        self.tokenizer = tokenizer
        self.architecture = architecture

    @property
    def logit_scale(self) -> Tensor:  # type: ignore[override]
        return self.model.logit_scale

    @property
    def logit_bias(self) -> Tensor | None:  # type: ignore[override]
        return getattr(self.model, "logit_bias", None)

    def image_tower(self, pixels: Tensor) -> Tensor:
        return self.model.encode_image(pixels, normalize=False)

    @property
    def causal_text(self) -> CausalText | None:
        return causal_text_of(self.model)

    def text_tower(self, tokens: Tensor) -> Tensor:
        tower = self.causal_text
        if tower is None or not len(tokens):
            return self.model.encode_text(tokens, normalize=False)
        return encode_trimmed(tower, tokens)

    def token_ids(self, texts: list[str], length: int) -> Tensor:
        ids = self.tokenizer(texts, context_length=length)
        known = getattr(self.model, "vocab_size", None) or getattr(
            getattr(self.model, "text", None), "vocab_size", None
        )
        if known and ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < known:
            raise InputError(
                f"The tokenizer gives the id {int(ids.max())}, but the model knows {known} tokens. They do not belong "
                "together: save the model with its own tokenizer."
            )
        return ids

    def text_parameters(self) -> list[nn.Parameter]:
        visual = {id(p) for p in self.model.visual.parameters()}
        return [p for p in self.parameters() if id(p) not in visual]


def save_open_clip(encoder: OpenCLIPEncoder, folder: Path) -> None:
    """Write weights, configuration and tokenizer into an empty folder, from which open_clip makes the model again.

    ``open_clip.create_model_from_pretrained("local-dir:FOLDER")`` reads it, and :func:`load_open_clip_folder`.

    :raises InputError: If the encoder does not know its architecture.
    :raises OSError: If something cannot be written; safetensors raises an error of its own.
    """
    from open_clip import get_model_preprocess_cfg
    from safetensors.torch import save_file

    if encoder.architecture is None:
        raise InputError(
            "This OpenCLIPEncoder cannot be saved: it does not know its architecture. Load the model with load_model, "
            "or give OpenCLIPEncoder(model, tokenizer, open_clip.get_model_config(NAME))."
        )
    state = encoder.model.state_dict()
    # Copies: safetensors refuses tensors that share memory or are not contiguous.
    tensors = {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in state.items()}
    save_file(tensors, folder / WEIGHTS_FILE)
    config = {"model_cfg": encoder.architecture, "preprocess_cfg": dict(get_model_preprocess_cfg(encoder.model))}
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if hasattr(encoder.tokenizer, "save_pretrained"):
        encoder.tokenizer.save_pretrained(str(folder))
