"""Images of a bundle as PNG, for people: 8 bits, as they are asked about a second time."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from art_multimodal.datasets.photos import in_eight_bits
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.lines import CLEAN
from art_multimodal.evaluations.evidence.bundle import Bundle
from art_multimodal.evaluations.evidence.data import BundledSamples
from art_multimodal.evaluations.evidence.fixtures import IMAGE, Group
from art_multimodal.evaluations.suite import SAMPLES
from art_multimodal.shown import shown
from art_multimodal.store import cannot_write, check_place, replace_file, sync_folder


def write_images(bundle: Bundle, reader: BundledSamples, folder: Path) -> int:
    """Write the image of every sample, before any attack and after each that changed it.

    Names come from numbers alone: ``p003-17.png`` is sample 17 of the data after the third pass, ``p000-17.png`` before
    any; of further versions of it, and of models with several images, a number follows.

    :param bundle: Checked.
    :param reader: Of it.
    :param folder: New, or empty.
    :return: How many there are.
    :raises InputError: If the folder holds something, or cannot be written.
    """
    check_empty(folder, bundle.folder)
    count = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, pixels in _images(bundle, reader):
            stream = io.BytesIO()
            Image.fromarray(pixels).save(stream, "PNG")
            replace_file(folder / name, stream.getvalue(), sync=False)
            count += 1
        sync_folder(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return count


def check_empty(folder: Path, bundle: Path) -> None:
    """Refuse a place where images would lie among other files, or in the bundle.

    :raises InputError: Naming what is there.
    """
    check_place(folder)
    if bundle.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise InputError(f"{shown(folder)} lies in the bundle, which is not to be changed. Give another folder.")
    if folder.is_dir() and (there := sorted(path.name for path in folder.iterdir())):
        raise InputError(f"{shown(folder)} holds {shown(there[0])[:80]}. Give a new or empty folder for images.")


def _images(bundle: Bundle, reader: BundledSamples) -> Iterator[tuple[str, np.ndarray]]:
    names = _names(reader)
    for line in bundle.lines():
        if line.attack not in bundle.manifest.passes:
            continue
        number = bundle.manifest.passes.index(line.attack)
        clean = {index: (group, row) for group in reader.clean(line.batch) for row, index in enumerate(group.indices)}
        groups = reader.clean(line.batch) if line.attack == CLEAN else reader.attacked(line.attack, line.batch)
        for group in groups:
            for row, index in enumerate(group.indices):
                before = None if line.attack == CLEAN else clean[index]
                for place, pixels in enumerate(_of_sample(group, row, names, before)):
                    if pixels is not None:
                        yield f"p{number:03d}-{index}{f'-{place}' if place else ''}.png", pixels


def _names(reader: BundledSamples) -> list[str]:
    """Fields that are pictures in [0, 1], in grey or in colours."""
    if reader.task != SAMPLES:
        return [IMAGE]
    return [
        name
        for name, one in reader.modalities.items()
        if one.kind == "image" and one.clip_values == (0.0, 1.0) and one.shape[0] in (1, 3)
    ]


def _of_sample(
    group: Group, row: int, names: list[str], before: tuple[Group, int] | None
) -> Iterator[np.ndarray | None]:
    """Pixels ``(H, W)`` or ``(H, W, 3)`` of each version and field; ``None`` where it is missing, or was left alone."""
    for arrays in group.arrays:
        for name in names:
            values = arrays[name][row]
            same = before is not None and np.array_equal(values, before[0].arrays[0][name][before[1]])
            if same or values.ndim != 3 or len(values) not in (1, 3) or not np.isfinite(values).all():
                yield None
                continue
            pixels = in_eight_bits(values).transpose(1, 2, 0)
            yield pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
