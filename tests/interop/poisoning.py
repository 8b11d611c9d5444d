"""Rows of poisoning attacks that search for hidden changes of the training images."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from art.attacks import poisoning as art
from art.attacks.poisoning.hidden_trigger_backdoor.hidden_trigger_backdoor_pytorch import HiddenTriggerBackdoorPyTorch
from art.attacks.poisoning.perturbations import add_pattern_bd
from art.estimators.classification import PyTorchClassifier
from art.preprocessing.standardisation_mean_std.pytorch import StandardisationMeanStdPyTorch
from interop.defences import BOX, seed
from interop.detectors import nearer
from interop.row import Broken
from interop.subjects import Subject, one_hot, trained
from interop.wrappers import row
from torch import Tensor, nn

POISON = "poisoning attacks"
EPS = 0.15
INSIDE = "Inside `with classifier.model.trainable():`, for it wants gradients of weights."
SCHEDULE = ([0.05, 0.02], [0, 15])


class MeanEmbedding(nn.Embedding):
    """The tiny models' ``EmbeddingBag``, of which torch has no second derivative."""

    def forward(self, tokens: Tensor) -> Tensor:
        real = (tokens != self.padding_idx)[..., None]
        return (super().forward(tokens) * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)


def twice_differentiable(subject: Subject) -> PyTorchClassifier:
    """The trained classifier, such that gradients of weights can be followed."""
    model = copy.deepcopy(trained(subject.name))
    if subject.name != "control":
        bag = model.text
        model.text = MeanEmbedding(bag.num_embeddings, bag.embedding_dim, bag.padding_idx, _weight=bag.weight.detach())
    classifier = subject.classifier(model.eval())
    np.testing.assert_allclose(classifier.predict(subject.x), subject.classifier().predict(subject.x), atol=1e-4)
    return classifier


def learning(classifier: PyTorchClassifier) -> AbstractContextManager:
    """Here, weights take part in a graph on demand."""
    model = classifier.model
    return model.trainable() if hasattr(model, "trainable") else nullcontext()


def gradient(classifier: PyTorchClassifier, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The direction that training on images pulls the weights in, of length one."""
    model = classifier.model
    with learning(classifier):
        loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(images)), torch.from_numpy(labels))
        found = torch.autograd.grad(loss, list(model.parameters()))
    flat = torch.cat([part.flatten() for part in found])
    return (flat / flat.norm()).numpy()


def pulls(subject: Subject, found: np.ndarray, trigger: np.ndarray, wanted: int) -> str:
    """Poisoned images of a class pull the weights more to where the trigger would have that class."""
    classifier = twice_differentiable(subject)
    changed = np.abs(found - subject.x).reshape(len(found), -1).max(axis=1) > 1e-6
    assert changed.any()
    assert set(subject.labels[changed]) == {wanted}
    assert np.abs(found - subject.x).max() <= EPS + 1e-5
    goal = gradient(classifier, trigger, np.full(len(trigger), wanted))
    labels = subject.labels[changed].astype(np.int64)
    before, after = (float(goal @ gradient(classifier, images[changed], labels)) for images in (subject.x, found))
    assert after > before + 0.1, f"cosine of the gradients {before:.2f} → {after:.2f}"
    return f"cosine of the gradients {before:.2f} → {after:.2f}"


def settings(**more: Any) -> dict[str, Any]:
    return {
        "percent_poison": 0.2,
        "epsilon": EPS,
        "max_trials": 1,
        "max_epochs": 25,
        "learning_rate_schedule": SCHEDULE,
        "clip_values": BOX,
        "verbose": 0,
        **more,
    }


def matching(subject: Subject) -> str:
    classifier = twice_differentiable(subject)
    trigger = subject.x[subject.labels == 0][:1]
    attack = art.GradientMatchingAttack(classifier, **settings())
    seed()
    labels = subject.labels.astype(np.int64)
    with learning(classifier):
        found, same = attack.poison(trigger, np.array([1]), subject.x, labels)
    np.testing.assert_array_equal(same, labels)
    return pulls(subject, found, trigger, 1)


def sleeper(subject: Subject) -> str:
    classifier = twice_differentiable(subject)
    classifier.set_params(preprocessing=StandardisationMeanStdPyTorch(mean=0.0, std=1.0, device_type="cpu"))
    patch = np.ones((3, 3, 3), dtype=np.float32)
    targets = np.flatnonzero(subject.labels == 1)
    attack = art.SleeperAgentAttack(
        classifier, patch=patch, indices_target=targets, patching_strategy="fixed", **settings(percent_poison=0.8)
    )
    trigger = subject.x[subject.labels == 0][:4]
    seed()
    with learning(classifier):
        found, _ = attack.poison(trigger.copy(), one_hot(np.full(4, 1)), subject.x, subject.y, subject.x, subject.y)
    trigger = trigger.copy()
    trigger[:, :, -3:, -3:] = patch
    return pulls(subject, found.astype(np.float32), trigger, 1)


def hidden(kind: type) -> Any:
    def run(subject: Subject) -> str:
        classifier = subject.classifier()
        backdoor = art.PoisoningAttackBackdoor(lambda x: add_pattern_bd(x, channels_first=True))
        attack = kind(
            classifier,
            target=one_hot(np.array([1]))[0],
            source=one_hot(np.array([0]))[0],
            feature_layer=0,
            backdoor=backdoor,
            eps=EPS,
            learning_rate=0.05 if subject.name == "control" else 5.0,
            decay_iter=100,
            stopping_threshold=1e-3,
            max_iter=60,
            poison_percent=0.5,
            verbose=False,
            print_iter=1000,
        )
        seed()
        found, rows = attack.poison(subject.x, subject.y)
        assert set(subject.labels[rows]) == {1}
        assert np.abs(found - subject.x[rows]).max() <= EPS + 1e-5
        marked, _ = backdoor.poison(subject.x[subject.labels == 0], one_hot(np.array([1]))[0], broadcast=True)
        return nearer(classifier, subject.x[rows], found, marked.mean(axis=0, keepdims=True).astype(np.float32))

    return run


def bullseye(subject: Subject) -> str:
    classifier = subject.classifier()
    base = subject.x[subject.labels == 2][:4]
    found = []
    for label in (0, 1):
        target = subject.x[subject.labels == label][:1]
        layers = [classifier.layer_names[0]]
        attack = art.BullseyePolytopeAttackPyTorch(
            classifier, target, layers, max_iter=5, learning_rate=0.02, epsilon=EPS, verbose=False
        )
        seed()
        found.append(attack.poison(base, one_hot(np.full(4, 2)))[0])
    assert not np.array_equal(*found, equal_nan=True), "two targets give the same poison"
    return "follows the target"


ROWS = [
    row("GradientMatchingAttack", POISON, art.GradientMatchingAttack, matching, note=INSIDE),
    row(
        "SleeperAgentAttack",
        POISON,
        art.SleeperAgentAttack,
        sleeper,
        note=f"{INSIDE} It asks for a standardisation: `set_params(preprocessing=...)` with mean 0 and deviation 1.",
    ),
    row("HiddenTriggerBackdoor", POISON, art.HiddenTriggerBackdoor, hidden(art.HiddenTriggerBackdoor)),
    row(
        "HiddenTriggerBackdoorPyTorch",
        POISON,
        HiddenTriggerBackdoorPyTorch,
        hidden(HiddenTriggerBackdoorPyTorch),
    ),
    row(
        "BullseyePolytopeAttackPyTorch",
        POISON,
        art.BullseyePolytopeAttackPyTorch,
        bullseye,
        broken=Broken(
            "attacks/poisoning/bullseye_polytope_attack.py:189 draws the images to their own features, and never looks "
            "at the target",
            AssertionError,
            "FeatureCollisionAttack",
        ),
    ),
]
