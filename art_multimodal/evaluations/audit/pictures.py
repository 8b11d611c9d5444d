"""Pictures of samples before and after an attack, kept beside the log for the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from art_multimodal.evaluations.audit.log import cannot_write

#: Longest side of a stored picture.
_LONGEST = 320
#: Colour of removed pixels where they are pointed out.
_REMOVED = (0.91, 0.13, 0.31)


def picture_name(attack: str, index: int, what: str) -> str:
    """File name of a sample's picture; ``what`` is ``clean``, ``attacked`` or ``difference``."""
    return f"{attack}-{index}-{what}.png"


def pictures_of(modality: str) -> tuple[str, ...]:
    """What is shown of a sample; an attack on texts leaves the image as it is."""
    return ("clean",) if modality == "text" else ("clean", "attacked", "difference")


def save_pictures(
    folder: Path, attack: str, index: int, clean: np.ndarray, attacked: np.ndarray, modality: str
) -> None:
    """Store a sample before and after an attack, and what changed.

    :param clean: ``(3, H, W)`` in [0, 1].
    :param attacked: Likewise.
    :param modality: Of the attack. Of a removal (``"decoupling"``) the removed pixels are shown on a pale copy, of
        others the difference, stretched around grey to the full range.
    """
    change = attacked - clean
    if modality == "decoupling":
        grey = np.broadcast_to(clean.mean(axis=0), clean.shape)
        shown = np.where((change != 0).any(axis=0), np.array(_REMOVED)[:, None, None], 0.6 + 0.4 * grey)
    else:
        shown = 0.5 + change / (2 * (float(np.abs(change).max()) or 1.0))
    images = {"clean": clean, "attacked": attacked, "difference": shown}
    for what in pictures_of(modality):
        pixels = np.round(images[what].clip(0, 1).transpose(1, 2, 0) * 255).astype(np.uint8)
        picture = Image.fromarray(pixels)
        picture.thumbnail((_LONGEST, _LONGEST))
        path = folder / picture_name(attack, index, what)
        try:
            picture.save(path, optimize=True)
        except OSError as error:
            raise cannot_write(path, error) from error
