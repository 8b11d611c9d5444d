"""A small random CLIP, a classifier over it, and images: what defences that compute at test time are tried on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from art_multimodal.demo.small_clip import SmallClip
from art_multimodal.estimators import ZeroShotClassifier

#: Classes of the classifier.
TINY_CLASSES = ("cat", "dog", "boat")


def tiny_clip(seed: int = 0) -> SmallClip:
    """A random transformer of each kind, with a causal text tower and layers that are known."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=()):  # vectors keep what they begin with
        torch.manual_seed(seed)
        model = SmallClip(image_width=16, text_width=16, embedding=8).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data = torch.randn(parameter.shape, generator=generator) * parameter[0].numel() ** -0.5
    return model


def tiny_classifier() -> ZeroShotClassifier:
    """A classifier of three classes on the CPU."""
    return ZeroShotClassifier(tiny_clip(), TINY_CLASSES, "a {}.", device_type="cpu")


def smooth_images(count: int = 4, side: int = 32, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Smooth images ``[N, 3, side, side]`` well inside of [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator, dtype=torch.float64)
    fine = nn.functional.interpolate(coarse, (side, side), mode="bilinear", align_corners=False)
    return (0.3 + 0.4 * fine + 0.02 * torch.rand(fine.shape, generator=generator, dtype=torch.float64)).to(dtype)
