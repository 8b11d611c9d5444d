"""Pillow's filters that torch has not: Lanczos, box and Hamming, separable and differentiable."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor


def _lanczos(x: Tensor) -> Tensor:
    return torch.where(x.abs() < 3, torch.sinc(x) * torch.sinc(x / 3), 0.0)


def _box(x: Tensor) -> Tensor:
    return ((x > -0.5) & (x <= 0.5)).to(x.dtype)


def _hamming(x: Tensor) -> Tensor:
    return torch.where(x.abs() < 1, torch.sinc(x) * (0.54 + 0.46 * torch.cos(torch.pi * x)), 0.0)


#: Each with its half-width in pixels of the smaller picture.
FILTERS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "lanczos": (_lanczos, 3.0),
    "box": (_box, 0.5),
    "hamming": (_hamming, 1.0),
}


def resample(images: Tensor, size: tuple[int, int], name: str) -> Tensor:
    """Resize ``[..., H, W]`` to ``[..., *size]`` with one of :data:`FILTERS`, as Pillow does but unrounded."""
    down, across = (_weights(images.shape[axis], size[axis], name).to(images) for axis in (-2, -1))
    return down @ (images @ across.T)


@lru_cache(maxsize=16)
def _weights(length: int, target: int, name: str) -> Tensor:
    """How much every pixel of a row counts in every resized one, ``[target, length]``; each adds up to one."""
    kernel, half_width = FILTERS[name]
    scale = length / target
    stretch = max(scale, 1.0)
    centres = (torch.arange(target, dtype=torch.float64) + 0.5) * scale
    pixels = torch.arange(length, dtype=torch.float64)
    # As in Pillow, whole pixels count: those whose middle is not far off.
    first = (centres - half_width * stretch + 0.5).trunc().clamp(min=0)
    last = (centres + half_width * stretch + 0.5).trunc().clamp(max=length)
    inside = (pixels >= first[:, None]) & (pixels < last[:, None])
    weights = kernel((pixels - centres[:, None] + 0.5) / stretch) * inside
    return weights / weights.sum(dim=1, keepdim=True)
