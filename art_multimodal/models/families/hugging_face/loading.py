"""Checkpoints of transformers: read, checked for what is missing, and given to the adapter for their architecture."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars

from art_multimodal.errors import InputError
from art_multimodal.models.checked_json import check_folder, read_json
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.families.hugging_face.encoder import HuggingFaceEncoder
from art_multimodal.models.families.hugging_face.fusion import fusion_adapter
from art_multimodal.models.fast_gradients import with_fast_gradients
from art_multimodal.models.fusion import FusionModel
from art_multimodal.models.hub import PICKLES, SAFETENSORS, SETTINGS, hub_folder
from art_multimodal.models.weight_files import check_build, check_numbers, sizes_of, weight_files
from art_multimodal.shown import quoted, shown

#: No code of a checkpoint, no question whether to run it, and nothing that is not in the folder.
_OFFLINE = {"trust_remote_code": False, "local_files_only": True}


def load_hugging_face(name_or_path: str) -> DualEncoder | FusionModel:
    """Load a dual encoder or a fusion classifier of transformers; the checkpoint's configuration says which it is.

    :param name_or_path: A hub name ("openai/clip-vit-base-patch32", downloaded) or a local folder made by
        ``save_pretrained`` of model, tokenizer and image processor. Code in the repository is never run.
    :raises InputError: If the folder or name cannot be used, weights are missing from the checkpoint, or its
        architecture is neither.
    """
    import transformers

    folder = checkpoint_folder(name_or_path)
    config = read_config(folder)
    adapter = fusion_adapter(config)
    model_class = transformers.AutoModel if adapter is None else getattr(transformers, config.architectures[0])
    model, unused = load_weights(model_class, folder)
    if adapter is None and not (hasattr(model, "get_image_features") and hasattr(model, "get_text_features")):
        raise InputError(
            f"{type(model).__name__} in {shown(folder)} has no image and text features, so it is not a dual encoder "
            "like CLIP."
        )
    tokenizer = load_tokenizer(folder)
    processor = _load_part(transformers.AutoImageProcessor, folder)
    with_fast_gradients(model)
    encoder = (adapter or HuggingFaceEncoder)(model, tokenizer, processor).eval()
    encoder.notes += unused
    return encoder


def checkpoint_folder(name_or_path: str) -> Path:
    """Return the folder of a checkpoint of transformers, fetched from the hub where it is a hub name, and checked.

    :param name_or_path: A hub name or a folder made by ``save_pretrained``.
    :raises InputError: If it is empty, a path where there is no folder, not to be had from the hub, or a folder with
        settings or links that are refused.
    """
    if not name_or_path:
        raise InputError("hf: names no model. Give hf:ID_OR_PATH, a hub name or a folder made by save_pretrained.")
    folder = Path(name_or_path).expanduser()
    if not folder.is_dir():
        if name_or_path.startswith((".", "~", os.sep)) or name_or_path.count("/") > 1:
            raise InputError(
                f"There is no folder {quoted(folder)}. Give a folder made by save_pretrained, or a hub name."
            )
        folder = hub_folder(name_or_path, (*SETTINGS, *SAFETENSORS))
        if not any(True for pattern in SAFETENSORS for _ in folder.glob(pattern)):
            folder = hub_folder(name_or_path, PICKLES)
    check_folder(folder)
    return folder


def read_config(folder: Path) -> Any:
    """Read the configuration of a checkpoint, after its numbers were compared with the files of weights.

    :raises InputError: If it cannot be read, or describes another model than the weights are of.
    """
    import transformers

    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"Cannot load a transformers model from {shown(folder)}: there is no config.json.")
    check_numbers(read_json(path), path, sizes_of(weight_files(folder)))
    try:
        return transformers.AutoConfig.from_pretrained(folder, **_OFFLINE)
    except Exception as error:
        raise InputError(_load_failure(folder, error)) from error


def load_weights(model_class: Any, folder: Path) -> tuple[Any, tuple[str, ...]]:
    """Load a model of transformers with all its weights, in float32.

    :param model_class: A model class, or an ``AutoModel``.
    :param folder: As :func:`checkpoint_folder` returns it.
    :return: The model, and notes on weights of the files that have no place in it.
    :raises InputError: If it cannot be read, would run code, or weights are missing or of another shape.
    """
    sizes, config = sizes_of(weight_files(folder)), read_config(folder)
    check_build(lambda: _built(model_class, config), folder / "config.json", sizes)
    try:
        # Weights of another shape are reported below, by name.
        with _no_bar_of_weights():
            model, info = model_class.from_pretrained(
                folder,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                # In half precision the gradients of an attack underflow, which would look like robustness.
                dtype=torch.float32,
                weights_only=True,
                **_OFFLINE,
            )
    except Exception as error:
        raise InputError(_load_failure(folder, error)) from error
    wrong = sorted(info["missing_keys"]) + sorted(name for name, *_ in info["mismatched_keys"])
    if wrong:
        raise InputError(
            f"{shown(folder)} does not hold the weights of {type(model).__name__}: {len(wrong)} are missing or of "
            f"another shape, for example {shown(', '.join(wrong[:3]))}. Is the checkpoint of another architecture?"
        )
    unused = sorted(info["unexpected_keys"])
    return model, (_unused_note(unused, type(model).__name__),) if unused else ()


def _built(model_class: Any, config: Any) -> Any:
    config = copy.deepcopy(config)
    if hasattr(model_class, "from_config"):
        return model_class.from_config(config, trust_remote_code=False)
    return model_class(config)


def _unused_note(unused: list[str], model: str) -> str:
    more = f" and {len(unused) - 3} more" if len(unused) > 3 else ""
    return f"weights of the checkpoint that have no place in {model} were left out: {', '.join(unused[:3])}{more}"


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


def load_tokenizer(folder: Path) -> Any:
    """Load a tokenizer.

    :param folder: As :func:`checkpoint_folder` returns it.
    :raises InputError: If it cannot be read or has no vocabulary.
    """
    import transformers

    tokenizer = _load_part(transformers.AutoTokenizer, folder)
    check_vocabulary(tokenizer, folder)
    return tokenizer


def check_vocabulary(tokenizer: Any, source: object) -> None:
    """Refuse a tokenizer without words.

    :raises InputError: If it has special tokens alone, to which all words are the same: transformers makes such a
        tokenizer where its files are missing.
    """
    if set(tokenizer.get_vocab().values()) <= set(tokenizer.all_special_ids):
        raise InputError(
            f"{shown(source)} has a model but no tokenizer's vocabulary. Save the tokenizer into the same folder."
        )


def _load_part(part_class: Any, folder: Path) -> Any:
    try:
        return part_class.from_pretrained(folder, **_OFFLINE)
    except Exception as error:
        raise InputError(
            f"{shown(folder)} has a model but its tokenizer or image processor cannot be loaded: {_one_line(error)} "
            "Save them into the same folder with save_pretrained."
        ) from error


def _load_failure(folder: Path, error: Exception) -> str:
    return f"Cannot load a transformers model from the folder {shown(folder)}: {_one_line(error)}"


def _one_line(error: BaseException) -> str:
    return shown(" ".join(f"{type(error).__name__}: {error}".split()))[:300]
