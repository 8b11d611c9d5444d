"""Modality importance: what a model still answers when a whole modality is removed (MUROAN, arXiv:2112.12792)."""

from __future__ import annotations

import numpy as np

from art_multimodal.attacks.evasion.decoupling.zero_shot import class_features_without, removable_words
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.image_classifier import finite_labels
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.pairs import is_pairs


def labels_without(
    estimator: FusionClassifier | ZeroShotClassifier, x: np.ndarray, modality: str, batch_size: int = 128
) -> np.ndarray:
    """Return the predicted labels ``(N,)`` with a whole modality removed.

    Removed pixels take the model's mean colour. Of a text nothing remains on a fusion model; on a zero-shot classifier
    the class names remain, which are the question.

    :param x: Pairs ``(N,)`` for a :class:`FusionClassifier`, images ``(N, 3, H, W)`` otherwise.
    :param modality: ``"image"`` or ``"text"``.
    :param batch_size: Samples per forward pass.
    :raises ValueError: For another modality.
    """
    if modality not in ("image", "text"):
        raise ValueError(f"modality must be 'image' or 'text', not {modality!r}.")
    if modality == "image":
        removed = x.copy()
        (removed["image"] if is_pairs(x) else removed)[:] = estimator.image_text_model.mean_colour
        return estimator.predict_labels(removed, batch_size=batch_size)
    if isinstance(estimator, FusionClassifier):
        removed = x.copy()
        removed["text"] = ""
        return estimator.predict_labels(removed, batch_size=batch_size)
    classes = class_features_without(estimator, range(len(removable_words(estimator.templates))))
    return finite_labels(estimator.scores(estimator.image_features(x, batch_size), classes))
