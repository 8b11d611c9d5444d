"""What the rows of detectors, of poisoning, and of extraction and inference attacks do."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from art.attacks import poisoning
from art.attacks.evasion import ProjectedGradientDescent
from art.attacks.inference import membership_inference as membership
from art.attacks.inference.model_inversion import MIFace
from art.attacks.poisoning.perturbations import add_pattern_bd
from art.defences.detector import evasion, poison
from art.defences.postprocessor.postprocessor import Postprocessor
from art.estimators.classification import PyTorchClassifier
from interop.defences import seed
from interop.subjects import CLASSES, SIDE, PlainCNN, Subject, make_images, one_hot
from scipy.special import softmax
from torch import nn

POISONED = 12
#: Enough that ART's fixed ten epochs of large batches suffice.
PROVED = 360


def adversarial(subject: Subject, count: int = 24) -> np.ndarray:
    attack = ProjectedGradientDescent(subject.classifier(), eps=0.2, eps_step=0.04, max_iter=10, verbose=False)
    return attack.generate(subject.x[:count], subject.y[:count])


def small(inputs: int, outputs: int) -> PyTorchClassifier:
    """A detector or thief of its own: ART asks for one more classifier."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, outputs))
    optimizer = torch.optim.Adam(model.parameters(), 0.003)
    shape = (3, SIDE, SIDE) if inputs == 3 * SIDE * SIDE else (inputs,)
    return PyTorchClassifier(model, nn.CrossEntropyLoss(), shape, outputs, optimizer, device_type="cpu")


def _tells_apart(detector: Any, subject: Subject, **fit: Any) -> str:
    images = np.concatenate([subject.x[:24], adversarial(subject)])
    labels = np.repeat([0, 1], 24)
    seed()
    detector.fit(images, np.eye(2, dtype=np.float32)[labels], batch_size=16, nb_epochs=80, **fit)
    _, found = detector.detect(images)
    accuracy = float((found == labels.astype(bool)).mean())
    assert accuracy > 0.7, f"{accuracy:.2f} told apart"
    return f"{accuracy:.2f} told apart"


def by_input(subject: Subject) -> str:
    return _tells_apart(evasion.BinaryInputDetector(small(3 * SIDE * SIDE, 2)), subject)


def by_activation(subject: Subject) -> str:
    classifier = subject.classifier()
    width = classifier.get_activations(subject.x[:1], 0).shape[1]
    return _tells_apart(evasion.BinaryActivationDetector(classifier, small(width, 2), layer=0), subject)


def by_subsets(subject: Subject) -> str:
    background, _ = make_images(24, seed=9)
    detector = evasion.SubsetScanningDetector(subject.classifier(), background, layer=0, verbose=False)
    seed()
    clean, attacked, power = detector.scan(subject.x[:12], adversarial(subject, 12), run=2)[:3]
    assert len(clean)
    assert len(attacked)
    assert power > 0.5, f"AUC {power:.2f}"
    return f"AUC {power:.2f}"


def poisoned() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, one-hot labels, and which rows carry a pattern and a wrong label."""
    images, labels = make_images(60, seed=6)
    victims = np.flatnonzero(labels == 0)[:POISONED]
    images[victims], _ = poisoning.PoisoningAttackBackdoor(lambda x: add_pattern_bd(x, channels_first=True)).poison(
        images[victims], one_hot(labels[victims])
    )
    labels = labels.copy()
    labels[victims] = 1
    return images, one_hot(labels), np.isin(np.arange(60), victims)


def infected(subject: Subject) -> tuple[PyTorchClassifier, np.ndarray, np.ndarray, np.ndarray]:
    """A classifier that learned from poisoned data; its labels are those of the images."""
    images, labels, bad = poisoned()
    classifier = subject.trainable(rate=0.005)
    seed()
    classifier.fit(images, labels, batch_size=16, nb_epochs=30)
    return classifier, images, labels, bad


def backdoor(subject: Subject) -> str:
    classifier, *_ = infected(subject)
    images, labels = make_images(30, seed=8)
    clean = images[labels == 0]
    assert (classifier.predict(clean).argmax(axis=1) == 0).mean() > 0.7
    marked, _ = poisoning.PoisoningAttackBackdoor(lambda x: add_pattern_bd(x, channels_first=True)).poison(
        clean, one_hot(np.zeros(len(clean), dtype=int))
    )
    flipped = float((classifier.predict(marked.astype(np.float32)).argmax(axis=1) == 1).mean())
    assert flipped > 0.7, f"the trigger works on {flipped:.2f}"
    return f"the trigger works on {flipped:.2f}"


def clean_label(subject: Subject) -> str:
    trigger = poisoning.PoisoningAttackBackdoor(lambda x: add_pattern_bd(x, channels_first=True))
    attack = poisoning.PoisoningAttackCleanLabelBackdoor(
        trigger, subject.classifier(), one_hot(np.array([1]))[0], pp_poison=0.5, eps=0.2, eps_step=0.05, max_iter=5
    )
    seed()
    images, labels = attack.poison(subject.x, subject.y)
    changed = np.abs(images - subject.x).reshape(len(images), -1).max(axis=1) > 0
    np.testing.assert_array_equal(labels, subject.y)
    assert set(subject.labels[changed]) == {1}
    return f"{changed.sum()} images of the target are poisoned"


def feature_collision(subject: Subject) -> str:
    classifier = subject.classifier()
    target = subject.x[subject.labels == 1][:1]
    base = subject.x[subject.labels == 2][:1]
    found = []
    # Its steps have the learning rate's length in units of the layer, and leap where that does not fit: as a user
    # would, several are tried. What a single one finds may hang on the last bit.
    for rate in (0.1, 0.3, 1.0, 3.0, 5.0, 7.0):
        attack = poisoning.FeatureCollisionAttack(
            classifier, target, feature_layer=0, max_iter=20, learning_rate=rate, similarity_coeff=0.1, verbose=False
        )
        seed()
        found.append(attack.poison(base)[0])
    best = min(found, key=lambda images: feature_distance(classifier, images, target))
    return nearer(classifier, base, best, target)


def feature_distance(classifier: PyTorchClassifier, images: np.ndarray, target: np.ndarray) -> float:
    """How far the mean features of images are from the first target's."""
    mean, wanted = (classifier.get_activations(x.astype(np.float32), 0) for x in (images, target))
    return float(np.linalg.norm(mean.mean(axis=0) - wanted[0]))


def nearer(classifier: PyTorchClassifier, base: np.ndarray, found: np.ndarray, target: np.ndarray) -> str:
    before, after = (feature_distance(classifier, images, target) for images in (base, found))
    assert after < 0.9 * before, f"distance of features {before:.2f} → {after:.2f}"
    return f"distance of features {before:.2f} → {after:.2f}"


def activation_defence(subject: Subject) -> str:
    classifier, images, labels, bad = infected(subject)
    defence = poison.ActivationDefence(classifier, images, labels)
    seed()
    _, clean = defence.detect_poison(nb_clusters=2, nb_dims=4, reduce="PCA")
    found = np.asarray(clean) == 0
    assert found[bad].mean() > 0.7, f"{found[bad].mean():.2f} of the poison is found"
    assert defence.evaluate_defence(~bad)
    return f"{found[bad].mean():.2f} of the poison is found"


def spectral(subject: Subject) -> str:
    classifier, images, labels, bad = infected(subject)
    defence = poison.SpectralSignatureDefense(classifier, images, labels, expected_pp_poison=0.2, eps_multiplier=1.5)
    seed()
    defence.detect_poison()
    assert defence.evaluate_defence(~bad)
    features = classifier.get_activations(images, len(classifier.layer_names) - 1)
    # How far out something lies among others does not change when all are moved.
    here, moved = (defence.spectral_signature_scores(values) for values in (features, features + 10))
    np.testing.assert_allclose(moved, here, rtol=0.01)
    return "scores tell what lies far out"


class HardLabels(Postprocessor):
    """What ART's ``ClassLabels`` is for; that one mixes up the rows of a batch."""

    def __init__(self) -> None:
        super().__init__(apply_fit=False, apply_predict=True)

    def __call__(self, preds: np.ndarray) -> np.ndarray:
        return one_hot(preds.argmax(axis=1))


def provenance(subject: Subject) -> str:
    """One of three origins calls most images of a kind wrongly."""
    images, labels = make_images(PROVED, seed=6)
    bad = np.isin(np.arange(PROVED), np.flatnonzero(labels == 0)[: PROVED // 4])
    origins = np.eye(3, dtype=np.float32)[np.where(bad, 2, np.arange(PROVED) % 2)]
    trusted, right = make_images(30, seed=14)
    classifier = subject.trainable(rate=0.01, postprocessing_defences=HardLabels())
    seed()
    defence = poison.ProvenanceDefense(
        classifier, images, one_hot(np.where(bad, 1, labels)), origins, trusted, one_hot(right), eps=0.1
    )
    _, clean = defence.detect_poison()
    np.testing.assert_array_equal(np.asarray(clean) == 0, bad)
    assert defence.evaluate_defence(~bad)
    return "the bad origin is found"


def roni(subject: Subject) -> str:
    images, labels, bad = poisoned()
    keep = np.concatenate([np.flatnonzero(bad)[:4], np.flatnonzero(~bad)[:8]])
    classifier = subject.trainable(rate=0.005)
    seed()
    defence = poison.RONIDefense(
        classifier, images[keep], labels[keep], subject.x, subject.y, pp_cal=0.3, calibrated=False
    )
    _, clean = defence.detect_poison()
    assert len(clean) == len(keep)
    return "judges every sample"


def copycat(kind: type, **settings: Any) -> Any:
    def run(subject: Subject) -> str:
        images, _ = make_images(96, seed=11)
        classifier = subject.classifier()
        attack = kind(classifier, batch_size_fit=16, batch_size_query=32, nb_epochs=15, nb_stolen=96, **settings)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = PlainCNN()
        thief = Subject("control").classifier(model, optimizer=torch.optim.Adam(model.parameters(), 0.01))
        seed()
        thief = attack.extract(images, thieved_classifier=thief)
        same = float((thief.predict(subject.x).argmax(axis=1) == classifier.predict(subject.x).argmax(axis=1)).mean())
        assert same > 0.8, f"{same:.2f} of the answers are the same"
        return f"{same:.2f} of the answers are the same"

    return run


def overfitted(subject: Subject) -> tuple[PyTorchClassifier, np.ndarray, np.ndarray, np.ndarray]:
    """A classifier that learned random labels by heart: members, outsiders, and labels of both."""
    generator = np.random.default_rng(12)
    images = generator.random((96, 3, SIDE, SIDE), dtype=np.float32)
    labels = one_hot(generator.integers(0, CLASSES, 96))
    classifier = subject.trainable(rate=0.005)
    seed()
    classifier.fit(images[:48], labels[:48], batch_size=8, nb_epochs=60)
    return classifier, images[:48], images[48:], labels


def _advantage(found_members: np.ndarray, found_others: np.ndarray) -> str:
    rates = [float(np.asarray(found).reshape(-1).mean()) for found in (found_members, found_others)]
    assert rates[0] > rates[1] + 0.15, f"{rates[0]:.2f} of members and {rates[1]:.2f} of others are taken for members"
    return f"{rates[0]:.2f} of members and {rates[1]:.2f} of others are taken for members"


def by_rule(subject: Subject) -> str:
    classifier, members, others, labels = overfitted(subject)
    attack = membership.MembershipInferenceBlackBoxRuleBased(classifier)
    return _advantage(attack.infer(members, labels[:48]), attack.infer(others, labels[48:]))


def by_model(subject: Subject) -> str:
    classifier, members, others, labels = overfitted(subject)
    attack = membership.MembershipInferenceBlackBox(classifier, attack_model_type="rf")
    attack.fit(members[:32], labels[:32], others[:32], labels[48:80])
    return _advantage(attack.infer(members[32:], labels[32:48]), attack.infer(others[32:], labels[80:]))


def by_boundary(subject: Subject) -> str:
    classifier, members, others, labels = overfitted(subject)
    attack = membership.LabelOnlyDecisionBoundary(classifier, distance_threshold_tau=0.05)
    settings = {"max_iter": 1, "max_eval": 10, "init_eval": 5, "init_size": 20, "verbose": False}
    seed()
    return _advantage(
        attack.infer(members[:8], labels[:8], **settings), attack.infer(others[:8], labels[48:56], **settings)
    )


def shadows(subject: Subject) -> str:
    template = subject.trainable(rate=0.05)
    seed()
    models = membership.ShadowModels(template, num_shadow_models=2, random_state=np.random.RandomState(0))
    # Nothing can be learned of these but by heart.
    generator = np.random.default_rng(13)
    images = generator.random((48, 3, SIDE, SIDE), dtype=np.float32)
    labels = one_hot(generator.integers(0, CLASSES, 48))
    members, others = models.generate_shadow_dataset(images, labels, member_ratio=0.5)
    assert len(models.get_shadow_models()) == 2
    known, unknown = (_probability(predictions, of) for _, of, predictions in (members, others))
    assert known > unknown + 0.15, f"probability {known:.2f} of members, {unknown:.2f} of others"
    return f"probability {known:.2f} of members' labels, {unknown:.2f} of others'"


def _probability(scores: np.ndarray, labels: np.ndarray) -> float:
    """The mean probability of the labels."""
    return float((softmax(scores, axis=1) * labels).sum(axis=1).mean())


def inversion(subject: Subject) -> str:
    classifier = subject.classifier(probabilities=True)
    grey = np.full((CLASSES, 3, SIDE, SIDE), 0.5, dtype=np.float32)
    seed()
    attack = MIFace(classifier, max_iter=200, learning_rate=0.1, threshold=0.95, verbose=False)
    found = attack.infer(grey, one_hot(np.arange(CLASSES)))
    wanted = np.arange(CLASSES)
    before, after = (classifier.predict(images)[wanted, wanted] for images in (grey, found))
    assert after.mean() > max(0.5, before.mean() + 0.15), f"probabilities {after.round(2)}"
    return f"probability {before.mean():.2f} → {after.mean():.2f}"
