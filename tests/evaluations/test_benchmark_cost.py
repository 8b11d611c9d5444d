"""The cost model: what it says of an attack's calls, and what the counters of the model say afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from art_multimodal.evaluations.audit import Audit, AuditSettings, summarise
from art_multimodal.evaluations.audit.calibration import calibrate, has_gradients
from art_multimodal.evaluations.audit.plan import Plan, PlannedPass, plan_of
from art_multimodal.evaluations.benchmark import Benchmark, parse_config
from art_multimodal.evaluations.benchmark.planning import Calibration, PlannedCell, calls_of, plan_cells
from art_multimodal.evaluations.suite.costs import Cost
from art_multimodal.models.families.custom.answers import AnsweringModel

#: Attacks with an exact cost, and one that looks at the gradients, whose cost depends on what it sees.
KINDS = {
    "prompts": ("demo:digits", "classification", "pgd,art_pgd,apgd,independent,co_attack,noise,bert_attack_margin"),
    "pairs": ("demo:shapes", "classification", "art_pgd,apgd,independent,co_attack,noise,character_attack"),
    "captions": ("demo:scenes", "retrieval", "pgd,similarity_pgd,co_attack,set_level_guidance,noise,bert_attack"),
    "samples": ("demo:views", "classification", "pgd,pgd_multimodal"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [3, 8])
def test_calls_are_those_of_the_counters_to_one_percent(tmp_path: Path, kind: str, steps: int) -> None:
    spec, task, attacks = KINDS[kind]
    settings = AuditSettings(spec, spec, attacks, task, limit=12, eps=4 / 255, steps=steps)
    audit = Audit(settings, tmp_path / "run", device="cpu")
    log = audit.evaluate()
    rows = summarise(log.header, log.lines())["results"]
    asked = {name: rows[name]["n"] if task == "retrieval" else rows[name]["attacked"] for name in audit.attacks}
    planned = calls_of(plan_of(audit), asked)
    # One looks for hidden gradients, and of each attack that there is on samples one for each modality.
    assert len(planned) >= len(audit.attacks) - max(1, len(audit.subject.looks))
    for name, (forward, backward) in planned.items():
        counted = rows[name]["queries"] * asked[name], rows[name]["gradients"] * asked[name]
        assert forward == pytest.approx(counted[0], rel=0.01), name
        assert backward == pytest.approx(counted[1], rel=0.01), name


def test_seconds_are_calls_by_what_a_call_takes() -> None:
    passes = (
        PlannedPass("clean", 100, Cost(1.0)),
        PlannedPass("pgd", 100, Cost(14, 10), 1.0, Cost(11, 10)),
        PlannedPass("square", 100, Cost(50, 0, 2)),
        PlannedPass("modality_missing@depth", 100, Cost(1)),
        PlannedPass("typographic", 100, None),
    )
    config = parse_config("benchmark: 1\nmodels: [a]\ndata: [b]\npreset: quick")
    (cell,) = Benchmark(config, "/nonexistent").cells
    planned = PlannedCell(cell, False, Plan(passes), Calibration(0.1, 0.3, 0.01, 0.5))
    # Attacks are made on the half that is right; what is missing is asked of everyone.
    expected = 0.1 * 100 + 0.5 * (0.1 * 1100 + 0.3 * 1000) + 0.5 * (0.1 * 5000 + 0.01 * 200) + 0.1 * 100
    assert planned.seconds == pytest.approx(expected)
    assert planned.calls == (100 + 1400 + 5000 + 100, 1000, 200) and planned.unknown == ["typographic"]
    assert not planned.calls_are_exact
    assert PlannedCell(cell, reason="no").seconds is None


@pytest.mark.parametrize(
    ("spec", "task", "more"),
    [
        ("demo:digits", "classification", {}),
        ("demo:digits", "classification", {"defences": ("gaussian_augmentation",), "draws": 4}),
        ("demo:digits", "classification", {"defences": ("view_voting",)}),
        ("demo:shapes", "classification", {}),
        ("demo:scenes", "retrieval", {}),
        ("demo:views", "classification", {}),
    ],
)
def test_every_kind_of_model_is_timed_and_left_as_it_was(tmp_path: Path, spec: str, task: str, more: dict) -> None:
    settings = AuditSettings(spec, spec, task=task, limit=3, **more)
    audit = Audit(settings, tmp_path / "run", device="cpu")
    drawn = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    found = calibrate(audit)
    assert found.forward > 0 and found.backward >= 0 and found.text > 0 and 0 <= found.right <= 1
    assert not (tmp_path / "run").exists()
    # What random defences have drawn for it is nothing that another draw depends on.
    assert torch.equal(torch.random.get_rng_state(), drawn[0]) and (np.random.get_state()[1] == drawn[1]).all()


def test_a_function_that_only_answers_is_timed_without_gradients(tmp_path: Path) -> None:
    asked = []

    def answer(images: np.ndarray) -> np.ndarray:
        asked.append(len(images))
        return np.eye(10, dtype=np.float32)[np.zeros(len(images), dtype=int)]

    settings = AuditSettings(AnsweringModel(answer), "demo:digits", "square", limit=3)
    audit = Audit(settings, tmp_path / "run", device="cpu")
    assert not has_gradients(audit)
    assert calibrate(audit).backward == 0 and asked


def test_a_plan_opens_each_cell_and_leaves_nothing(tmp_path: Path) -> None:
    config = parse_config(
        "benchmark: 1\nmodels: [demo:digits, demo:nothing]\ndata: [demo:digits]\nattacks: {image: [pgd, square]}\n"
        "samples: {limit: 5}\nbudgets: {steps: 4, max_queries: 30}"
    )
    job = Benchmark(config, tmp_path / "out", "cpu")
    good, bad = plan_cells(job.cells, job.is_finished, "cpu")
    assert "demo:nothing" in bad.reason or "nothing" in bad.reason
    assert good.calibration is not None and good.calibration.forward > 0 and 0 <= good.calibration.right <= 1
    assert good.seconds is not None and good.seconds > 0
    forward, backward, texts = good.calls
    plan = plan_of(Audit(job.cells[0].settings, tmp_path / "audit", "cpu"))
    assert forward == sum(one.forward for one in plan.passes) and backward == sum(one.backward for one in plan.passes)
    assert texts == sum(one.texts for one in plan.passes)
    assert not (tmp_path / "out").exists() and not (tmp_path / "audit").exists()
    assert [one.finished for one in plan_cells(job.cells, lambda cell: True)] == [True, True]
