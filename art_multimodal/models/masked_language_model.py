"""Another name of :mod:`art_multimodal.language.masked_language_model`."""

from __future__ import annotations

from typing import Any

from art_multimodal.registry import imported


def __getattr__(name: str) -> Any:
    return imported(f"art_multimodal.language.masked_language_model:{name}")
