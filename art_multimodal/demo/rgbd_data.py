"""Patches of a photo and of its depths: the motorcycle of Middlebury (2014), from an installed scikit-image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from art_multimodal.datasets.photos import UnreadableSample, read_photo
from art_multimodal.datasets.source import LabelledSamples
from art_multimodal.demo.installed import data_files
from art_multimodal.demo.rgbd import PLACES, RGBD, SIZE
from art_multimodal.errors import InputError, unknown_name
from art_multimodal.sample_arrays import samples
from art_multimodal.shown import shown

#: Of each split the share of the photo's columns, from the left, that it takes.
SPLITS = {"train": (0.0, 0.7), "test": (0.7, 1.0)}
#: Pixels of disparity that are the depth 1; the scene's largest is below 60.
MOST = 64.0
#: Pixels between the patches of a split.
STRIDE = 8
#: Share of a patch's pixels that have a depth, at least, and how much they deviate from their mean, in pixels: of a
#: wall, straight ahead, nothing says which place it is.
_KNOWN, _VARIED = 0.8, 1.0


@dataclass(frozen=True)
class Patches:
    """Places where depth is known and varies.

    :param rgb: Shape ``(P, 3, 32, 32)``, in [0, 1].
    :param depth: Shape ``(P, 1, 32, 32)``: disparity as a share of 64 pixels, so that what is near is large;
        0 where it was not measured.
    :param places: Row and column of the upper left pixel, ``(P, 2)``.
    """

    rgb: np.ndarray
    depth: np.ndarray
    places: np.ndarray


class RgbdData(LabelledSamples):
    """``demo:rgbd``: a patch of colours (``rgb``) and one of depth (``depth``), of the same place or of two places.

    Each patch of colours stands in two samples, once beside its own depth and once beside that of another place, and so
    does each patch of depth. So either alone says nothing about the label: whoever sees one is right in one of two.
    Places are in the left 70 % of the photo for training and in the rest for the test, which share no pixel.
    Neighbouring patches overlap, so that intervals of measures, which take samples for independent, are too narrow.

    | Paper link: https://doi.org/10.1007/978-3-319-11752-2_3 (Scharstein et al. 2014, Middlebury stereo datasets)

    >>> data = RgbdData()
    >>> data.samples(slice(0, 2)).dtype.names
    ('rgb', 'depth')

    :param split: ``"test"``, which no model of ``demo:rgbd`` was trained on, or ``"train"``.
    :raises InputError: For another split, or if scikit-image is not installed.
    """

    def __init__(self, split: str = "test") -> None:
        if split not in SPLITS:
            raise unknown_name("split of demo:rgbd", split, SPLITS)
        self.class_names = PLACES
        self.modalities = {modality.name: modality for modality in RGBD.modalities}
        found = patches(split)
        other = other_places(found.places, np.random.default_rng(0))
        own = np.arange(len(other))
        #: Of each sample the patch that each modality shows, ``(N, 2)``, and its row and column, ``(N, 2, 2)``.
        self.patches = np.stack([np.repeat(own, 2), np.stack([own, other], axis=1).ravel()], axis=1)
        self.places = found.places[self.patches]
        self.labels = np.tile(np.array([1, 0]), len(own))
        self._samples = samples(rgb=found.rgb[self.patches[:, 0]], depth=found.depth[self.patches[:, 1]])

    def samples(self, rows: np.ndarray | slice | None = None) -> np.ndarray:
        return self._samples[slice(None) if rows is None else rows].copy()


def patches(split: str, stride: int = STRIDE) -> Patches:
    """The patches of a split in which depth is known and varies.

    :param stride: Pixels between neighbours.
    :raises InputError: If scikit-image is not installed, or its files are others.
    """
    photo, disparity = _photo_and_disparity()
    first, end = (round(share * photo.shape[2]) for share in SPLITS[split])
    corners = np.stack(
        np.meshgrid(
            np.arange(0, photo.shape[1] - SIZE + 1, stride), np.arange(first, end - SIZE + 1, stride), indexing="ij"
        ),
        axis=2,
    ).reshape(-1, 2)
    measured = np.isfinite(disparity)
    depth = _cut(np.where(measured, disparity, 0)[None] / np.float32(MOST), corners)
    known = _cut(measured[None], corners)
    count = known.sum(axis=(1, 2, 3)).clip(1)
    # What was not measured is 0 in both sums.
    mean = depth.sum(axis=(1, 2, 3), dtype=np.float64) / count
    deviation = np.sqrt((np.square(depth, dtype=np.float64).sum(axis=(1, 2, 3)) / count - mean**2).clip(0))
    kept = (count >= _KNOWN * SIZE**2) & (deviation * MOST >= _VARIED)
    return Patches(_cut(photo, corners[kept]), depth[kept], corners[kept])


def other_places(places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each place another one that shares no pixel with it, so that each is taken once, ``(P,)``.

    :param places: Rows and columns of patches, ``(P, 2)``.
    :raises InputError: If the places lie too close together.
    """
    other = rng.permutation(len(places))
    for _ in range(1000):
        near = np.flatnonzero((np.abs(places - places[other]) < SIZE).all(axis=1))
        if not len(near):
            return other
        # Each that is too near changes with anyone else.
        for row in near:
            partner = rng.integers(len(places))
            other[[row, partner]] = other[[partner, row]]
    raise InputError("demo:rgbd: the patches lie too close together to find another place for each.")


def _photo_and_disparity() -> tuple[np.ndarray, np.ndarray]:
    """The photo ``(3, H, W)`` in [0, 1], and its disparities ``(H, W)`` in pixels, not finite where unknown."""
    photo_file, disparity_file = data_files(
        ["skimage"],
        ["data/motorcycle_left.png", "data/motorcycle_disp.npz"],
        "demo:rgbd",
        "pip install art-multimodal[demo], or scikit-image",
    )
    try:
        photo = read_photo(photo_file, photo_file.name, None)
    except UnreadableSample as error:
        raise InputError(f"demo:rgbd: {error}") from None
    disparity = _disparity(disparity_file)
    if disparity.shape != photo.shape[1:] or not (np.nanmin(disparity) >= 0 and _largest(disparity) <= MOST):
        raise InputError(
            "demo:rgbd: the motorcycle of the installed scikit-image is another one. Install 0.25 or 0.26."
        )
    return photo, disparity


def _disparity(file: Path) -> np.ndarray:
    try:
        with np.load(file, allow_pickle=False) as found:
            return np.asarray(found["arr_0"], dtype=np.float32)
    except Exception as error:  # whatever zipfile and numpy make of bytes that are no such file
        raise InputError(f"demo:rgbd: {shown(file.name)} cannot be read ({type(error).__name__}).") from None


def _largest(disparity: np.ndarray) -> float:
    return float(disparity.max(initial=0, where=np.isfinite(disparity)))


def _cut(planes: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Patches ``(P, C, 32, 32)`` of planes ``(C, H, W)``."""
    windows = np.lib.stride_tricks.sliding_window_view(planes, (SIZE, SIZE), axis=(1, 2))
    return np.ascontiguousarray(windows[:, corners[:, 0], corners[:, 1]].transpose(1, 0, 2, 3), dtype=np.float32)
