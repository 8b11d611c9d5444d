"""``open_clip:NAME``: architectures and checkpoints of open_clip."""

from __future__ import annotations

from typing import TYPE_CHECKING

from art_multimodal.models.source import ModelSource, require

if TYPE_CHECKING:
    from art_multimodal.models.dual_encoder import DualEncoder


def _load(rest: str) -> DualEncoder:
    require("open_clip", "open_clip_torch")
    from art_multimodal.models.families.open_clip.loading import (
        HUB,
        LOCAL,
        load_open_clip,
        load_open_clip_folder,
        load_open_clip_hub,
    )

    if rest.startswith(LOCAL):
        return load_open_clip_folder(rest.removeprefix(LOCAL))
    if rest.startswith(HUB):
        return load_open_clip_hub(rest.removeprefix(HUB))
    architecture, _, pretrained = rest.partition("/")
    return load_open_clip(architecture, pretrained)


SOURCE = ModelSource(
    "open_clip:ARCH/TAG_OR_PATH",
    "an open_clip architecture with a pretrained tag or a checkpoint (BASE+PATH: an image tower over a base), or "
    "open_clip:hf-hub:ORG/NAME, open_clip:local-dir:FOLDER",
    _load,
    foreign=True,
)
