"""Contrastive models of open_clip in the format of their library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from art_multimodal.errors import InputError
from art_multimodal.models.families.family import Family
from art_multimodal.models.families.open_clip.encoder import OpenCLIPEncoder
from art_multimodal.models.families.open_clip.loading import CONFIG_FILE, WEIGHTS_FILE, load_open_clip_folder
from art_multimodal.models.weight_files import write_weights


def _facts(encoder: OpenCLIPEncoder) -> dict[str, Any]:
    if encoder.architecture is None:
        raise InputError(
            "This OpenCLIPEncoder cannot be saved: it does not know its architecture. Load the model with load_model, "
            "or give OpenCLIPEncoder(model, tokenizer, open_clip.get_model_config(NAME))."
        )
    return {}


def save_open_clip(encoder: OpenCLIPEncoder, folder: Path) -> None:
    """Write weights, configuration and tokenizer into an empty folder, from which open_clip makes the model again.

    ``open_clip.create_model_from_pretrained("local-dir:FOLDER")`` reads it, and :func:`load_open_clip_folder`.

    :raises OSError: If something cannot be written; safetensors raises an error of its own.
    """
    from open_clip import get_model_preprocess_cfg

    write_weights(encoder.model, folder / WEIGHTS_FILE)
    config = {"model_cfg": encoder.architecture, "preprocess_cfg": dict(get_model_preprocess_cfg(encoder.model))}
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if hasattr(encoder.tokenizer, "save_pretrained"):
        encoder.tokenizer.save_pretrained(str(folder))


def _load(folder: Path, facts: Mapping[str, Any]) -> OpenCLIPEncoder:
    return load_open_clip_folder(folder)


FAMILY = Family(_facts, save_open_clip, _load)
