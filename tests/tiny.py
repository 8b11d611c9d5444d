"""A tiny dual encoder whose behaviour is known by construction."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from art_multimodal.models.demo.towers import PAD, byte_tokens
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.preprocessing import ImagePreprocessing


class TinyEncoder(DualEncoder):
    """A random dual encoder small enough for finite differences: linear image tower, bag-of-bytes text tower."""

    def __init__(self, side: int = 8, dim: int = 6, seed: int = 0, dropout: float = 0.0) -> None:
        preprocess = ImagePreprocessing((side, side), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
        super().__init__(preprocess, context_length=64, pad_id=PAD)
        generator = torch.Generator().manual_seed(seed)
        self.visual = nn.Sequential(
            nn.Flatten(), nn.Linear(3 * side * side, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, dim)
        )
        self.text = nn.EmbeddingBag(259, dim, padding_idx=PAD)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
        self.logit_scale = nn.Parameter(torch.tensor(math.log(20.0)))

    def image_tower(self, pixels: Tensor) -> Tensor:
        return self.visual(pixels)

    def text_tower(self, tokens: Tensor) -> Tensor:
        return self.text(tokens)

    def token_ids(self, texts: list[str], length: int) -> Tensor:
        return byte_tokens(texts, length)
