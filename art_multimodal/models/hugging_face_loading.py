"""Checkpoints of transformers: read, checked for what is missing, and given to the adapter for their architecture."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars

from art_multimodal.errors import InputError
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.fast_gradients import with_fast_gradients
from art_multimodal.models.fusion import FusionModel
from art_multimodal.models.hugging_face import HuggingFaceEncoder
from art_multimodal.models.hugging_face_fusion import fusion_adapter


def load_hugging_face(name_or_path: str) -> DualEncoder | FusionModel:
    """Load a dual encoder or a fusion classifier of transformers; the checkpoint's configuration says which it is.

    :param name_or_path: A hub name ("openai/clip-vit-base-patch32", downloaded) or a local folder made by
        ``save_pretrained`` of model, tokenizer and image processor. Code in the repository is never run.
    :raises InputError: If the folder or name cannot be used, weights are missing from the checkpoint, or its
        architecture is neither.
    """
    import transformers

    source, local = checkpoint_source(name_or_path)
    try:
        config = transformers.AutoConfig.from_pretrained(source, **_options(local))
    except Exception as error:
        raise InputError(_load_failure(source, local, error)) from error
    adapter = fusion_adapter(config)
    model_class = transformers.AutoModel if adapter is None else getattr(transformers, config.architectures[0])
    model = load_weights(model_class, source, local)
    if adapter is None and not (hasattr(model, "get_image_features") and hasattr(model, "get_text_features")):
        raise InputError(
            f"{type(model).__name__} in {source} has no image and text features, so it is not a dual encoder like CLIP."
        )
    tokenizer = _load_part(transformers.AutoTokenizer, source, local)
    processor = _load_part(transformers.AutoImageProcessor, source, local)
    check_vocabulary(tokenizer, source)
    with_fast_gradients(model)
    return (adapter or HuggingFaceEncoder)(model, tokenizer, processor).eval()


def checkpoint_source(name_or_path: str) -> tuple[str, bool]:
    """Return where a checkpoint of transformers is, and whether that is a local folder.

    :param name_or_path: A hub name or a folder made by ``save_pretrained``.
    :raises InputError: If it is empty, or a path where there is no folder.
    """
    if not name_or_path:
        raise InputError("hf: names no model. Give hf:ID_OR_PATH, a hub name or a folder made by save_pretrained.")
    folder = Path(name_or_path).expanduser()
    local = folder.is_dir()
    if not local and (name_or_path.startswith((".", "~", os.sep)) or name_or_path.count("/") > 1):
        raise InputError(f"There is no folder {str(folder)!r}. Give a folder made by save_pretrained, or a hub name.")
    return str(folder) if local else name_or_path, local


def load_weights(model_class: Any, source: str, local: bool) -> Any:
    """Load a model of transformers with all its weights, in float32.

    :param model_class: A model class, or an ``AutoModel``.
    :param source: A folder made by ``save_pretrained``, or a hub name.
    :param local: Whether it is a folder.
    :raises InputError: If it cannot be read, would run code, or weights are missing or of another shape.
    """
    try:
        # Weights of another shape are reported below, by name.
        with _no_bar_of_weights():
            model, info = model_class.from_pretrained(
                source,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                # In half precision the gradients of an attack underflow, which would look like robustness.
                dtype=torch.float32,
                **_options(local),
            )
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{source} is not a checkpoint of plain tensors; loading it could run code, so it was refused. "
            "Save it with save_pretrained, which writes safetensors."
        ) from error
    except Exception as error:
        raise InputError(_load_failure(source, local, error)) from error
    wrong = sorted(info["missing_keys"]) + sorted(name for name, *_ in info["mismatched_keys"])
    if wrong:
        raise InputError(
            f"{source} does not hold the weights of {type(model).__name__}: {len(wrong)} are missing or of another "
            f"shape, for example {', '.join(wrong[:3])}. Is the checkpoint of another architecture?"
        )
    return model


@contextmanager
def _no_bar_of_weights() -> Iterator[None]:
    """Without the bar that transformers shows, for a moment, while it copies weights; those of downloads stay."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    downloads = are_progress_bars_disabled()
    logging.disable_progress_bar()
    if not downloads:
        enable_progress_bars()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def load_tokenizer(source: str, local: bool = True) -> Any:
    """Load a tokenizer.

    :param source: A folder made by ``save_pretrained``, or a hub name.
    :param local: Whether it is a folder.
    :raises InputError: If it cannot be read or has no vocabulary.
    """
    import transformers

    tokenizer = _load_part(transformers.AutoTokenizer, source, local)
    check_vocabulary(tokenizer, source)
    return tokenizer


def check_vocabulary(tokenizer: Any, source: str) -> None:
    """Refuse a tokenizer without words.

    :raises InputError: If it has special tokens alone, to which all words are the same: transformers makes such a
        tokenizer where its files are missing.
    """
    if set(tokenizer.get_vocab().values()) <= set(tokenizer.all_special_ids):
        raise InputError(
            f"{source} has a model but no tokenizer's vocabulary. Save the tokenizer into the same folder."
        )


def _load_part(part_class: Any, source: str, local: bool) -> Any:
    try:
        return part_class.from_pretrained(source, **_options(local))
    except Exception as error:
        raise InputError(
            f"{source} has a model but its tokenizer or image processor cannot be loaded: {_one_line(error)} "
            "Save them into the same folder with save_pretrained."
        ) from error


def _options(local: bool) -> dict[str, bool]:
    return {"trust_remote_code": False, "local_files_only": local}


def _load_failure(source: str, local: bool, error: Exception) -> str:
    if local:
        return f"Cannot load a transformers model from the folder {source}: {_one_line(error)}"
    return (
        f"Cannot load {source!r}: there is no such folder, and the Hugging Face hub does not give a model of that name "
        f"({type(error).__name__}). Check the name, the network, or give a local folder."
    )


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
