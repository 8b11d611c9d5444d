"""Data sets with lists of their images in MATLAB's files: flowers and cars. Read by scipy, which runs nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from art_multimodal.datasets.named.arrays import checked
from art_multimodal.datasets.named.listing import Labelled
from art_multimodal.datasets.named.names import FLOWERS
from art_multimodal.datasets.named.pictures import Files
from art_multimodal.datasets.named.place import Place
from art_multimodal.shown import brief

#: What Oxford Flowers calls its splits. The test split is the largest.
_FLOWER_SPLITS = {"train": "trnid", "val": "valid", "test": "tstid"}


def read_flowers(place: Place, split: str) -> Labelled:
    """Oxford 102 Flowers (Nilsback and Zisserman, 2008): ``imagelabels.mat``, ``setid.mat`` and ``jpg``."""
    labels = _numbers(place, "imagelabels.mat", "labels")
    rows = _numbers(place, "setid.mat", _FLOWER_SPLITS[split])
    if len(rows) and not 1 <= rows.min() <= rows.max() <= len(labels):
        raise place.wrong(f"setid.mat names image {rows.max()}, and imagelabels.mat has {len(labels)} labels")
    files = [f"jpg/image_{row:05d}.jpg" for row in rows.tolist()]
    own = checked(place, (labels[rows - 1] - 1).tolist(), len(FLOWERS))
    return Labelled(Files(place.folder, files), own, FLOWERS)


def read_cars(place: Place, split: str) -> Labelled:
    """Stanford Cars (Krause et al., 2013): ``devkit/cars_meta.mat``, and a list of images with their classes."""
    annotated, folder, meta = place.entry.splits[split].needs
    names = tuple(str(name) for name in np.atleast_1d(_field(place, meta, "class_names")).tolist())
    rows = np.atleast_1d(_field(place, annotated, "annotations"))
    try:
        files = [f"{folder}/{row['fname']}" for row in rows]
        labels = [int(row["class"]) - 1 for row in rows]
    except (KeyError, ValueError, TypeError, IndexError):
        raise place.wrong(f"{brief(annotated)} has no class for each image") from None
    return Labelled(Files(place.folder, files), checked(place, labels, len(names)), names)


def _numbers(place: Place, name: str, field: str) -> np.ndarray:
    found = np.atleast_1d(_field(place, name, field))
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise place.wrong(f"{field} in {brief(name)} is no list of whole numbers")
    return found.astype(np.int64)


def _field(place: Place, name: str, field: str) -> Any:
    """What a file of MATLAB has under a name."""
    from scipy.io import loadmat

    path = place.path(name)
    try:
        return loadmat(str(path), squeeze_me=True, variable_names=[field])[field]
    except KeyError:
        raise place.wrong(f"{brief(name)} holds no {field}") from None
    except Exception as error:  # scipy raises ValueError, TypeError, NotImplementedError, zlib.error, ...
        raise place.wrong(f"{brief(name)} is damaged ({type(error).__name__})") from None
