"""``demo:scenes``: a small CLIP trained on generated scenes of coloured shapes with varied English captions."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from art_multimodal.models.demo.towers import PAD, ByteTextTower, SmallImageTower, byte_tokens
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.preprocessing import ImagePreprocessing

WEIGHTS = Path(__file__).parent / "weights" / "scenes.safetensors"
EMBEDDING = 64


class SceneEncoder(DualEncoder):
    """Both towers of ``demo:scenes``: 32 x 32 RGB images, texts of up to 126 bytes, 64-dimensional embeddings."""

    def __init__(self) -> None:
        preprocess = ImagePreprocessing(size=(32, 32), mean=(0.6, 0.6, 0.6), std=(0.3, 0.3, 0.3))
        super().__init__(preprocess, context_length=128, pad_id=PAD)
        self.visual = SmallImageTower(width=64, depth=3, embedding=EMBEDDING)
        self.text = ByteTextTower(width=80, depth=3, embedding=EMBEDDING, context_length=self.context_length)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @property
    def causal_text(self) -> ByteTextTower:
        return self.text

    def image_tower(self, pixels: Tensor) -> Tensor:
        return self.visual(pixels)

    def text_tower(self, tokens: Tensor) -> Tensor:
        return self.text(tokens)

    def token_ids(self, texts: list[str], length: int) -> Tensor:
        return byte_tokens(texts, length)

    def text_parameters(self) -> list[nn.Parameter]:
        return list(self.text.parameters())


def load_scenes() -> SceneEncoder:
    """Return ``demo:scenes`` with its trained weights, in evaluation mode."""
    from safetensors.torch import load_file

    model = SceneEncoder()
    model.load_state_dict(load_file(WEIGHTS))
    return model.eval()
