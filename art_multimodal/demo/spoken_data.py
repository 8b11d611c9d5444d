"""Written and spoken digits in pairs: recordings of the Free Spoken Digit Dataset (CC BY-SA 4.0), in the package."""

from __future__ import annotations

import numpy as np

from art_multimodal.datasets.source import LabelledSamples
from art_multimodal.demo.spoken import DATA, STEPS, TASKS, label_of, modalities
from art_multimodal.demo.views_data import ViewsData
from art_multimodal.errors import unknown_name
from art_multimodal.sample_arrays import samples


class SpokenData(LabelledSamples):
    """``demo:spoken/TASK``: 1,000 handwritten digits, each with a spoken one, by two speakers whom no model has heard.

    Each written digit and each recording stands in one pair; the labels take turns.

    | Paper link: https://github.com/Jakobovski/free-spoken-digit-dataset (Free Spoken Digit Dataset, CC BY-SA 4.0)

    >>> data = SpokenData("redundant")
    >>> len(data), data.samples(slice(0, 2)).dtype.names
    (1000, ('digit', 'speech'))

    :param task: ``"complementary"``: the label is the last numeral of the sum, and there are ten pairs of each two
        digits; or ``"redundant"``: both show the same digit, which is the label.
    :raises InputError: For another task.
    """

    def __init__(self, task: str = "complementary") -> None:
        from safetensors.numpy import load_file

        if task not in TASKS:
            raise unknown_name("task of demo:spoken", task, TASKS)
        self.class_names = TASKS[task]
        self.modalities = {modality.name: modality for modality in modalities()}
        written, found = ViewsData(), load_file(DATA)
        seen, heard = found[f"{task}.pairs"].astype(np.int64).T
        #: Which digit each modality shows, ``(N,)``, by name.
        self.digits = {"digit": written.labels[seen], "speech": found["digits"][heard].astype(np.int64)}
        #: Who speaks, ``(N,)``: the numbers of the speakers.
        self.speakers = found["speakers"][heard].astype(np.int64)
        self.labels = label_of(task, *self.digits.values())
        shares = _filled(found["frames"], found["lengths"].astype(np.int64)) / np.float32(255)
        self._samples = samples(
            digit=written.samples(seen)["pix"], speech=(shares[heard], found["lengths"][heard].astype(np.int64))
        )

    def samples(self, rows: np.ndarray | slice | None = None) -> np.ndarray:
        return self._samples[slice(None) if rows is None else rows].copy()


def _filled(frames: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Spectrograms that lie one after the other as an array ``(N, STEPS, BANDS)``, with zeros behind each."""
    filled = np.zeros((len(lengths), STEPS, frames.shape[1]), dtype=frames.dtype)
    filled[np.arange(STEPS) < lengths[:, None]] = frames
    return filled
