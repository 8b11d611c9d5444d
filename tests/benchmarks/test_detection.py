"""The benchmark of the detector in miniature: it writes what the docs read, and its attacks do what they say."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from art_multimodal import image_text_pairs
from art_multimodal.attacks.evasion.image_ascent import ImageBudget
from art_multimodal.datasets import open_captioned
from art_multimodal.defences.detector.evasion import ModalityDisagreementDetector
from art_multimodal.defences.preprocessor import UnicodeNormalisation

NAMES = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "detection.py"))


@pytest.fixture(scope="module")
def scene():
    data = open_captioned("demo:scenes")
    pairs = image_text_pairs(
        np.stack([data.image(row) for row in range(40)]), [data.captions_of(i)[0] for i in range(40)]
    )
    return NAMES["Scene"](pairs[:20], pairs[20:])


def test_it_writes_tables(tmp_path: Path) -> None:
    out = tmp_path / "new" / "detection.json"
    arguments = [
        "--images",
        "40",
        "--steps",
        "1",
        "--eps",
        "4",
        "--out",
        str(out),
        "--report",
        str(tmp_path / "report"),
    ]
    returned = NAMES["main"](arguments)
    assert json.loads(out.read_text()) == returned
    assert str(tmp_path) not in out.read_text()
    for table in returned["tables"]:
        assert all(len(row) == len(table["header"]) for row in table["rows"])
    assert [row[:3] for row in returned["tables"][1]["rows"]] == [
        [goal, "4/255", score] for goal in NAMES["GOALS"] for score in ("similarity", "margin", "consistency")
    ]
    assert "<polyline" in (tmp_path / "report" / "detection.html").read_text()


@pytest.mark.parametrize("score", ["similarity", "margin", "consistency"])
def test_it_attacks_the_scores_that_the_detector_has(scene, score: str) -> None:
    detector = ModalityDisagreementDetector(scene.retriever, score)
    detector.transformations = (*detector._transformations, UnicodeNormalisation())
    detector.fit(scene.fitted)
    suspicion = scene.suspicion(detector, scene.wrong)
    images = scene.clean.clone().requires_grad_(True)
    pairs = image_text_pairs(scene.clean.numpy(), scene.wrong.tolist())
    found = suspicion(images)
    np.testing.assert_allclose(found.detach(), detector.scores(pairs), atol=1e-5)
    (gradient,) = torch.autograd.grad(found.sum(), images)
    assert (gradient.flatten(1).abs().amax(dim=1) > 0).all()


def test_an_attack_that_knows_the_detector_is_flagged_less(scene) -> None:
    detector = ModalityDisagreementDetector(scene.retriever)
    detector.fit(scene.fitted)
    budget = ImageBudget(float("inf"), 8 / 255, 1 / 255, 20)
    plain, knowing = (scene.attacked("another caption", budget, one) for one in (None, detector))
    assert np.abs(knowing["image"] - scene.pairs["image"]).max() <= 8 / 255 + 1e-6
    assert detector.detect(plain)[1].mean() > detector.detect(knowing)[1].mean() + 0.3


def test_success_is_what_is_found_first(scene) -> None:
    swapped = image_text_pairs(np.roll(scene.pairs["image"], 1, axis=0), scene.wrong.tolist())
    clean = ~scene.succeeded(scene.pairs, "another caption")
    assert clean.mean() > 0.8
    # An image under its own caption, which is the wrong one of the row: the goal is reached as often.
    np.testing.assert_array_equal(scene.succeeded(swapped, "wrong caption"), np.roll(clean, 1))
    assert not scene.succeeded(image_text_pairs(scene.clean.numpy(), scene.wrong.tolist()), "wrong caption")[
        clean
    ].any()
