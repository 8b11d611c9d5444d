"""``hf:NAME``: checkpoints of transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from art_multimodal.models.source import ModelSource, require

if TYPE_CHECKING:
    from art_multimodal.models.dual_encoder import DualEncoder
    from art_multimodal.models.fusion import FusionModel


def _load(rest: str) -> DualEncoder | FusionModel:
    require("transformers", "transformers")
    from art_multimodal.models.families.hugging_face.loading import load_hugging_face

    return load_hugging_face(rest)


SOURCE = ModelSource(
    "hf:ID_OR_PATH",
    "a transformers dual encoder (CLIP, SigLIP, ...) or fusion classifier (ViLT, FLAVA, BridgeTower), by hub name "
    "or local folder",
    _load,
    foreign=True,
)
