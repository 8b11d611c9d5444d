"""The schema of report.json: every kind of audit writes what it says, and nothing else."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import fields, replace
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from audits import SETTINGS, VIEWS, read_report, run_audit
from judged import every_outcome, gate, judged

from art_multimodal.evaluations.audit import AuditSettings
from art_multimodal.evaluations.audit.report import REPORT_VERSION
from art_multimodal.evaluations.standards import STANDARDS
from art_multimodal.evaluations.suite import PAIRS, RETRIEVAL, SAMPLES, ZERO_SHOT

SCHEMA: dict[str, Any] = json.loads((files("art_multimodal.evaluations.audit") / "report.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


@pytest.fixture(scope="module")
def reports(tmp_path_factory, finished, finished_pairs, finished_retrieval) -> dict[str, dict[str, Any]]:
    """A report of each task, and of a model behind a defence."""
    out = tmp_path_factory.mktemp("audits")
    views = replace(VIEWS, attacks=f"{VIEWS.attacks},modality_missing", limit=4, steps=1)
    defended = replace(SETTINGS, attacks="pgd,typographic", limit=4, steps=1, defences=("jpeg:quality=75",))
    folders = {ZERO_SHOT: finished.folder, PAIRS: finished_pairs.folder, RETRIEVAL: finished_retrieval.folder}
    folders[SAMPLES] = run_audit(views, out / "views").folder
    folders["defended"] = run_audit(defended, out / "defended").folder
    return {name: read_report(folder) for name, folder in folders.items()}


def test_the_schema_is_one_and_says_its_version() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$id"].endswith(f":{REPORT_VERSION}")
    assert SCHEMA["properties"]["report_version"] == {
        "description": "Version of this schema.",
        "const": REPORT_VERSION,
    }
    settings = SCHEMA["properties"]["settings"]["properties"]
    assert {one.name for one in fields(AuditSettings)} - set(settings) == {
        "attacks_on_samples",
        "loaded_model",
        "loaded_data",
    }
    names = SCHEMA["properties"]["standards"]["additionalProperties"]["propertyNames"]["enum"]
    assert names == list(STANDARDS)


@pytest.mark.parametrize("task", [ZERO_SHOT, PAIRS, SAMPLES, RETRIEVAL, "defended"])
def test_every_kind_of_audit_writes_what_the_schema_says(reports, task: str) -> None:
    report = reports[task]
    assert report["task"] == task or task == "defended"
    VALIDATOR.validate(report)
    VALIDATOR.validate(every_outcome(report))


def _misspelt(report: dict[str, Any]) -> None:
    report["results"]["pgd"]["acuracy"] = report["results"]["pgd"].pop("accuracy")


def _renamed_limit(report: dict[str, Any]) -> None:
    report |= judged(report, gate("FAIL", threshold=0.3))


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
    "another version": ("1 was expected", lambda report: report.update(report_version=2)),
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
    """Or the schema allows what nobody writes: verdicts, and what belongs to a plan, have tests of their own."""
    seen = {key for report in reports.values() for row in report["results"].values() for key in row}
    assert seen == {*SCHEMA["$defs"]["row"]["properties"], *SCHEMA["$defs"]["clean"]["properties"]} - {"word_curve"}
    of_all = {key for report in reports.values() for key in report}
    assert of_all == set(SCHEMA["properties"]) - {"verdicts", "plan", "smaller", "curves", "flags"}
