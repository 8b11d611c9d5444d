"""Random views of images that gradients pass through: local crops, and images made smaller on a black frame.

Each is one affine map of the picture, drawn for every image by its own generator.

| Paper link: https://arxiv.org/abs/1803.06978 (DI-FGSM: smaller, padded at random)
| Paper link: https://arxiv.org/abs/2503.10635 (M-Attack: local crops, resized to the whole)
| Paper link: https://arxiv.org/abs/2307.14061 (SGA: the whole image at several scales)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

#: Drawn for each view of an image, whether it is used or not, so that one option does not shift another's numbers.
_DRAWN = 7


def drawn_numbers(generators: Sequence[torch.Generator]) -> Tensor:
    """Numbers in [0, 1) for one view of each image, ``[N, 7]``, on the CPU.

    >>> drawn_numbers([torch.Generator().manual_seed(seed) for seed in (0, 1)]).shape
    torch.Size([2, 7])
    """
    return torch.stack([torch.rand(_DRAWN, generator=generator) for generator in generators])


def local_crops(images: Tensor, numbers: Tensor, area: tuple[float, float]) -> Tensor:
    """A crop of each image at a random place, resized to the size of the image.

    >>> numbers = drawn_numbers([torch.Generator().manual_seed(0)])
    >>> local_crops(torch.rand(1, 3, 32, 32), numbers, area=(0.5, 0.9)).shape
    torch.Size([1, 3, 32, 32])

    :param images: Shape ``[N, C, H, W]``.
    :param numbers: From :func:`drawn_numbers`.
    :param area: Smallest and largest share of the image's area, in (0, 1]; shares are drawn uniformly.
    """
    side = _between(numbers[:, 0], *area).sqrt()
    centres = (2 * numbers[:, 1:3] - 1) * (1 - side)[:, None]
    return _mapped(images, side, centres)


def smaller_on_black(images: Tensor, numbers: Tensor, chance: float, least: float) -> Tensor:
    """Images made smaller and put at a random place on a black frame of their own size, each with some chance.

    >>> numbers = drawn_numbers([torch.Generator().manual_seed(0)])
    >>> smaller = smaller_on_black(torch.ones(1, 3, 32, 32), numbers, chance=1.0, least=0.5)
    >>> smaller.shape, bool(smaller.mean() < 1)
    (torch.Size([1, 3, 32, 32]), True)

    :param images: Shape ``[N, C, H, W]``.
    :param numbers: From :func:`drawn_numbers`.
    :param chance: Of each image to be changed, in [0, 1].
    :param least: Smallest length of its sides, as a share of theirs before, in (0, 1]; drawn uniformly up to 1.
    """
    chosen = (numbers[:, 3] < chance).to(images.device)
    if not chosen.any():
        return images
    zoom = 1 / _between(numbers[:, 4], least, 1.0)
    centres = (2 * numbers[:, 5:7] - 1) * (zoom - 1)[:, None]
    return torch.where(chosen[:, None, None, None], _mapped(images, zoom, centres), images)


def at_scale(images: Tensor, scale: float) -> Tensor:
    """Whole images with sides ``scale`` times as long, by bilinear interpolation; at least one pixel.

    >>> at_scale(torch.zeros(2, 3, 32, 32), 0.75).shape
    torch.Size([2, 3, 24, 24])
    """
    height, width = (max(1, round(scale * side)) for side in images.shape[-2:])
    if (height, width) == tuple(images.shape[-2:]):
        return images
    return F.interpolate(images, (height, width), mode="bilinear", align_corners=False, antialias=scale < 1)


def _between(number: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * number


def _mapped(images: Tensor, zoom: Tensor, centres: Tensor) -> Tensor:
    """Shows of each image the window whose sides are ``zoom`` times its own, around ``centres`` in [-1, 1]."""
    maps = torch.zeros(len(images), 2, 3)
    maps[:, 0, 0] = maps[:, 1, 1] = zoom
    maps[:, :, 2] = centres
    grid = F.affine_grid(maps.to(images), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
