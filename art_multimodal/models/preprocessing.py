"""Resize and normalisation as a differentiable module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from PIL.Image import Image

RESIZE_MODES = ("shortest", "squash", "longest")


class ImagePreprocessing(nn.Module):
    """What CLIP's published transforms do to a picture, on tensors in [0, 1] and differentiable.

    Images that already have ``size`` pass untouched. Others are resized with antialiasing, as PIL does, and clamped to
    [0, 1], as 8-bit images saturate.

    :param size: Height and width that the image tower works on.
    :param mean: Per channel, subtracted; also the fill colour that the model sees as zero.
    :param std: Per channel, divides.
    :param interpolation: ``"bicubic"``, ``"bilinear"`` or ``"nearest"``.
    :param resize_mode: ``"shortest"`` (shorter side to ``size``, then centre crop: CLIP), ``"squash"`` (aspect ratio not
        kept: SigLIP) or ``"longest"`` (longer side to ``size``, then pad with ``mean``).
    :param first_resize: For ``"shortest"``: the length of the shorter side before the crop, where it is not ``size``.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        size: tuple[int, int],
        mean: Sequence[float],
        std: Sequence[float],
        interpolation: str = "bicubic",
        resize_mode: str = "shortest",
        first_resize: int | None = None,
    ) -> None:
        super().__init__()
        if resize_mode not in RESIZE_MODES:
            raise ValueError(f"resize_mode must be one of {RESIZE_MODES}, not {resize_mode!r}.")
        self.size = (int(size[0]), int(size[1]))
        self.interpolation = interpolation
        self.resize_mode = resize_mode
        self.first_resize = first_resize
        # Not saved: they belong to the adapter's configuration, not to the checkpoint.
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` in [0, 1] to normalised ``[N, C, *size]`` in float32, or float64 when the model is."""
        images = images.to(torch.promote_types(torch.float32, self.mean.dtype))
        if tuple(images.shape[-2:]) != self.size:
            images = self.resize(images)
        return (images - self.mean.to(images.dtype)) / self.std.to(images.dtype)

    def resize(self, images: Tensor) -> Tensor:
        """Bring images to ``size``."""
        sides = self._resized_sides(*images.shape[-2:])
        images = self._interpolate(images, sides)
        if self.resize_mode == "squash":
            return images
        if self.resize_mode == "longest":
            return self._pad(images)
        top = round((sides[0] - self.size[0]) / 2.0)
        left = round((sides[1] - self.size[1]) / 2.0)
        return images[..., top : top + self.size[0], left : left + self.size[1]]

    def reduce_photo(self, photo: Image) -> Image:
        """Bring a PIL image that is larger than ``size`` to it, as the published transforms do; leave smaller ones alone.

        Attacks on photos of many megapixels would cost minutes each and change pixels that the model never sees.
        """
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.functional import center_crop, resize

        sides = (photo.height, photo.width)
        if not all(side > target for side, target in zip(sides, self.size, strict=True)):
            return photo
        resized = resize(photo, list(self._resized_sides(*sides)), InterpolationMode(self.interpolation))
        return center_crop(resized, list(self.size)) if self.resize_mode == "shortest" else resized

    def _resized_sides(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after the resize, before any crop or padding."""
        if self.resize_mode == "squash":
            return self.size
        if self.resize_mode == "longest":
            scale = min(self.size[0] / height, self.size[1] / width)
            return max(1, round(height * scale)), max(1, round(width * scale))
        # Scale until both sides are covered, which is torchvision's rule for a square target.
        target = (self.first_resize, self.first_resize) if self.first_resize else self.size
        scale = max(target[0] / height, target[1] / width)
        # int() truncates as torchvision does; the epsilon protects exact sides from rounding below.
        return max(self.size[0], int(height * scale + 1e-6)), max(self.size[1], int(width * scale + 1e-6))

    def _interpolate(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        if self.interpolation == "nearest":
            return F.interpolate(images, size, mode="nearest")
        resized = F.interpolate(images, size, mode=self.interpolation, align_corners=False, antialias=True)
        return resized.clamp(0.0, 1.0)

    def _pad(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        canvas = self.mean.to(images.dtype).expand(*images.shape[:-2], *self.size).clone()
        top, left = (self.size[0] - height) // 2, (self.size[1] - width) // 2
        canvas[..., top : top + height, left : left + width] = images
        return canvas
