"""``mmbt:FOLDER``: a saved MMBT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from art_multimodal.errors import InputError
from art_multimodal.models.source import ModelSource, require

if TYPE_CHECKING:
    from art_multimodal.models.fusion import FusionModel


def _load(rest: str) -> FusionModel:
    require("transformers", "transformers")
    from art_multimodal.models.families.mmbt.saving import load_mmbt

    if not rest:
        raise InputError("mmbt: names no folder. Give mmbt:FOLDER, a folder made by save_mmbt.")
    return load_mmbt(rest)


SOURCE = ModelSource("mmbt:FOLDER", "an MMBT (image tokens in a BERT) saved by save_mmbt", _load, foreign=True)
