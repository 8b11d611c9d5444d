"""``demo:scenes``: a small CLIP trained on generated scenes of coloured shapes with varied English captions."""

from __future__ import annotations

from pathlib import Path

from art_multimodal.demo.packed import load_packed
from art_multimodal.demo.small_clip import SmallClip

WEIGHTS = Path(__file__).parent / "weights" / "scenes.safetensors"
EMBEDDING = 64


class SceneEncoder(SmallClip):
    """Both towers of ``demo:scenes``: 32 x 32 RGB images, texts of up to 126 bytes, 64-dimensional embeddings."""

    def __init__(self) -> None:
        super().__init__(image_width=64, text_width=80, embedding=EMBEDDING)


def load_scenes() -> SceneEncoder:
    """Return ``demo:scenes`` with its trained weights, in evaluation mode."""
    model = SceneEncoder()
    model.load_state_dict(load_packed(WEIGHTS))
    return model.eval()
