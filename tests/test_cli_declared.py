"""``audit --plan``, ``plan init`` and ``plan check``, from the command line to the report."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from art_multimodal import cli
from art_multimodal.cli.presets import PRESETS

pytestmark = pytest.mark.usefixtures("little_effort")

PLAN: dict[str, Any] = {
    "plan": 1,
    "models": ["demo:digits"],
    "data": "demo:digits",
    "samples": {"limit": 6, "seed": 2},
    "attacks": {"image": ["pgd"], "noise": ["noise"], "text": ["character_attack"]},
    "budgets": {"eps": ["2/255", "16/255"], "steps": 2},
    "floors": {"clean": 0.3, "image": {"2/255": 0.9, "16/255": 0.9}, "text": 0.0, "decoupling": 0.1},
    "ceilings": {"noise": 0.9},
    "detectors": {"false_positives": 0.05},
}


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def write(folder: Path, **changes: Any) -> str:
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump({**PLAN, **changes}))
    return str(path)


def audited(folder: Path, *more: str) -> list[str]:
    return ["audit", "--plan", str(folder / "plan.yaml"), "--device", "cpu", "--out", str(folder / "out"), *more]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("declared")
    write(folder)
    assert cli.main(audited(folder)) == 1
    return folder


def report_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "out" / "report.json").read_text())


def test_each_limit_has_its_verdict_in_every_report(finished: Path) -> None:
    report = report_of(finished)
    found = {(one["row"], one["radius"], one["kind"]): one["outcome"] for one in report["verdicts"]["gates"]}
    assert found[("image", "", "floor")] == "FAIL" and found[("text", "", "floor")] == "PASS"
    assert found[("decoupling", "", "floor")] == found[("detectors", "", "false_positives")] == "NOT RUN"
    assert report["verdicts"]["overall"] == report["verdicts"]["families"]["image"] == "FAIL"
    assert report["plan"]["content"]["floors"]["image"] == {"2/255": 0.9, "": 0.9}
    assert report["plan"] == json.loads((finished / "out" / "run.json").read_text())["plan"]
    assert report["seed"] == 2 and report["data"]["selected"] == 6
    for name, first in (("report.html", "Verdicts"), ("report.md", "FAIL: declared before the run")):
        page = (finished / "out" / name).read_text()
        said = "Under image at least 90.0 % of the samples were to be right."
        assert page.index(first) < page.index(said) < page.index("Without an attack the model")
        assert report["verdicts"]["plan"][:16] in page


def test_the_terminal_begins_with_the_verdicts_in_80_columns(finished: Path, capsys) -> None:
    code, printed, err = run(capsys, *audited(finished, "--resume"))
    lines = printed.splitlines()
    # The last lines name the files.
    assert code == 1 and lines[1] == "verdict: FAIL" and max(map(len, lines[:-3])) <= 80
    assert any(line.startswith("FAIL     Under image at least 90.0 %") for line in lines)
    assert any(line.startswith("accuracy in % over the radius") for line in lines)
    assert err.count("gate failed: ") == 1 and "gate failed: Under image at least 90.0 %" in err


def test_limits_of_rows_that_the_run_has_not_are_said_before_it(tmp_path: Path, capsys) -> None:
    write(tmp_path, attacks={"image": ["pgd"]}, samples={"limit": 2}, floors={"decoupling": 0.1}, ceilings={})
    code, printed, _ = run(capsys, *audited(tmp_path))
    assert code == 0 and printed.splitlines()[0].startswith("note: the plan has limits of decoupling, rows that this")


def test_several_models_are_judged_side_by_side(tmp_path: Path, capsys) -> None:
    models = ["demo:digits", "demo:digits/robust"]
    quick = {"attacks": {"image": ["pgd"]}, "samples": {"limit": 4}, "ceilings": {}, "detectors": None}
    write(tmp_path, models=models, floors={"clean": 0.1, "image": {"16/255": 0.9}}, **quick)
    code, _, err = run(capsys, *audited(tmp_path))
    assert code == 1 and "gate failed: demo:digits: Under image" in err
    markdown, html = ((tmp_path / "out" / name).read_text() for name in ("report.md", "report.html"))
    table = markdown.partition("## Verdicts")[2].partition("##")[0]
    assert "| demo:digits | FAIL | PASS | FAIL |" in table.replace("\\", "")
    assert html.count("<h2>Verdicts</h2>") == 1 and html.count('class="outcome fail"') >= 2


def test_warnings_and_what_was_not_run_fail_on_request(finished: Path, tmp_path: Path, capsys) -> None:
    code, _, err = run(capsys, *audited(finished, "--resume", "--fail-on", "warn"))
    assert code == 1 and err.count("gate failed: ") >= 3 and "an audit runs no detector" in err
    assert run(capsys, *audited(finished, "--resume", "--fail-on", "warm"))[0] == 2
    write(tmp_path, floors={"text": 0.0}, ceilings={})
    assert run(capsys, *audited(tmp_path))[0] == 0
    assert report_of(tmp_path)["verdicts"]["without_limit"] == ["image", "noise"]
    assert run(capsys, *audited(tmp_path, "--resume", "--fail-on", "warn"))[0] == 1
    # A gate of the command line stands in the same list.
    code, _, err = run(capsys, *audited(tmp_path, "--resume", "--fail-under", "pgd.accuracy=0.99"))
    assert code == 1 and "gate failed: pgd.accuracy is" in err and err.count("gate failed") == 1
    kinds = {one["kind"]: one["outcome"] for one in report_of(tmp_path)["verdicts"]["gates"]}
    assert kinds["fail_under"] == "FAIL"


def test_a_run_goes_on_with_its_own_plan_alone(finished: Path, tmp_path: Path, capsys) -> None:
    text = (finished / "plan.yaml").read_text()
    lines = (finished / "out" / "log.jsonl").read_bytes().splitlines(keepends=True)
    folder = tmp_path / "cut"
    folder.mkdir()
    (folder / "plan.yaml").write_text(text)
    assert run(capsys, *audited(folder))[0] == 1
    (folder / "out" / "log.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:20])
    (folder / "plan.yaml").write_text(text + "# another word\n")
    code, _, err = run(capsys, *audited(folder, "--resume"))
    assert code == 2 and "sha256: " in err
    (folder / "plan.yaml").write_text(text)
    assert run(capsys, *audited(folder, "--resume"))[0] == 1
    before, after = report_of(finished)["verdicts"], report_of(folder)["verdicts"]
    assert before == after
    # Without its plan it is another run.
    arguments = ["audit", "demo:digits", "--data", "demo:digits", "--attacks", "pgd,noise,character_attack"]
    arguments += ["--eps", "2/255,16/255", "--steps", "2", "--limit", "6", "--seed", "2", "--device", "cpu"]
    code, _, err = run(capsys, *arguments, "--resume", "--out", str(folder / "out"))
    assert code == 2 and "sha256: " in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["demo:shapes"], "MODEL demo:shapes contradicts the plan, which declares models, demo:digits"),
        (["--data", "demo:shapes"], "--data demo:shapes contradicts the plan, which declares data, demo:digits"),
        (["--limit", "7"], "--limit 7 contradicts the plan, which declares samples.limit, 6"),
        (["--seed", "0"], "--seed 0 contradicts the plan, which declares samples.seed, 2"),
        (["--attacks", "pgd"], "--attacks pgd contradicts the plan, which declares attacks"),
        (["--eps", "16/255"], "--eps 16/255 contradicts the plan, which declares budgets.eps, 2/255, 16/255"),
        (["--steps", "3"], "--steps 3 contradicts the plan, which declares budgets.steps, 2"),
        (["--defence", "jpeg"], "contradicts the plan, which declares defences, none"),
        (["--draws", "3"], "--draws 3 contradicts the plan"),
        (["--task", "retrieval"], "--task retrieval contradicts the plan"),
        (["--native-size"], "--native-size True contradicts the plan"),
        (["--preset", "quick"], "--preset sets what the plan declares"),
        (["--templates", "a {}"], "--templates a {} contradicts the plan"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_no_option_contradicts_a_plan(tmp_path: Path, capsys, options: list[str], message: str) -> None:
    write(tmp_path)
    code, printed, err = run(capsys, *audited(tmp_path, *options))
    assert (code, printed) == (2, "") and err.count("\n") == 1
    assert message in err and not (tmp_path / "out").exists()


def test_options_that_say_the_same_are_taken(tmp_path: Path, capsys) -> None:
    write(tmp_path, floors={}, ceilings={}, attacks={"image": ["pgd"]}, samples={"limit": 2})
    same = ["demo:digits", "--data", "demo:digits", "--limit", "2", "--eps", "2/255,16/255", "--attacks", "pgd"]
    assert run(capsys, *audited(tmp_path, *same, "--batch-size", "3"))[0] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"floors": {"imge": 0.3}}, "Unknown row for a floor 'imge'. Did you mean image"),
        ({"budgets": {"stepps": 3}}, "Unknown entry of budgets 'stepps'"),
        ({"data": "demo"}, "--data 'demo' is neither a folder, a CSV file nor"),
        ({"models": "digits"}, "The model 'digits' has no source"),
    ],
)
def test_bad_plans_end_with_code_2_and_one_line(tmp_path: Path, capsys, changes: dict[str, Any], message: str) -> None:
    path = write(tmp_path, **changes)
    for command in (["plan", "check", path], audited(tmp_path)):
        code, printed, err = run(capsys, *command)
        assert (code, printed) == (2, "") and err.count("\n") == 1 and message in err
    assert not (tmp_path / "out").exists()


def test_check_says_what_is_declared(tmp_path: Path, capsys) -> None:
    code, printed, err = run(capsys, "plan", "check", write(tmp_path))
    assert (code, err) == (0, "")
    assert printed.splitlines()[:3] == [
        "1 model(s) on demo:digits, classification",
        "3 families, 3 entries of attacks; radii 2/255, 16/255",
        "7 limits",
    ]


@pytest.mark.parametrize(
    ("model", "data", "more"),
    [
        ("demo:digits", "demo:digits", []),
        ("demo:shapes", "demo:shapes", []),
        ("demo:views/concat", "demo:views", []),
        ("demo:scenes", "demo:scenes", ["--task", "retrieval"]),
    ],
)
def test_a_plan_that_was_written_is_taken_as_it_is(tmp_path: Path, capsys, model: str, data: str, more: Any) -> None:
    path = tmp_path / "plan.yaml"
    code, printed, _ = run(capsys, "plan", "init", model, "--data", data, *more, "--out", str(path))
    assert code == 0 and "is written" in printed
    assert run(capsys, "plan", "check", str(path))[0] == 0
    # So it is with the limits that it suggests.
    text = path.read_text()
    path.write_text(re.sub(r"(?m)^#(  \S)", r"\1", text))
    code, printed, err = run(capsys, "plan", "check", str(path))
    assert (code, err) == (0, "") and int(re.search(r"(\d+) limits", printed)[1]) > 6
    assert run(capsys, "plan", "init", model, "--data", data, *more, "--out", str(path))[0] == 2
    assert path.read_text() != text


def test_a_plan_of_a_preset_has_its_attacks_budget_and_samples(tmp_path: Path, capsys) -> None:
    path = tmp_path / "plan.yaml"
    given = ["demo:digits", "--data", "demo:digits", "--preset", "Quick", "--out", str(path)]
    assert run(capsys, "plan", "init", *given)[0] == 0
    plan, quick = yaml.safe_load(path.read_text()), PRESETS["quick"].values
    named = [name for family, attacks in plan["attacks"].items() if family != "noise" for name in attacks]
    assert named == quick["attacks"].split(",")
    assert plan["samples"]["limit"] == quick["limit"]
    assert (plan["budgets"]["steps"], plan["budgets"]["max_queries"]) == (quick["steps"], quick["max_queries"])
    assert "# 50 samples: an interval of some 14 points" in path.read_text()
    assert run(capsys, "plan", "check", str(path))[0] == 0
    views = ["demo:views/concat", "--data", "demo:views", "--preset", "quick", "--out", str(tmp_path / "views.yaml")]
    assert run(capsys, "plan", "init", *views)[0] == 0
    assert "modality_missing@pix" in (tmp_path / "views.yaml").read_text()
    code, _, err = run(capsys, "plan", "init", *given[:3], "--preset", "slow")
    assert code == 2 and "quick" in err


def test_a_plan_that_was_written_runs(tmp_path: Path, capsys) -> None:
    path = tmp_path / "plan.yaml"
    assert run(capsys, "plan", "init", "demo:views/concat", "--data", "demo:views", "--out", str(path))[0] == 0
    # A few samples and quick attacks of it.
    plan = yaml.safe_load(path.read_text())
    plan["samples"]["limit"], plan["budgets"]["steps"] = 3, 1
    plan["attacks"] = {name: plan["attacks"][name][-1:] for name in ("pix", "noise", "multimodal")}
    plan["floors"] = {"pix": 0.0, "single_source": 0.0}
    path.write_text(yaml.safe_dump(plan, sort_keys=False))
    assert run(capsys, *audited(tmp_path))[0] == 0
    report = report_of(tmp_path)
    assert [one["name"] for one in report["smaller"]] == [
        ",".join(f"{name}={share}" for name, share in eps.items()) for eps in plan["budgets"]["eps"][:-1]
    ]
    assert [one["share"] for one in report["curves"]["pix"]["points"]] == pytest.approx([0, 0.25, 0.5, 1], abs=1e-3)
    assert report["verdicts"]["overall"] == "PASS"


def test_a_plan_without_limits_passes_nothing(tmp_path: Path, capsys) -> None:
    write(tmp_path, attacks={"noise": ["noise"]}, floors=None, ceilings=None, detectors=None)
    code, printed, _ = run(capsys, *audited(tmp_path))
    assert code == 0 and printed.count("verdict: NOT RUN, the plan sets no limit") == 1
    for name in ("report.html", "report.md"):
        page = (tmp_path / "out" / name).read_text()
        assert "The plan sets no limit, so nothing was judged." in page
    code, _, err = run(capsys, *audited(tmp_path, "--resume", "--fail-on", "warn"))
    assert code == 1 and "the plan sets no limit" in err
