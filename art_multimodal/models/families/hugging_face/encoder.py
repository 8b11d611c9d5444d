"""Adapter for transformers' dual encoders: CLIP, SigLIP and every model that offers image and text features."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from art_multimodal.errors import InputError
from art_multimodal.models.causal_text import CausalText, is_as_built
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.families.hugging_face.text import causal_text_of
from art_multimodal.models.fast_gradients import embeds_patches
from art_multimodal.models.preprocessing import ImagePreprocessing, check_sides
from art_multimodal.models.texts import check_context, reserved_positions
from art_multimodal.models.visible_patches import PatchTower, patch_grid
from art_multimodal.shown import shown

# Numbers that PIL gives to its filters, which image processors store.
_RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
#: Families whose text tower pools within the text and attends to nothing behind it, so that padding can be left out.
_MASKED = {"align", "altclip", "blip", "chinese_clip", "clip", "clipseg", "metaclip_2"}


class HuggingFaceEncoder(DualEncoder):
    """A transformers dual encoder behind the :class:`DualEncoder` contract.

    :param model: A model with ``get_image_features`` and ``get_text_features`` (``AutoModel.from_pretrained``).
        It stays as it is.
    :param tokenizer: Its tokenizer.
    :param image_processor: Its image processor; what it does is done by differentiable torch instead.
    :raises InputError: If the image processor does something that is not known here.
    """

    family = "hf"
    #: A class of transformers, whose methods differ from one to the other.
    model: Any

    def __init__(self, model: nn.Module, tokenizer: Any, image_processor: Any) -> None:
        pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        super().__init__(preprocessing_of(image_processor), context_length(model, tokenizer), pad_id=int(pad_id))
        self.model = model
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self._canonical = _canonical_text(model, tokenizer)
        if self._canonical is not None:
            self.notes += ("texts are brought to lower case without punctuation, as open_clip does for SigLIP 2",)
        # Sigmoid-trained towers pool at the last position and were trained on padded rows without a mask.
        self._uses_mask = (
            "siglip" not in self.model.config.model_type
            and "attention_mask" in tokenizer.model_input_names
            and "attention_mask" in inspect.signature(self.model.get_text_features).parameters
        )

    @property
    def logit_scale(self) -> Tensor:  # type: ignore[override]
        scale = getattr(self.model, "logit_scale", None)
        if scale is None:
            # Some families have a temperature instead of a scale (ALIGN).
            temperature = getattr(self.model, "temperature", None)
            scale = torch.zeros((), device=self.device) if temperature is None else -temperature.log()
        return scale

    @property
    def logit_bias(self) -> Tensor | None:  # type: ignore[override]
        return getattr(self.model, "logit_bias", None)

    def image_tower(self, pixels: Tensor) -> Tensor:
        return _features(self.model.get_image_features(pixel_values=pixels))

    @property
    def patch_tower(self) -> PatchTower | None:
        return _patch_tower_of(self.model, self.image_size)

    @property
    def causal_text(self) -> CausalText | None:
        return causal_text_of(self.model)

    def text_tower(self, tokens: Tensor) -> Tensor:
        if not self._uses_mask:
            return _features(self.model.get_text_features(input_ids=tokens))
        mask = self._mask(tokens)
        if self.model.config.model_type in _MASKED:
            length = int(mask.any(dim=0).sum())
            tokens, mask = tokens[:, :length], mask[:, :length]
        return _features(self.model.get_text_features(input_ids=tokens, attention_mask=mask))

    def _mask(self, tokens: Tensor) -> Tensor:
        # Only what follows the text: the padding token may also be a token of texts ("!").
        padding = (tokens == self.pad_id).flip(1).cumprod(dim=1).flip(1)
        if self.pad_id == self.tokenizer.eos_token_id:
            # CLIP pads with its end token: the first one belongs to the text.
            padding = padding * (padding.cumsum(dim=1) > 1)
        return 1 - padding

    def count_tokens(self, tokens: Tensor) -> int:
        return int(self._mask(tokens).sum())

    def token_ids(self, texts: list[str], length: int) -> Tensor:
        if self._canonical is not None:
            texts = [self._canonical(text) for text in texts]
        ids = self.tokenizer(
            texts,
            padding="max_length",
            padding_side="right",
            truncation=True,
            max_length=length,
            return_tensors="pt",
        )["input_ids"]
        return check_ids(ids, self.model)

    def text_parameters(self) -> list[nn.Parameter]:
        vision = {id(p) for name, p in self.named_parameters() if "vision" in name or "visual" in name}
        return [p for p in self.parameters() if id(p) not in vision]


def _features(output: Any) -> Tensor:
    """The embedding in what a model returns: a tensor before transformers 5, an output object since."""
    features = output if isinstance(output, Tensor) else getattr(output, "pooler_output", None)
    if features is None or features.ndim != 2:
        shape = None if features is None else tuple(features.shape)
        raise InputError(
            f"This model's features are not one vector per sample (shape {shape}), so it is not a dual encoder."
        )
    return features


def _patch_tower_of(model: Any, size: tuple[int, int]) -> PatchTower | None:
    """The vision transformer of CLIP in parts; ``None`` for any other family, and where hooks see whole images."""
    from transformers import CLIPModel

    if type(model) is not CLIPModel or "get_image_features" in vars(model):
        return None
    vision, embeddings = model.vision_model, model.vision_model.embeddings
    layers = (vision.pre_layrnorm, vision.encoder, *vision.encoder.layers, vision.post_layernorm)
    parts = (vision, embeddings, embeddings.patch_embedding, *layers, model.visual_projection)
    if not is_as_built(parts) or not embeds_patches(embeddings.patch_embedding):
        return None
    positions = embeddings.position_embedding.weight
    grid = patch_grid(embeddings.patch_embedding, size, len(positions) - 1)
    if grid is None:
        return None

    def transform(states: Tensor) -> Tensor:
        last = vision.encoder(inputs_embeds=vision.pre_layrnorm(states))[0]
        return model.visual_projection(vision.post_layernorm(last[:, 0]))

    first = embeddings.class_embedding + positions[0]
    return PatchTower(grid, embeddings.patch_embedding, first, positions[1:], transform)


def context_length(model: nn.Module, tokenizer: Any) -> int:
    """The most tokens that a model reads, special tokens included.

    :raises InputError: If neither the configuration nor the tokenizer gives a number that can be used.
    """
    text_config = getattr(model.config, "text_config", model.config)
    length = getattr(text_config, "max_position_embeddings", None) or tokenizer.model_max_length
    return check_context(length, tokenizer.model_max_length, reserved=reserved_positions(model))


def check_ids(ids: Tensor, model: Any) -> Tensor:
    """Return token ids that a model of transformers has embeddings for.

    :raises InputError: If it has none for one of them.
    """
    config = getattr(model.config, "text_config", model.config)
    known = getattr(config, "vocab_size", None)
    if isinstance(known, int) and ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < known:
        raise InputError(
            f"The tokenizer gives the id {int(ids.max())}, but the model knows {known} tokens. They do not belong "
            "together: save the model with its own tokenizer."
        )
    return ids


def _canonical_text(model: Any, tokenizer: Any) -> Callable[[str], str] | None:
    """What open_clip does to a text in front of SigLIP 2's tokenizer, for models of transformers that have it."""
    family = "siglip" in str(model.config.model_type)
    if not family or not type(tokenizer).__name__.startswith(("Gemma", "Siglip2")):
        return None
    from open_clip.tokenizer import get_clean_fn

    return get_clean_fn("canonicalize")


def preprocessing_of(processor: Any, side: int | None = None) -> ImagePreprocessing:
    """Do with differentiable torch what an image processor does.

    :param processor: An image processor of transformers.
    :param side: For processors whose result depends on the picture's shape (ViLT, BridgeTower: a shorter edge, sides
        divisible by a number): the side in pixels of the square that every picture is brought to instead. Square
        pictures come out as from the processor. Others are squashed, or cut in the centre where the processor does so.
    :raises InputError: If the processor does anything else; its results on test pictures are compared.
    """
    try:
        size = {key: value for key, value in dict(getattr(processor, "size", None) or {}).items() if value is not None}
        crop = dict(processor.crop_size) if getattr(processor, "do_center_crop", False) else {}
        crop = {key: value for key, value in crop.items() if value is not None}
    except (TypeError, ValueError, AttributeError) as error:
        raise _unknown_preprocessing(processor) from error
    kind = type(processor).__name__
    for key, value in vars(processor).items():
        if key.startswith("do_") and not isinstance(value, bool | None):
            raise InputError(f"{kind} has {shown(key)[:60]} set to {shown(value)!r:.60}: true or false is allowed.")
    check_sides([*size.values(), *crop.values(), *([] if side is None else [side])], f"The size of the {kind}")
    settings: dict[str, Any] = {}
    if "shortest_edge" in size and side is not None:
        mode, resized = "shortest" if crop else "squash", (side, side)
        square = {"shortest_edge": side}
        settings = {"size": square, "size_divisor": 1, **({"crop_size": square} if crop else {})}
    elif "shortest_edge" in size:
        mode, resized = "shortest", (size["shortest_edge"], size["shortest_edge"])
    elif "height" in size and "width" in size:
        mode, resized = "squash", (size["height"], size["width"])
    else:
        raise _unknown_preprocessing(processor)
    if crop and not settings and not {"height", "width"} <= set(crop):
        raise _unknown_preprocessing(processor)
    final = (crop["height"], crop["width"]) if crop and not settings else resized
    # A flat picture keeps its colour, so black and white show how values are scaled, whatever settings say so.
    black, white = (
        _prepared(processor, Image.new("RGB", final[::-1], colour), final, settings).mean(dim=(1, 2))
        for colour in ("black", "white")
    )
    if not ((white - black).isfinite().all() and (white - black).min() > 1e-6):
        raise InputError(
            f"{kind} turns black into {black.tolist()} and white into {white.tolist()}: white must come out above "
            "black, and both as numbers. Check image_mean, image_std and rescale_factor."
        )
    resample = getattr(processor, "resample", None)
    known = _RESAMPLING.get(resample if isinstance(resample, int) else 2 if resample is None else -1)
    if known is None:
        raise InputError(
            f"{type(processor).__name__} resizes with a filter that is not known here (resample: {shown(resample)}). "
            "Known are the numbers 0 to 5 of Pillow."
        )
    preprocess = ImagePreprocessing(
        size=final,
        mean=(black / (black - white)).tolist(),
        std=(1 / (white - black)).tolist(),
        interpolation=known,
        resize_mode=mode,
        first_resize=resized if resized != final else None,
        crop_rounds_down=True,
    )
    # torchvision takes over a second to import, which only these models need.
    from torchvision.transforms.functional import to_pil_image

    height, width = 2 * final[0], (2 if settings else 3) * final[1]
    across, down = torch.meshgrid(torch.linspace(0, 1, width), torch.linspace(0, 1, height), indexing="xy")
    ramps = (torch.stack([across, down, across * down]) * 255).round() / 255
    expected = _prepared(processor, to_pil_image(ramps), final, settings)
    difference = ((preprocess(ramps[None])[0] - expected) * preprocess.std).abs().mean()
    if not difference < 2 / 255:
        raise _unknown_preprocessing(processor)
    return preprocess


def _prepared(processor: Any, picture: Image.Image, size: tuple[int, int], settings: dict[str, Any]) -> Tensor:
    """What a processor makes of a picture, ``[3, *size]``."""
    try:
        pixels = processor(images=picture, return_tensors="pt", **settings)["pixel_values"]
    except Exception as error:
        raise _unknown_preprocessing(processor) from error
    if tuple(pixels.shape) != (1, 3, *size):
        raise _unknown_preprocessing(processor)
    return pixels[0]


def _unknown_preprocessing(processor: Any) -> InputError:
    return InputError(
        f"{type(processor).__name__} prepares images in a way that is not known here "
        f"(size {shown(getattr(processor, 'size', None))[:80]}). "
        "Known: RGB images resized to a fixed height and width or to a shortest edge, with or without a centre crop."
    )
