"""Views of images ``[N, C, H, W]`` for defences: random ones, each image from its own source of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def uniform(generator: torch.Generator, low: float, high: float) -> float:
    """A random number."""
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def resized(images: Tensor, height: int, width: int) -> Tensor:
    """Images at another size, smoothed where they shrink; the same ones at their own size."""
    if images.shape[-2:] == (height, width):
        return images
    return F.interpolate(images, (height, width), mode="bilinear", align_corners=False, antialias=True)


def resized_and_padded(image: Tensor, smallest: float, fill: Tensor, generator: torch.Generator) -> Tensor:
    """One image ``[C, H, W]``, shrunken to a random size, at a random place of a canvas of its old size.

    :param smallest: Least side, as a share.
    :param fill: Colour of the canvas, ``[C, 1, 1]``.
    """
    height, width = image.shape[-2:]
    scale = uniform(generator, smallest, 1)
    new = max(1, round(scale * height)), max(1, round(scale * width))
    top = int(uniform(generator, 0, height - new[0] + 1 - 1e-9))
    left = int(uniform(generator, 0, width - new[1] + 1 - 1e-9))
    around = (left, width - new[1] - left, top, height - new[0] - top)
    # Padding with zeros around the difference to the canvas is a canvas around the image.
    return F.pad(resized(image[None], *new)[0] - fill, around) + fill


def cropped(images: Tensor, smallest: float, generators: Sequence[torch.Generator]) -> Tensor:
    """A random square part of each image, brought back to its size.

    :param smallest: Least area, as a share.
    """
    height, width = images.shape[-2:]
    found = []
    for image, generator in zip(images, generators, strict=True):
        side = math.sqrt(uniform(generator, smallest, 1))
        rows, columns = max(1, round(side * height)), max(1, round(side * width))
        top = int(uniform(generator, 0, height - rows + 1 - 1e-9))
        left = int(uniform(generator, 0, width - columns + 1 - 1e-9))
        found.append(resized(image[None, :, top : top + rows, left : left + columns], height, width))
    return torch.cat(found)
