"""What an audit says before and while it works: the plan, an estimate, a line for each attack."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attacks.removal_models import removal_task
from audits import logged
from rich.console import Console

from art_multimodal import cli
from art_multimodal.attacks.evasion.decoupling.search import MOST_BLOCKS, exhaustive_search
from art_multimodal.attacks.searching import Answer
from art_multimodal.cli import audit_display
from art_multimodal.cli.audit_display import AuditDisplay, duration, plan_lines
from art_multimodal.evaluations.audit import Audit, AuditSettings, calibration
from art_multimodal.evaluations.audit.calibration import Calibration
from art_multimodal.evaluations.audit.plan import Estimate, Plan, PlannedPass, plan_of
from art_multimodal.evaluations.suite import ATTACKS, Budget
from art_multimodal.evaluations.suite.costs import Cost, Texts
from art_multimodal.evaluations.suite.looking import LOOK

pytestmark = pytest.mark.usefixtures("little_effort")

PLAN = Plan(
    (
        PlannedPass("clean", 40, Cost(2)),
        PlannedPass("pgd", 40, Cost(11, 10)),
        PlannedPass("character_attack", 40, Cost(2, 0, 3, 60)),
        PlannedPass("somebody's", 40, None),
    )
)


def cost_of(name: str, budget: Budget, texts: Texts) -> Cost:
    cost = ATTACKS[name].cost
    assert cost is not None, name
    return cost(budget, texts)


def test_the_cost_of_every_attack_is_known() -> None:
    texts = Texts(classes=5, own=1.0, shared=5, words=4.0, edits=900.0)
    for name in ATTACKS:
        few, many = (cost_of(name, Budget(max_iter=60 * n, max_queries=100 * n), texts) for n in (1, 2))
        assert few.forward > 0 and few.backward >= 0
        # A larger budget costs more, but for attacks on texts alone, the published search, donors, shifts and outages.
        unbound = ATTACKS[name].modality == "text" or name in ("worst_text", "decoupling_exhaustive")
        once = ("modality_", "noise", "universal", "time_shift", "bert_", "character_", "text_")
        unbound = unbound or name.startswith(once)
        assert many.forward == few.forward if unbound else many.forward > few.forward


@pytest.mark.parametrize(
    ("model", "task", "attacks"),
    [
        ("demo:digits/robust", "classification", "pgd,apgd,square,joint,worst_image,decoupling_guided"),
        ("demo:shapes", "classification", "art_pgd,co_attack,joint,decoupling_guided"),
        ("demo:scenes", "retrieval", "apgd,similarity_pgd,set_level_guidance,co_attack"),
    ],
)
def test_no_attack_costs_more_than_planned(tmp_path: Path, model: str, task: str, attacks: str) -> None:
    data = model.partition("/")[0]
    settings = AuditSettings(model, data, attacks, task, eps=2 / 255, steps=4, max_queries=20, limit=3)
    audit = Audit(settings, tmp_path, device="cpu")
    planned = {one.name: one for one in plan_of(audit).passes}
    for line in logged(audit.evaluate()):
        if line["attack"] in ATTACKS:
            one = planned[line["attack"]]
            # The model counts each caption's image in retrieval.
            rows = max(1, len(line["samples"])) / one.samples
            assert line["queries"] <= one.forward * max(1, rows) and line["gradients"] <= one.backward * max(1, rows)
            if line["attack"] in ("pgd", "art_pgd", "apgd") and len(line["samples"]) == one.samples:
                assert one.forward <= 2 * line["queries"] and one.backward <= 2 * line["gradients"]


def test_the_published_search_is_bound_by_itself() -> None:
    """Where every block but the smallest changes the decision, and nothing the answer, it looks at every block."""
    task = removal_task((64, 64), 3, Answer(0))
    search, asked = exhaustive_search(task), 1
    probes = next(search)
    with pytest.raises(StopIteration):
        while True:
            asked += len(probes)
            probes = search.send(
                [Answer(0, decision=int(max((b.height for b in p.blocks), default=0) > 2)) for p in probes]
            )
    most = cost_of("decoupling_exhaustive", Budget(max_queries=1), Texts(5, own=1.0, shared=0, words=3.0, edits=0))
    assert 1 + MOST_BLOCKS + 3 < asked <= most.forward


@pytest.mark.parametrize("spec", ["demo:digits", "demo:shapes"])
def test_the_published_search_is_estimated_by_what_it_usually_asks(tmp_path: Path, spec: str) -> None:
    settings = AuditSettings(spec, spec, "decoupling_exhaustive", limit=20)
    audit = Audit(settings, tmp_path, device="cpu")
    planned = plan_of(audit).passes[-1]
    (line,) = (line for line in logged(audit.evaluate()) if line["attack"] == planned.name)
    assert line["queries"] < planned.work < 5 * line["queries"] < planned.forward


def test_random_defences_ask_for_each_draw(tmp_path: Path) -> None:
    settings = AuditSettings("demo:digits", "demo:digits", "pgd", limit=2, defences=("gaussian_augmentation",), draws=7)
    adaptive, naive = plan_of(Audit(settings, tmp_path, device="cpu")).passes[1:]
    # Whether gradients are hidden is looked at on the model that answers alone.
    looking = 2 * LOOK.forward
    assert naive.name == "naive:pgd" and adaptive.forward == 7 * (naive.forward + looking) > 7 * looking


def test_what_has_run_tells_of_itself_and_the_first_batch_of_the_rest() -> None:
    estimate = Estimate(PLAN)
    assert estimate.left() is None and estimate.unit is None
    estimate.told("clean", 10, 2.0)
    assert estimate.unit == pytest.approx(0.1)
    # 30 clean samples; 31 forward passes' worth of each of 40 samples; 5 each and 60 once; nothing known of the last.
    assert estimate.left() == pytest.approx(6 + 0.1 * (40 * 31 + 40 * 5 + 60))
    estimate.told("pgd", 10, 1.0)
    estimate.told("pgd", 0, 99.0)
    assert estimate.left() == pytest.approx(6 + 3 + 0.1 * (40 * 5 + 60))
    for name in ("character_attack", "somebody's"):
        estimate.told(name, 40, 1.0)
    estimate.told("clean", 30, 1.0)
    estimate.told("pgd", 30, 1.0)
    assert estimate.left() == 0 and estimate.done == pytest.approx(7.0)


def test_a_calibration_tells_of_what_has_not_run() -> None:
    estimate = Estimate(PLAN)
    estimate.calibration = Calibration(forward=0.1, backward=0.3, text=0.001, right=0.5)
    assert estimate.left() is None
    # However long the first batch took: it prepares what is prepared once.
    estimate.told("clean", 10, 40.0)
    assert estimate.unit == 0.1
    clean, pgd, words = 30 * 4.0, 0.5 * 40 * (11 * 0.1 + 10 * 0.3), 0.5 * (40 * (2 * 0.1 + 3 * 0.001) + 60 * 0.001)
    assert estimate.left() == pytest.approx(clean + pgd + words)
    estimate.told("character_attack", 10, 1.0)
    assert estimate.left() == pytest.approx(clean + pgd + 3.0)


def test_the_plan_fits_into_80_columns() -> None:
    passes = [PlannedPass("clean", 10**6, Cost(1))]
    passes += [PlannedPass(f"naive:{name}", 10**6, Cost(5000, 500, 9)) for name in ATTACKS]
    lines = plan_lines(Plan(tuple(passes)), "demo:digits on cpu", "--steps 5 --limit 50")
    assert lines[0] == "preset: --steps 5 --limit 50" and max(map(len, lines)) <= 80
    lines = plan_lines(PLAN, "a\x1b[31mb on cpu")
    assert lines[0] == "plan: 3 attacks on 40 samples, a\\x1b[31mb on cpu; passes at most"
    assert [line.split() for line in lines[3:]] == [
        ["pgd", "440", "400", "0"],
        ["character_attack", "80", "0", "180"],
        ["somebody's", "?", "?", "?"],
        ["all", "600", "400", "180"],
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0066, "6.6 ms"), (0.21, "0.2 s"), (59, "59 s"), (99.9, "2 min"), (3599, "1 h"), (35400, "9 h 50 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
    assert duration(30 * 3600) == "30 h" and duration(90 * 3600) == "4 days"


def lines_of(capsys, batches: int, preset: str = "") -> list[str]:
    with AuditDisplay(PLAN, "demo:digits on cpu", preset) as display:
        for _ in range(batches):
            for planned in PLAN.passes:
                display.passed(planned.name, 40 // batches, 400.0)
    return capsys.readouterr().err.splitlines()


def test_where_there_is_no_terminal_a_line_tells_of_each_attack(capsys) -> None:
    lines = lines_of(capsys, 1)[len(plan_lines(PLAN, "")) :]
    assert lines[0].startswith("estimate: up to ") and lines[1].startswith("sooner: --preset quick")
    assert lines[2:] == [
        "clean: 40 samples, 7 min",
        "pgd: 40 samples, 7 min",
        "character_attack: 40 samples, 7 min",
    ] + ["somebody's: 40 samples, 7 min"]


def test_many_batches_do_not_fill_a_log(capsys) -> None:
    lines = lines_of(capsys, 40, preset="--steps 1")
    assert sum(line.startswith("estimate") for line in lines) == 1
    assert "sooner: a lower --limit, or fewer --attacks; after a stop, --resume goes on" in lines
    assert sum(" of 40 samples after " in line for line in lines) == 9
    assert sum(line.startswith("pgd: ") for line in lines) == 2
    assert "pgd: 1 of 40 samples, 7 min" in lines and "pgd: 40 samples, 4 h 27 min" in lines


def test_a_terminal_has_one_bar_with_what_is_left(capsys, monkeypatch) -> None:
    monkeypatch.setattr(audit_display, "Console", lambda stderr: Console(stderr=stderr, force_terminal=True, width=80))
    lines = lines_of(capsys, 2)
    assert any("done" in line and "100 %" in line for line in lines)
    assert not any(line.startswith("pgd: ") for line in lines)


def test_hidden(capsys) -> None:
    with AuditDisplay(PLAN, "", visible=False) as display:
        display.passed("clean", 40, 1.0)
    assert capsys.readouterr() == ("", "")


def test_an_audit_that_goes_on_counts_what_is_there(tmp_path: Path, capsys) -> None:
    arguments = [
        "audit",
        "demo:digits",
        "--data",
        "demo:digits",
        "--attacks",
        "pgd",
        "--limit",
        "6",
        "--group-size",
        "2",
    ]
    arguments += ["--steps", "1", "--device", "cpu", "--out", str(tmp_path / "out")]
    assert cli.main(arguments) == 0
    err = capsys.readouterr().err
    assert "plan: 1 attack on 6 samples, demo:digits on cpu" in err and "\npgd: 6 samples, " in err
    log = tmp_path / "out" / "log.jsonl"
    kept = log.read_text().splitlines(keepends=True)[:3]
    log.write_text("".join(kept))
    assert all(json.loads(line)["seconds"] >= 0 for line in kept)
    assert cli.main([*arguments, "--resume"]) == 0
    assert "\npgd: 6 samples, " in capsys.readouterr().err


def test_no_audit_fails_for_its_estimate(capsys) -> None:
    def broken() -> Calibration:
        raise RuntimeError("no idea")

    with AuditDisplay(PLAN, "", calibrate=broken) as display:
        display.passed("clean", 10, 1.0)
    assert "at 50 ms for a forward pass in the first batch" in capsys.readouterr().err


def test_an_audit_charges_texts_at_what_texts_take(tmp_path: Path, capsys, monkeypatch) -> None:
    """A search over texts reads thousands of them, each far sooner than the model looks at an image."""
    asked = []

    def calibrated(job: Audit) -> Calibration:
        asked.append(plan_of(job))
        return Calibration(forward=1.0, backward=2.0, text=0.001, right=1.0)

    monkeypatch.setattr(calibration, "calibrate", calibrated)
    arguments = ["audit", "demo:digits", "--data", "demo:digits", "--attacks", "character_attack"]
    arguments += ["--limit", "4", "--device", "cpu", "--out", str(tmp_path / "out")]
    assert cli.main(arguments) == 0
    err = capsys.readouterr().err
    ((_, of_texts),) = (plan.passes for plan in asked)
    expected = 4 * of_texts.calls.forward + 0.001 * of_texts.texts
    assert of_texts.texts > 10_000 and expected < 120
    said = f"estimate: up to {duration(expected)}, at 1.0 s for a forward pass, 2.0 s a backward pass, 1 ms a text"
    assert said in err
