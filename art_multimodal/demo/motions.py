"""``demo:motions``: what the wearer of a watch does, by its accelerometer and its gyroscope; and its files' format."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from art_multimodal.errors import InputError
from art_multimodal.modalities import Modality, sequence
from art_multimodal.shown import brief

#: Time steps, at ten a second, and of the gyroscope, of which every second one is taken.
STEPS, GYROSCOPE_STEPS = 100, 50
#: Of the data's own units, which nothing names, what the number 1 stands for; the largest value is below 35.
RANGE = 40.0
ACTIVITIES = ("standing", "running", "walking", "badminton")
#: Largest file that is read, in bytes: those of the data have 0.2 million.
_MOST_BYTES = 2**26


def modalities() -> tuple[Modality, ...]:
    """What a sample consists of: two sequences of three axes each, as shares of :data:`RANGE` in [-1, 1]."""
    return sequence("accelerometer", STEPS, 3), sequence("gyroscope", GYROSCOPE_STEPS, 3)


def read_ts(file: Path) -> tuple[np.ndarray, list[str]]:
    """Read a file of labelled series of one length, in the format ``.ts`` of the archive of time series.

    Lines that begin with ``#`` are comments, those with ``@`` say what the series are. Behind ``@data`` each line is a
    sample: for each dimension its values, separated by commas, then the label, all separated by colons.

    :return: Series ``(N, dimensions, steps)``, and their labels.
    :raises InputError: If it is no such file, or its series have different lengths, missing values or time stamps.
    """
    if file.stat().st_size > _MOST_BYTES:
        raise InputError(f"{brief(file.name)} is larger than {_MOST_BYTES >> 20} MiB.")
    series: list[list[list[float]]] = []
    labels, within = [], False
    try:
        for line in file.read_text(encoding="utf-8").splitlines():
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            if not within:
                within = line.lower() == "@data"
                continue
            *dimensions, label = line.split(":")
            series.append([[float(value) for value in values.split(",")] for values in dimensions])
            labels.append(label)
        found = np.array(series, dtype=np.float64)
    except (UnicodeError, ValueError) as error:
        raise InputError(f"{brief(file.name)} is no file of series of one length: {brief(error)}.") from None
    if found.ndim != 3 or not found.size or not np.isfinite(found).all():
        raise InputError(f"{brief(file.name)} is no file of series of one length without gaps.")
    return found, labels
