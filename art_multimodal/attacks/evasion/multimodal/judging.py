"""What attacks on samples share: the labels that they are about, and how far a model is misled."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from art_multimodal.functional.losses import margin_loss
from art_multimodal.labels import label_indices


def labels_for(attack: Any, x: np.ndarray, y: np.ndarray | None) -> np.ndarray:
    """Labels ``(N,)`` that an attack is about: those given, or without any the model's own predictions.

    :param attack: Has an ``estimator``, ``targeted`` and ``batch_size``.
    :param x: Samples ``(N,)``, checked.
    :param y: Indices or one-hot rows.
    :raises ValueError: If there are none and the attack is targeted.
    """
    labels = label_indices(y, attack.estimator.nb_classes, len(x))
    if labels is not None:
        return labels
    if attack.targeted:
        raise ValueError("A targeted attack needs the wanted labels in `y`.")
    return attack.estimator.predict(x, batch_size=attack.batch_size).argmax(axis=1)


def margins(attack: Any, x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How far the model is misled about samples, ``(N,)``; positive where it is.

    :param attack: As for :func:`labels_for`.
    :param x: Samples ``(N,)``.
    :param labels: Class indices ``(N,)``.
    """
    scores = np.asarray(attack.estimator.predict(x, batch_size=attack.batch_size))
    values = margin_loss(torch.from_numpy(scores), torch.from_numpy(labels), attack.targeted)
    return values.numpy().astype(np.float64)
