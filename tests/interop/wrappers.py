"""What the rows of certification, classifiers around classifiers, metrics, data, saving and copying do."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from art import metrics
from art.attacks.evasion import HopSkipJump, ProjectedGradientDescent
from art.data_generators import PyTorchDataGenerator
from art.defences.transformer.evasion import DefensiveDistillation
from art.defences.transformer.poisoning import STRIP
from art.estimators.certification.randomized_smoothing import (
    NumpyRandomizedSmoothing,
    PyTorchRandomizedSmoothing,
)
from art.estimators.classification import (
    DeepPartitionEnsemble,
    EnsembleClassifier,
    PyTorchClassifier,
    QueryEfficientGradientEstimationClassifier,
)
from art.evaluations.security_curve import SecurityCurve
from art.metrics.gradient_check import loss_gradient_check
from art.metrics.privacy.membership_leakage import PDTP, SHAPr
from interop.defences import seed
from interop.row import Row, named
from interop.subjects import CLASSES, SIDE, Subject
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

BOX = (0.0, 1.0)
SHAPE = (3, SIDE, SIDE)


def right(scores: np.ndarray, subject: Subject, count: int | None = None) -> float:
    """The fraction of right answers."""
    return float((scores.argmax(axis=1) == subject.labels[:count]).mean())


def row(name: str, family: str, covers: object, run: Callable[[Subject], str], **settings: Any) -> Row:
    return Row(name, family, named(*(covers if isinstance(covers, tuple) else (covers,))), run, **settings)


def parts(classifier: PyTorchClassifier) -> dict[str, Any]:
    """What ART's smoothed classifiers are made of; everything that a forward pass needs is in the model."""
    return {
        "model": classifier.model,
        "loss": nn.CrossEntropyLoss(),
        "optimizer": classifier.optimizer,
        "input_shape": SHAPE,
        "nb_classes": CLASSES,
        "clip_values": BOX,
        "device_type": "cpu",
        "sample_size": 40,
        "scale": 0.05,
        "alpha": 0.05,
    }


def certifies(smoothed: Any, subject: Subject) -> str:
    seed()
    labels, radii = smoothed.certify(subject.x[:6], n=100)
    assert (labels == subject.labels[:6]).mean() > 0.8
    assert (radii > 0).any()
    assert radii.max() < 0.05 * 4
    return f"certified up to an L2 radius of {radii.max():.2f}"


def smoothed(subject: Subject) -> str:
    wrapped = PyTorchRandomizedSmoothing(**parts(subject.classifier()))
    seed()
    assert right(wrapped.predict(subject.x[:6]), subject, 6) > 0.8
    return certifies(wrapped, subject)


def smoothed_numpy(subject: Subject) -> str:
    wrapped = NumpyRandomizedSmoothing(subject.classifier(), sample_size=40, scale=0.05, alpha=0.05)
    return certifies(wrapped, subject)


def trained_smoothly(kind: type, **settings: Any) -> Callable[[Subject], str]:
    def run(subject: Subject) -> str:
        classifier = subject.trainable(rate=0.005)
        wrapped = kind(**{**parts(classifier), **settings})
        before = right(classifier.predict(subject.x), subject)
        seed()
        with torch.enable_grad():
            wrapped.fit(subject.x, subject.y, batch_size=16, nb_epochs=15, training_mode=True)
        after = right(wrapped.predict(subject.x, verbose=False), subject)
        assert after > max(before, 0.6), f"right answers {before:.2f} → {after:.2f}"
        return f"right answers {before:.2f} → {after:.2f}"

    return run


def flips(classifier: Any, subject: Subject, attack: Any, count: int = 6) -> str:
    adversarial = attack.generate(subject.x[:count], subject.y[:count])
    flipped = subject.classifier().predict(adversarial).argmax(axis=1) != subject.labels[:count]
    assert flipped.mean() >= 0.5, f"{flipped.sum()} of {count} answers flipped"
    return f"{flipped.sum()} of {count} flip"


def pgd(classifier: Any, **settings: Any) -> ProjectedGradientDescent:
    settings = {"eps": 0.15, "eps_step": 0.03, "max_iter": 10, **settings}
    return ProjectedGradientDescent(classifier, verbose=False, **settings)


def ensemble(subject: Subject) -> str:
    classifiers = [subject.classifier(), subject.classifier()]
    wrapped = EnsembleClassifier(classifiers, channels_first=True, clip_values=BOX)
    np.testing.assert_allclose(wrapped.predict(subject.x), classifiers[0].predict(subject.x), atol=1e-5)
    return flips(wrapped, subject, pgd(wrapped))


def partitions(subject: Subject) -> str:
    # One classifier, which is cloned: ART takes the members of a list for trained ones, and does not fit them.
    wrapped = DeepPartitionEnsemble(subject.trainable(), ensemble_size=2, channels_first=True, clip_values=BOX)
    seed()
    wrapped.fit(subject.x, subject.y, batch_size=8, nb_epochs=60)
    weights = [next(iter(member.model.parameters())).detach() for member in wrapped.classifiers]
    assert not torch.equal(*weights), "the members are one model"
    accuracy = right(wrapped.predict(subject.x), subject)
    assert accuracy > 0.8, f"{accuracy:.2f} right"
    return f"{accuracy:.2f} right"


def estimated(subject: Subject) -> str:
    seed()
    classifier = subject.classifier(probabilities=True)
    wrapped = QueryEfficientGradientEstimationClassifier(classifier, num_basis=30, sigma=1 / 16)
    return flips(wrapped, subject, pgd(wrapped, eps=0.3, eps_step=0.06, max_iter=10))


def black_box(kind: type) -> Callable[[Subject], str]:
    def run(subject: Subject) -> str:
        wrapped = kind(subject.classifier().predict, SHAPE, CLASSES, clip_values=BOX, preprocessing=(0.0, 1.0))
        assert right(wrapped.predict(subject.x), subject) == 1
        attack = HopSkipJump(wrapped, max_iter=2, max_eval=20, init_eval=10, init_size=50, verbose=False)
        return flips(wrapped, subject, attack)

    return run


def strip(subject: Subject) -> str:
    defence = STRIP(subject.classifier(probabilities=True))(num_samples=8, false_acceptance_rate=0.05)
    seed()
    defence.mitigate(subject.x)
    answers = defence.predict(subject.x[:12])
    abstained = (answers == 0).all(axis=1)
    assert (~abstained).sum() > 0
    np.testing.assert_array_equal(answers[~abstained].argmax(axis=1), subject.labels[:12][~abstained])
    return f"{(~abstained).sum()} of 12 clean images are let through"


def distilled(subject: Subject) -> str:
    # At three times the rate it depends on the seed, and on rounding, whether the student learns at all.
    student = subject.trainable(rate=0.003, probabilities=True) if subject.name != "control" else None
    if student is None:
        student = subject.trainable(probabilities=True)
        student._optimizer = torch.optim.Adam(student.model.parameters(), 0.01)
    student._loss, student._probability_labels, student._reduce_labels = nn.CrossEntropyLoss(), True, True
    seed()
    DefensiveDistillation(subject.classifier(probabilities=True), batch_size=16, nb_epochs=60)(subject.x, student)
    accuracy = right(student.predict(subject.x), subject)
    assert accuracy > 0.6
    return f"the student has {accuracy:.2f} right"


def accuracy_under_attack(subject: Subject) -> str:
    classifier = subject.classifier()
    robust = metrics.adversarial_accuracy(classifier, subject.x[:12], subject.y[:12], attack_crafter=pgd(classifier))
    assert robust < 0.5
    return f"{robust:.2f} right under attack"


def smallest(subject: Subject) -> str:
    found = metrics.empirical_robustness(
        subject.classifier(), subject.x[:12], "fgsm", {"eps_step": 0.02, "eps": 0.6, "minimal": True}
    )
    assert 0 < found < 1
    return f"{found:.3f}"


def sensitivity(subject: Subject) -> str:
    classifier = subject.classifier()
    found = float(metrics.loss_sensitivity(classifier, subject.x[:6], subject.y[:6]))
    gradients = classifier.loss_gradient(subject.x[:6], subject.y[:6]).reshape(6, -1)
    np.testing.assert_allclose(found, np.linalg.norm(gradients, axis=1).mean(), rtol=1e-5)
    return f"{found:.2g}"


def clever(subject: Subject) -> str:
    classifier = subject.classifier()
    seed()
    settings = {"nb_batches": 4, "batch_size": 4, "radius": 2.0, "norm": 2, "pool_factor": 2}
    near = metrics.clever_u(classifier, subject.x[0], verbose=False, **settings)
    target = (int(subject.labels[0]) + 1) % CLASSES
    assert 0 < near <= 2.0
    assert metrics.clever_t(classifier, subject.x[0], target, **settings) > 0
    assert metrics.clever(classifier, subject.x[0], **settings, verbose=False) is not None
    return f"{near:.2f}"


def gradients_are_fine(subject: Subject) -> str:
    bad = loss_gradient_check(subject.classifier(), subject.x[:4], subject.y[:4], verbose=False)
    assert not bad.any()
    return "no gradient is zero, NaN or infinite"


def security_curve(subject: Subject) -> str:
    curve = SecurityCurve(eps=[0.02, 0.2])
    _, robust, accuracy = curve.evaluate(
        subject.classifier(), subject.x[:12], subject.y[:12], eps_step=0.04, max_iter=10, verbose=False
    )
    assert accuracy == 1
    assert robust[0] > robust[1]
    return f"{robust[0]:.2f} → {robust[1]:.2f} right"


def leakage(subject: Subject) -> str:
    seed()
    target, extra = subject.trainable(rate=0.005), subject.trainable(rate=0.005)
    with torch.random.fork_rng():
        found = PDTP(target, extra, subject.x[:8], subject.y[:8], indexes=np.array([0, 1]), num_iter=1)[0]
    assert found.shape == (2,)
    assert (found >= 1).all()
    shares = SHAPr(subject.classifier(), subject.x[:12], subject.y[:12], subject.x[12:24], subject.y[12:24])
    assert shares.shape == (12,)
    assert shares.sum() > 0
    return f"PDTP {found.max():.2f}"


def learns_from(make: Callable[[Subject], Any]) -> Callable[[Subject], str]:
    def run(subject: Subject) -> str:
        classifier = subject.trainable()
        before = float(classifier.compute_loss(subject.x, subject.y, reduction="mean"))
        seed()
        classifier.fit_generator(make(subject), nb_epochs=15)
        after = float(classifier.compute_loss(subject.x, subject.y, reduction="mean"))
        assert after < 0.7 * before
        return f"loss {before:.2f} → {after:.2f}"

    return run


def loader(subject: Subject) -> PyTorchDataGenerator:
    data = TensorDataset(torch.from_numpy(subject.x), torch.from_numpy(subject.y))
    return PyTorchDataGenerator(DataLoader(data, batch_size=16, shuffle=True), size=48, batch_size=16)


def saved(subject: Subject) -> str:
    classifier, other = subject.classifier(), subject.trainable()
    with tempfile.TemporaryDirectory() as folder:
        classifier.save("weights", folder)
        state = torch.load(f"{folder}/weights.model", weights_only=True)
    assert not np.allclose(other.predict(subject.x), classifier.predict(subject.x))
    other.model.load_state_dict(state)
    np.testing.assert_allclose(other.predict(subject.x), classifier.predict(subject.x), atol=1e-5)
    return "the same predictions"


def copied(make: Callable[[Any], Any], activations: bool) -> Callable[[Subject], str]:
    """A copy predicts the same, and can be trained without changing the original."""

    def run(subject: Subject) -> str:
        classifier = subject.trainable(fresh=False)
        expected = classifier.predict(subject.x)
        if activations:
            assert len(classifier.get_activations(subject.x, 0)) == len(subject.x)
        twin = make(classifier)
        np.testing.assert_allclose(twin.predict(subject.x), expected, atol=1e-6)
        twin.fit(subject.x, subject.y, batch_size=16, nb_epochs=1)
        assert not np.allclose(twin.predict(subject.x), expected), "the copy does not learn"
        np.testing.assert_allclose(classifier.predict(subject.x), expected, atol=1e-6)
        return "the same predictions, trained apart"

    return run


def activations(subject: Subject) -> str:
    classifier = subject.classifier()
    names = classifier.layer_names
    for index, name in enumerate(names):
        found = classifier.get_activations(subject.x, index, batch_size=20)
        np.testing.assert_allclose(found, classifier.get_activations(subject.x, name, batch_size=48), atol=1e-5)
        assert len(found) == len(subject.x)
    np.testing.assert_allclose(found, classifier.predict(subject.x), atol=1e-5)
    return ", ".join(names)
