"""How pictures are resized by Pillow, OpenCV and torch: each a pair of matrices, linear and differentiable.

Every resize here is separable: ``resized = down @ image @ across.T``. Matrices are what the libraries compute,
unrounded; Pillow and OpenCV round 8-bit pictures on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from art_multimodal.registry import Registry

#: Maps the lengths of a row before and after to how much each pixel counts in each resized one, ``[after, before]``.
Weights = Callable[[int, int], Tensor]
#: Maps distances from a pixel, in pixels, to weights.
Kernel = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Resizer:
    """A way to resize pictures.

    >>> from art_multimodal.functional.resizing import RESIZERS
    >>> isinstance(RESIZERS["opencv_linear"], Resizer)
    True
    >>> RESIZERS["opencv_linear"].matrix(4, 2).tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]

    :param name: As ``--resize`` takes it.
    :param summary: One line for listings.
    :param weights: Of one axis, float64.
    :param saturates: Whether the library works on 8-bit pictures here, which hold nothing outside of [0, 1].
    """

    name: str
    summary: str
    weights: Weights
    saturates: bool = True

    def matrix(self, before: int, after: int) -> Tensor:
        """How much every pixel of a row counts in every resized one: ``[after, before]``, float64; rows add up to 1."""
        return _kept(self.weights, before, after)

    def __call__(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        """Resize ``[..., H, W]`` in [0, 1] to ``[..., *size]``."""
        down, across = (self.matrix(images.shape[axis], size[axis]).to(images) for axis in (-2, -1))
        resized = down @ (images @ across.T)
        return resized.clamp(0.0, 1.0) if self.saturates else resized


@lru_cache(maxsize=32)
def _kept(weights: Weights, before: int, after: int) -> Tensor:
    return weights(before, after)


# --- kernels ----------------------------------------------------------------------------------------------------------


def _triangle(x: Tensor) -> Tensor:
    return (1 - x.abs()).clamp_min(0)


def _cubic(x: Tensor, a: float) -> Tensor:
    """Keys' cubic convolution; ``a`` is its slope at distance 1."""
    x = x.abs()
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def _lanczos(x: Tensor) -> Tensor:
    return torch.where(x.abs() < 3, torch.sinc(x) * torch.sinc(x / 3), 0.0)


def _box(x: Tensor) -> Tensor:
    return ((x > -0.5) & (x <= 0.5)).to(x.dtype)


def _hamming(x: Tensor) -> Tensor:
    return torch.where(x.abs() < 1, torch.sinc(x) * (0.54 + 0.46 * torch.cos(torch.pi * x)), 0.0)


#: Pillow's slope, which torch has with antialiasing, too; and that of OpenCV, and of torch without.
_SOFT_CUBIC, _SHARP_CUBIC = partial(_cubic, a=-0.5), partial(_cubic, a=-0.75)


# --- ways to lay a kernel over a row ----------------------------------------------------------------------------------


def _antialiased(before: int, after: int, kernel: Kernel, half_width: float) -> Tensor:
    """The kernel stretched over all pixels that a resized one stands for, as Pillow does, and torch with antialias."""
    scale = before / after
    stretch = max(scale, 1.0)
    centres = (torch.arange(after, dtype=torch.float64) + 0.5) * scale
    pixels = torch.arange(before, dtype=torch.float64)
    # As in Pillow, whole pixels count: those whose middle is not far off.
    first = (centres - half_width * stretch + 0.5).trunc().clamp(min=0)
    last = (centres + half_width * stretch + 0.5).trunc().clamp(max=before)
    inside = (pixels >= first[:, None]) & (pixels < last[:, None])
    weights = kernel((pixels - centres[:, None] + 0.5) / stretch) * inside
    return weights / weights.sum(dim=1, keepdim=True)


def _sampled(before: int, after: int, kernel: Kernel, half_width: int) -> Tensor:
    """The kernel at its own width around one point, whatever lies between: no antialiasing. Borders are repeated."""
    points = (torch.arange(after, dtype=torch.float64) + 0.5) * (before / after) - 0.5
    left = points.floor()
    weights = torch.zeros(after, before, dtype=torch.float64)
    for offset in range(1 - half_width, half_width + 1):
        pixels = left + offset
        there = pixels.clamp(0, before - 1).long()[:, None]
        weights.scatter_add_(1, there, kernel(pixels - points)[:, None])
    return weights


def _covered(before: int, after: int) -> Tensor:
    """The mean over what a resized pixel covers, in fractions of pixels: OpenCV's INTER_AREA where a side shrinks."""
    if after >= before:
        return _enlarged_by_area(before, after)
    edges = torch.arange(after + 1, dtype=torch.float64) * (before / after)
    pixels = torch.arange(before, dtype=torch.float64)
    covered = torch.minimum(edges[1:, None], pixels + 1) - torch.maximum(edges[:-1, None], pixels)
    weights = covered.clamp_min(0)
    return weights / weights.sum(dim=1, keepdim=True)


def _enlarged_by_area(before: int, after: int) -> Tensor:
    """What OpenCV's INTER_AREA does where a side grows: edges of pixels are softened over one resized pixel."""
    weights = torch.zeros(after, before, dtype=torch.float64)
    for number in range(after):
        left = number * before // after
        share = (number + 1) - (left + 1) * after / before
        share = max(0.0, share - int(share)) if share > 0 else 0.0
        weights[number, left] += 1 - share
        weights[number, min(left + 1, before - 1)] += share
    return weights


def _pooled(before: int, after: int) -> Tensor:
    """The mean over all pixels that a resized one touches, each counting as much: torch's mode area."""
    weights = torch.zeros(after, before, dtype=torch.float64)
    for number in range(after):
        first, last = number * before // after, -(-(number + 1) * before // after)
        weights[number, first:last] = 1 / (last - first)
    return weights


def _nearest(before: int, after: int, centred: bool) -> Tensor:
    """One pixel: that under the middle of the resized one, or under its upper left corner."""
    numbers = torch.arange(after)
    places = (2 * numbers + 1) * before // (2 * after) if centred else numbers * before // after
    return one_hot(places, before).double()


def _nearest_of_pillow(before: int, after: int) -> Tensor:
    """The pixel under the middle, whose place Pillow finds by adding up: where it is a tie, rounding decides."""
    scale = before / after
    places = accumulate([scale * 0.5, *[scale] * (after - 1)])
    return one_hot(torch.tensor([min(int(place), before - 1) for place in places]), before).double()


_CLIPS_BICUBIC = partial(_antialiased, kernel=_SOFT_CUBIC, half_width=2.0)
_STRETCHED_TRIANGLE = partial(_antialiased, kernel=_triangle, half_width=1.0)
_TWO_TAPS = partial(_sampled, kernel=_triangle, half_width=1)
_FOUR_TAPS = partial(_sampled, kernel=_SHARP_CUBIC, half_width=2)
_CORNER, _MIDDLE = partial(_nearest, centred=False), partial(_nearest, centred=True)

#: All resizes by name. Those without a prefix are Pillow's, which models declare.
RESIZERS: Registry[Resizer] = Registry("resize", Resizer)

for _resizer in (
    Resizer("bicubic", "Pillow's bicubic, antialiased: what CLIP was published with", _CLIPS_BICUBIC),
    Resizer("bilinear", "Pillow's bilinear, antialiased", _STRETCHED_TRIANGLE),
    Resizer("nearest", "Pillow's nearest: the pixel under the middle", _nearest_of_pillow),
    Resizer("lanczos", "Pillow's Lanczos, antialiased", partial(_antialiased, kernel=_lanczos, half_width=3.0)),
    Resizer("box", "Pillow's box, antialiased", partial(_antialiased, kernel=_box, half_width=0.5)),
    Resizer("hamming", "Pillow's Hamming, antialiased", partial(_antialiased, kernel=_hamming, half_width=1.0)),
    Resizer("torch_bilinear", "torch's bilinear without antialiasing: its default", _TWO_TAPS, False),
    Resizer("torch_bicubic", "torch's bicubic without antialiasing: its default", _FOUR_TAPS, False),
    Resizer("torch_bilinear_antialias", "torch's bilinear with antialiasing", _STRETCHED_TRIANGLE, False),
    Resizer("torch_bicubic_antialias", "torch's bicubic with antialiasing", _CLIPS_BICUBIC, False),
    Resizer("torch_area", "torch's area: the mean of all pixels that are touched", _pooled, False),
    Resizer("torch_nearest", "torch's nearest: the pixel under the upper left corner", _CORNER, False),
    Resizer("torch_nearest_exact", "torch's nearest-exact: the pixel under the middle", _MIDDLE, False),
    Resizer("opencv_linear", "OpenCV's INTER_LINEAR, its default: no antialiasing", _TWO_TAPS),
    Resizer("opencv_cubic", "OpenCV's INTER_CUBIC: no antialiasing", _FOUR_TAPS),
    Resizer("opencv_area", "OpenCV's INTER_AREA: the mean over what a pixel covers", _covered),
    Resizer("opencv_nearest", "OpenCV's INTER_NEAREST: the pixel under the upper left corner", _CORNER),
):
    RESIZERS.add(_resizer.name, _resizer)
