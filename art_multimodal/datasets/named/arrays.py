"""Data sets whose images are numbers in few large files: CIFAR, STL-10 and PatchCamelyon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from art_multimodal.datasets.named.listing import Labelled, spaced
from art_multimodal.datasets.named.names import PCAM
from art_multimodal.datasets.named.pickles import read_pickle
from art_multimodal.datasets.named.pictures import Pixels
from art_multimodal.datasets.named.place import Place
from art_multimodal.errors import InputError
from art_multimodal.shown import brief

_CIFAR_SIDE, _STL_SIDE = 32, 96


def read_cifar(place: Place, split: str) -> Labelled:
    """CIFAR-10 and CIFAR-100 as their authors pickled them for Python (Krizhevsky, 2009).

    Batches hold ``data``, ``uint8`` ``(N, 3072)``, red, green and blue after another, and ``labels`` or
    ``fine_labels``; the last of the needed files holds the names of the classes.

    :raises InputError: If a file is damaged, asks for code, or holds something else.
    """
    *batches, meta = place.entry.splits[split].needs
    found, labels = [], []
    for name in batches:
        content = read_pickle(place.path(name))
        pixels, own = content.get("data"), content.get("fine_labels", content.get("labels"))
        if (
            not isinstance(pixels, np.ndarray)
            or pixels.dtype != np.uint8
            or pixels.ndim != 2
            or pixels.shape[1] != 3 * _CIFAR_SIDE**2
            or not isinstance(own, list)
            or len(own) != len(pixels)
        ):
            raise place.wrong(f"{brief(name)} does not hold images of 32 x 32 pixels with a label for each")
        found.append(pixels)
        labels += own
    content = read_pickle(place.path(meta))
    names = content.get("fine_label_names", content.get("label_names"))
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise place.wrong(f"{brief(meta)} does not hold the names of the classes")
    stacked = np.concatenate(found).reshape(-1, 3, _CIFAR_SIDE, _CIFAR_SIDE).transpose(0, 2, 3, 1)
    return Labelled(Pixels(stacked, split), checked(place, labels, len(names)), tuple(map(spaced, names)))


def read_stl(place: Place, split: str) -> Labelled:
    """STL-10: raw bytes, an image after another, each in three colours of 96 columns (Coates et al., 2011).

    Images stay on disk until they are asked for.

    :raises InputError: If the files do not fit together.
    """
    images, answers, names = place.entry.splits[split].needs
    path, one = place.path(images), 3 * _STL_SIDE**2
    size = path.stat().st_size
    if not size or size % one:
        raise place.wrong(f"{brief(images)} is cut off: its {size:,} bytes are no whole number of images")
    columns = np.memmap(path, np.uint8, "r", shape=(size // one, 3, _STL_SIDE, _STL_SIDE))
    labels = np.frombuffer(place.path(answers).read_bytes(), np.uint8).astype(np.int64) - 1
    class_names = tuple(map(spaced, place.lines(names)))
    if len(labels) != len(columns):
        raise place.wrong(f"{brief(images)} has {len(columns)} images, and {brief(answers)} {len(labels)} labels")
    pixels = columns.transpose(0, 3, 2, 1)
    return Labelled(Pixels(pixels, split), checked(place, labels.tolist(), len(class_names)), class_names)


def read_pcam(place: Place, split: str) -> Labelled:
    """PatchCamelyon: two HDF5 files, ``x`` of images and ``y`` of labels (Veeling et al., 2018).

    Images stay on disk until they are asked for.

    :raises InputError: If h5py is not installed, or the files hold something else or lead to other files.
    """
    images, answers = place.entry.splits[split].needs
    x, y = _hdf5(place, place.path(images), "x"), _hdf5(place, place.path(answers), "y")
    if x.ndim != 4 or x.shape[-1] != 3 or x.dtype != np.uint8 or y.size != len(x):
        raise place.wrong(f"{brief(images)} and {brief(answers)} do not hold images with a label for each")
    labels = np.asarray(y).reshape(-1).astype(np.int64).tolist()
    return Labelled(Pixels(x, split), checked(place, labels, len(PCAM)), PCAM)


def _hdf5(place: Place, path: Path, name: str) -> Any:
    """An array of an HDF5 file, which stays open with it."""
    try:
        import h5py
    except ImportError:
        raise InputError(
            f"data:{place.name} is read with h5py, which is not installed: pip install art-multimodal[datasets]."
        ) from None
    try:
        file = h5py.File(path, "r")
        # A link may lead to any other file of the machine, and so may an array whose numbers lie outside.
        found = file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
        if isinstance(found, h5py.Dataset) and found.external is None and not found.is_virtual:
            return found
    except (OSError, RuntimeError, KeyError) as error:
        raise place.wrong(f"{brief(path.name)} is damaged ({type(error).__name__})") from None
    raise place.wrong(f"{brief(path.name)} holds no array {name!r} of its own")


def checked(place: Place, labels: list[Any], count: int) -> list[int]:
    """Labels as indices of classes.

    :raises InputError: If one is no whole number of the range.
    """
    wrong = next((label for label in labels if not isinstance(label, int) or not 0 <= label < count), None)
    if wrong is not None:
        raise place.wrong(f"the label {brief(wrong, 40)} is none of its {count} classes")
    return labels
