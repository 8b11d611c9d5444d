"""Tiny models whose behaviour is known by construction: those of contract checks, and one that fuses early."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from art_multimodal.demo.towers import PAD
from art_multimodal.models.fusion import FusionModel
from art_multimodal.models.preprocessing import ImagePreprocessing
from art_multimodal.testing.tiny import TINY_ANSWERS, TinyEncoder, TinyFusion, fill_at_random, tiny_tokens

__all__ = ["TINY_ANSWERS", "TinyEncoder", "TinyFusion", "TinyJointFusion", "fill_at_random", "tiny_tokens"]


class TinyJointFusion(FusionModel):
    """A random fusion model whose modalities meet in its first layer; tokens are named tensors."""

    def __init__(self, side: int = 8, dim: int = 6, seed: int = 0) -> None:
        preprocess = ImagePreprocessing((side, side), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
        super().__init__(preprocess, TINY_ANSWERS)
        self.visual = nn.Linear(3 * side * side, 16)
        self.text = nn.Embedding(259, 16)
        self.mixer = nn.Linear(16, dim)
        self.answer = nn.Linear(dim, len(TINY_ANSWERS))
        fill_at_random(self, seed, {"visual.weight": 0.1, "text.weight": 3.0, "mixer.weight": 1.0})

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        ids = tiny_tokens(texts)
        return {"ids": ids, "mask": (ids != PAD).long()}

    def predict(self, fused: Tensor) -> Tensor:
        return self.answer(fused)

    def joint_tower(self, pixels: Tensor, tokens: dict[str, Tensor]) -> Tensor:
        mask = tokens["mask"].unsqueeze(2).to(pixels.dtype)
        text = (self.text(tokens["ids"]) * mask).sum(dim=1) / mask.sum(dim=1)
        return torch.tanh(self.mixer(torch.tanh(self.visual(pixels.flatten(1)) + text)))
