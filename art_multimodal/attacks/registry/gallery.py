"""Attacks on classifiers of images, in retrieval: an image is to be mistaken for another one of the gallery."""

from __future__ import annotations

import numpy as np

from art_multimodal.attacks.registry.entry import Attacked, Budget, Estimator, Prepare, Run
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.groups import first_rows, image_groups, numbered


def on_gallery(prepare: Prepare) -> Prepare:
    """The same attack, which in retrieval sees a classifier whose classes are the captions of the gallery.

    Labels are then places in the gallery; captions stay as they are.
    """

    def prepare_either(estimator: Estimator, budget: Budget) -> Run:
        if not isinstance(estimator, ImageTextRetriever):
            return prepare(estimator, budget)
        attack = prepare(estimator.as_classifier(estimator.gallery), budget)

        def run(x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
            # Equal pixels may stand for two samples, each with captions of its own.
            of_image = numbered(zip(image_groups(x["image"]).tolist(), np.asarray(y).tolist(), strict=True))
            rows = first_rows(of_image)
            attacked = attack(np.ascontiguousarray(x["image"][rows]), np.asarray(y)[rows], seed)
            adversarial = x.copy()
            adversarial["image"] = attacked.images[of_image]
            details = [attacked.details[image] for image in of_image] if attacked.details else []
            return Attacked(adversarial, None, details, attacked.flags)

        return run

    return prepare_either
