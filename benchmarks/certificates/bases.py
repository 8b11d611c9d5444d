"""The base classifiers: one architecture, trained on whole samples or under the masks of certificates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from art_multimodal import FusionClassifier
from art_multimodal.ablation import Keep
from art_multimodal.defences.trainer import FusionTrainer, TrainingSettings
from art_multimodal.functional.designs import partition
from art_multimodal.models.families.modular.towers import fitting_model
from benchmarks.certificates.problems import Problem

BATCH, WIDTH, HIDDEN, LEARNING_RATE, WEIGHT_DECAY = 50, 32, 128, 3e-3, 0.01


def _whole(problem: Problem) -> dict[str, Keep] | None:
    return None


def _subsets(problem: Problem) -> dict[str, Keep] | None:
    return {name: Keep(of, problem.keep[name]) for name, of in problem.elements.items()}


def _groups(problem: Problem) -> dict[str, Keep] | None:
    found = {}
    for name, of in problem.elements.items():
        count = int(of.count(problem.train[0][name][:1])[0])
        found[name] = Keep(of, partition(count, count // problem.keep[name]))
    return found


def only(place: int) -> Callable[[Problem], dict[str, Keep] | None]:
    """Groups of one modality, and nothing of the others."""

    def keeps(problem: Problem) -> dict[str, Keep] | None:
        return {
            name: keep if number == place else Keep(keep.elements, 0)
            for number, (name, keep) in enumerate((_groups(problem) or {}).items())
        }

    return keeps


#: By name, what is kept of each sample in training; nothing is hidden where that is ``None``.
BASES: dict[str, Callable[[Problem], dict[str, Keep] | None]] = {
    "whole": _whole,
    "subsets": _subsets,
    "groups": _groups,
    "only-0": only(0),
    "only-1": only(1),
}


def trained(base: str, problem: Problem, seed: int) -> FusionClassifier:
    """Train a base classifier: small towers, concatenation, and a head on both embeddings."""
    torch.manual_seed(seed)
    x, y = problem.train
    model = fitting_model("concat", problem.modalities, problem.class_names, x, width=WIDTH, hidden=HIDDEN)
    if problem.start is not None:
        problem.start(model, seed, WIDTH)
    classifier = FusionClassifier(model, device_type="cpu")
    keep = BASES[base](problem)
    settings = TrainingSettings(learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY, seed=seed)
    method, more = ("plain", {}) if keep is None else ("ablation", {"keep": keep})
    FusionTrainer(classifier, method, settings, **more).fit(x, y, batch_size=BATCH, nb_epochs=problem.epochs)
    return classifier


def accuracy(classifier: FusionClassifier, x: np.ndarray, y: np.ndarray) -> float:
    """Of the base classifier on whole samples."""
    return float((classifier.predict_labels(x, batch_size=500) == y).mean())
