"""Tiny models with random weights, and the estimators over them on which attacks are checked."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from art_multimodal.demo.towers import PAD, byte_tokens
from art_multimodal.errors import InputError
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.fusion import FusionModel, Tokens
from art_multimodal.models.preprocessing import ImagePreprocessing

#: What the tiny fusion models answer.
TINY_ANSWERS = ("no", "maybe", "yes")


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


class TinyFusion(FusionModel):
    """A random fusion model with separate towers; tokens are as long as the longest text of a batch."""

    def __init__(self, side: int = 8, dim: int = 6, seed: int = 0, dropout: float = 0.0) -> None:
        preprocess = ImagePreprocessing((side, side), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
        super().__init__(preprocess, TINY_ANSWERS)
        self.visual = nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, 16), nn.Tanh(), nn.Dropout(dropout))
        self.image_projection = nn.Linear(16, dim)
        self.text = nn.EmbeddingBag(259, dim, padding_idx=PAD)
        self.mixer = nn.Linear(3 * dim, dim)
        self.answer = nn.Linear(dim, len(TINY_ANSWERS))
        fill_at_random(self, seed, {"visual.1.weight": 0.1, "text.weight": 2.0, "answer.weight": 2.0})

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        return tiny_tokens(texts)

    def predict(self, fused: Tensor) -> Tensor:
        return self.answer(fused)

    def image_tower(self, pixels: Tensor) -> Tensor:
        return self.image_projection(self.visual(pixels))

    def text_tower(self, tokens: Tokens) -> Tensor:
        return self.text(tokens)

    def join(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        parts = (image_features, text_features, image_features * text_features)
        return torch.tanh(self.mixer(torch.cat(parts, dim=1)))


def tiny_tokens(texts: Sequence[str]) -> Tensor:
    """UTF-8 bytes of texts, padded to the longest of them."""
    longest = max((len(text.encode("utf-8", "surrogatepass")) for text in texts), default=0)
    if longest > 62:
        raise InputError(f"A text has {longest} bytes, more than the 62 that this model reads.")
    return byte_tokens(texts, longest + 2)


def fill_at_random(model: nn.Module, seed: int, scales: dict[str, float]) -> None:
    """Draw every parameter from a normal distribution, of width 0.3 where no other is given."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * scales.get(name, 0.3)
