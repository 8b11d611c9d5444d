"""Labels as attacks get them: indices, one-hot rows or nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from art_multimodal.errors import InputError
from art_multimodal.shown import quoted

#: Most that a row of probabilities may sum to, rounding included.
_MOST = 1.05


def label_indices(y: ArrayLike | None, nb_classes: int, nb_samples: int) -> np.ndarray | None:
    """Return class indices of shape ``(N,)``, or ``None`` for ``None``.

    :param y: Indices ``(N,)`` or ``(N, 1)``, or rows ``(N, nb_classes)`` whose largest entry is the label: one-hot,
        probabilities, or scores.
    :raises InputError: If the shape does not fit, a label is out of range, or a row names several classes or none.
    """
    if y is None:
        return None
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == nb_classes and nb_classes > 1:
        _check_rows(labels)
        labels = labels.argmax(axis=1)
    elif labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (nb_samples,):
        raise InputError(
            f"Labels must have shape ({nb_samples},) or ({nb_samples}, {nb_classes}) for {nb_samples} images, "
            f"not {labels.shape}."
        )
    whole = labels.dtype.kind in "biuf" and np.isfinite(labels).all() and np.array_equal(labels, np.round(labels))
    if nb_samples and not whole:
        raise InputError("Labels must be whole class indices or one-hot rows.")
    labels = labels.astype(np.int64)
    if nb_samples and (labels.min() < 0 or labels.max() >= nb_classes):
        bad = int(labels[(labels < 0) | (labels >= nb_classes)][0])
        raise InputError(f"Label {bad} is out of range: there are {nb_classes} classes, 0 to {nb_classes - 1}.")
    return labels


def label_rows(y: ArrayLike, nb_classes: int, nb_samples: int) -> np.ndarray:
    """Return a row of probabilities for each sample: one-hot, unless mixed labels were given, which stay as they are.

    :param y: As for :func:`label_indices`.
    :return: Shape ``(N, nb_classes)``, float32.
    :raises InputError: As :func:`label_indices`, or if there are no labels.
    """
    labels = label_indices(y, nb_classes, nb_samples)
    if labels is None:
        raise InputError("Labels are needed: one per sample.")
    rows = np.asarray(y)
    if rows.shape == (nb_samples, nb_classes) and not np.array_equal(rows, np.round(rows)):
        return rows.astype(np.float32)
    return np.eye(nb_classes, dtype=np.float32)[labels]


def class_indices(names: Sequence[str], class_names: Sequence[str]) -> list[int]:
    """Where classes are among others: by place where all are the same, as several may have one name, else by name.

    :param names: All of them among the others.
    :raises InputError: If one is the name of several.
    """
    if tuple(names) == tuple(class_names):
        return list(range(len(names)))
    places: dict[str, list[int]] = {}
    for place, name in enumerate(class_names):
        places.setdefault(name, []).append(place)
    for name in names:
        if len(places[name]) > 1:
            raise InputError(
                f"{len(places[name])} classes have the name {name!r:.60}, so it does not say which is meant. Give "
                "indices as labels, and all class names in their order."
            )
    return [places[name][0] for name in names]


def _check_rows(rows: np.ndarray) -> None:
    """Refuse rows that do not say one class: several at once would be reduced to the first of them.

    Rows of rounded probabilities need not sum to exactly 1, and scores may be anything.
    """
    if rows.dtype.kind not in "biuf" or not np.isfinite(rows).all():
        raise InputError("Labels must be whole class indices or one-hot rows; these hold NaN, infinite or no numbers.")
    rows = rows.astype(np.float64)
    shares = ((rows >= 0) & (rows <= 1)).all(axis=1)
    tied = (rows == rows.max(axis=1, keepdims=True)).sum(axis=1) > 1
    whole = (rows == np.round(rows)).all(axis=1)
    wrong = (shares & ((rows.sum(axis=1) > _MOST) | (rows.max(axis=1) <= 0))) | (whole & tied)
    if wrong.any():
        row = int(wrong.argmax())
        classes = np.flatnonzero(rows[row] > 0)
        said = f"classes {', '.join(map(str, classes[:3].tolist()))}{', ...' if len(classes) > 3 else ''}"
        raise InputError(
            f"Row {row} of the labels names {said if len(classes) else 'no class'}. Here every sample has exactly one: "
            "give class indices, or one-hot rows."
        )


def listed_names(names: Sequence[str]) -> str:
    """Names of classes for a message, some of them where there are many."""
    return ", ".join(quoted(name, 60) for name in names[:8]) + (f", ... ({len(names)})" if len(names) > 8 else "")
