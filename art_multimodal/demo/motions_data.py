"""Motions of a watch: *BasicMotions* of the archive of time series, from an installed package that has its files."""

from __future__ import annotations

import numpy as np

from art_multimodal.datasets.source import LabelledSamples
from art_multimodal.demo.installed import data_files
from art_multimodal.demo.motions import ACTIVITIES, GYROSCOPE_STEPS, RANGE, STEPS, modalities, read_ts
from art_multimodal.errors import InputError, unknown_name
from art_multimodal.sample_arrays import samples

SPLITS = ("train", "test")
#: Packages that bring the files, the same ones.
_PACKAGES = ("aeon", "sktime")


class MotionsData(LabelledSamples):
    """``demo:motions``: ten seconds of a smart watch's accelerometer and gyroscope; four activities, 40 samples.

    The accelerometer has 100 steps and the gyroscope 50, every second one, so that steps of the two do not correspond.
    Either is enough to tell the activities: the data are for trying out sequences that are not aligned.

    | Paper link: https://arxiv.org/abs/1811.00075 (the UEA archive of multivariate time series)

    :param split: ``"test"`` or ``"train"``.
    :raises InputError: For another split, or if no package that has the files is installed.
    """

    def __init__(self, split: str = "test") -> None:
        if split not in SPLITS:
            raise unknown_name("split of demo:motions", split, SPLITS)
        self.class_names = ACTIVITIES
        self.modalities = {modality.name: modality for modality in modalities()}
        (file,) = data_files(
            _PACKAGES,
            [f"datasets/data/BasicMotions/BasicMotions_{split.upper()}.ts"],
            "demo:motions",
            "pip install --no-deps aeon==1.6.0 is enough, since nothing of it is run",
        )
        series, labels = read_ts(file)
        known = [label.lower() in ACTIVITIES for label in labels]
        if series.shape[1:] != (6, STEPS) or abs(series).max() > RANGE or not all(known):
            raise InputError("demo:motions: the installed package has other data. Install aeon 1.6.0 or sktime 1.2.0.")
        self.labels = np.array([ACTIVITIES.index(label.lower()) for label in labels], dtype=np.int64)
        shares = (series / RANGE).astype(np.float32).transpose(0, 2, 1)
        count = len(shares)
        self._samples = samples(
            accelerometer=(shares[:, :, :3], np.full(count, STEPS)),
            gyroscope=(shares[:, ::2, 3:], np.full(count, GYROSCOPE_STEPS)),
        )

    def samples(self, rows: np.ndarray | slice | None = None) -> np.ndarray:
        return self._samples[slice(None) if rows is None else rows].copy()
