"""Modality importance: what a model still answers when a whole modality is removed (MUROAN, arXiv:2112.12792)."""

from __future__ import annotations

import numpy as np

from art_multimodal.errors import InputError
from art_multimodal.estimators.asking import Asking
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.image_classifier import finite_labels
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.modalities.modality import Modality
from art_multimodal.prompts import removable_words


def labels_without(
    estimator: FusionClassifier | ZeroShotClassifier, x: np.ndarray, modality: str, batch_size: int = 128
) -> np.ndarray:
    """Return the predicted labels ``(N,)`` with a whole modality removed, and the model not told.

    Removed points take the modality's fill, of images the model's mean colour. Of a text nothing remains on a fusion
    model; on a zero-shot classifier the class names remain, which are the question.

    >>> labels_without(fusion, pairs, "image").shape
    (8,)

    :param x: Pairs or other samples ``(N,)`` for a :class:`FusionClassifier`, images ``(N, 3, H, W)`` otherwise.
    :param modality: Its name: ``"image"`` or ``"text"``, or another one of the samples.
    :param batch_size: Samples per forward pass.
    :raises InputError: For another modality.
    """
    asking: Asking = estimator.asking(batch_size)
    if modality not in asking.modalities:
        names = " or ".join(repr(name) for name in asking.modalities)
        raise InputError(f"modality must be {names}, not {modality!r}.")
    described = asking.modalities[modality]
    if not estimator.texts_are_prompts:
        removed = x.copy()
        removed[modality] = _removed(described, x[modality])
        return estimator.predict_labels(removed, batch_size=batch_size)
    if described.numeric:
        return estimator.predict_labels(_removed(described, x), batch_size=batch_size)
    templates = estimator.templates or ()
    without = asking.without_words(templates, range(len(removable_words(templates))))
    seen = {"image": asking.see_field("image", x), "text": asking.see_texts("text", [without] * len(x))}
    return finite_labels(asking.predicted(asking.scores(asking.fused(seen))))


def _removed(modality: Modality, field: np.ndarray) -> np.ndarray:
    """A field with all of its points removed."""
    return modality.remove(field, np.ones((len(field), *modality.point_shape(field)), dtype=bool))
