"""Pictures of samples before and after an attack, kept beside the log for the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from art_multimodal.evaluations.audit.log import cannot_write

#: Longest side of a stored picture.
_LONGEST = 320


def picture_name(attack: str, index: int, what: str) -> str:
    """File name of a sample's picture; ``what`` is ``clean``, ``attacked`` or ``difference``."""
    return f"{attack}-{index}-{what}.png"


def save_pictures(folder: Path, attack: str, index: int, clean: np.ndarray, attacked: np.ndarray) -> None:
    """Store a sample before and after an attack, and the difference, stretched around grey to the full range.

    :param clean: ``(3, H, W)`` in [0, 1].
    :param attacked: Likewise.
    """
    difference = attacked - clean
    largest = float(np.abs(difference).max()) or 1.0
    for what, image in (("clean", clean), ("attacked", attacked), ("difference", 0.5 + difference / (2 * largest))):
        pixels = np.round(image.clip(0, 1).transpose(1, 2, 0) * 255).astype(np.uint8)
        picture = Image.fromarray(pixels)
        picture.thumbnail((_LONGEST, _LONGEST))
        path = folder / picture_name(attack, index, what)
        try:
            picture.save(path, optimize=True)
        except OSError as error:
            raise cannot_write(path, error) from error
