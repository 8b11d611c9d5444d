"""A defence: a preprocessor that takes colour away, which attacks see through by its gradient."""

from __future__ import annotations

import numpy as np
from art.defences.preprocessor.preprocessor import Preprocessor

from art_multimodal.defences.registry import DEFENCES, DefenceEntry, DefenceOption


class Grey(Preprocessor):
    """Draw the colours of each pixel towards their mean.

    :param share: How far: 0 changes nothing, 1 leaves grey.
    """

    params = ["share"]

    def __init__(self, share: float = 1.0) -> None:
        super().__init__(is_fitted=True, apply_fit=False, apply_predict=True)
        self.share = share

    def __call__(self, x: np.ndarray, y: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        return self._greyed(x), y

    def estimate_gradient(self, x: np.ndarray, grad: np.ndarray) -> np.ndarray:
        # Linear, and its own transpose.
        return self._greyed(grad)

    def _greyed(self, x: np.ndarray) -> np.ndarray:
        mean = x.mean(axis=1, keepdims=True)
        return ((1 - self.share) * x + self.share * mean).astype(x.dtype)


DEFENCES.add(
    "grey",
    DefenceEntry("image", "colours drawn towards their mean", Grey, {"share": DefenceOption(1.0, 0, 1, kind=float)}),
)
