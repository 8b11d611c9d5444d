"""Generated figures that move, with the names of what they do."""

from __future__ import annotations

import numpy as np

from art_multimodal.datasets.source import LabelledSamples
from art_multimodal.demo.skeleton import ACTIONS, draw, modality
from art_multimodal.errors import unknown_name
from art_multimodal.sample_arrays import samples

#: Of each split the seed, and how many samples it has.
SPLITS = {"train": (1, 1200), "test": (0, 600)}


class SkeletonData(LabelledSamples):
    """``demo:skeleton``: figures of 13 joints (``joint``) that do one of six things, 32 frames; labels take turns.

    Which joint hangs from which is :data:`~art_multimodal.demo.skeleton.PARENTS`.

    >>> data = SkeletonData()
    >>> data.samples(slice(0, 2))["joint"].shape
    (2, 32, 13, 3)

    :param split: ``"test"`` or ``"train"``; each is the same whenever it is opened.
    :raises InputError: For another split.
    """

    def __init__(self, split: str = "test") -> None:
        if split not in SPLITS:
            raise unknown_name("split of demo:skeleton", split, SPLITS)
        seed, count = SPLITS[split]
        self.class_names = ACTIONS
        self.modalities = {"joint": modality()}
        self.labels = np.arange(count) % len(ACTIONS)
        self._samples = samples(joint=draw(self.labels, np.random.default_rng(seed)))

    def samples(self, rows: np.ndarray | slice | None = None) -> np.ndarray:
        return self._samples[slice(None) if rows is None else rows].copy()
