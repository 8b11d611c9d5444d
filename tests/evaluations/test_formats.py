"""Reports in the formats of other tools: each is read by a reader or a schema of others."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest
import yaml
from audits import PAIRS, RETRIEVAL, SETTINGS, VIEWS, read_report, run_audit
from huggingface_hub import ModelCardData, parse_eval_result_entries
from huggingface_hub.repocard_data import model_index_to_eval_results
from judged import PLAN, every_outcome, gate, judged

from art_multimodal.errors import InputError
from art_multimodal.evaluations.formats import FORMATS, Options
from art_multimodal.evaluations.formats.facts import measurements
from art_multimodal.evaluations.formats.mlflow import files_of_run, log_to_mlflow, metrics_of, params_of
from art_multimodal.evaluations.formats.writing import names_of, write_formats

pytestmark = pytest.mark.usefixtures("little_effort")

SCHEMAS = Path(__file__).parent / "schemas"
SARIF, JUNIT = SCHEMAS / "sarif-2.1.0-rtm.5.json", SCHEMAS / "junit-10.xsd"
HUB = Options(dataset="organisation/robust-digits", plan="plans/digits plan.yaml")
#: What data may be called: markup of every format, and characters that none of them holds.
HOSTILE = "a]]><b> & \"c' [d](javascript:x) | `e` {0} \x00\x1b[31m\u202e\ud800\uffff\n---\n# f: *g* @h #1 ${i}"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    settings = replace(SETTINGS, attacks="pgd", limit=6, steps=1, defences=("jpeg:quality=75",))
    return read_report(run_audit(settings, tmp_path_factory.mktemp("audit") / "out").folder)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Reports of the other tasks."""
    small = {"limit": 4, "steps": 1, "max_queries": 10}
    settings = (
        replace(PAIRS, attacks="art_pgd,decoupling_image", **small),
        replace(RETRIEVAL, attacks="pgd,character_attack", **small),
        replace(VIEWS, attacks="apgd,modality_swap,modality_missing,decoupling_guided", **small),
    )
    out = tmp_path_factory.mktemp("audits")
    return [read_report(run_audit(one, out / str(number)).folder) for number, one in enumerate(settings)]


def hostile(report: dict[str, Any]) -> dict[str, Any]:
    """A report whose model, data and limits are called as badly as can be."""
    found = judged(report, gate("FAIL", family=HOSTILE, said=HOSTILE), gate("WARN", family=HOSTILE, said=HOSTILE))
    found["model"]["spec"] = found["data"]["spec"] = found["versions"]["art-multimodal"] = HOSTILE
    found["defences"] = [HOSTILE]
    return found


def variants(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    nothing = copy.deepcopy(report)
    for row in nothing["results"].values():
        row.pop("naive", None)
        row |= {"n": 0} | {key: None for key in row if key.startswith(("accuracy", "attack_success_rate"))}
        row |= {"queries": None, "gradients": None} if "queries" in row else {"balanced_accuracy": None}
    nothing["complete"] = False
    return {"plain": report, "judged": every_outcome(report), "hostile": hostile(report), "nothing": nothing}


@pytest.mark.parametrize("variant", ["plain", "judged", "hostile", "nothing"])
@pytest.mark.parametrize("name", list(FORMATS))
def test_the_same_report_is_the_same_text_without_a_control_character(report, name: str, variant: str) -> None:
    given = variants(report)[variant]
    before = copy.deepcopy(given)
    text = FORMATS[name].text(given, HUB)
    assert text == FORMATS[name].text(copy.deepcopy(given), HUB) and given == before
    assert text.endswith("\n") and not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff\uffff]", text)


@pytest.mark.parametrize("variant", ["plain", "judged", "hostile", "nothing"])
def test_junit_is_read_by_junitparser(report, variant: str) -> None:
    junitparser = pytest.importorskip("junitparser", reason="pip install 'art-multimodal[test]'")
    given = variants(report)[variant]
    found = junitparser.JUnitXml.fromstring(FORMATS["junit"].text(given, HUB).encode())
    (suite,) = found
    cases = list(suite)
    gates = given.get("verdicts", {}).get("gates", [])
    assert len(cases) == found.tests == suite.tests == 1 + len(gates)
    failed = [case for case in cases if any(isinstance(one, junitparser.Failure) for one in case.result)]
    errors = [case for case in cases if any(isinstance(one, junitparser.Error) for one in case.result)]
    assert len(failed) == found.failures == sum(g["outcome"] == "FAIL" for g in gates) + (not given["complete"])
    assert len(errors) == found.errors == sum(g["outcome"] == "NOT RUN" for g in gates)


@pytest.mark.parametrize("variant", ["plain", "judged", "hostile", "nothing"])
def test_junit_is_what_jenkins_reads(report, variant: str) -> None:
    xmlschema = pytest.importorskip("xmlschema", reason="pip install 'art-multimodal[test]'")
    schema = xmlschema.XMLSchema(str(JUNIT))
    text = FORMATS["junit"].text(variants(report)[variant], HUB)
    schema.validate(text)
    assert not schema.is_valid(text.replace("classname=", "klassname="))


def test_junit_says_what_was_declared_and_found(report) -> None:
    root = ET.fromstring(FORMATS["junit"].text(every_outcome(report), HUB))
    cases = {case.get("name"): case for case in root.iter("testcase")}
    assert list(cases)[1:] == [
        "image: floor",
        "clean: floor",
        "image within 4/255: floor",
        "detectors: false positives",
    ]
    failure = cases["image: floor"].find("failure")
    assert failure.get("message") == gate("FAIL")["said"] and "AML.T0043.000" in failure.text
    assert cases["image: floor"].get("classname") == "image"
    assert cases["detectors: false positives"].find("error").get("type") == "false_positives"
    assert cases["clean: floor"].find("system-out").text.startswith("WARN: ")
    assert len(cases["image within 4/255: floor"].findall("*")) == 1
    properties = {one.get("name"): one.get("value") for one in root.iter("property")}
    assert properties["plan.sha256"] == PLAN and properties["model"] == "demo:digits"


@pytest.mark.parametrize("variant", ["plain", "judged", "hostile", "nothing"])
def test_sarif_is_valid(report, variant: str) -> None:
    log = json.loads(FORMATS["sarif"].text(variants(report)[variant], HUB))
    schema = json.loads(SARIF.read_text())
    jsonschema.Draft4Validator(schema).validate(log)
    run = log["runs"][0]
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    # Or the schema would say nothing.
    run["results"] = [{"mesage": {"text": "x"}}]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft4Validator(schema).validate(log)


def test_every_task_is_exported(others) -> None:
    assert [report["task"] for report in others] == ["pairs", "retrieval", "samples"]
    schema = jsonschema.Draft4Validator(json.loads(SARIF.read_text()))
    for report in others:
        row = next(name for name in report["results"] if name not in ("clean", *report["attacks"]))
        given = judged(report, *(gate("FAIL", name) for name in report["results"]))
        schema.validate(json.loads(FORMATS["sarif"].text(given, HUB)))
        cases = [case.get("name") for case in ET.fromstring(FORMATS["junit"].text(given, HUB)).iter("testcase")]
        assert cases[1:] == [f"{name}: floor" for name in report["results"]]
        bom = json.loads(FORMATS["cyclonedx"].text(given, HUB))
        metrics = bom["components"][0]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
        assert list(dict.fromkeys(one["slice"] for one in metrics)) == list(report["results"])
        entries = yaml.safe_load(FORMATS["eval-results"].text(given, HUB))
        assert [one["dataset"]["task_id"] for one in entries] == list(report["results"])
        card = FORMATS["model-card"].text(given, HUB).replace("\\", "")
        assert f"\n| {row} | worst case of" in card
        assert metrics_of(given)[f"{row.replace('@', '/')}.accuracy"] == report["results"][row]["accuracy"]


def test_sarif_has_the_failed_limits_alone(report) -> None:
    run = json.loads(FORMATS["sarif"].text(every_outcome(report), HUB))["runs"][0]
    (result,) = run["results"]
    assert result["ruleId"] == "robustness/image" and result["message"]["text"].endswith(gate("FAIL")["said"])
    (place,) = result["locations"]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == "plans/digits%20plan.yaml"
    assert run["artifacts"][0]["hashes"] == {"sha-256": PLAN}
    notes = [one["message"]["text"] for one in run["invocations"][0]["toolExecutionNotifications"]]
    assert [note.partition(":")[0] for note in notes] == ["WARN", "NOT RUN"]
    rule = run["tool"]["driver"]["rules"][0]
    assert {"AML.T0043.000", "NISTAML.022"} <= set(rule["properties"]["tags"])
    assert "Whoever hands in an image" in rule["help"]["text"]


def test_findings_are_the_same_ones_in_the_next_run(report) -> None:
    def prints(*gates: dict[str, Any]) -> list[str]:
        run = json.loads(FORMATS["sarif"].text(judged(report, *gates), HUB))["runs"][0]
        return [result["partialFingerprints"]["artMultimodalLimit/v1"] for result in run["results"]]

    first, other = gate("FAIL"), gate("FAIL", "image", radius="4/255")
    before = prints(first, other)
    again = prints({**first, "value": 0.1, "limit": 0.5, "said": "Worse."}, gate("PASS", "clean"), other)
    assert again == before and len(set(before)) == 2
    # Two numbers of one row that were both asked for on the command line.
    both = prints(gate("FAIL", kind="fail_under"), gate("FAIL", kind="fail_under", limit=0.4))
    assert len(set(both)) == 2


def test_nothing_that_data_brought_is_a_link_in_a_message(report) -> None:
    run = json.loads(FORMATS["sarif"].text(hostile(report), HUB))["runs"][0]
    text = run["results"][0]["message"]["text"]
    assert "\\[d\\](javascript:x)" in text and not re.search(r"(?<!\\)\[", text)


@pytest.mark.parametrize("variant", ["plain", "judged", "hostile", "nothing"])
def test_cyclonedx_is_valid(report, variant: str) -> None:
    pytest.importorskip("cyclonedx", reason="pip install 'art-multimodal[test]'")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    validator = JsonStrictValidator(SchemaVersion.V1_6)
    text = FORMATS["cyclonedx"].text(variants(report)[variant], HUB)
    assert validator.validate_str(text) is None
    assert validator.validate_str(text.replace('"bomFormat"', '"bomFormatt"')) is not None


def test_cyclonedx_has_every_number_with_its_interval(report) -> None:
    bom = json.loads(FORMATS["cyclonedx"].text(every_outcome(report), HUB))
    model = bom["components"][0]
    found = {
        (one["slice"], one["type"]): one for one in model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    }
    assert len(found) == len(list(measurements(report))) > 8
    for row, numbers in report["results"].items():
        one = found[row, "accuracy"]
        assert float(one["value"]) == numbers["accuracy"]
        ends = [float(one["confidenceInterval"][end]) for end in ("lowerBound", "upperBound")]
        assert ends == numbers["accuracy_ci95"]
    assert float(found["pgd", "naive_accuracy"]["value"]) == report["results"]["pgd"]["naive"]["accuracy"]
    properties = {one["name"]: one["value"] for one in model["properties"]}
    assert properties["art-multimodal:plan_sha256"] == PLAN and properties["art-multimodal:verdict"] == "FAIL"
    assert "NISTAML.022" in properties["art-multimodal:standards:pgd"]
    assert bom["serialNumber"] != json.loads(FORMATS["cyclonedx"].text(report, HUB))["serialNumber"]


def test_smaller_radii_are_slices_of_their_own(report) -> None:
    point = {"n": 6, "accuracy": 0.5, "accuracy_ci95": [0.1, 0.9], "attacked": 5}
    point |= {"attack_success_rate": 0.4, "attack_success_rate_ci95": [0.1, 0.8]}
    ends = [{**point, "radius": name, "share": share} for name, share in (("0", 0.0), ("2/255", 0.25), ("8/255", 1.0))]
    given = {**report, "curves": {"image": {"area": 0.5, "points": ends}}}
    more = [one for one in measurements(given) if one not in [*measurements(report)]]
    assert [(one.slice, one.metric, one.value) for one in more] == [
        ("image within 2/255", "accuracy", 0.5),
        ("image within 2/255", "attack_success_rate", 0.4),
    ]
    assert metrics_of(given)["image within 2/255.accuracy.low"] == 0.1
    assert '"slice": "image within 2/255"' in FORMATS["cyclonedx"].text(given, HUB)
    assert FORMATS["eval-results"].text(given, HUB) == FORMATS["eval-results"].text(report, HUB)
    assert "accuracy under image within 2/255" in FORMATS["model-card"].text(given, HUB)


def test_the_model_card_is_read_by_the_hub_s_library(report) -> None:
    text = FORMATS["model-card"].text(every_outcome(report), HUB)
    _, front, body = text.split("---\n", 2)
    name, results = model_index_to_eval_results(yaml.safe_load(front)["model-index"])
    assert name == "demo:digits"
    found = {(one.metric_args["row"], one.metric_type): one for one in results}
    assert found["pgd", "accuracy"].metric_value == report["results"]["pgd"]["accuracy"]
    assert found["clean", "accuracy"].metric_args["ci95"] == report["results"]["clean"]["accuracy_ci95"]
    assert found["pgd", "accuracy"].task_type == "zero-shot-image-classification"
    assert ModelCardData(**yaml.safe_load(front)).eval_results
    assert "## Robustness under attack" in body and "Verdict: **FAIL**" in body


def test_nothing_that_data_brought_is_markup_in_a_model_card(report) -> None:
    front, body = FORMATS["model-card"].text(hostile(report), HUB).removeprefix("---\n").split("\n---\n", 1)
    assert list(yaml.safe_load(front)) == ["model-index"]
    without = body.replace("<details>", "").replace("</details>", "").replace("<summary>", "").replace("</summary>", "")
    without = without.replace("<!-- -->", "")
    assert "<" not in without and not re.search(r"(?<!\\)[`\[]|(?<!\\)\]\(", without)
    assert not re.search(r"^# f", body, re.MULTILINE)
    widths = {line.count("|") - line.count("\\|") for line in body.splitlines() if line.startswith("| image")}
    assert widths == {7}


def test_a_run_without_a_number_has_a_section_and_no_metadata(report) -> None:
    text = FORMATS["model-card"].text(variants(report)["nothing"], HUB)
    assert text.startswith("---\n---\n") and "The run is not complete" in text and "n/a" in text


def test_eval_results_are_read_by_the_hub_s_library(report) -> None:
    entries = parse_eval_result_entries(yaml.safe_load(FORMATS["eval-results"].text(report, HUB)))
    assert {one.dataset_id for one in entries} == {HUB.dataset}
    assert {one.task_id: one.value for one in entries} == {
        row: numbers["accuracy"] for row, numbers in report["results"].items()
    }
    assert all("95 % interval" in one.notes and "jpeg" in one.notes for one in entries)


@pytest.mark.parametrize("dataset", ["digits", "a/b/c", "../x", "a/b\n", "a/ü", "", "/a", "a b/c"])
def test_eval_results_want_a_benchmark_of_the_hub(report, dataset: str) -> None:
    with pytest.raises(InputError, match="--dataset .* is no id of the Hub, such as ORGANISATION/NAME"):
        FORMATS["eval-results"].text(report, Options(dataset=dataset))
    with pytest.raises(InputError, match="name it, such as --dataset ORGANISATION/NAME"):
        FORMATS["eval-results"].text(report, Options())


def test_files_are_written_all_or_none_and_links_are_not_followed(report, tmp_path) -> None:
    out = tmp_path / "a" / "b"
    paths = write_formats(report, list(FORMATS), out, HUB)
    assert [path.relative_to(out).as_posix() for path in paths] == [one.file for _, one in FORMATS.items()]
    assert all(path.read_text() == FORMATS[name].text(report, HUB) for name, path in zip(FORMATS, paths, strict=True))
    with pytest.raises(InputError, match="--dataset"):
        write_formats(report, ["junit", "eval-results"], tmp_path / "none")
    assert not (tmp_path / "none").exists()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / ".eval_results").symlink_to(elsewhere)
    with pytest.raises(InputError, match="is a link"):
        write_formats(report, ["junit", "eval-results"], linked, HUB)
    assert not list(elsewhere.iterdir()) and [path.name for path in linked.iterdir()] == [".eval_results"]


def test_formats_are_named_once() -> None:
    assert names_of(" sarif,junit, sarif") == ["sarif", "junit"]
    with pytest.raises(InputError, match="Did you mean junit"):
        names_of("junitt")
    with pytest.raises(InputError, match="--as names no format. Known: junit, sarif"):
        names_of(" , ")
    assert len({one.file for _, one in FORMATS.items()}) == len(FORMATS)


def test_names_of_metrics_are_such_that_mlflow_takes(report) -> None:
    found = metrics_of(report)
    assert found["pgd.accuracy"] == report["results"]["pgd"]["accuracy"]
    assert [found["pgd.accuracy.low"], found["pgd.accuracy.high"]] == report["results"]["pgd"]["accuracy_ci95"]
    renamed = {**report, "results": {"pgd@tiefe": report["results"]["pgd"], "a:b{c}": report["results"]["pgd"]}}
    assert {name.partition(".")[0] for name in metrics_of(renamed)} == {"pgd/tiefe", "a_b_c_"}
    assert all(len(value) <= 500 for value in params_of(hostile(report)).values())


@pytest.mark.parametrize("name", ["report.md", "evidence", "evidence/fixtures", "evidence/fixtures/0.png"])
def test_nothing_outside_the_run_is_sent_away(tmp_path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    place = tmp_path / "run" / name
    place.parent.mkdir(parents=True)
    place.symlink_to(outside if "." not in name else outside / "secret")
    with pytest.raises(InputError, match="is a link"):
        files_of_run(tmp_path / "run")
    place.unlink()
    if "." in name:
        place.hardlink_to(outside / "secret")
        with pytest.raises(InputError, match="is a hard link"):
            files_of_run(tmp_path / "run")


def test_mlflow_keeps_numbers_and_files(report, tmp_path, monkeypatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="pip install 'art-multimodal[mlflow]'")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    out = tmp_path / "out"
    files = write_formats(report, ["junit", "cyclonedx"], out, HUB)
    (out / "evidence" / "fixtures").mkdir(parents=True)
    for name in ("report.md", "evidence/manifest.json", "evidence/fixtures/0.png"):
        (out / name).write_text(name)
    try:
        run = mlflow.get_run(log_to_mlflow(every_outcome(report), [*files_of_run(out), *files], out))
        assert run.data.metrics == pytest.approx(metrics_of(report))
        assert run.data.params == params_of(report)
        assert run.data.tags["art_multimodal.verdict"] == "FAIL" and run.data.tags["art_multimodal.plan_sha256"] == PLAN
        (artefacts,) = (tmp_path / "runs").rglob("artifacts")
        kept = {path.relative_to(artefacts).as_posix() for path in artefacts.rglob("*") if path.is_file()}
        written = {"report.md", "evidence/manifest.json", "evidence/fixtures/0.png"}
        assert kept == {"junit.xml", "audit.cdx.json", *written}
        with pytest.raises(InputError, match="MLflow refuses the report"):
            log_to_mlflow(report, [tmp_path / "not there"])
    finally:
        mlflow.set_tracking_uri(None)
