"""Rows of what stands guard: detectors in a classifier, and smoothing over ablated images."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import torch
from art.attacks.evasion import HopSkipJump
from art.defences.detector.evasion import BeyondDetectorPyTorch
from art.estimators.certification.derandomized_smoothing import PyTorchDeRandomizedSmoothing
from art.estimators.classification import DetectorClassifier, PyTorchClassifier
from art.evaluations.great_score import GreatScorePyTorch
from interop.defences import BOX, seed
from interop.detectors import adversarial
from interop.row import Broken
from interop.subjects import CLASSES, SIDE, Subject
from interop.wrappers import right, row
from torch import Tensor, nn

ABLATORS = "art.estimators.certification.derandomized_smoothing.ablators.pytorch."
SHAPE = (3, SIDE, SIDE)
NOISE = 0.15


def smoothed(subject: Subject, kind: str, size: int) -> PyTorchDeRandomizedSmoothing:
    classifier = subject.trainable(fresh=False, rate=0.001)
    return PyTorchDeRandomizedSmoothing(
        classifier.model,
        loss=nn.CrossEntropyLoss(),
        optimizer=classifier.optimizer,
        input_shape=SHAPE,
        nb_classes=CLASSES,
        ablation_type=kind,
        ablation_size=size,
        clip_values=BOX,
        device_type="cpu",
        verbose=False,
    )


def certified(classifier: PyTorchDeRandomizedSmoothing, subject: Subject, blocks: bool) -> float:
    """The fraction of right answers that no patch of one pixel can change, by votes counted here."""
    votes = np.zeros((len(subject.x), CLASSES), dtype=np.int64)
    places = [{"column_pos": column} for column in range(SIDE)]
    if blocks:
        places = [{**place, "row_pos": line} for place in places for line in range(SIDE)]
    for place in places:
        with torch.no_grad():
            answers = classifier.model(classifier.ablator.forward(subject.x.copy(), **place)).argmax(dim=1)
        votes[np.arange(len(votes)), answers.numpy()] += 1
    return float(classifier.ablator.certify(votes, 1, subject.labels)[1].float().mean())


def ablated(kind: str, size: int) -> Callable[[Subject], str]:
    """Training on strips or blocks of images, and voting over all of them."""

    def run(subject: Subject) -> str:
        classifier = smoothed(subject, kind, size)
        before = certified(classifier, subject, kind == "block")
        random.seed(0)
        classifier.fit(subject.x, subject.y, batch_size=16, nb_epochs=100)
        accuracy = right(classifier.predict(subject.x), subject)
        assert accuracy > 0.8, f"{accuracy:.2f} right"
        after = certified(classifier, subject, kind == "block")
        assert after > before + 0.2, f"{before:.2f} → {after:.2f} certified"
        return f"{accuracy:.2f} right, {after:.2f} certified against a patch of one pixel"

    return run


def certifies_itself(subject: Subject) -> str:
    classifier = smoothed(subject, "column", 3)
    random.seed(0)
    classifier.fit(subject.x, subject.y, batch_size=16, nb_epochs=100)
    _, found = classifier.eval_and_certify(subject.x, subject.y, size_to_certify=1, verbose=False)
    assert abs(found - certified(classifier, subject, False)) < 1e-5
    return f"{found:.2f} certified"


def rejecting(subject: Subject) -> str:
    """A classifier with one class more, for what its detector takes for adversarial."""
    images = np.concatenate([subject.x[:24], adversarial(subject)])
    wanted = torch.from_numpy(np.repeat([-1.0, 1.0], 24).astype(np.float32))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), 0.003)
    for _ in range(200):
        optimizer.zero_grad()
        (model(torch.from_numpy(images)).squeeze(1) - wanted).square().mean().backward()
        optimizer.step()
    detector = PyTorchClassifier(model, nn.MSELoss(), SHAPE, 2, device_type="cpu")
    classifier = subject.classifier()
    guarded = DetectorClassifier(classifier, detector)
    answers = guarded.predict(images).argmax(axis=1)
    np.testing.assert_allclose(guarded.predict(images)[:, :CLASSES], classifier.predict(images), atol=1e-5)
    assert (answers[:24] == subject.labels[:24]).mean() > 0.8
    rejected = float((answers[24:] == CLASSES).mean())
    assert rejected > 0.8
    gradients = guarded.class_gradient(subject.x[:4], label=0)
    np.testing.assert_allclose(gradients, classifier.class_gradient(subject.x[:4], label=0), atol=1e-5)
    return f"{rejected:.2f} of the adversarial images are rejected"


class SelfSupervised(nn.Module):
    """What BEYOND compares neighbours with; here the classifier's own probabilities."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone, self.classifier, self.projector = nn.Identity(), model, model


def beyond(subject: Subject) -> str:
    classifier = subject.classifier(probabilities=True)
    model = SelfSupervised(classifier.model)
    shell = PyTorchClassifier(model, nn.CrossEntropyLoss(), SHAPE, CLASSES, device_type="cpu")

    def neighbour(images: Tensor) -> Tensor:
        return (images + NOISE * torch.randn_like(images)).clamp(0, 1)

    detector = BeyondDetectorPyTorch(classifier, shell, neighbour, aug_num=20, var_K=16, percentile=5)
    # Near the border between two answers; what lies far beyond it has neighbours that agree.
    seed()
    attack = HopSkipJump(subject.classifier(), max_iter=2, max_eval=20, init_eval=10, init_size=50, verbose=False)
    attacked = attack.generate(subject.x[:24])
    seed()
    detector.fit(subject.x[24:], subject.y[24:])
    clean, found = (detector.detect(images)[1] for images in (subject.x[:24], attacked))
    assert clean.mean() < 0.3
    assert found.mean() > 0.5, f"{found.mean():.2f} are found"
    return f"{found.mean():.2f} of the adversarial images are found, {clean.mean():.2f} of the others taken for such"


def great(subject: Subject) -> str:
    classifier = subject.classifier(probabilities=True)
    labels = subject.labels.copy()
    labels[:12] = (labels[:12] + 1) % CLASSES
    score, accuracy = GreatScorePyTorch(classifier).evaluate(subject.x, np.eye(CLASSES)[labels])
    sorted_scores = np.sort(classifier.predict(subject.x), axis=1)
    lead = (sorted_scores[:, -1] - sorted_scores[:, -2])[12:].sum() / len(labels)
    np.testing.assert_allclose([score, accuracy], [lead, 0.75], rtol=1e-5)
    return f"{score:.2f}"


ON_THE_MODEL = "Takes `classifier.model`, which holds prompts and texts."

ROWS = [
    row(
        "PyTorchDeRandomizedSmoothing, columns",
        "certification",
        (PyTorchDeRandomizedSmoothing, f"{ABLATORS}ColumnAblatorPyTorch"),
        ablated("column", 3),
        note=ON_THE_MODEL,
    ),
    row(
        "PyTorchDeRandomizedSmoothing, certified by itself",
        "certification",
        PyTorchDeRandomizedSmoothing,
        certifies_itself,
        broken=Broken(
            "estimators/certification/derandomized_smoothing/pytorch.py:651 blackens the images themselves, so after "
            "the first vote nothing is left of them",
            AssertionError,
            "`predict`, and `ablator.certify` on votes counted on copies",
        ),
    ),
    row(
        "PyTorchDeRandomizedSmoothing, blocks",
        "certification",
        (PyTorchDeRandomizedSmoothing, f"{ABLATORS}BlockAblatorPyTorch"),
        ablated("block", 7),
        note=ON_THE_MODEL,
    ),
    row("DetectorClassifier", "wrappers", DetectorClassifier, rejecting),
    row(
        "BeyondDetectorPyTorch",
        "detectors",
        BeyondDetectorPyTorch,
        beyond,
        note="Wants a model with `backbone`, `classifier` and `projector`.",
    ),
    row("GreatScorePyTorch", "metrics and evaluations", GreatScorePyTorch, great, note="On `with_probabilities()`."),
]
