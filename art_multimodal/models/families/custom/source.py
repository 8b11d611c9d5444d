"""``python:FILE:FUNCTION``: a model that the user's own code makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from art_multimodal.models.source import ModelSource

if TYPE_CHECKING:
    from art_multimodal.models.dual_encoder import DualEncoder
    from art_multimodal.models.fusion import FusionModel
    from art_multimodal.models.multimodal import MultimodalModel


def _load(rest: str) -> DualEncoder | FusionModel | MultimodalModel:
    from art_multimodal.models.families.custom.python_file import load_python

    return load_python(rest)


SOURCE = ModelSource(
    "python:FILE:FUNCTION",
    "a model of your own: FILE is run, with your rights, and FUNCTION() returns the model",
    _load,
)
