"""One sensor attacked, and one left out: inequalities that hold whatever the model."""

from __future__ import annotations

import numpy as np
import pytest

from art_multimodal import FusionClassifier, load_model
from art_multimodal.attacks.evasion import ProjectedGradientDescentMultimodal
from art_multimodal.datasets import open_data
from art_multimodal.evaluations.single_source import SingleSource

VIEWS, COUNT = ("pix", "fou", "kar"), 60


@pytest.fixture(scope="module")
def digits() -> tuple[FusionClassifier, np.ndarray, np.ndarray]:
    data = open_data("demo:views")
    return (
        FusionClassifier(load_model("demo:views/late"), device_type="cpu"),
        data.samples()[:COUNT],
        data.labels[:COUNT],
    )


def evaluated(digits, eps: float):
    classifier, x, y = digits
    attack = SingleSource(classifier, dict.fromkeys(VIEWS, eps), max_iter=10, num_random_init=1, verbose=False)
    return attack.evaluate(x, y)


def test_without_a_budget_nothing_is_lost(digits) -> None:
    found = evaluated(digits, 0.0)
    for source in found.sources.values():
        np.testing.assert_array_equal(source.attacked, found.clean)
    np.testing.assert_array_equal(found.worst, found.clean)


def test_who_may_attack_all_leaves_no_more_than_who_may_attack_one(digits) -> None:
    classifier, x, y = digits
    found = evaluated(digits, 0.1)
    accuracies = [source.accuracy for source in found.sources.values()]
    attack = ProjectedGradientDescentMultimodal(
        classifier, dict.fromkeys(VIEWS, 0.1), max_iter=10, num_random_init=1, seed=0, verbose=False
    )
    joint = (classifier.predict_labels(attack.generate(x, y)) == y).mean()
    assert joint < found.worst.mean() <= min(accuracies) <= max(accuracies) <= found.clean.mean()
    for source in found.sources.values():
        assert not (source.attacked & ~found.clean).any()


def test_where_views_repeat_each_other_trust_costs_nothing_or_more(digits) -> None:
    """Any two of the three know nearly everything, so that leaving one out costs less than having it attacked."""
    small, large = evaluated(digits, 0.02), evaluated(digits, 0.2)
    for name in VIEWS:
        low, high = small.sources[name].cost_of_trust_ci95
        assert low <= high and high >= 0
        assert large.sources[name].cost_of_trust >= small.sources[name].cost_of_trust
    assert large.sources["kar"].cost_of_trust_ci95[0] > 0
