"""Measurements of one cell for each seed: the anchor of digits, roads, votes of modalities, words, and questions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from art_multimodal import FusionClassifier
from art_multimodal.defences.trainer import FusionTrainer, TrainingSettings
from art_multimodal.demo.views_data import ViewsData
from art_multimodal.estimators.certification import ModalityVote
from art_multimodal.models.families.modular.towers import fitting_model
from benchmarks.certificates import digits, questions, roads, words

#: Test samples.
TESTED = 300


def vote(seed: int) -> dict[str, np.ndarray]:
    """Which samples of three views stay right whatever one view becomes, by a vote of what each says alone."""
    train, test = ViewsData("train"), ViewsData("test")
    rows = np.random.default_rng(0).permutation(len(test))[:TESTED]
    x, y = test.samples(rows), test.labels[rows]
    torch.manual_seed(seed)
    model = fitting_model("late", train.modalities.values(), train.class_names, train.samples())
    classifier = FusionClassifier(model, device_type="cpu")
    settings = TrainingSettings(learning_rate=3e-3, weight_decay=0.02, seed=seed)
    FusionTrainer(classifier, "auxiliary", settings).fit(train.samples(), train.labels, batch_size=50, nb_epochs=20)
    found = {"late": classifier.predict_labels(x, batch_size=500) == y}
    for rule in ("majority", "median"):
        certificates = ModalityVote(classifier, rule).certify(x)
        right = certificates.predictions == y
        found[f"{rule}/clean"] = right & certificates.covers({})
        for name in classifier.modalities:
            found[f"{rule}/{name}"] = right & certificates.covers({name: 1})
    return found


CELLS: dict[str, Callable[[int], dict[str, np.ndarray]]] = {
    "digits": digits.measured,
    "roads": roads.measured,
    "vote": vote,
    "words": words.measured,
    "questions": questions.measured,
}
