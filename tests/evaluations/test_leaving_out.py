"""Each defence left out once: further runs, and what each defence brings, sample by sample."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml
from audits import one_thread, read_report, timeless

from art_multimodal import cli
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit import Audit, AuditSettings, write_reports
from art_multimodal.evaluations.audit.leaving_out import variations_of
from art_multimodal.evaluations.plans import parse_plan
from art_multimodal.functional.statistics import paired_difference_ci95

JPEG, SQUEEZING = "jpeg:quality=50", "feature_squeezing:bit_depth=4"
OPTIONS = ["--data", "demo:digits", "--attacks", "pgd", "--eps", "12/255", "--steps", "2", "--limit", "12"]
OPTIONS += ["--device", "cpu", "--defence", JPEG, "--defence", SQUEEZING, "--ablate-defences"]


@pytest.fixture(scope="module")
def left_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("left_out") / "out"
    with one_thread():
        assert cli.main(["audit", "demo:digits", *OPTIONS, "--out", str(out)]) == 0
    return out


def test_there_is_a_run_without_each_and_one_without_any(left_out: Path, tmp_path: Path) -> None:
    content = read_report(left_out)
    defences = [entry["report"]["defences"] for entry in content["models"]]
    full = defences[0]
    assert [one.partition(":")[0] for one in full] == ["jpeg", "feature_squeezing"]
    assert defences == [full, full[1:], full[:1], []]
    assert [entry.get("without", []) for entry in content["models"]] == [[], full[:1], full[1:], full]
    # Each is the run that it would be by itself.
    settings = AuditSettings(
        "demo:digits", "demo:digits", "pgd", limit=12, eps=12 / 255, steps=2, defences=(SQUEEZING,)
    )
    with one_thread():
        alone = write_reports(Audit(settings, tmp_path / "alone", device="cpu").evaluate())
    one = read_report(left_out / content["models"][1]["folder"])
    assert timeless(alone)["results"] == timeless(one)["results"]


def test_what_a_defence_brings_is_counted_in_pairs(left_out: Path) -> None:
    content = read_report(left_out)

    def right(folder: str, row: str) -> list[int]:
        with (left_out / folder / "samples.csv").open() as stream:
            rows = list(csv.DictReader(stream))
        before = [int(one["right"]) for one in rows]
        return (
            before
            if row == "clean"
            else [b and int(one[f"{row} right"] or 0) for b, one in zip(before, rows, strict=True)]
        )

    folders = [entry["folder"] for entry in content["models"]]
    assert content["left_out"]["standards"] == {"owasp_aisvs": ["11.1.3", "11.1.4"]}
    runs = content["left_out"]["runs"]
    assert [one["without"] for one in runs] == [entry["without"] for entry in content["models"][1:]]
    for one, folder in zip(runs, folders[1:], strict=True):
        for row in ("clean", "pgd"):
            whole, without = right(folders[0], row), right(folder, row)
            found = one["rows"][row]
            assert found["n"] == 12 and found["accuracy"] == pytest.approx(sum(without) / 12)
            assert found["difference"] == pytest.approx((sum(whole) - sum(without)) / 12)
            assert found["difference_ci95"] == pytest.approx(paired_difference_ci95(whole, without))
        assert "naive:pgd" not in one["rows"] or one["without"] != runs[-1]["without"]


def test_pages_say_what_is_left_out_and_what_it_is_evidence_for(left_out: Path) -> None:
    runs = read_report(left_out)["left_out"]["runs"]
    for name in ("report.html", "report.md"):
        page = (left_out / name).read_text()
        assert "Each defence left out once" in page and "11.1.3, 11.1.4" in page
        assert "demo:digits, and without its defences" in page and "without any defence" in page
        for one in runs:
            for row in ("clean", "pgd"):
                assert f"{100 * one['rows'][row]['difference']:+.1f}" in page


def test_gates_and_limits_are_of_what_was_declared(left_out: Path, tmp_path: Path, capsys) -> None:
    content = read_report(left_out)
    pgd = [entry["report"]["results"]["pgd"]["accuracy"] for entry in content["models"]]
    assert min(pgd[1:]) < pgd[0], "or nothing would be seen here"
    again = ["audit", "demo:digits", *OPTIONS, "--out", str(left_out), "--resume"]
    assert cli.main([*again, "--fail-under", f"pgd.accuracy={pgd[0]}"]) == 0
    assert cli.main([*again, "--fail-under", f"pgd.accuracy={min(1.0, pgd[0] + 0.01)}"]) == 1
    assert capsys.readouterr().err.count("gate failed: ") == 1
    declared = {"plan": "of somebody"}
    settings = AuditSettings("", "demo:digits", defences=(JPEG, SQUEEZING), declared=declared)
    found = variations_of(settings, ["a", "b"], True)
    assert [one.settings.declared for one in found] == 2 * [declared, None, None, None]
    assert [len(one.settings.defences) for one in found] == 2 * [2, 1, 1, 0]
    assert len({one.label for one in found}) == 8
    # Without a single defence is without any.
    single = variations_of(AuditSettings("", "demo:digits", defences=(JPEG,)), ["a"], True)
    assert [one.settings.defences for one in single] == [single[0].settings.defences, ()]
    assert [one.settings.model for one in variations_of(settings, ["a", "b"], False)] == ["a", "b"]


PLAN = {"plan": 1, "models": ["demo:digits"], "data": "demo:digits", "attacks": {"image": ["pgd"]}}


def test_a_plan_asks_for_it(tmp_path: Path, capsys) -> None:
    plan = {**PLAN, "defences": [JPEG], "ablate_defences": True, "samples": {"limit": 4}, "floors": {"pgd": 1.0}}
    content = parse_plan(yaml.safe_dump(plan)).as_json()["content"]
    assert content["ablate_defences"] is True
    # As runs had it before there could be any.
    assert "ablate_defences" not in parse_plan(yaml.safe_dump(PLAN)).as_json()["content"]
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump({**plan, "budgets": {"eps": 0.1, "steps": 1}}))
    with one_thread():
        assert cli.main(["audit", "--plan", str(path), "--out", str(tmp_path / "out"), "--device", "cpu"]) == 1
    models = json.loads((tmp_path / "out" / "report.json").read_text())["models"]
    # The limit fails for what was declared, and says nothing of what is there to be compared with.
    assert ["verdicts" in entry["report"] for entry in models] == [True, False]
    capsys.readouterr()


def test_there_is_something_to_leave_out(tmp_path: Path, capsys) -> None:
    with pytest.raises(InputError, match="leaves each defence out once, and there is none: name some in defences"):
        parse_plan(yaml.safe_dump({**PLAN, "ablate_defences": True}))
    arguments = ["audit", "demo:digits", "--data", "demo:digits", "--ablate-defences", "--out", str(tmp_path / "out")]
    assert cli.main(arguments) == 2
    err = capsys.readouterr().err
    assert "there is none: name one by --defence" in err and len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()
