"""Audits of a model behind a defence that computes at test time: attacked through, naively, and the worst of both."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from named_defences import written

from art_multimodal.attacks.evasion import AlarmEvasion, ProjectedGradientDescentDualEncoder
from art_multimodal.defences.registry import DEFENCES, parse_defence
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit import Audit, AuditSettings, write_reports
from art_multimodal.evaluations.audit.opening import open_subject
from art_multimodal.evaluations.audit.plan import plan_of
from art_multimodal.evaluations.suite import Budget, entry_of

pytestmark = pytest.mark.usefixtures("little_effort")

TEST_TIME = [name for name, entry in DEFENCES.items() if entry.test_time]
SETTINGS = AuditSettings(
    "demo:digits",
    "demo:digits",
    attacks="pgd,apgd_dlr,square",
    eps=6 / 255,
    steps=4,
    max_queries=15,
    limit=8,
    batch_size=8,
    group_size=8,
    seed=2,
    draws=2,
    defences=("ttc",),
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("test_time") / "out"
    return write_reports(Audit(SETTINGS, folder, device="cpu").evaluate()) | {"folder": folder}


def test_rows_are_attacked_through_and_naive_and_the_row_of_images_is_the_worst(report) -> None:
    results = report["results"]
    assert set(results) >= {"clean", "pgd", "apgd_dlr", "square", "image"}
    for name in ("pgd", "apgd_dlr", "square"):
        assert results["image"]["accuracy"] <= min(results[name]["accuracy"], results[name]["naive"]["accuracy"])
    assert results["image"]["accuracy"] <= results["clean"]["accuracy"]


def test_header_and_protocol_name_the_defence_and_what_it_costs(report) -> None:
    header = json.loads((report["folder"] / "run.json").read_text(encoding="utf-8"))
    assert header["defences"] == [parse_defence("ttc").spec]
    said = json.dumps(report.get("protocol", header))
    assert "4 forward and 2 backward passes" in said and "expectation over 2 draws" in said
    flags = report["results"]["pgd"]["flags"]
    assert flags["checked"] > 0 and "random_verdicts" in flags and flags["random"] == 0


def test_who_answers_draws_otherwise_than_who_is_attacked() -> None:
    views = open_subject(SETTINGS, "cpu").views
    evaluated, adaptive = views.evaluated.test_time_defence, views.adaptive.test_time_defence
    assert views.naive.test_time_defence is None and views.draws == 1 and views.passes == (4, 8)
    assert (evaluated.seed, adaptive.seed, evaluated.draws, adaptive.draws) == (2, 3, 1, 2)
    fixed = open_subject(replace(SETTINGS, defences=("purification", "spelling")), "cpu").views
    assert fixed.adaptive is fixed.evaluated and fixed.passes == (1, 1)


def test_a_plan_counts_the_passes_of_the_defence(tmp_path: Path) -> None:
    plan, bare = (
        {one.name: one for one in plan_of(Audit(settings, tmp_path / "out", device="cpu")).passes}
        for settings in (SETTINGS, replace(SETTINGS, defences=()))
    )
    assert plan["clean"].forward == 4 * bare["clean"].forward
    assert plan["square"].forward == 8 * bare["square"].forward
    assert plan["naive:square"].forward == bare["square"].forward


@pytest.mark.parametrize("name", TEST_TIME)
def test_every_defence_is_written_in_full_and_made(name: str, tmp_path: Path) -> None:
    spec = written(name, tmp_path)
    defence = parse_defence(spec)
    assert parse_defence(defence.spec) == defence and name in DEFENCES[name].form(name)
    made = defence.build()
    assert made.random == defence.entry.random
    assert all(
        made.params[key] == value for key, value in defence.options.items() if not defence.entry.options[key].is_file
    )
    # What a listing shows is the default, to the last digit.
    assert defence.files or parse_defence(DEFENCES[name].form(name)) == parse_defence(name)
    separator = "," if ":" in spec else ":"
    assert parse_defence(f"{spec}{separator}gradient=bpda").build().gradient == "bpda"


def test_fractions_and_words_as_options() -> None:
    assert parse_defence("ttc:eps=4/255").options["eps"] == pytest.approx(4 / 255)
    # Echoed as one writes it, and read as the same number.
    assert parse_defence("ttc").spec.startswith("ttc:eps=4/255,") and "threshold=0.2," in parse_defence("ttc").spec
    for eps in ("8/255", "0.03137254901960784", "0.2", "0", "1", "0.031", "1/3", "254/255"):
        defence = parse_defence(f"ttc:eps={eps}")
        assert parse_defence(defence.spec) == defence
    assert parse_defence("ttc:eps=0.03137254901960784").spec.startswith("ttc:eps=8/255,")
    for spec, message in (
        ("tcc", "Unknown defence 'tcc'. Did you mean ttc"),
        ("ttc:eps=4/0", "eps of ttc must be a number from 0 to 1, not '4/0'"),
        ("ttc:gradient=smooth", "gradient of ttc must be unrolled or bpda, not 'smooth'"),
        ("dbd:kept=32", "kept of dbd must be a number from 1 to 31, not 32"),
        ("tapt", "The defence tapt needs statistics=FILE: what clean images look like in the model's layers, which"),
        ("tapt:views=4", "tapt needs statistics=FILE"),
    ):
        with pytest.raises(InputError) as error:
            parse_defence(spec)
        assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"defences": ("ttc", "et3")}, "ttc computes at test time and stands alone in front of images; ttc, et3"),
        ({"defences": ("jpeg", "ttc")}, "stands alone in front of images; jpeg, ttc"),
        ({"model": "demo:shapes", "data": "demo:shapes"}, "demo:shapes is a fusion model: ttc computes at test time"),
        (
            {"model": "demo:scenes", "data": "demo:scenes", "task": "retrieval"},
            "Retrieval looks for texts of images: ttc computes at test time",
        ),
        ({"defences": ("r_tpt",), "templates": ("{}",)}, "give templates that begin with some"),
    ],
)
def test_what_does_not_go_together(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        open_subject(replace(SETTINGS, **changes), "cpu")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("attacks", "message"),
    [
        ("bert_attack", "bert_attack does not go with a defence that computes at test time (TestTimeCounterattack)"),
        ("decoupling", "decoupling does not go with a defence"),
        ("pdg", "pgd"),
        ("", "No attack was named"),
    ],
)
def test_attacks_that_need_more_than_scores_are_refused(tmp_path: Path, attacks: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        Audit(replace(SETTINGS, attacks=attacks), tmp_path / "out", device="cpu")
    assert message in str(error.value)


def test_all_attacks_on_images_are_the_default(tmp_path: Path) -> None:
    audit = Audit(replace(SETTINGS, attacks=None), tmp_path / "out", device="cpu")
    assert {"pgd", "art_pgd", "apgd", "apgd_dlr", "pgd_targeted", "square"} <= set(audit.attacks)
    assert all(entry_of(name).modality == "image" for name in audit.attacks)
    worst = Audit(replace(SETTINGS, attacks="worst"), tmp_path / "w", device="cpu")
    assert worst.attacks == ("worst_image",)
    # What is about the defence is nothing for those who do not know of it.
    assert {"bpda", "alarm"} <= set(audit.passes) and not {"naive:bpda", "naive:alarm"} & set(audit.passes)
    own, bare = (list(worst.prepared[name].members) for name in ("worst_image", "naive:worst_image"))
    assert own == ["apgd", "pgd_targeted", "bpda", "alarm", "square"] and bare == ["apgd", "pgd_targeted", "square"]


def test_an_attack_on_an_alarm_needs_one(tmp_path: Path) -> None:
    settings = replace(SETTINGS, attacks="image", defences=("purification",))
    audit = Audit(settings, tmp_path / "out", device="cpu")
    assert "bpda" in audit.attacks and "alarm" not in audit.attacks
    notes = [note for note in audit.header()["notes"] if note.startswith("NOT RUN")]
    assert notes == [
        "NOT RUN: alarm, which need a defence that looks whether an image is attacked, and Purification treats all "
        "images alike"
    ]
    with pytest.raises(InputError, match="NOT RUN: alarm, which need a defence that looks"):
        Audit(replace(settings, attacks="alarm"), tmp_path / "alone", device="cpu")
    worst = Audit(replace(settings, attacks="worst"), tmp_path / "worst", device="cpu")
    assert "alarm" not in worst.prepared["worst_image"].members


def test_what_is_about_a_defence_is_not_run_without_one(tmp_path: Path) -> None:
    bare = replace(SETTINGS, defences=())
    audit = Audit(replace(bare, attacks="pgd,bpda,alarm"), tmp_path / "out", device="cpu")
    assert audit.attacks == ("pgd",)
    notes = [note for note in audit.header()["notes"] if note.startswith("NOT RUN")]
    assert notes == [
        "NOT RUN: bpda, alarm, which need a defence that computes at test time (--defence ttc, for example)"
    ]
    for attacks in ("image", "worst"):
        whole = Audit(replace(bare, attacks=attacks), tmp_path / attacks, device="cpu")
        assert not {"bpda", "alarm"} & set(whole.attacks) and not any(
            "NOT RUN" in one for one in whole.header()["notes"]
        )
    with pytest.raises(InputError, match="NOT RUN: bpda, which need a defence that computes at test time"):
        Audit(replace(bare, attacks="bpda"), tmp_path / "alone", device="cpu")


def test_they_are_the_attacks_of_their_names(digits_classifier, digits_images) -> None:
    defence = parse_defence("ttc").build()
    defended = digits_classifier.with_test_time_defence(defence)
    x, y = digits_images[0][:3], digits_images[1][:3]
    budget = Budget("inf", 6 / 255, 3 / 255, 2, 10, 3)
    options = {"eps": 6 / 255, "eps_step": 3 / 255, "max_iter": 2, "seed": 4, "batch_size": 3, "verbose": False}
    constant = digits_classifier.with_test_time_defence(defence.with_params(gradient="bpda"))
    for name, attack in (
        ("bpda", ProjectedGradientDescentDualEncoder(constant, **options)),
        ("alarm", AlarmEvasion(defended, **options)),
    ):
        found = entry_of(name).run(defended, x, y, budget, 4)
        np.testing.assert_array_equal(found.x, attack.generate(x, y))
        np.testing.assert_array_equal(found.labels, defended.predict_labels(found.x))


def test_attacks_that_see_labels_alone_ask_the_defended_model(tmp_path: Path) -> None:
    settings = replace(SETTINGS, attacks="decision,noise", defences=("purification",), limit=4, max_queries=10, eps=0.5)
    report = write_reports(Audit(settings, tmp_path / "out", device="cpu").evaluate())
    results = report["results"]
    assert list(results) == ["clean", "noise", "hop_skip_jump", "sign_opt", "decision"]
    for name in ("hop_skip_jump", "sign_opt"):
        assert 0 < results[name]["queries"] <= 10 and results[name]["gradients"] == 0
    # Within half of the grey scale a random image misleads, so that there is something to find.
    assert results["decision"]["accuracy"] < results["clean"]["accuracy"]


def test_the_answers_do_not_depend_on_batches(tmp_path: Path) -> None:
    settings = replace(SETTINGS, attacks="pgd", defences=("resize_pad",), limit=6, steps=2)
    found = [
        write_reports(Audit(replace(settings, batch_size=size), tmp_path / str(size), device="cpu").evaluate())
        for size in (2, 6)
    ]
    numbers = [[of["results"][row]["accuracy"] for row in ("clean", "pgd", "image")] for of in found]
    np.testing.assert_array_equal(*numbers)
