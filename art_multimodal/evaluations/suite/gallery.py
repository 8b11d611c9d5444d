"""Attacks on classifiers of images, in retrieval: an image is to be mistaken for another one of the gallery."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from art_multimodal.attacks.budget import Budget
from art_multimodal.evaluations.suite.entry import Attacked, Make, PreparedAttack
from art_multimodal.groups import first_rows, image_groups, numbered


class OnGallery(PreparedAttack):
    """An attack on a classifier of images whose classes are the captions of the gallery.

    Labels are places in the gallery; captions stay as they are.

    :param make: Makes the attack on the classifier.
    """

    def __init__(self, estimator: Any, budget: Budget, make: Make) -> None:
        super().__init__(estimator, budget)
        self.on_classifier = make(estimator.as_classifier(estimator.gallery), budget)

    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        # Equal pixels may stand for two samples, each with captions of its own.
        of_image = numbered(zip(image_groups(x["image"]).tolist(), np.asarray(y).tolist(), strict=True))
        rows = first_rows(of_image)
        attacked = self.on_classifier.attack(np.ascontiguousarray(x["image"][rows]), np.asarray(y)[rows], seed)
        adversarial = x.copy()
        adversarial["image"] = attacked.images[of_image]
        details = [attacked.details[image] for image in of_image] if attacked.details else ()
        return Attacked(adversarial, None, details, attacked.flags)


def on_gallery(make: Make, estimator: Any, budget: Budget) -> PreparedAttack:
    """Make an attack on a classifier, in retrieval on one of the gallery."""
    return make(estimator, budget) if estimator.classifies else OnGallery(estimator, budget, make)


def also_on_gallery(make: Make) -> Make:
    """What makes the same attack, and knows retrieval, too."""
    return partial(on_gallery, make)
