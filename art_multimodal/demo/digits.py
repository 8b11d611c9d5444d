"""``demo:digits``: a small CLIP trained on scikit-learn's handwritten digits with varied English captions."""

from __future__ import annotations

from pathlib import Path

from art_multimodal.demo.packed import load_packed
from art_multimodal.demo.small_clip import SmallClip

WEIGHTS = Path(__file__).parent / "weights" / "digits.safetensors"
ROBUST_WEIGHTS = WEIGHTS.with_name("digits_robust.safetensors")


class DigitsEncoder(SmallClip):
    """Both towers of ``demo:digits``: 32 x 32 RGB images, texts of up to 126 bytes, 64-dimensional embeddings."""

    def __init__(self) -> None:
        super().__init__(image_width=96, text_width=96)


def load_digits(weights: Path = WEIGHTS) -> DigitsEncoder:
    """Return ``demo:digits``, or with ``ROBUST_WEIGHTS`` ``demo:digits/robust``, in evaluation mode."""
    model = DigitsEncoder()
    model.load_state_dict(load_packed(weights))
    return model.eval()
