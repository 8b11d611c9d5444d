"""Adapter for every contrastive model of open_clip."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from art_multimodal.errors import InputError
from art_multimodal.models.causal_text import CausalText, encode_trimmed
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.families.open_clip.text import causal_text_of
from art_multimodal.models.families.open_clip.vision import layered_images_of, patch_tower_of
from art_multimodal.models.layered_images import LayeredImages
from art_multimodal.models.preprocessing import ImagePreprocessing, check_sides
from art_multimodal.models.texts import check_context, reserved_positions
from art_multimodal.models.visible_patches import PatchTower


class OpenCLIPEncoder(DualEncoder):
    """An open_clip model behind the :class:`DualEncoder` contract.

    :param model: What ``open_clip.create_model`` returns; it stays as it is.
    :param tokenizer: What ``open_clip.get_tokenizer`` returns for the same architecture.
    :param architecture: What ``open_clip.get_model_config`` returns; only saving needs it.
    """

    family = "open_clip"

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
    def patch_tower(self) -> PatchTower | None:
        return patch_tower_of(self.model, self.image_size)

    @property
    def layered_images(self) -> LayeredImages | None:
        return layered_images_of(self.model, self.image_size)

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
