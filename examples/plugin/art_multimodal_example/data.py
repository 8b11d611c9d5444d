"""A data source: ``grips:N``, grips that a pad and the joints of a hand feel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from art_multimodal.datasets.labelled_samples import LabelledSampleArrays
from art_multimodal.datasets.loading import DATA_SOURCES, DataSource
from art_multimodal.errors import InputError
from art_multimodal.modalities import table
from art_multimodal.sample_arrays import samples
from art_multimodal_example.modality import pressure

CLASSES = ("pinch", "hook", "palm")
_SIDE, _JOINTS, _MOST = 6, 4, 100_000


def open_grips(rest: str, classes: Sequence[str] | None, transform: Any) -> LabelledSampleArrays:
    """``grips:N``: N grips, drawn with a seed of their own, so that they are the same everywhere.

    :raises InputError: For no number, and for other names of classes.
    """
    if not (rest.isascii() and rest.isdigit() and 3 <= int(rest) <= _MOST):
        raise InputError(f"grips:N takes a whole number from 3 to {_MOST:,}, such as grips:200, not {rest!r:.40}.")
    if classes is not None and tuple(classes) != CLASSES:
        raise InputError(f"The classes of grips are {', '.join(CLASSES)}: leave out --classes.")
    rng, count = np.random.default_rng(0), int(rest)
    labels = np.arange(count) % len(CLASSES)
    # Where a grip presses, in thirds of the pad, and how far it bends the joints.
    pad = rng.uniform(0.0, 0.5, (count, _SIDE, _SIDE))
    for number in range(len(CLASSES)):
        pad[labels == number, 2 * number : 2 * number + 2] += 0.4
    joints = rng.normal((labels[:, None] - 1) * 0.4, 0.2, (count, _JOINTS)).clip(-1, 1)
    kinds = (pressure("pad", _SIDE, _SIDE), table("joints", _JOINTS, (-1.0, 1.0)))
    x = samples(pad=pad.clip(0, 1).astype(np.float32), joints=joints.astype(np.float32))
    return LabelledSampleArrays(x, labels, CLASSES, modalities=kinds)


DATA_SOURCES.add("grips", DataSource("grips:N", "grips that a pad and joints feel: pinch, hook, palm", open_grips))
