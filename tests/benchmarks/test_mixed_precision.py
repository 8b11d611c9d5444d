"""The study of precision in miniature, and its intervals against the formula."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import mixed_precision as study  # noqa: E402

from art_multimodal.defences.trainer.settings import PRECISIONS  # noqa: E402
from art_multimodal.functional.statistics import paired_difference_ci95  # noqa: E402


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict:
    out = tmp_path_factory.mktemp("study") / "results" / "precision.json"
    threads = torch.get_num_threads()
    returned = study.main(["--quick", "--out", str(out)])
    assert torch.get_num_threads() == threads
    assert json.loads(out.read_text()) == returned
    assert str(out.parent) not in out.read_text()
    return returned


def test_every_method_is_measured_in_every_precision(result: dict) -> None:
    assert list(result["results"]) == list(study.METHODS)
    for precisions in result["results"].values():
        assert list(precisions) == list(PRECISIONS)
        for numbers in precisions.values():
            assert len(numbers["cpu_seconds"]) == result["settings"]["seeds"] == 2
            assert all(seconds > 0 for seconds in numbers["cpu_seconds"])
            for kind in ("clean", "robust"):
                low, high = numbers[kind]["difference"]["ci95"]
                assert low <= numbers[kind]["difference"]["mean"] <= high
                assert numbers[kind]["accuracy"] == pytest.approx(np.mean(numbers[kind]["by_seed"]))
        reference = precisions["float32"]
        assert reference["robust"]["difference"] == {"mean": 0.0, "ci95": [0.0, 0.0]}
        assert reference["times_faster"] == {"median": 1.0, "min": 1.0, "max": 1.0}
    assert 0.8 < result["before"]["robust"] <= result["before"]["clean"]
    assert len(result["table"]["rows"]) == 1 + len(study.METHODS) * len(PRECISIONS)
    assert all(len(row) == len(result["table"]["header"]) for row in result["table"]["rows"])


def test_equal_seeds_train_equal_models_and_another_precision_another_one() -> None:
    classifier, images, labels = study.digits_victim()
    options = Namespace(learning_rate=1e-3, steps=1)

    def weights(precision: str) -> torch.Tensor:
        settings = study.settings_of(options, precision, 3)
        tuned, _ = study.trained(classifier, "tecoa", settings, 8, images[:16], labels[:16])
        return torch.cat([p.detach().flatten() for p in tuned.dual_encoder.parameters()])

    before = [p.detach().clone() for p in classifier.dual_encoder.parameters()]
    assert torch.equal(weights("float32"), weights("float32"))
    assert not torch.equal(weights("float32"), weights("bf16"))
    assert all(map(torch.equal, before, classifier.dual_encoder.parameters()))


def test_differences_are_paired_and_their_intervals_those_of_the_formula() -> None:
    rng = np.random.default_rng(0)
    one = np.repeat(rng.random((1, 500)) < 0.6, 3, axis=0)
    other = one.copy()
    flipped = rng.choice(500, 50, replace=False)
    other[:, flipped] = ~other[:, flipped]
    found = study.difference(other, one)
    apart = other[0].astype(float) - one[0]
    assert found["mean"] == pytest.approx(apart.mean())
    # Equal in all seeds: nothing but the images varies.
    half = 1.96 * apart.std() / np.sqrt(500)
    assert found["ci95"] == pytest.approx([apart.mean() - half, apart.mean() + half], abs=0.15 * half)
    assert study.difference(one, one) == {"mean": 0.0, "ci95": [0.0, 0.0]}
    # Another measurement in which nothing differs leaves room for images that were not seen.
    low, high = study.difference(one, one.copy())["ci95"]
    assert -0.01 < low < 0 < high < 0.01
    assert study.difference(other[:1], one[:1])["ci95"] == list(paired_difference_ci95(other[0], one[0]))


def test_seeds_count_too() -> None:
    # Three seeds that are right throughout or wrong throughout: 500 images say no more than one.
    these = np.repeat([[True], [True], [False]], 500, axis=1)
    low, high = study.difference(these, np.zeros_like(these))["ci95"]
    assert low < -0.7 and high == 1
