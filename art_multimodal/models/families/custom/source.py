"""``python:FILE:FUNCTION`` and ``python:MODULE:FUNCTION``: a model of the user's own code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from art_multimodal.models.source import ModelSource

if TYPE_CHECKING:
    from art_multimodal.models.dual_encoder import DualEncoder
    from art_multimodal.models.families.custom.answers import AnsweringModel
    from art_multimodal.models.fusion import FusionModel
    from art_multimodal.models.multimodal import MultimodalModel


def _load(rest: str) -> DualEncoder | FusionModel | MultimodalModel | AnsweringModel:
    from art_multimodal.models.families.custom.python_file import load_python

    return load_python(rest)


SOURCE = ModelSource(
    "python:FILE:FUNCTION, python:MODULE:FUNCTION",
    "a model of your own, run with your rights: FUNCTION() returns it; or FUNCTION(images), or (images, texts), is one "
    "that only answers, with labels or scores: no weights, no gradients",
    _load,
)
