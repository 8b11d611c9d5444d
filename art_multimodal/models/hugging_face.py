"""Adapter for transformers' dual encoders: CLIP, SigLIP and every model that offers image and text features."""

from __future__ import annotations

import inspect
import os
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from art_multimodal.errors import InputError
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.preprocessing import ImagePreprocessing

# Numbers that PIL gives to its filters, which image processors store.
_RESAMPLING = {0: "nearest", 2: "bilinear", 3: "bicubic"}


class HuggingFaceEncoder(DualEncoder):
    """A transformers dual encoder behind the :class:`DualEncoder` contract.

    :param model: A model with ``get_image_features`` and ``get_text_features`` (``AutoModel.from_pretrained``).
    :param tokenizer: Its tokenizer.
    :param image_processor: Its image processor; only its settings are used, the work is done by differentiable torch.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, image_processor: Any) -> None:
        text_config = getattr(model.config, "text_config", model.config)
        context_length = getattr(text_config, "max_position_embeddings", None) or tokenizer.model_max_length
        # RoBERTa-like towers start counting positions after the padding id, so they have fewer than they declare.
        context_length = min(int(context_length), int(tokenizer.model_max_length))
        pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        super().__init__(_preprocessing_of(image_processor), context_length=context_length, pad_id=int(pad_id))
        self.model = model
        self.tokenizer = tokenizer
        # Sigmoid-trained towers pool at the last position and were trained on padded rows without a mask.
        self._uses_mask = "siglip" not in model.config.model_type
        accepted = inspect.signature(model.get_text_features).parameters
        self._uses_mask = self._uses_mask and "attention_mask" in accepted
        if not hasattr(model, "logit_scale"):
            # Some families fix a temperature instead of learning a scale (ALIGN).
            temperature = getattr(model, "temperature", None)
            scale = 1.0 / float(temperature) if temperature is not None else 1.0
            self.register_buffer("_fixed_scale", torch.tensor(scale).log(), persistent=False)

    @property
    def logit_scale(self) -> Tensor:  # type: ignore[override]
        scale = getattr(self.model, "logit_scale", None)
        return self._fixed_scale if scale is None else scale  # type: ignore[return-value]

    @property
    def logit_bias(self) -> Tensor | None:  # type: ignore[override]
        return getattr(self.model, "logit_bias", None)

    def image_tower(self, pixels: Tensor) -> Tensor:
        return _features(self.model.get_image_features(pixel_values=pixels))

    def text_tower(self, tokens: Tensor) -> Tensor:
        if not self._uses_mask:
            return _features(self.model.get_text_features(input_ids=tokens))
        return _features(self.model.get_text_features(input_ids=tokens, attention_mask=self._mask(tokens)))

    def _mask(self, tokens: Tensor) -> Tensor:
        padding = tokens == self.pad_id
        if self.pad_id == self.tokenizer.eos_token_id:
            # CLIP pads with its end token: the first one belongs to the text.
            padding = padding & (padding.cumsum(dim=1) > 1)
        return (~padding).long()

    def token_ids(self, texts: list[str], length: int) -> Tensor:
        batch = self.tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        return batch["input_ids"]

    def text_parameters(self) -> list[nn.Parameter]:
        vision = {id(p) for name, p in self.named_parameters() if "vision" in name or "visual" in name}
        return [p for p in self.parameters() if id(p) not in vision]


def _features(output: Any) -> Tensor:
    """The embedding in what a model returns: a tensor before transformers 5, an output object since."""
    features = output if isinstance(output, Tensor) else getattr(output, "pooler_output", None)
    if features is None or features.ndim != 2:
        shape = None if features is None else tuple(features.shape)
        raise InputError(f"This model's features are not one vector per sample (shape {shape}); it is not a dual encoder.")
    return features


def _preprocessing_of(processor: Any) -> ImagePreprocessing:
    """Read an image processor's settings."""

    def setting(name: str, default: Any = None) -> Any:
        value = getattr(processor, name, default)
        return default if value is None else value

    size = dict(setting("size", {}))
    crop = dict(setting("crop_size", {})) if setting("do_center_crop", False) else {}
    shortest = size.get("shortest_edge")
    if crop:
        final = (crop["height"], crop["width"])
        mode = "shortest"
        if shortest is None and (size.get("height"), size.get("width")) != final:
            shortest = size.get("height")
    elif "height" in size and "width" in size:
        final, mode, shortest = (size["height"], size["width"]), "squash", None
    elif shortest:
        final, mode, shortest = (shortest, shortest), "shortest", None
    else:
        raise InputError(
            f"{type(processor).__name__} prepares images in a way that is not known here (size {size}). "
            "Known: a fixed height and width, or a shortest edge with a centre crop."
        )
    normalize = setting("do_normalize", True)
    return ImagePreprocessing(
        size=final,
        mean=setting("image_mean", (0.0,) * 3) if normalize else (0.0,) * 3,
        std=setting("image_std", (1.0,) * 3) if normalize else (1.0,) * 3,
        interpolation=_RESAMPLING.get(int(setting("resample", 3)), "bicubic"),
        resize_mode=mode,
        first_resize=shortest,
    )


def load_hugging_face(name_or_path: str) -> HuggingFaceEncoder:
    """Load a dual encoder of transformers.

    :param name_or_path: A hub name ("openai/clip-vit-base-patch32", downloaded) or a local folder made by
        ``save_pretrained`` of model, tokenizer and image processor. Code in the repository is never run.
    :raises InputError: If the folder or name cannot be used, or weights are missing from the checkpoint.
    """
    import transformers

    folder = Path(name_or_path).expanduser()
    local = folder.is_dir()
    if not local and (name_or_path.startswith((".", "~", os.sep)) or name_or_path.count("/") > 1):
        raise InputError(f"There is no folder {str(folder)!r}. Give a folder made by save_pretrained, or a hub name.")
    source = str(folder) if local else name_or_path
    options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": local}
    try:
        model, info = transformers.AutoModel.from_pretrained(source, output_loading_info=True, **options)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{source} is not a checkpoint of plain tensors; loading it could run code from the file, so it was refused. "
            "Save it with save_pretrained, which writes safetensors."
        ) from error
    except Exception as error:
        raise InputError(_load_failure(source, local, error)) from error
    wrong = sorted(info["missing_keys"]) + sorted(str(key) for key in info.get("mismatched_keys", ()))
    if wrong:
        raise InputError(
            f"{source} does not hold the weights of {type(model).__name__}: {len(wrong)} are missing or of another shape, "
            f"for example {', '.join(wrong[:3])}. Is the checkpoint of another architecture?"
        )
    if not hasattr(model, "get_image_features") or not hasattr(model, "get_text_features"):
        raise InputError(
            f"{type(model).__name__} in {source} has no image and text features, so it is not a dual encoder like CLIP."
        )
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, **options)
        processor = transformers.AutoImageProcessor.from_pretrained(source, **options)
    except Exception as error:
        raise InputError(
            f"{source} has a model but its tokenizer or image processor cannot be loaded: {_one_line(error)} "
            "Save them into the same folder with save_pretrained."
        ) from error
    return HuggingFaceEncoder(model, tokenizer, processor).eval()


def _load_failure(source: str, local: bool, error: Exception) -> str:
    if local:
        return f"Cannot load a transformers model from the folder {source}: {_one_line(error)}"
    return (
        f"Cannot load {source!r}: there is no such folder, and the Hugging Face hub does not give a model of that name "
        f"({type(error).__name__}). Check the name, the network, or give a local folder."
    )


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
