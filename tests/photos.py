"""Photos made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def save_photo(path: Path, size: tuple[int, int] = (20, 12), seed: int = 0) -> np.ndarray:
    """Save random pixels losslessly and return them as ``(3, H, W)`` in [0, 1]."""
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels.transpose(2, 0, 1).astype(np.float32) / 255
