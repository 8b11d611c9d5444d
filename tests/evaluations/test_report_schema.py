"""The schema of report.json: every kind of audit writes what it says, and nothing else."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from importlib.resources import files
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml
from audits import PAIRS as PAIRS_SETTINGS
from audits import SETTINGS, VIEWS, read_report, run_audit
from judged import every_outcome, gate, judged

from art_multimodal import cli
from art_multimodal.evaluations.audit import AuditSettings, stored_report
from art_multimodal.evaluations.audit.findings.references import Reference
from art_multimodal.evaluations.audit.report import REPORT_VERSION
from art_multimodal.evaluations.smoothing.settings import AuditedSmoothing
from art_multimodal.evaluations.standards import STANDARDS
from art_multimodal.evaluations.suite import PAIRS, RETRIEVAL, SAMPLES, ZERO_SHOT

SCHEMA: dict[str, Any] = json.loads((files("art_multimodal.evaluations.audit") / "report.schema.json").read_text())
#: Audits of classifiers of images, and of one of pairs, that write more.
FURTHER = ("defended", "test_time", "smoothed", "radii")
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


@pytest.fixture(scope="module")
def reports(tmp_path_factory, finished, finished_pairs, finished_retrieval) -> dict[str, dict[str, Any]]:
    """A report of each task, behind a defence, of a smoothed model, and within several radii."""
    out = tmp_path_factory.mktemp("audits")
    views = replace(VIEWS, attacks=f"{VIEWS.attacks},modality_missing", limit=4, steps=1)
    smoothed = AuditedSmoothing(keep={"image": 16, "text": 2})
    words = tmp_path_factory.mktemp("words") / "words.txt"
    words.write_text("zero one")
    defences = ("jpeg:quality=75", f"spelling:vocabulary={words}")
    defended = replace(SETTINGS, attacks="pgd,typographic", limit=4, steps=1, defences=defences)
    folders = {ZERO_SHOT: finished.folder, PAIRS: finished_pairs.folder, RETRIEVAL: finished_retrieval.folder}
    folders[SAMPLES] = run_audit(views, out / "views").folder
    folders["defended"] = run_audit(defended, out / "defended").folder
    at_test_time = replace(defended, attacks="pgd", defences=("purification",))
    folders["test_time"] = run_audit(at_test_time, out / "test_time").folder
    some = replace(PAIRS_SETTINGS, attacks="art_pgd", limit=4, steps=1, max_queries=10, smoothing=smoothed)
    folders["smoothed"] = run_audit(some, out / "smoothed").folder
    published = tmp_path_factory.mktemp("published") / "array.npy"
    np.save(published, np.full((3, 16, 16), 8 / 255, dtype=np.float32))
    several = replace(SETTINGS, attacks="pgd,noise", limit=4, steps=1, smaller_eps=(4 / 255,))
    several = replace(several, universal=str(published), resize="opencv_linear")
    several = replace(several, surrogates=("demo:digits/robust",), transfer="crops=1,scales=0.5")
    folders["radii"] = run_audit(several, out / "radii").folder
    return {name: read_report(folder) for name, folder in folders.items()}


def test_the_schema_is_one_and_says_its_version() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$id"].endswith(f":{REPORT_VERSION}")
    assert SCHEMA["properties"]["report_version"] == {
        "description": "Version of this schema.",
        "const": REPORT_VERSION,
    }
    settings = SCHEMA["properties"]["settings"]["properties"]
    own = {
        "attacks_on_samples",
        "loaded_model",
        "loaded_data",
        "loaded_surrogates",
        "declared",
        "plan_text",
        "smoothing",
    }
    assert {one.name for one in fields(AuditSettings)} - set(settings) == own
    assert {f"smoothing_{one.name}" for one in fields(AuditedSmoothing)} <= set(settings)
    names = SCHEMA["properties"]["standards"]["additionalProperties"]["propertyNames"]["enum"]
    assert names == list(STANDARDS)


@pytest.mark.parametrize("task", [ZERO_SHOT, PAIRS, SAMPLES, RETRIEVAL, *FURTHER])
def test_every_kind_of_audit_writes_what_the_schema_says(reports, task: str) -> None:
    report = reports[task]
    assert report["task"] == task or task in FURTHER
    VALIDATOR.validate(report)
    VALIDATOR.validate(every_outcome(report))


def test_a_run_with_a_plan_writes_what_the_schema_says(tmp_path) -> None:
    plan = {
        "plan": 1,
        "models": ["demo:digits"],
        "data": "demo:digits",
        "samples": {"limit": 4},
        "attacks": {"image": ["pgd"]},
        "budgets": {"eps": ["2/255", "16/255"], "steps": 1},
        "floors": {"clean": 0.1, "image": {"2/255": 0.9, "16/255": 0.2}},
        "detectors": {"false_positives": 0.05},
    }
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    out = tmp_path / "out"
    command = ["audit", "--plan", str(tmp_path / "plan.yaml"), "--device", "cpu", "--out", str(out)]
    assert cli.main([*command, "--fail-under", "pgd.accuracy=0.99"]) == 1
    report = read_report(out)
    VALIDATOR.validate(report)
    kinds = [one["kind"] for one in report["verdicts"]["gates"]]
    assert kinds == ["floor", "floor", "floor", "false_positives", "fail_under"] and "plan" in report
    # And it is read again for exports, verdicts of plan and command line included.
    assert stored_report.read_report(out) == report


def _misspelt(report: dict[str, Any]) -> None:
    report["results"]["pgd"]["acuracy"] = report["results"]["pgd"].pop("accuracy")


def _renamed_limit(report: dict[str, Any]) -> None:
    report |= judged(report, gate("FAIL", threshold=0.3))


def _interval_of_one_end(report: dict[str, Any]) -> None:
    report["by_class"]["pgd"]["accuracy_ci95"][0] = 0.5


def _figure_without_a_source(report: dict[str, Any]) -> None:
    figure = asdict(Reference("CLIP", "ViT-B/32", "nothing", "1/255", 0.6, 0.1, "PGD", 16, "a paper", "https://a.b"))
    report["references"]["comparable"] = [figure]
    VALIDATOR.validate(report)
    del figure["source"]


WRONG: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    "a number is misspelt": ("pgd", _misspelt),
    "a key is missing": ("'standards' is a required property", lambda report: report.pop("standards")),
    "a key is unknown": ("'surprise' was unexpected", lambda report: report.update(surprise=1)),
    "a share is above one": ("1.5", lambda report: report["results"]["pgd"].update(accuracy=1.5)),
    "a count is no count": ("True", lambda report: report["results"]["clean"].update(n=True)),
    "an interval has one end": (
        "[0.5] is not valid under any",
        lambda report: report["results"]["pgd"].update(accuracy_ci95=[0.5]),
    ),
    "removals are told in part": ("dependency", lambda report: report["results"]["pgd"].update(share_removed_mean=0.1)),
    "another version": ("2 was expected", lambda report: report.update(report_version=1)),
    "a class has a share without an interval": ("0.5 is not valid", _interval_of_one_end),
    "a published figure has no source": ("'source' is a required", _figure_without_a_source),
    "a step has another key": ("promise", lambda report: report["next_steps"][0].update(promise="robust")),
    "a classifier without classes": ("None is not of type 'object'", lambda report: report.update(by_class=None)),
    "an unknown standard": ("mitre", lambda report: report["standards"]["pgd"].update(mitre=["AML.T0015"])),
    "a row without an attack is gone": ("'clean' is a required property", lambda r: r["results"].pop("clean")),
    "samples without modalities": ("by_modality", lambda report: report.update(task="samples")),
    "retrieval without recall": ("'recall' is a required property", lambda report: report.update(task="retrieval")),
    "a limit has another key": ("threshold", _renamed_limit),
    "a verdict that there is not": ("MAYBE", lambda r: r.update(judged(r, gate("PASS"), overall="MAYBE"))),
}


@pytest.mark.parametrize("why", list(WRONG))
def test_what_is_wrong_is_found(reports, why: str) -> None:
    message, change = WRONG[why]
    report = copy.deepcopy(reports[ZERO_SHOT])
    change(report)
    with pytest.raises(jsonschema.ValidationError) as found:
        VALIDATOR.validate(report)
    assert message in str(found.value)


def test_every_key_of_the_schema_is_written_by_some_audit(reports) -> None:
    """Or the schema allows what nobody writes; plans with their verdicts, and plug-ins, have tests of their own."""
    own = SCHEMA["properties"]["results"]["properties"]
    rows = [item for report in reports.values() for item in report["results"].items()]
    seen = {key for name, row in rows for key in row if name not in own or name == "clean"}
    assert seen == {*SCHEMA["$defs"]["row"]["properties"], *SCHEMA["$defs"]["clean"]["properties"]} - {"word_curve"}
    of_all = {key for report in reports.values() for key in report}
    assert of_all == set(SCHEMA["properties"]) - {"verdicts", "plan", "plugins"}
