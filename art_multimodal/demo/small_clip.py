"""What the embedded dual encoders share: a small CLIP for 32 x 32 images and for texts in bytes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from art_multimodal.demo.towers import PAD, ByteTextTower, SmallImageTower, byte_tokens
from art_multimodal.models.causal_text import is_as_built
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.layered_images import LayeredImages
from art_multimodal.models.preprocessing import ImagePreprocessing


class SmallClip(DualEncoder):
    """A dual encoder of two small towers: 32 x 32 RGB images, texts of up to 126 bytes.

    :param image_width: Width of the image tower.
    :param text_width: Width of the text tower.
    :param embedding: Length of an embedding.
    """

    family = "demo"

    def __init__(self, image_width: int, text_width: int, embedding: int = 64) -> None:
        preprocess = ImagePreprocessing(size=(32, 32), mean=(0.6, 0.6, 0.6), std=(0.3, 0.3, 0.3))
        super().__init__(preprocess, context_length=128, pad_id=PAD)
        self.visual = SmallImageTower(image_width, embedding=embedding)
        self.text = ByteTextTower(text_width, embedding=embedding, context_length=self.context_length)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @property
    def causal_text(self) -> ByteTextTower | None:
        parts = (self.text, self.text.tokens, *self.text.blocks, self.text.norm)
        return self.text if is_as_built(parts) else None

    @property
    def layered_images(self) -> LayeredImages | None:
        visual = self.visual
        if not is_as_built((visual, visual.stem, *visual.stem, *visual.blocks, visual.norm, visual.projection)):
            return None
        return LayeredImages(visual.embed, tuple(visual.blocks), visual.project)

    def image_tower(self, pixels: Tensor) -> Tensor:
        return self.visual(pixels)

    def text_tower(self, tokens: Tensor) -> Tensor:
        return self.text(tokens)

    def token_ids(self, texts: list[str], length: int) -> Tensor:
        return byte_tokens(texts, length)

    def text_parameters(self) -> list[nn.Parameter]:
        return list(self.text.parameters())
