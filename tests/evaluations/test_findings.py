"""What a report finds besides its numbers: the weakest point, what to do next, published figures, how to repeat it."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from audits import SETTINGS, VIEWS, header_of
from judged import gate, judged

from art_multimodal.cli.options import parse_radii
from art_multimodal.datasets.named.registry import NAMED_DATA
from art_multimodal.defences.registry import DEFENCES
from art_multimodal.defences.trainer import METHODS
from art_multimodal.evaluations.audit import AuditSettings, Gate, RunLog
from art_multimodal.evaluations.audit.findings.brief import brief_of
from art_multimodal.evaluations.audit.findings.next_steps import TRAINERS, TRAINING_DATA, next_steps
from art_multimodal.evaluations.audit.findings.references import protocols, references_of
from art_multimodal.evaluations.audit.findings.repeating import distance_text, repeat_of
from art_multimodal.evaluations.audit.findings.weakest import weakest_row
from art_multimodal.evaluations.smoothing.settings import AuditedSmoothing
from art_multimodal.evaluations.suite import PAIRS, RETRIEVAL, SAMPLES, ZERO_SHOT
from art_multimodal.functional.statistics import proportion_ci95
from art_multimodal.shown import shown

DOCS = Path(__file__).parents[2] / "docs"


def row(right: int, modality: str | None = None, n: int = 100, before: int = 90) -> dict[str, Any]:
    """A row of a report."""
    numbers = {"n": n, "accuracy": right / n, "accuracy_ci95": list(proportion_ci95(right, n) or ())}
    if modality is None:
        return numbers
    fooled = before - right
    rate = {
        "attack_success_rate": fooled / before,
        "attack_success_rate_ci95": list(proportion_ci95(fooled, before) or ()),
    }
    return {**numbers, "modality": modality, "knowledge": "white box", "attacked": before, **rate}


def report_of(task: str = ZERO_SHOT, data: str = "folder:photos", clean: int = 90, **rows: Any) -> dict[str, Any]:
    """As much of a report as is looked at; rows as (right, modality)."""
    results = {"clean": row(clean), **{name: row(*found) for name, found in rows.items()}}
    settings = replace(SETTINGS, model="open_clip:ViT-B-32/openai", data=data, eps=1 / 255, attacks="pgd")
    report = {
        "task": task,
        "complete": True,
        "settings": json.loads(json.dumps(settings.as_json())),
        "budget": {"norm": "inf", "eps": 1 / 255},
        "model": {"spec": settings.model},
        "data": {"spec": data, "class_names": ["a", "b"]},
        "attacks": [name for name, found in results.items() if name != "clean" and found["modality"] != name],
        "results": results,
        "flags": [],
    }
    if task == SAMPLES:
        report["by_modality"] = {"rgb": {}, "depth": {}}
    return report


# The weakest point.


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ({}, None),
        ({"pgd": (9, "image"), "image": (9, "image"), "text": (20, "text")}, "image"),
        # Who can change both can change one: that is no news, until it is worse beyond chance.
        ({"image": (9, "image"), "text": (20, "text"), "multimodal": (8, "multimodal")}, "image"),
        ({"image": (40, "image"), "text": (50, "text"), "multimodal": (8, "multimodal")}, "multimodal"),
        ({"multimodal": (8, "multimodal")}, "multimodal"),
        # Removals are no bound, and noise is nobody's attack.
        ({"image": (60, "image"), "decoupling": (0, "decoupling"), "noise": (10, "noise")}, "image"),
        ({"decoupling": (0, "decoupling"), "noise": (10, "noise")}, "decoupling"),
        ({"worst_image": (5, "worst"), "worst_text": (9, "worst"), "worst": (5, "worst")}, "worst_image"),
        # Of equals the first.
        ({"image": (9, "image"), "text": (9, "text")}, "image"),
    ],
)
def test_the_weakest_row_is_the_lowest_that_is_a_threat_by_itself(rows, expected) -> None:
    assert weakest_row(report_of(**rows)) == expected


def test_what_was_declared_and_failed_comes_before_what_is_lower() -> None:
    report = report_of(image=(9, "image"), text=(50, "text"))
    assert weakest_row(judged(report, gate("FAIL", "text"), gate("PASS", "image"))) == "text"
    assert weakest_row(judged(report, gate("FAIL", "text"), gate("FAIL", "image"))) == "image"
    assert weakest_row(judged(report, gate("WARN", "text"))) == "image"
    assert weakest_row(judged(report, gate("FAIL", "detectors"))) == "image"


# What to do next.


def test_every_trainer_that_is_named_exists_and_trains_such_models() -> None:
    assert {name for names in TRAINERS.values() for name in names} <= set(METHODS)
    for (task, _), names in TRAINERS.items():
        assert all(METHODS[name].of_fusion == (task in (PAIRS, SAMPLES)) for name in names)


FAMILIES = ("image", "text", "multimodal", "typographic", "decoupling")
OF_SAMPLES = ("rgb", "single_source", "multimodal", "modality_swap", "time_shift", "modality_missing", "decoupling")


@pytest.mark.parametrize(
    ("task", "family"),
    [*product((ZERO_SHOT, PAIRS, RETRIEVAL), FAMILIES), *product((SAMPLES,), OF_SAMPLES)],
)
def test_each_weakness_leads_to_what_is_about_it_and_to_another_audit(task: str, family: str) -> None:
    report = report_of(task, **{family: (9, family)})
    steps = next_steps(report)
    assert steps == next_steps(json.loads(json.dumps(report)))
    assert all((DOCS / one["see"].removeprefix("docs/")).is_file() for one in steps)
    said = " ".join(one["do"] for one in steps)
    assert "threat" in steps[0]["do"] and not {"will", "guarantee", "solves", "makes it robust"} & {*said.split()}
    commands = [shlex.split(one["command"]) for one in steps if one["command"]]
    trained = [command for command in commands if command[1] == "train"]
    methods = TRAINERS.get((task, "single_source" if family == "rgb" else family), ())
    assert [command[2] for command in trained] == list(methods[:1])
    if methods:
        assert commands[-1][:3] == ["art-multimodal", "audit", "checkpoint:trained"]
        assert trained[0][3] == "open_clip:ViT-B-32/openai" and TRAINING_DATA in trained[0]
    else:
        assert "No trainer or defence of this package" in said
    if family == "text" and task != SAMPLES:
        assert all(
            f"--defence {name}" in " ".join(commands[1]) for name, one in DEFENCES.items() if one.modality == "text"
        )
    assert ("--task" in trained[0]) == (task == RETRIEVAL) if trained else True


def test_training_is_on_the_split_for_it_where_there_is_one() -> None:
    for data, expected in (
        ("data:cifar10", "data:cifar10"),
        ("data:caltech101", TRAINING_DATA),
        ("csv:x.csv", TRAINING_DATA),
    ):
        train = next(one["command"] for one in next_steps(report_of(data=data, image=(9, "image"))) if one["command"])
        assert shlex.split(train)[4:6] == ["--data", expected]


def test_what_is_suspicious_or_missing_comes_first() -> None:
    flag = {"kind": "hidden_gradients", "row": "pgd", "said": "s", "certain": True}
    steps = next_steps({**report_of(image=(60, "image")), "flags": [flag]})
    assert steps[0]["do"].startswith("Measure again") and "--attacks worst" in steps[0]["command"]
    assert not next_steps({**report_of(image=(60, "image")), "flags": [{**flag, "certain": False}]})[0]["command"]
    steps = next_steps(report_of(image=(90, "image")))
    assert steps[0]["do"].startswith("Attack harder") and "--attacks worst" in steps[0]["command"]
    assert next_steps({**report_of(image=(9, "image")), "complete": False})[0]["do"].startswith("Finish the run")
    assert next_steps(report_of())[0]["do"].startswith("Attack the model")
    nothing = report_of()
    nothing["results"]["clean"] |= {"n": 0, "accuracy": None, "accuracy_ci95": None}
    assert next_steps(nothing)[-1]["do"].startswith("Look at the data")
    clean = next_steps(judged(report_of(image=(9, "image")), gate("FAIL", "clean")))
    assert shlex.split(clean[0]["command"])[:3] == ["art-multimodal", "train", "clean"]


def test_a_brief_has_the_verdict_three_numbers_the_weakest_point_and_a_step() -> None:
    report = judged(report_of(image=(9, "image"), text=(50, "text")), gate("FAIL", "image"))
    report |= {"weakest": weakest_row(report), "next_steps": next_steps(report)}
    brief = brief_of(report, str)
    assert brief.verdict == "FAIL" and [one.value for one in brief.numbers] == ["90.0 %", "9.0 %", "90.0 %"]
    assert "image" in brief.weakest and "Whoever hands in an image" in brief.weakest
    assert brief.next.startswith("Train with the method tecoa")
    nothing = report_of()
    nothing |= {"weakest": None, "next_steps": next_steps(nothing)}
    brief = brief_of(nothing, str)
    assert brief.verdict == "" and len(brief.numbers) == 1 and "Nothing was attacked" in brief.weakest
    report = report_of(image=(9, "image"))
    report["attacks"] = ["<b>"]
    report |= {"weakest": "image", "next_steps": next_steps(report)}
    assert brief_of(report, lambda text: text.upper()).weakest.startswith("Weakest point: IMAGE.")


# Published figures.


def test_every_figure_has_a_source_a_protocol_and_shares() -> None:
    unknown = {name for one in protocols() for name in one["data"]} - set(NAMED_DATA)
    # Sets that this package has no name for.
    assert unknown == {"imagenet-r", "imagenet-sketch"}
    for one in protocols():
        assert one["source"] and one["url"].startswith("https://") and one["attack"] and one["norm"] == "inf"
        assert len(set(one["data"])) == len(one["data"]) and one["task"] == ZERO_SHOT
        for figure in one["figures"]:
            assert 0 <= figure["robust"] <= figure["clean"] <= 1 and 0 < Fraction(figure["eps"]) < 1


def test_figures_stand_beside_what_was_measured_in_the_same_way() -> None:
    report = report_of(data="data:cifar10", image=(9, "image"))
    found = references_of(report)
    assert found["row"] == "image" and "none" not in found["said"]
    assert {one["eps"] for one in found["comparable"]} == {"1/255"}
    undefended = next(one for one in found["comparable"] if one["model"].startswith("CLIP"))
    assert (undefended["clean"], undefended["robust"], undefended["sets"]) == (0.6442, 0.049, 16)
    assert {"TeCoA", "FARE", "PMG-AFT", "TGA-ZSR"} <= {one["model"] for one in found["comparable"]}
    report["budget"]["eps"] = 8 / 255
    report["smaller"] = [{"name": "2/255", "eps": 2 / 255}, {"name": "4/255", "eps": 4 / 255}]
    assert {one["eps"] for one in references_of(report)["comparable"]} == {"2/255", "4/255"}
    # imagenet is a set of one protocol alone.
    assert {
        one["sets"] for one in references_of(report_of(data="data:imagenet", image=(9, "image")))["comparable"]
    } == {16}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"task": PAIRS}, "of zero-shot classification"),
        ({"data": {"spec": "data:cifar10:split=train"}}, "or of this split"),
        ({"data": {"spec": "folder:cifar10"}}, "of this data set"),
        ({"data": {"spec": "data:no-such-set"}}, "of this data set"),
        ({"budget": {"norm": "2", "eps": 0.5}}, "of the norm inf"),
        ({"budget": {"norm": "inf", "eps": 3 / 255}}, "none has a radius of the run"),
        ({"settings": {"classes": ["a", "b"]}}, "the classes of this run are others"),
        ({"results": {"text": row(9, "text")}}, "this run has none"),
    ],
)
def test_what_was_measured_in_another_way_has_none_and_says_why(change: dict[str, Any], why: str) -> None:
    report = report_of(data="data:cifar10", image=(9, "image"))
    for key, value in change.items():
        report[key] = {**report[key], **value} if isinstance(value, dict) and key != "results" else value
    found = references_of(report)
    assert found["comparable"] == [] and found["row"] is None and why in found["said"]


# How to repeat it.


@pytest.mark.parametrize("eps", [1 / 255, 8 / 255, 2.6 / 255, 0.1, 1 / 3, 0.5, 1e-5, {"rgb": 2 / 255, "depth": 0.0213}])
def test_a_radius_is_read_back_as_the_same_number(eps: Any) -> None:
    assert parse_radii([distance_text(eps)], "--eps") == [eps]


SOME = {
    "plain": SETTINGS,
    "default": AuditSettings("demo:digits", "demo:digits"),
    "texts": replace(
        SETTINGS,
        templates=('it\'s a {}, "really" $HOME',),
        classes=("zero=a nought", "one two"),
        protected_words=("red", "it's"),
        protect_class_names=False,
        max_words=2,
        top_k=5,
        language_model="demo:mlm",
    ),
    "defended": replace(SETTINGS, defences=("jpeg:quality=75", "spelling"), draws=3, native_size=True, group_size=None),
    "radii": replace(SETTINGS, eps=8 / 255, smaller_eps=(1 / 255, 0.01), eps_step=0.003, norm="inf"),
    "euclidean": replace(SETTINGS, norm="2", eps=0.5, limit=None, seed=2**60),
    "samples": VIEWS,
    "radii of samples": replace(VIEWS, smaller_eps=({"pix": 0.05, "fou": 0.01, "kar": 0.02},)),
    "smoothed": replace(
        VIEWS,
        smoothing=AuditedSmoothing(keep={"pix": 4, "fou": 20}, masks="design", budget="pix=1", attack_steps=3),
    ),
    "drawn": replace(
        VIEWS, smoothing=AuditedSmoothing(keep={"pix": 4}, masks="joint", rule="published", samples=200, alpha=0.01)
    ),
    "retrieval": AuditSettings("demo:scenes", "demo:scenes", task="retrieval", max_queries=99),
}


@pytest.mark.parametrize("kind", list(SOME))
def test_the_command_asks_for_the_same_settings(kind: str, monkeypatch, tmp_path: Path) -> None:
    """Read back by the command line itself, as far as it goes before there is work."""
    from art_multimodal import cli
    from art_multimodal.evaluations import audit

    class Asked(Exception):
        pass

    asked: list[AuditSettings] = []

    def remember(settings: AuditSettings, *others: Any) -> None:
        asked.append(settings)
        raise Asked

    settings = SOME[kind]
    repeat = repeat_of({"settings": json.loads(json.dumps(settings.as_json()))}, [Gate("clean", "accuracy", 0.25)])
    command = shlex.split(repeat["command"])
    assert command[0] == "art-multimodal" and command[-4:] == ["--fail-under", "clean.accuracy=0.25", "--out", "again"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(audit, "Audit", remember)
    assert cli.main(command[1:]) == 3
    left_out = {"batch_size"}
    told = {key: value for key, value in asked[0].as_json().items() if key not in left_out}
    assert told == {key: value for key, value in settings.as_json().items() if key not in left_out}


def test_what_does_not_fit_on_a_line_is_a_file_and_what_has_no_name_no_command() -> None:
    settings = replace(SETTINGS, templates=("a {}", "the {}"), classes=("a, b", "c")).as_json()
    repeat = repeat_of({"settings": settings})
    assert "--templates templates.txt" in repeat["command"] and "--classes classes.txt" in repeat["command"]
    assert repeat["said"].startswith("templates.txt and classes.txt: those under Protocol")
    loaded = {**settings, "data": "loaded:LabelledArrays"}
    assert (
        repeat_of({"settings": loaded})["command"] is None and "from Python" in repeat_of({"settings": loaded})["said"]
    )
    planned = repeat_of({"settings": settings, "plan": {"sha256": "ab" * 32}})
    assert planned["command"] == "art-multimodal audit --plan plan.yaml --out again" and "abab" in planned["said"]


def test_a_command_of_hostile_names_is_one_line_for_the_shell() -> None:
    name = "folder:a b'; rm -rf ~ #\n"
    command = repeat_of({"settings": replace(SETTINGS, data=name).as_json()})["command"]
    assert shlex.split(command)[3:5] == ["--data", name] and "\n" not in shown(command)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"templates": "a {}"}, "templates of the settings must be a list"),
        ({"classes": [1]}, "classes of the settings"),
        ({"limit": -1}, "limit of the settings must be a whole number"),
        ({"eps": "1/255"}, "eps of the settings must be a number"),
        ({"eps": {"rgb": []}}, "eps of the settings"),
        ({"smaller_eps": [None, "x"]}, "eps of the settings"),
        ({"native_size": 1}, "native_size of the settings must be true or false"),
        ({"smoothing_keep": [4]}, "smoothing_keep of the settings must be an object"),
    ],
)
def test_settings_of_another_form_are_refused_before_a_command_is_made_of_them(settings, message) -> None:
    header = header_of("pgd")
    with pytest.raises(ValueError, match=message):
        RunLog.check_header({**header, "settings": settings})
    RunLog.check_header({**header, "settings": {"seed": 2**62, "eps": None, "templates": None}})
    with pytest.raises(ValueError, match="began of the header must be a string"):
        RunLog.check_header({**header, "began": 5})
