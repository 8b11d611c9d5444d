"""Labels as attacks get them: indices, one-hot rows or nothing."""

from __future__ import annotations

import numpy as np

from art_multimodal.errors import InputError


def label_indices(y: np.ndarray | None, nb_classes: int, nb_samples: int) -> np.ndarray | None:
    """Return class indices of shape ``(N,)``, or ``None`` for ``None``.

    :param y: Indices ``(N,)`` or ``(N, 1)``, or one-hot rows ``(N, nb_classes)``.
    :raises InputError: If the shape does not fit or a label is out of range.
    """
    if y is None:
        return None
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == nb_classes and nb_classes > 1:
        y = y.argmax(axis=1)
    elif y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.shape != (nb_samples,):
        raise InputError(
            f"Labels must have shape ({nb_samples},) or ({nb_samples}, {nb_classes}) for {nb_samples} images, "
            f"not {y.shape}."
        )
    if nb_samples and not (y.dtype.kind in "biuf" and np.isfinite(y).all() and np.array_equal(y, np.round(y))):
        raise InputError("Labels must be whole class indices or one-hot rows.")
    y = y.astype(np.int64)
    if nb_samples and (y.min() < 0 or y.max() >= nb_classes):
        bad = int(y[(y < 0) | (y >= nb_classes)][0])
        raise InputError(f"Label {bad} is out of range: there are {nb_classes} classes, 0 to {nb_classes - 1}.")
    return y
