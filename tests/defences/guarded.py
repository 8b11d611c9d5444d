"""Small models behind test-time defences, for the tests of these."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from art_multimodal import ZeroShotClassifier
from art_multimodal.defences.test_time import (
    CoarseGrid,
    DirectionalBiasDefence,
    EnergyGuidedTransformation,
    LayerStatistics,
    Purification,
    RandomResizePad,
    RobustPromptTuning,
    TestTimeAdversarialPromptTuning,
    TestTimeCounterattack,
    ViewVoting,
)
from art_multimodal.demo.towers import PAD, byte_tokens
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.preprocessing import ImagePreprocessing
from art_multimodal.testing.tiny_clip import TINY_CLASSES as NAMES
from art_multimodal.testing.tiny_clip import smooth_images as images
from art_multimodal.testing.tiny_clip import tiny_clip as small_clip

__all__ = ["DEFENCES", "NAMES", "LinearEncoder", "classifier", "images", "small_clip"]

#: Every defence, small enough for tests.
DEFENCES = {
    "ttc": TestTimeCounterattack(threshold=0.3),
    "et3": EnergyGuidedTransformation(eps=0.5),
    "dbd": DirectionalBiasDefence(),
    "r_tpt": RobustPromptTuning(views=4, selected=0.5, neighbours=2),
    "resize_pad": RandomResizePad(),
    "view_voting": ViewVoting(views=3),
    "purification": Purification(),
    "coarse_grid": CoarseGrid(side=6),
}


class LinearEncoder(DualEncoder):
    """An image tower that is a matrix, on pixels as they are: what a defence does to it can be computed by hand."""

    def __init__(self, side: int = 4, dim: int = 5, seed: int = 0) -> None:
        super().__init__(ImagePreprocessing((side, side), (0.0,) * 3, (1.0,) * 3), context_length=32, pad_id=PAD)
        generator = torch.Generator().manual_seed(seed)
        self.matrix = nn.Parameter(torch.randn(dim, 3 * side * side, generator=generator))
        self.text = nn.EmbeddingBag(259, dim, padding_idx=PAD)
        self.text.weight.data = torch.randn(259, dim, generator=generator)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(5.0)))

    def image_tower(self, pixels: Tensor) -> Tensor:
        return pixels.flatten(1) @ self.matrix.T

    def text_tower(self, tokens: Tensor) -> Tensor:
        return self.text(tokens)

    def token_ids(self, texts: list[str], length: int) -> Tensor:
        return byte_tokens(texts, length)


def classifier(model: DualEncoder, defence: object = None) -> ZeroShotClassifier:
    """A classifier of three classes on the CPU."""
    return ZeroShotClassifier(model, NAMES, "a {}.", test_time_defence=defence, device_type="cpu")  # type: ignore[arg-type]


_STATISTICS = LayerStatistics.of(classifier(small_clip()), images(6, seed=9).numpy())
DEFENCES["tapt"] = TestTimeAdversarialPromptTuning(_STATISTICS, views=3, selected=0.7, lr=0.01)
