"""How many samples the model sees at once changes no result: whole audits, and what they rest on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from audits import logged

from art_multimodal import FusionClassifier, ZeroShotClassifier, image_text_pairs, load_model
from art_multimodal.attacks.art_context import passes_of
from art_multimodal.attacks.budget import Budget
from art_multimodal.attacks.evasion import ProjectedGradientDescentDualEncoder, SetLevelGuidanceAttack
from art_multimodal.datasets import open_data
from art_multimodal.evaluations.audit import Audit, AuditSettings, RunLog
from art_multimodal.evaluations.audit.subject import counted_queries
from art_multimodal.evaluations.worst_case import WorstCase

#: Budgets at which most samples fall or stand clearly, so that no verdict hangs on rounding.
DIGITS = AuditSettings(
    "demo:digits", "demo:digits", "pgd,apgd_dlr,square,joint", eps=6 / 255, steps=3, max_queries=15, limit=16
)
SHAPES = AuditSettings(
    "demo:shapes", "demo:shapes", "art_pgd,square,co_attack", eps=6 / 255, steps=3, max_queries=15, limit=12
)


def predictions(log: RunLog) -> dict[tuple[str, int], int]:
    return {(line.attack, said.index): said.verdict.predicted for line in log.lines() for said in line.samples}


@pytest.mark.parametrize("settings", [DIGITS, SHAPES], ids=["digits", "shapes"])
def test_the_batch_size_changes_no_answer(settings: AuditSettings, tmp_path: Path) -> None:
    logs = [Audit(replace(settings, batch_size=n), tmp_path / str(n), device="cpu").evaluate() for n in (100, 7)]
    expected = predictions(logs[0])
    assert len(expected) > settings.limit
    assert predictions(logs[1]) == expected
    # Nor what it is said to have cost: a pass that is made again for its gradient is no question.
    costs = [[(line.get("queries"), line.get("gradients")) for line in logged(log)] for log in logs]
    assert costs[0] == costs[1]


def test_a_run_goes_on_with_another_batch_size(tmp_path: Path) -> None:
    settings = replace(SHAPES, attacks="art_pgd", group_size=6, limit=12)
    whole = Audit(settings, tmp_path / "whole", device="cpu").evaluate()
    Audit(settings, tmp_path / "cut", device="cpu").evaluate()
    lines = (tmp_path / "cut" / "log.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "cut" / "log.jsonl").write_text("".join(lines[:2]))
    log = Audit(replace(settings, batch_size=2), tmp_path / "cut", device="cpu").evaluate(resume=True)
    assert predictions(log) == predictions(whole)


@pytest.fixture(scope="module")
def digits() -> tuple[ZeroShotClassifier, np.ndarray, np.ndarray]:
    data = open_data("demo:digits")
    x = np.stack([data.image(index) for index in range(20)])
    y = np.array([data.label_of(index) for index in range(20)])
    return ZeroShotClassifier(load_model("demo:digits"), data.class_names, data.templates, device_type="cpu"), x, y


@pytest.mark.parametrize("norm", [np.inf, 2])
def test_random_starts_belong_to_an_image(digits, norm) -> None:
    classifier, x, y = digits
    settings = {"norm": norm, "eps": 0.1, "eps_step": 0.1, "max_iter": 0, "verbose": False}
    attacks = (
        lambda **more: ProjectedGradientDescentDualEncoder(classifier, **settings, **more),
        lambda **more: SetLevelGuidanceAttack(classifier, None, **settings, **more),
    )
    shuffled = np.random.default_rng(0).permutation(len(x))
    for make in attacks:
        expected = make(seed=1).generate(x, y)
        assert not np.array_equal(expected, x)
        np.testing.assert_array_equal(make(seed=1, batch_size=3).generate(x, y), expected)
        np.testing.assert_array_equal(make(seed=1).generate(x[shuffled], y[shuffled]), expected[shuffled])
        assert not np.array_equal(make(seed=2).generate(x, y), expected)
        # Different images have noise of their own.
        assert len({row.tobytes() for row in expected - x}) == len({row.tobytes() for row in x})


def test_of_several_starts_none_depends_on_the_batch(digits) -> None:
    classifier, x, y = digits
    settings = {"eps": 0.1, "eps_step": 0.1, "max_iter": 0, "num_random_init": 3, "seed": 0, "verbose": False}
    whole, parts = (
        ProjectedGradientDescentDualEncoder(classifier, batch_size=size, **settings).generate(x, y) for size in (20, 7)
    )
    np.testing.assert_array_equal(parts, whole)


def test_passes_in_parts_are_the_whole(digits) -> None:
    classifier, x, y = digits
    with counted_queries(classifier.dual_encoder) as whole:
        expected = classifier.loss_gradient(x, y), classifier.predict(x)
    with counted_queries(classifier.dual_encoder) as parts, passes_of(classifier, 7):
        found = classifier.loss_gradient(x, y), classifier.predict(x)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * np.abs(other).max())
    assert parts == whole == {"queries": 2 * len(x), "gradients": len(x)}
    assert classifier.model.most_at_once is None


def test_passes_of_pairs_in_parts_keep_each_text() -> None:
    data = open_data("demo:shapes")
    estimator = FusionClassifier(load_model("demo:shapes/concat"), device_type="cpu")
    pairs = image_text_pairs(np.stack([data.image(i) for i in range(9)]), [data.text_of(i) or "" for i in range(9)])
    view = estimator.image_view(pairs["text"].tolist())
    images = torch.from_numpy(np.ascontiguousarray(pairs["image"]))
    expected = view.model(images).detach()
    view.model.most_at_once = 4
    largest = []
    hook = estimator.model.preprocess.register_forward_hook(lambda module, inputs, out: largest.append(len(inputs[0])))
    np.testing.assert_allclose(view.model(images).detach(), expected, rtol=1e-4, atol=1e-5)
    hook.remove()
    assert max(largest) == 4


def test_ensembles_in_python_do_not_depend_on_the_batch_size(tiny_classifier, tiny_images) -> None:
    labels = tiny_classifier.predict_labels(tiny_images)
    found = [
        WorstCase(tiny_classifier, Budget(eps=0.02, max_queries=10, batch_size=size), ("image",), verbose=False)
        .evaluate(tiny_images, labels)["image"]
        .broken_by
        for size in (32, 3)
    ]
    assert found[0] == found[1]
    assert 0 < sum(name is None for name in found[0]) < len(labels)
