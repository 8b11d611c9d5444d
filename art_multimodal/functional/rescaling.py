"""Pictures at other sizes, differentiable."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def rescaled(images: Tensor, scale: float) -> Tensor:
    """Resize by a factor, bicubic with antialiasing, and clamp to [0, 1] as 8-bit pictures saturate.

    :param images: Shape ``[N, C, H, W]``.
    :param scale: Of both sides, greater than 0; a side is rounded and keeps at least one pixel.
    :return: Shape ``[N, C, scale * H, scale * W]``. Where no side changes, the pixels do not either.
    """
    sides = tuple(max(1, round(side * scale)) for side in images.shape[-2:])
    if sides != tuple(images.shape[-2:]):
        images = F.interpolate(images, sides, mode="bicubic", align_corners=False, antialias=True)
    return images.clamp(0.0, 1.0)
