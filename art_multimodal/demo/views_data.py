"""The UCI digits in three views: *Multiple Features* (van Breukelen et al. 1998, CC BY 4.0), shipped in the package."""

from __future__ import annotations

import numpy as np

from art_multimodal.datasets.source import LabelledSamples
from art_multimodal.demo.captions import DIGIT_NAMES
from art_multimodal.demo.views import DATA, views
from art_multimodal.errors import unknown_name
from art_multimodal.sample_arrays import samples

SPLITS = ("train", "test")
#: Of a byte, what stands for the whole range: whole numbers of ink, and otherwise all that a byte holds.
_STEPS = {"pix": 6, "fou": 255, "kar": 255}


class ViewsData(LabelledSamples):
    """``demo:views``: 1,000 handwritten digits in three views, 100 of each class, which take turns.

    | Paper link: https://doi.org/10.24432/C5HC70 (Multiple Features, UCI Machine Learning Repository, CC BY 4.0)

    >>> data = ViewsData("train")
    >>> len(data), data.samples(slice(0, 2)).dtype.names
    (1000, ('pix', 'fou', 'kar'))

    :param split: ``"test"``, which no model of ``demo:views`` was trained on, or ``"train"``.
    :raises InputError: For another split.
    """

    def __init__(self, split: str = "test") -> None:
        from safetensors.numpy import load_file

        if split not in SPLITS:
            raise unknown_name("split of demo:views", split, SPLITS)
        self.class_names = DIGIT_NAMES
        self.modalities = {view.name: view for view in views()}
        found = load_file(DATA)
        self.labels = found[f"{split}.labels"].astype(np.int64)
        #: Of each view the values, in the file's own units, that 0 and 1 stand for: the training half's range.
        self.ranges = {name: (found[f"{name}.low"], found[f"{name}.high"]) for name in self.modalities}
        shares = {name: found[f"{split}.{name}"] / np.float32(_STEPS[name]) for name in self.modalities}
        self._samples = samples(
            **{name: share.reshape(-1, *self.modalities[name].shape) for name, share in shares.items()}
        )

    def samples(self, rows: np.ndarray | slice | None = None) -> np.ndarray:
        return self._samples[slice(None) if rows is None else rows].copy()
