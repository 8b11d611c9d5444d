"""Every attack that an audit can run: as strong as its name says, on images of any shape.

What all of them have in common tests/testing/test_in_tree.py checks.
"""

from __future__ import annotations

import numpy as np
import pytest

from art_multimodal import ZeroShotClassifier
from art_multimodal.errors import InputError
from art_multimodal.evaluations.suite import ATTACKS, PAIRS, RETRIEVAL, ZERO_SHOT, Budget, select_attacks

BALL = [name for name, entry in ATTACKS.items() if entry.modality == "image" and ZERO_SHOT in entry.tasks]
EPS = 8 / 255
#: Most of 48 digits that may survive, at 8/255 (16/255 for Square), and least: a weakened attack lies above.
SURVIVORS = {
    "bpda": 0.35,
    "alarm": 0.35,
    "pgd": 0.35,
    "art_pgd": 0.35,
    "apgd": 0.25,
    "apgd_dlr": 0.32,
    "pgd_targeted": 0.25,
    "square": 0.75,
}


@pytest.fixture
def right(digits_classifier: ZeroShotClassifier, digits_images) -> tuple[np.ndarray, np.ndarray]:
    images, labels = digits_images[0][:50], digits_images[1][:50]
    keep = digits_classifier.predict_labels(images) == labels
    return images[keep][:48], labels[keep][:48]


@pytest.mark.parametrize("name", BALL)
def test_another_seed_starts_elsewhere(tiny_classifier, tiny_images, name) -> None:
    """That the same seed does the same, inside the budget and without a trace, tests/testing/test_in_tree.py checks."""
    budget, labels = Budget("inf", EPS, EPS / 4, 4, 20, 4), tiny_classifier.predict_labels(tiny_images)
    one, other = (ATTACKS[name].run(tiny_classifier, tiny_images, labels, budget, seed) for seed in (5, 6))
    # That towards targets starts at the images themselves.
    assert np.array_equal(one.images, other.images) == (name == "pgd_targeted")
    assert np.abs(one.images - tiny_images).max() > 0.5 * EPS


@pytest.mark.parametrize("name", BALL)
def test_strength(digits_classifier, right, name) -> None:
    eps = 2 * EPS if name == "square" else EPS
    budget = Budget("inf", eps, eps / 4, 10, 300, 48)
    attacked = ATTACKS[name].run(digits_classifier, *right, budget, 0)
    assert (attacked.labels == right[1]).mean() <= SURVIVORS[name]


def test_the_two_apgd_losses_differ(digits_classifier, right) -> None:
    budget = Budget("inf", EPS, EPS / 4, 5, 100, 48)
    images = [ATTACKS[name].run(digits_classifier, *right, budget, 0).images for name in ("apgd", "apgd_dlr")]
    assert not np.array_equal(*images)


@pytest.mark.parametrize("max_queries", [10, 37])
def test_square_asks_no_more_than_it_may(digits_classifier, right, max_queries) -> None:
    rows = []
    digits_classifier.model.image_encoder.register_forward_hook(lambda m, i, o: rows.append(len(o)))
    for row in range(4):
        rows.clear()
        budget = Budget("inf", 1 / 255, 1 / 255, 10, max_queries, 8)
        ATTACKS["square"].run(digits_classifier, right[0][row : row + 1], right[1][row : row + 1], budget, 0)
        assert max_queries - 4 <= sum(rows) <= max_queries


#: Each shape in each norm for the one attack that does not fit them all; for others each shape once.
SHAPES = [(name, shape, norm) for name in BALL for shape in ((20, 30), (3, 3), (40, 15)) for norm in ("inf", "2")]
SHAPES = [(name, shape, norm) for name, shape, norm in SHAPES if name == "square" or (shape == (3, 3)) == (norm == "2")]


@pytest.mark.parametrize(("name", "shape", "norm"), SHAPES)
def test_other_shapes_run_where_the_entry_says_so(digits_classifier, name, shape, norm) -> None:
    images = np.random.default_rng(0).random((2, 3, *shape), dtype=np.float32)
    budget = Budget(norm, 0.1, 0.05, 2, 12, 2)
    if ATTACKS[name].applies(images.shape[1:], budget):
        labels = digits_classifier.predict_labels(images)
        assert ATTACKS[name].run(digits_classifier, images, labels, budget, 0).images.shape == images.shape
    else:
        assert name == "square"


def test_selection() -> None:
    removal = [name for name, entry in ATTACKS.items() if entry.modality == "decoupling"]
    anywhere = tuple(name for name in BALL if not ATTACKS[name].of_defence)
    assert select_attacks("decoupling, image", 10) == (*anywhere, *removal) and len(anywhere) == len(BALL) - 2
    for task in (ZERO_SHOT, PAIRS, RETRIEVAL):
        fitting = [
            (name, entry)
            for name, entry in ATTACKS.items()
            if task in entry.tasks and not (entry.of_surrogates or entry.of_defence)
        ]
        everything = ",".join(dict.fromkeys(entry.modality for _, entry in reversed(fitting)))
        assert select_attacks(everything, 10, task) == tuple(name for name, _ in fitting)
    for name in ("transfer", "transfer@clip"):
        with pytest.raises(InputError, match=f"^{name} is made on surrogates"):
            select_attacks(name, 10)
    # What goes on after others brings them along.
    assert select_attacks("worst_multimodal", 10) == ("worst_image", "worst_text", "worst_multimodal")
    assert "apgd_dlr" not in select_attacks("image", 2)
    with pytest.raises(InputError, match="apgd_dlr needs at least 3 classes"):
        select_attacks("apgd_dlr", 2)
    with pytest.raises(InputError, match="Did you mean pgd"):
        select_attacks("PGD", 10)
