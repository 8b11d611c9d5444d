"""Models of transformers in the format of their library."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from art_multimodal.models.families.family import Family
from art_multimodal.models.families.hugging_face.encoder import HuggingFaceEncoder
from art_multimodal.models.families.hugging_face.fusion import HuggingFaceFusion
from art_multimodal.models.families.hugging_face.loading import load_hugging_face


def save_hugging_face(encoder: HuggingFaceEncoder | HuggingFaceFusion, folder: Path) -> None:
    """Write model, tokenizer and image processor into an empty folder, which ``from_pretrained`` reads.

    :raises OSError: If something cannot be written; safetensors raises an error of its own.
    """
    encoder.model.save_pretrained(folder)
    encoder.tokenizer.save_pretrained(folder)
    encoder.image_processor.save_pretrained(folder)


def _load(folder: Path, facts: Mapping[str, Any]) -> Any:
    return load_hugging_face(str(folder))


FAMILY = Family(lambda encoder: {}, save_hugging_face, _load)
