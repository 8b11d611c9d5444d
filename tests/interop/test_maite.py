"""Adapters to MAITE: numbers equal to an audit's, nothing of the caller's is changed, and errors say what to do."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescent
from art.estimators.classification import PyTorchClassifier
from audits import read_report, run_audit
from tiny import TinyEncoder, TinyFusion

from art_multimodal import FusionClassifier, ZeroShotClassifier
from art_multimodal.datasets import LabelledArrays
from art_multimodal.errors import InputError
from art_multimodal.estimators.answers import AnsweringClassifier
from art_multimodal.evaluations.audit import AuditSettings
from art_multimodal.functional.statistics import paired_difference_ci95, proportion_ci95
from art_multimodal.interop.maite import (
    MaiteAttack,
    MaiteDataset,
    MaiteModel,
    RobustAccuracy,
    class_names_of,
    from_maite_dataset,
    from_maite_model,
)

NAMES = ("cat", "dog", "owl")
SAME = ("n", "accuracy", "accuracy_ci95", "attacked", "attack_success_rate", "attack_success_rate_ci95")


@pytest.fixture
def classifier() -> ZeroShotClassifier:
    return ZeroShotClassifier(TinyEncoder().eval(), NAMES, device_type="cpu")


def plain(side: int = 8) -> PyTorchClassifier:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * side * side, 3))
    return PyTorchClassifier(net, torch.nn.CrossEntropyLoss(), (3, side, side), 3, clip_values=(0.0, 1.0))


def batch(count: int = 6, side: int = 8, seed: int = 0, **more: Any) -> tuple[list, list, list]:
    rng = np.random.default_rng(seed)
    images = [rng.random((3, side, side), dtype=np.float32) for _ in range(count)]
    targets = [np.eye(3, dtype=np.float32)[row % 3] for row in range(count)]
    return images, targets, [{"id": f"row {row}", "camera": 7, **more} for row in range(count)]


def results_of(settings: AuditSettings, out: Path) -> dict[str, Any]:
    """The numbers of an audit, as its report has them, intervals as tuples."""
    run_audit(settings, out)
    found = read_report(out)["results"]
    return {
        row: {key: tuple(value) if key.endswith("ci95") else value for key, value in numbers.items()}
        for row, numbers in found.items()
    }


def right(model: Any, images: list, targets: list) -> np.ndarray:
    return np.array([row.argmax() for row in model(images)]) == np.argmax(targets, axis=1)


@pytest.mark.parametrize("name", ["pgd", "apgd", "square"])
def test_evaluate_gives_the_numbers_of_the_audit(name, tmp_path, digits_classifier) -> None:
    tasks = pytest.importorskip("maite.tasks", reason="needs the extra maite")
    budget = {"eps": 4 / 255, "steps": 4, "max_queries": 30}
    together = {"attacks": name, "limit": 20, "seed": 3, "group_size": 8}
    audited = results_of(AuditSettings("demo:digits", "demo:digits", **together, **budget), tmp_path / "run")
    data = MaiteDataset("demo:digits", limit=20, seed=3)
    model, attack = MaiteModel(digits_classifier), MaiteAttack(name, digits_classifier, seed=3, group_size=8, **budget)
    clean = RobustAccuracy()
    tasks.evaluate(model=model, dataset=data, metric=clean, batch_size=7)
    metric = RobustAccuracy(clean)
    # In batches of two groups of the audit, and again: nothing is left behind by the first time.
    for size in (16, 8):
        found, _, _ = tasks.evaluate(model=model, dataset=data, augmentation=attack, metric=metric, batch_size=size)
        assert {key: found[key] for key in SAME} == {key: audited[name][key] for key in SAME}
    assert (found["clean_accuracy"], found["clean_accuracy_ci95"]) == (
        audited["clean"]["accuracy"],
        audited["clean"]["accuracy_ci95"],
    )
    if name != "square":
        assert 0 < found["attack_success_rate"] < 1


def test_what_was_done_stands_in_the_metadata_and_nothing_given_changes(classifier) -> None:
    images, targets, metadata = batch()
    before = [image.copy() for image in images], [dict(one) for one in metadata]
    model = MaiteModel(classifier)
    attack = MaiteAttack("pgd", classifier, eps=0.05, steps=5, seed=2)
    found, same, noted = attack((images, targets, metadata))
    assert all(np.array_equal(one, other) for one, other in zip(images, before[0], strict=True))
    assert metadata == before[1]
    was, now = right(model, images, targets), right(model, found, targets)
    assert was.any() and not was.all() and (was & ~now).any()
    for row, (image, one) in enumerate(zip(found, noted, strict=True)):
        done = one["adversarial_attack"]
        assert (one["id"], one["camera"]) == (f"row {row}", 7)
        assert (done["name"], done["norm"], done["eps"]) == ("pgd", "inf", 0.05)
        assert done["attacked"] == done["right_before"] == was[row] and done["right_after"] == now[row]
        assert done["success"] == (was[row] and not now[row])
        assert np.abs(image - images[row]).max() <= 0.05 + 1e-6 and 0 <= image.min() <= image.max() <= 1
        assert was[row] or np.array_equal(image, images[row])
        assert image.dtype == np.float32 and np.array_equal(same[row], targets[row])
    with pytest.raises(InputError, match="attacked already"):
        attack((found, same, noted))


def test_samples_are_the_same_whatever_came_before(classifier) -> None:
    attack = MaiteAttack("art_pgd", classifier, eps=0.05, steps=2)
    first = attack(batch())[0]
    attack(batch(seed=1))
    assert all(np.array_equal(one, other) for one, other in zip(first, attack(batch())[0], strict=True))
    # Places in the data's order number the groups instead of ids.
    images, targets, metadata = batch()
    placed = [{**one, "place": row} for row, one in enumerate(metadata)]
    alone = MaiteAttack("art_pgd", classifier, eps=0.05, steps=2, group_size=3)
    whole = alone((images, targets, placed))[0]
    halves = [alone((images[rows], targets[rows], placed[rows]))[0] for rows in (slice(3, 6), slice(0, 3))]
    assert all(np.array_equal(one, other) for one, other in zip(whole, [*halves[1], *halves[0]], strict=True))


def test_images_of_several_shapes_and_an_empty_batch(classifier) -> None:
    images, targets, metadata = batch(4)
    images[1] = np.pad(images[1], ((0, 0), (0, 2), (0, 0)))
    model, attack = MaiteModel(classifier), MaiteAttack("pgd", classifier, eps=0.05, steps=2)
    alone = [model([image])[0] for image in images]
    np.testing.assert_allclose(model(images), alone, rtol=1e-5, atol=1e-5)
    found, _, _ = attack((images, targets, metadata))
    assert [image.shape for image in found] == [image.shape for image in images]
    assert model([]) == [] and attack(([], [], [])) == ([], [], [])
    # Tensors and float64 are images, too.
    np.testing.assert_array_equal(model([torch.from_numpy(images[0])])[0], model([images[0].astype(float)])[0])


def test_an_attack_of_art_on_a_classifier_of_art() -> None:
    classifier, (images, targets, metadata) = plain(), batch()
    art_attack = ProjectedGradientDescent(classifier, eps=0.1, eps_step=0.03, max_iter=5, verbose=False)
    found, _, noted = MaiteAttack(art_attack)((images, targets, metadata))
    model = MaiteModel(classifier, index2label=dict(enumerate(NAMES)), probabilities=True)
    assert class_names_of(model) == NAMES and model.metadata["id"] == "Sequential"
    was = right(model, images, targets)
    assert was.any() and not right(model, found, targets)[was].all()
    assert max(np.abs(a - b).max() for a, b in zip(found, images, strict=True)) <= 0.1 + 1e-6
    assert noted[0]["adversarial_attack"]["eps"] == 0.1 and noted[0]["adversarial_attack"]["norm"] == "inf"
    rows = np.stack(model(images))
    np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-5)
    scores = np.stack(MaiteModel(classifier)(images)).astype(float)
    wanted = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(rows, wanted, rtol=1e-5)


def test_robust_accuracy_by_hand() -> None:
    eye = np.eye(3)
    clean, metric = RobustAccuracy(), RobustAccuracy()
    ids = [{"id": row} for row in range(4)]
    clean.update(list(eye[[0, 1, 2, 0]]), list(eye[[0, 1, 2, 1]]), ids)
    for rows in (slice(0, 3), slice(3, 4)):
        metric.update(list(eye[[0, 0, 0, 1]][rows]), list(eye[[0, 1, 2, 1]][rows]), ids[rows])
    metric.update([], [], [])
    assert metric.compute() == {"n": 4, "accuracy": 0.5, "accuracy_ci95": proportion_ci95(2, 4)}
    paired = RobustAccuracy(clean)
    # Another order; the last was wrong before, so that being right by chance afterwards counts for nothing.
    paired.update(list(eye[[1, 0, 0, 0]]), list(eye[[1, 2, 1, 0]]), [ids[3], ids[2], ids[1], ids[0]])
    found = paired.compute()
    assert (found["accuracy"], found["clean_accuracy"], found["lost"]) == (0.25, 0.75, 0.5)
    assert (found["attacked"], found["attack_success_rate"]) == (3, 2 / 3)
    assert found["lost_ci95"] == paired_difference_ci95([1, 1, 1, 0], [1, 0, 0, 0])
    metric.reset()
    with pytest.raises(InputError, match="No sample"):
        metric.compute()
    paired.update([eye[0]], [eye[0]], [{"id": 9}])
    with pytest.raises(InputError, match="not the same, such as '9'"):
        paired.compute()
    clean.update([eye[0]], [eye[0]], [ids[0]])
    with pytest.raises(InputError, match="2 samples have the id '0'"):
        paired.compute()
    with pytest.raises(InputError, match="paired itself"):
        RobustAccuracy(paired)


def test_the_other_direction(classifier, tmp_path) -> None:
    images, targets, _ = batch(8)
    model = MaiteModel(classifier, id="theirs")
    theirs = MaiteDataset(
        LabelledArrays(images, np.argmax(targets, axis=1), NAMES, names=[f"no {n}" for n in range(8)])
    )
    # One that has nothing but what the protocol demands.
    least: Any = Least(theirs)
    for dataset in (theirs, least):
        data = from_maite_dataset(dataset)
        assert (len(data), data.class_names, data.name_of(2), data.label_of(2)) == (8, NAMES, "no 2", 2)
        np.testing.assert_array_equal(data.image(2), images[2])
    ours = AnsweringClassifier(from_maite_model(model), class_names_of(model))
    np.testing.assert_array_equal(ours.predict(np.stack(images)), np.stack(model(images)))
    labels = AnsweringClassifier(from_maite_model(model, labels_only=True), NAMES)
    np.testing.assert_array_equal(labels.predict(np.stack(images)), np.eye(3)[ours.predict_labels(np.stack(images))])
    # An audit takes both, and sees of labels alone no scores.
    settings = AuditSettings(from_maite_model(model), from_maite_dataset(least), attacks="square,noise", max_queries=20)
    assert results_of(settings, tmp_path / "run")["clean"]["accuracy"] == right(model, images, targets).mean()
    attack = MaiteAttack("hop_skip_jump", labels, eps=0.2, max_queries=60)
    assert len(attack((images, targets, [{"id": n} for n in range(8)]))[0]) == 8
    with pytest.raises(InputError, match="need scores, and the model answers with labels"):
        MaiteAttack("square", labels)((images, targets, [{"id": n} for n in range(8)]))


class Least:
    """A data set with a length, samples by place and metadata, and no more."""

    def __init__(self, other: Any) -> None:
        self.metadata, self._other = other.metadata, other

    def __len__(self) -> int:
        return len(self._other)

    def __getitem__(self, ind: int, /) -> Any:
        return self._other[ind]


def test_a_data_set_by_place() -> None:
    images, targets, _ = batch(5)
    data = MaiteDataset(LabelledArrays(images, np.argmax(targets, axis=1), NAMES), id="mine", seed=4, limit=3)
    order = np.random.default_rng(4).permutation(5)[:3]
    assert [data[place][2]["id"] for place in range(3)] == [f"image {index}" for index in order]
    assert [data.get_metadata(place)["place"] for place in (0, -1)] == [0, 2]
    image, target, _ = data[1]
    image[:] = 0
    np.testing.assert_array_equal(data.get_input(1), images[order[1]])
    np.testing.assert_array_equal(target, targets[order[1]])
    assert len(list(data)) == 3 and data.metadata == {"id": "mine", "index2label": dict(enumerate(NAMES))}
    with pytest.raises(IndexError, match="no place 3"):
        data[3]


BAD_IMAGES = {
    "Divide them by 255": np.full((3, 8, 8), 200, np.uint8),
    r"lie in \[0, 200\].*Divide": np.linspace(0, 200, 192, dtype=np.float32).reshape(3, 8, 8),
    r"lie in \[-0.5": np.full((3, 8, 8), -0.5, np.float32),
    "NaN": np.full((3, 8, 8), np.nan, np.float32),
    "channels seem to come last": np.zeros((8, 8, 3), np.float32),
    r"must have shape \(3, H, W\), not \(8, 8\)": np.zeros((8, 8), np.float32),
}


@pytest.mark.parametrize("said", BAD_IMAGES)
def test_images_that_cannot_be_used(said, classifier) -> None:
    images, targets, metadata = batch(2)
    with pytest.raises(InputError, match=said):
        MaiteModel(classifier)([images[0], BAD_IMAGES[said]])
    with pytest.raises(InputError, match=said):
        MaiteAttack("pgd", classifier)(([images[0], BAD_IMAGES[said]], targets, metadata))


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ([np.eye(3)[0]], "2 inputs, 1 targets, 2 metadata"),
        ([np.eye(4)[0]] * 2, "rows of 4 classes, and the model has 3"),
        ([0, 1], "a row of at least two class scores"),
        ([np.eye(3)[0], np.array([0.5, 0.5, 1.0])], "names classes"),
        ([np.eye(3)[0], np.zeros(3)], "names no class"),
        ([SimpleNamespace(boxes=[], labels=[], scores=[])] * 2, "object detection"),
    ],
)
def test_targets_that_cannot_be_used(targets, said, classifier) -> None:
    images, _, metadata = batch(2)
    with pytest.raises(InputError, match=said):
        MaiteAttack("pgd", classifier)((images, targets, metadata))


def test_what_cannot_be_made_says_why(classifier) -> None:
    fusion, art = FusionClassifier(TinyFusion().eval(), device_type="cpu"), plain()
    for make, said in (
        (lambda: MaiteModel(object()), "no classifier"),
        (lambda: MaiteModel(type("PyTorchObjectDetector", (), {})()), "is an object detector"),
        (lambda: MaiteModel(fusion), "use SamplesModel"),
        (lambda: MaiteModel(art, index2label={1: "a"}), "each of the 3 classes"),
        (lambda: MaiteModel(art)([np.zeros((3, 9, 9))]), r"\(3, 8, 8\), not \(3, 9, 9\)"),
        (lambda: MaiteAttack("pdg", classifier), "Did you mean pgd"),
        (lambda: MaiteAttack("pgd"), "give one"),
        (lambda: MaiteAttack("pgd", art), "Give an attack of ART instead"),
        (lambda: MaiteAttack("pgd", classifier, epsilon=0.1), "Unknown part of a budget 'epsilon'"),
        (lambda: MaiteAttack("pgd", classifier, eps=4), "Did you mean 4/255"),
        (lambda: MaiteAttack("bert_attack", classifier), "changes the prompts of classes"),
        (lambda: MaiteAttack("worst_text", classifier), "changes the prompts of classes"),
        (lambda: MaiteAttack("similarity_pgd", classifier), "does not work on zero-shot"),
        (lambda: MaiteAttack(FastGradientMethod(art, targeted=True)), "is targeted"),
        (lambda: MaiteAttack(FastGradientMethod(art), classifier), "has a classifier already"),
        (lambda: MaiteAttack(FastGradientMethod(art), eps=0.1), "has a budget already"),
        (lambda: MaiteAttack(3, classifier), "EvasionAttack of ART, not int"),
        (lambda: MaiteDataset(np.zeros(3)), "LabelledArrays"),
        (lambda: MaiteDataset("demo:nothing"), "nothing"),
        (lambda: from_maite_model(3), "cannot be called"),
        (lambda: from_maite_dataset(iter([])), "has a length and samples by place"),
        (lambda: class_names_of(SimpleNamespace(metadata={"index2label": {1: "a", 2: "b"}})), "count from 0 to 1"),
        (lambda: class_names_of(SimpleNamespace(metadata={"id": "x"})), "names no classes"),
        (lambda: RobustAccuracy().update([np.full(3, np.nan)], [np.eye(3)[0]], [{"id": 0}]), "NaN or infinite"),
        (lambda: RobustAccuracy().update([np.ones(3), np.ones(2)], [np.eye(3)[0]] * 2, [{"id": 0}] * 2), "one length"),
    ):
        with pytest.raises(InputError, match=said):
            make()


def test_a_model_of_object_detection_is_refused() -> None:
    def detector(images: Any) -> Any:
        return [SimpleNamespace(boxes=np.zeros((1, 4)), labels=np.zeros(1), scores=np.ones(1)) for _ in images]

    with pytest.raises(InputError, match="object detection, and attacks here are on classifiers of images"):
        AnsweringClassifier(from_maite_model(detector), NAMES).predict(np.zeros((1, 3, 8, 8), np.float32))
    with pytest.raises(InputError, match="2 images, 1 answers"):
        AnsweringClassifier(from_maite_model(lambda images: [np.ones(3)]), NAMES).predict(np.zeros((2, 3, 8, 8)))
