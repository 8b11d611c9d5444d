"""Resize and normalisation as a differentiable module."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from art_multimodal.errors import InputError
from art_multimodal.functional.resizing import RESIZERS
from art_multimodal.shown import shown

if TYPE_CHECKING:
    from PIL.Image import Image

RESIZE_MODES = ("shortest", "squash", "longest")
#: What models declare: Pillow's filters.
INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "lanczos", "box", "hamming")
#: Most pixels of a side that a model works on; beyond those of known models, and a picture of it takes 50 MB.
LARGEST_SIDE = 2048


class ImagePreprocessing(nn.Module):
    """What CLIP's published transforms do to a picture, on tensors in [0, 1] and differentiable.

    Images that already have ``size`` pass untouched. Others are resized with antialiasing, as PIL does, and clamped to
    [0, 1], as 8-bit images saturate.

    >>> preprocess = ImagePreprocessing((32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)
    >>> preprocess(torch.ones(1, 3, 64, 48)).shape, preprocess.resized_by("opencv_linear").size
    (torch.Size([1, 3, 32, 32]), (32, 32))

    :param size: Height and width that the image tower works on.
    :param mean: Per channel, subtracted.
    :param std: Per channel, divides.
    :param interpolation: ``"bicubic"``, ``"bilinear"``, ``"nearest"``, ``"lanczos"``, ``"box"`` or ``"hamming"``, as
        Pillow has them; or another name of :data:`~art_multimodal.functional.resizing.RESIZERS`.
    :param resize_mode: ``"shortest"`` (shorter side to ``size``, then centre crop: CLIP), ``"squash"`` (aspect ratio
        not kept: SigLIP) or ``"longest"`` (longer side to ``size``, then pad).
    :param first_resize: What is resized to before a centre crop to ``size``, where that is not ``size``: the length of
        the shorter side for ``"shortest"``, of both sides for ``"squash"``.
    :param fill: For ``"longest"``: the grey of the padding, in [0, 1]; ``None`` pads with ``mean``.
    :param crop_rounds_down: Where a margin is not whole, crop as transformers does, not as torchvision does.
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
        first_resize: int | tuple[int, int] | None = None,
        fill: float | None = None,
        crop_rounds_down: bool = False,
    ) -> None:
        super().__init__()
        if resize_mode not in RESIZE_MODES:
            raise ValueError(f"resize_mode must be one of {RESIZE_MODES}, not {resize_mode!r}.")
        if interpolation not in RESIZERS:
            raise ValueError(f"interpolation must be one of {tuple(RESIZERS)}, not {interpolation!r}.")
        self.size = (int(size[0]), int(size[1]))
        self.interpolation = interpolation
        self.resize_mode = resize_mode
        self.first_resize = (first_resize, first_resize) if isinstance(first_resize, int) else first_resize
        self.fill = fill
        self.crop_rounds_down = crop_rounds_down
        #: Whether the resize is another one than the model was published with; see :meth:`resized_by`.
        self.is_deployed = False
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
        if self.resize_mode == "longest":
            return self._pad(images)
        top, left = self._crop_corner(sides)
        return images[..., top : top + self.size[0], left : left + self.size[1]]

    def resized_by(self, name: str) -> ImagePreprocessing:
        """The same preprocessing with the resize that was deployed; sides, crop and normalisation stay.

        :param name: A name of :data:`~art_multimodal.functional.resizing.RESIZERS`.
        :raises InputError: If there is none of that name.
        """
        resizer = RESIZERS[name]
        other = ImagePreprocessing(
            self.size,
            self.mean.flatten().tolist(),
            self.std.flatten().tolist(),
            resizer.name,
            self.resize_mode,
            self.first_resize,
            self.fill,
            self.crop_rounds_down,
        ).to(self.mean)
        other.is_deployed = True
        return other.train(self.training)

    def matrices(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """The resize and the crop of a picture as matrices: it becomes ``down @ picture @ across.T``, float64.

        :return: ``[size[0], height]`` and ``[size[1], width]``; for ``"longest"`` as large as the picture without its
            padding.
        """
        sides, resizer = self._resized_sides(height, width), RESIZERS[self.interpolation]
        down, across = resizer.matrix(height, sides[0]), resizer.matrix(width, sides[1])
        if self.resize_mode == "longest":
            return down, across
        top, left = self._crop_corner(sides)
        return down[top : top + self.size[0]], across[left : left + self.size[1]]

    def reduce_photo(self, photo: Image) -> Image:
        """Bring a PIL image larger than ``size`` to it, as the published transforms do; leave smaller ones alone.

        With another resize than Pillow's the result is rounded to 8 bits, too.

        Attacks on photos of many megapixels would cost minutes each and change pixels that the model never sees.
        """
        if not self.reduces(photo.height, photo.width):
            return photo
        sides = self._resized_sides(photo.height, photo.width)
        resized = self._resized_photo(photo, sides)
        if self.resize_mode == "longest":
            return resized
        top, left = self._crop_corner(sides)
        return resized.crop((left, top, left + self.size[1], top + self.size[0]))

    def reduces(self, height: int, width: int) -> bool:
        """Whether :meth:`reduce_photo` brings a photo of this size to another one."""
        return height > self.size[0] and width > self.size[1]

    def _resized_photo(self, photo: Image, sides: tuple[int, int]) -> Image:
        if self.interpolation in INTERPOLATIONS:
            from torchvision.transforms import InterpolationMode
            from torchvision.transforms.functional import resize

            return resize(photo, list(sides), InterpolationMode(self.interpolation))
        from PIL import Image

        pixels = torch.from_numpy(np.array(photo, dtype=np.float64)).movedim(-1, 0)
        resized = RESIZERS[self.interpolation](pixels / 255, sides)
        return Image.fromarray((resized * 255).round().clamp(0, 255).byte().movedim(0, -1).contiguous().numpy())

    def _resized_sides(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after the resize, before any crop or padding."""
        target = self.first_resize or self.size
        if self.resize_mode == "squash":
            return target
        ratios = height / target[0], width / target[1]
        if self.resize_mode == "longest":
            ratio = max(ratios)
            return max(1, round(height / ratio)), max(1, round(width / ratio))
        # Scale until both sides are covered. A square target truncates, as torchvision does (the epsilon protects exact
        # sides from rounding below); any other rounds, as open_clip does.
        sides = height / min(ratios), width / min(ratios)
        height, width = (int(side + 1e-6) if target[0] == target[1] else round(side) for side in sides)
        return max(self.size[0], height), max(self.size[1], width)

    def _crop_corner(self, sides: tuple[int, int]) -> tuple[int, int]:
        """Top and left of the centre crop to ``size``."""
        whole = int if self.crop_rounds_down else round
        return whole((sides[0] - self.size[0]) / 2), whole((sides[1] - self.size[1]) / 2)

    def _interpolate(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        if self.interpolation == "nearest":
            return F.interpolate(images, size, mode="nearest-exact")
        if self.interpolation not in ("bicubic", "bilinear"):
            return RESIZERS[self.interpolation](images, size)
        # The same as their matrices, and faster.
        resized = F.interpolate(images, size, mode=self.interpolation, align_corners=False, antialias=True)
        return resized.clamp(0.0, 1.0)

    def _pad(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        fill = self.mean.to(images.dtype) if self.fill is None else images.new_tensor(self.fill)
        canvas = fill.expand(*images.shape[:-2], *self.size).clone()
        top, left = (self.size[0] - height) // 2, (self.size[1] - width) // 2
        canvas[..., top : top + height, left : left + width] = images
        return canvas


def check_sides(sides: Iterable[Any], what: str) -> None:
    """Refuse sides of pictures that are no whole numbers of 1 to 2048 pixels.

    :param what: Whose sides these are, for messages.
    :raises InputError: If there is such a side.
    """
    for side in sides:
        if isinstance(side, bool) or not isinstance(side, int) or not 1 <= side <= LARGEST_SIDE:
            raise InputError(
                f"{what} must be a whole number of 1 to {LARGEST_SIDE} pixels a side, not {shown(side)!r:.60}."
            )
