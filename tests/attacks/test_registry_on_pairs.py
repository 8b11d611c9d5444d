"""The audit's attacks on image-text pairs: as strong as they are said to be, each image with its own text.

What all of them have in common tests/testing/test_in_tree.py checks.
"""

from __future__ import annotations

import numpy as np
import pytest
from tiny import TinyFusion

from art_multimodal import FusionClassifier, image_text_pairs, load_model
from art_multimodal.demo.shapes_data import ShapesData
from art_multimodal.errors import InputError
from art_multimodal.evaluations.suite import ATTACKS, PAIRS, Budget, select_attacks
from art_multimodal.texts import without_words

BALL = [name for name, entry in ATTACKS.items() if entry.modality == "image" and PAIRS in entry.tasks]
REMOVAL = [name for name, entry in ATTACKS.items() if entry.modality == "decoupling"]
#: apgd_dlr wants three classes, which demo:shapes does not have.
ON_SHAPES = [name for name in BALL if ATTACKS[name].minimum_classes <= 2]
EPS = 16 / 255


@pytest.fixture(scope="module", params=["concat", "cross_attention"])
def classifier(request) -> FusionClassifier:
    return FusionClassifier(load_model(f"demo:shapes/{request.param}"), device_type="cpu")


@pytest.fixture(scope="module")
def right(classifier) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that are answered correctly, each text beside two images."""
    data = ShapesData()
    pairs, labels = image_text_pairs(data.images[:24], list(data.texts[:24])), data.labels[:24]
    keep = classifier.predict_labels(pairs) == labels
    return pairs[keep], labels[keep]


def same_pairs(first: np.ndarray, second: np.ndarray) -> bool:
    return np.array_equal(first["image"], second["image"]) and first["text"].tolist() == second["text"].tolist()


@pytest.mark.parametrize("name", ON_SHAPES)
def test_an_attack_misleads(classifier, right, name) -> None:
    eps = 4 * EPS if name == "square" else 2 * EPS
    budget = Budget("inf", eps, eps / 4, 10, 100, 24)
    attacked = ATTACKS[name].run(classifier, *right, budget, 0)
    assert (attacked.labels == right[1]).mean() < 0.7


@pytest.mark.parametrize("name", BALL)
def test_more_classes_and_photos_of_another_shape(name) -> None:
    classifier = FusionClassifier(TinyFusion().eval(), device_type="cpu")
    images = np.random.default_rng(0).random((5, 3, 9, 14), dtype=np.float32)
    pairs = image_text_pairs(images, ["a cat", "a dog", "a cat", "two birds", "a dog"])
    budget = Budget("inf", 0.2, 0.1, 3, 15, 2)
    attacked = ATTACKS[name].run(classifier, pairs, classifier.predict_labels(pairs), budget, 0)
    assert attacked.images.shape == images.shape and attacked.labels.shape == (5,)
    assert np.abs(attacked.images - images).max() <= 0.2 + 1e-6
    assert classifier.input_shape == (3, 8, 8)


@pytest.mark.parametrize("name", REMOVAL)
def test_removals(classifier, right, name) -> None:
    pairs, given = right[0][:6], right[0][:6].copy()
    budget = Budget(max_queries=40, batch_size=4)
    attacked = ATTACKS[name].run(classifier, pairs, right[1][:6], budget, 5)
    assert same_pairs(pairs, given)
    assert ATTACKS[name].run(classifier, pairs, right[1][:6], budget, 6).details == attacked.details
    fill = classifier.model.preprocess.mean.numpy()
    for pair, image, label, detail in zip(pairs, attacked.images, attacked.labels, attacked.details, strict=True):
        gone = (image != pair["image"]).any(axis=0)
        assert gone.sum() <= detail.pixels and np.allclose(image[:, gone], fill.reshape(3, 1))
        words = [word for _, word in detail.removed_words]
        assert all(number == 0 for number, _ in detail.removed_words) and len(words) == detail.words
        if name == "decoupling_image":
            assert not words
        points = image[0].size + len(pair["text"].split())
        assert detail.share_removed == pytest.approx((detail.pixels + detail.words) / points)
        left = image_text_pairs(image[None], [without_words(pair["text"], words)], allow_empty=True)
        assert classifier.predict_labels(left)[0] == label
        assert detail.queries <= 40 or name == "decoupling_exhaustive"
    assert (attacked.labels != right[1][:6]).any()


def test_selection_on_pairs() -> None:
    assert select_attacks("image", 2, PAIRS) == tuple(ON_SHAPES)
    assert select_attacks("image,decoupling", 3, PAIRS) == (*BALL, *REMOVAL)
    assert select_attacks("decoupling_image, art_pgd", 2, PAIRS) == ("art_pgd", "decoupling_image")
    assert "pgd" in select_attacks("image", 2) and "pgd" not in BALL
    with pytest.raises(InputError, match="pgd does not work on fusion models. Use art_pgd, apgd, pgd_targeted, square"):
        select_attacks("decoupling,pgd", 2, PAIRS)
    with pytest.raises(InputError, match="apgd_dlr needs at least 3 classes"):
        select_attacks("apgd_dlr", 2, PAIRS)
