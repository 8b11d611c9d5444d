"""Pictures of samples before and after an attack, kept beside the log for the report."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from art_multimodal.datasets.photos import in_eight_bits
from art_multimodal.evaluations.audit.passes import entry_of
from art_multimodal.store import cannot_write, read_regular, replace_file, sync_folder

#: Longest side of a stored picture.
_LONGEST = 320
#: Bytes of a stored picture: more than one of noise has.
_MOST_BYTES = 4 << 20
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
        path = folder / picture_name(attack, index, what)
        try:
            replace_file(path, png_of(images[what].transpose(1, 2, 0)), sync=False)
        except OSError as error:
            raise cannot_write(path, error) from error
    sync_folder(folder)


def png_of(pixels: np.ndarray) -> bytes:
    """A picture as a file, of a bounded size.

    :param pixels: ``(H, W, 3)`` in [0, 1]; what is outside is clipped.
    """
    picture = Image.fromarray(in_eight_bits(pixels))
    picture.thumbnail((_LONGEST, _LONGEST))
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def read_picture(path: Path) -> bytes | None:
    """A picture as it was stored; ``None`` if it is gone, damaged, too large to be one, or a link."""
    try:
        content = read_regular(path, _MOST_BYTES)
        with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
            if max(picture.size) > _LONGEST:
                return None
            picture.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return content


def are_whole(folder: Path, attack: str, index: int) -> bool:
    """Whether all pictures of a sample can be shown."""
    whats = pictures_of(entry_of(attack).modality)
    return all(read_picture(folder / picture_name(attack, index, what)) for what in whats)
