"""One patch for all images: what it is, and images with it at random places and sizes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from art_multimodal.errors import InputError
from art_multimodal.pairs import check_images


@dataclass(frozen=True, eq=False)
class UniversalPatch:
    """One patch of colours, to be put anywhere into images.

    >>> patch = UniversalPatch(np.ones((3, 8, 8), np.float32))
    >>> marked = patch.applied(images, share=0.1, place=(0, 0))
    >>> marked.shape, bool((marked[:, :, 0, 0] == 1).all())
    ((8, 3, 32, 32), True)

    :param values: Shape ``(3, h, w)``, float32 in [0, 1].
    :param surrogates: Names of the models that it was learned on; none where that is not known.
    :param target: The text that images are to be taken for; empty where there is none.
    :param notes: What a user should know about how it was read.
    :raises InputError: If the values are no such array.
    """

    values: np.ndarray
    surrogates: tuple[str, ...] = ()
    target: str = ""
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        shape = self.values.shape
        if self.values.dtype != np.float32 or len(shape) != 3 or shape[0] != 3 or not all(shape):
            raise InputError(f"A patch has shape (3, h, w) in float32, not {shape} in {self.values.dtype}.")
        if not (np.isfinite(self.values).all() and self.values.min() >= 0 and self.values.max() <= 1):
            raise InputError("The colours of a patch lie in [0, 1].")

    def applied(
        self,
        x: np.ndarray,
        share: float = 0.1,
        seed: int | None = 0,
        place: tuple[int, int] | None = None,
    ) -> np.ndarray:
        """Images with the patch, ``float32`` of their shape.

        :param x: Images ``(N, 3, H, W)`` in [0, 1].
        :param share: Of the area of an image that the patch covers, in (0, 1].
        :param seed: Of the place in each image.
        :param place: Row and column of the upper left corner in all images, instead.
        :raises InputError: For images or a place that cannot be used.
        """
        x = check_images(x)
        side = fitting(share, self.values.shape[1:], x.shape[2:])
        generator = np.random.default_rng(seed)
        values, places = torch.from_numpy(self.values), _places(generator, len(x), side, x.shape[2:], place)
        pasted_in = (
            pasted(torch.from_numpy(image)[None], values, side, at) for image, at in zip(x, places, strict=True)
        )
        return torch.cat(list(pasted_in)).numpy() if len(x) else x


def fitting(share: float, patch: tuple[int, ...], image: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of a patch of some proportions that covers a share of an image, at least one pixel.

    :raises InputError: If it would not fit.
    """
    if not 0 < share <= 1:
        raise InputError(f"The share that a patch covers lies in (0, 1], not {share:g}.")
    scale = (share * image[0] * image[1] / (patch[0] * patch[1])) ** 0.5
    height, width = max(1, round(scale * patch[0])), max(1, round(scale * patch[1]))
    if height > image[0] or width > image[1]:
        raise InputError(
            f"A patch of {height} x {width} pixels does not fit into images of {image[0]} x {image[1]}: choose a "
            "smaller share."
        )
    return height, width


def _places(
    generator: np.random.Generator,
    count: int,
    side: tuple[int, int],
    image: tuple[int, ...],
    place: tuple[int, int] | None,
) -> list[tuple[int, int]]:
    room = (image[0] - side[0], image[1] - side[1])
    if place is None:
        drawn = generator.integers(0, np.array(room) + 1, size=(count, 2))
        return [(int(row), int(column)) for row, column in drawn]
    if not (0 <= place[0] <= room[0] and 0 <= place[1] <= room[1]):
        raise InputError(f"A patch at {place} leaves the image: it fits up to {room}.")
    return [place] * count


def pasted(images: Tensor, patch: Tensor, side: tuple[int, int], place: tuple[int, int]) -> Tensor:
    """Images ``[N, 3, H, W]`` with a patch ``[3, h, w]`` of a size at a place; differentiable in the patch."""
    resized = F.interpolate(patch[None], side, mode="bilinear", antialias=True).clamp(0, 1)
    height, width = images.shape[2:]
    margins = (place[1], width - place[1] - side[1], place[0], height - place[0] - side[0])
    # The patch in a canvas of its own, so that gradients of images are not lost.
    mask = F.pad(torch.ones_like(resized[:, :1]), margins)
    return images * (1 - mask) + F.pad(resized, margins) * mask
