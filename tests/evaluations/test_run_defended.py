"""Audits of a model behind defences: attacks that know of them beside those that do not, reports, and resuming."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audits import little_effort, logged, read_report, run_audit, timeless

from art_multimodal.cli import main
from art_multimodal.defences.registry import parse_defence
from art_multimodal.evaluations.audit import Audit, AuditSettings, RunLog, write_reports
from art_multimodal.evaluations.audit.opening import open_subject
from art_multimodal.evaluations.audit.rendering import md
from art_multimodal.evaluations.audit.sentences import sentences
from art_multimodal.evaluations.audit.work import seed_of
from art_multimodal.evaluations.suite import ATTACKS, exhaustive

#: Two defences of images and one of texts.
SETTINGS = AuditSettings(
    "demo:digits",
    "demo:digits",
    attacks="pgd,character_attack",
    eps=16 / 255,
    steps=10,
    limit=20,
    batch_size=12,
    group_size=12,
    seed=1,
    defences=("spatial_smoothing", "jpeg:quality=75", "spelling"),
)
RANDOM = replace(
    SETTINGS, attacks="pgd,decoupling_image", eps=16 / 255, limit=10, batch_size=5, group_size=5, max_queries=20,
    defences=("gaussian_augmentation:sigma=0.2",), draws=4,
)  # fmt: skip


def report_of(folder: Path, settings: AuditSettings = SETTINGS, **changes: Any) -> dict[str, Any]:
    return write_reports(Audit(replace(settings, **changes), folder, device="cpu").evaluate())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunLog:
    return run_audit(SETTINGS, tmp_path_factory.mktemp("defended") / "out")


@pytest.fixture(scope="module")
def finished_random(tmp_path_factory: pytest.TempPathFactory) -> RunLog:
    return run_audit(RANDOM, tmp_path_factory.mktemp("random") / "out")


@pytest.mark.parametrize("defence", ["spatial_smoothing", "jpeg", "feature_squeezing:bit_depth=3"])
def test_who_knows_a_defence_does_more_damage(tmp_path: Path, defence: str) -> None:
    pgd = report_of(tmp_path / "out", attacks="pgd", defences=(defence,))["results"]["pgd"]
    assert pgd["accuracy"] <= pgd["naive"]["accuracy"]
    # Eight shades stop nobody, the others only those who do not know of them.
    if "squeezing" in defence:
        assert pgd["naive"]["accuracy"] < 0.2
    else:
        assert pgd["accuracy"] + 0.2 < pgd["naive"]["accuracy"] and pgd["naive"]["accuracy"] > 0.5


def test_repaired_texts_read_digits_again(finished: RunLog, tmp_path: Path) -> None:
    defended = read_report(finished.folder)["results"]["character_attack"]
    undefended = report_of(tmp_path / "out", attacks="character_attack", defences=())["results"]["character_attack"]
    assert undefended["accuracy"] < 0.3 and "naive" not in undefended
    assert defended["accuracy"] > 0.9 and defended["naive"]["accuracy"] > 0.9
    # Words are not typing errors: replacing one is as bad as without repair.
    words = report_of(tmp_path / "words", attacks="bert_attack", defences=("spelling",))["results"]["bert_attack"]
    assert words["accuracy"] == words["naive"]["accuracy"]


def test_numbers_are_those_of_art_in_front_of_the_model(finished: RunLog) -> None:
    """Clean answers, recomputed with ART's preprocessors outside of the model."""
    subject = open_subject(replace(SETTINGS, defences=()), "cpu")
    (line, _) = [line for line in logged(finished) if line["attack"] == "clean"]
    images = subject.stack([subject.read(int(sample["index"])) for sample in line["samples"]])
    for spec in ("spatial_smoothing", "jpeg:quality=75"):
        images = parse_defence(spec).build()(images)[0]
    expected = subject.estimator.predict_labels(images)
    assert [sample["predicted"] for sample in line["samples"]] == expected.tolist()


def test_naive_attacks_are_those_on_the_model_alone(finished: RunLog) -> None:
    """What is logged as naive is what the defended model says to images that were made for the undefended one."""
    audit = Audit(SETTINGS, finished.folder, device="cpu")
    lines = {line["attack"]: line for line in logged(finished) if line["batch"] == 0}
    right = [sample for sample in lines["clean"]["samples"] if sample["predicted"] == sample["label"]]
    samples = [audit.subject.read(int(sample["index"])) for sample in right]
    x, y = audit.subject.stack(samples), audit.subject.labels(samples)
    seed = seed_of(SETTINGS.seed, "naive:pgd", 0, 0)
    attacked = ATTACKS["pgd"].prepare(audit.subject.views.naive, audit.budget)(x, y, seed)
    assert np.abs(attacked.x - x).max() <= 16 / 255 + 1e-6
    assert attacked.labels is not None and (attacked.labels != y).mean() > 0.5
    said = [sample["predicted"] for sample in lines["naive:pgd"]["samples"]]
    assert said == audit.subject.views.evaluated.predict_labels(attacked.x).tolist() != attacked.labels.tolist()


def test_rows_of_modalities_are_the_worst_of_both(finished: RunLog) -> None:
    report = read_report(finished.folder)
    assert report["complete"] and report["defences"] == [
        "spatial_smoothing:window_size=3", "jpeg:quality=75", "spelling",
    ]  # fmt: skip
    misled: dict[str, set[int]] = {"pgd": set(), "naive:pgd": set()}
    for line in logged(finished):
        if line["attack"] in misled:
            misled[line["attack"]] |= {s["index"] for s in line["samples"] if s["predicted"] != s["label"]}
    image, attacked = report["results"]["image"], report["results"]["pgd"]["attacked"]
    assert image["attack_success_rate"] == len(misled["pgd"] | misled["naive:pgd"]) / attacked
    assert image["naive"]["accuracy"] == report["results"]["pgd"]["naive"]["accuracy"]
    assert image["naive"]["attack_success_rate"] == len(misled["naive:pgd"]) / attacked


def test_both_numbers_are_on_every_page_with_the_names_of_the_defences(finished: RunLog) -> None:
    report = read_report(finished.folder)
    html, markdown = ((finished.folder / name).read_text() for name in ("report.html", "report.md"))
    row = report["results"]["pgd"]
    both = [f"{100 * share:.1f} %" for share in (row["accuracy"], row["naive"]["accuracy"])]
    line = next(line for line in markdown.splitlines() if line.startswith("| pgd |"))
    cells = [cell.strip() for cell in line.split("|")]
    assert [cells[3], cells[5]] == both
    assert f'<td data-th="accuracy">{both[0]}</td>' in html and f'<td data-th="naive">{both[1]}<br>' in html
    assert html.count('class="naive"') == len(report["results"]) - 1
    for page in (html, markdown.replace("\\", "")):
        assert page.count("spatial_smoothing:window_size=3; jpeg:quality=75; spelling") >= 2
        assert "naive" in page and "made on the model without its defences" in page
        assert f"{both[1]} instead of {100 * report['results']['image']['accuracy']:.1f} %" in page
    assert "random_defences" not in report["protocol"]


def test_what_is_stronger_without_knowing_is_called_weak(finished: RunLog) -> None:
    report = read_report(finished.folder)
    assert not any("weak attack" in sentence for sentence in sentences(report, str))
    row = report["results"]["pgd"]
    row["naive"] = {**row["naive"], "accuracy_ci95": [0.0, row["accuracy"] - 0.01]}
    assert next(s for s in sentences(report, str) if "weak attack" in s).startswith("pgd leaves more")


@pytest.mark.parametrize(("kind", "cuts"), [("finished", ((0, 0), (7, 0))), ("finished_random", ((2, 30),))])
def test_resumed_between_passes(request, tmp_path: Path, kind: str, cuts: tuple[tuple[int, int], ...]) -> None:
    log = request.getfixturevalue(kind)
    whole = (log.folder / "log.jsonl").read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    assert len(ends) == 2 * 5
    for line, behind in cuts:
        folder = tmp_path / str(line)
        shutil.copytree(log.folder, folder)
        (folder / "log.jsonl").write_bytes(whole[: ends[line] + behind])
        settings = SETTINGS if kind == "finished" else RANDOM
        again = Audit(settings, folder, device="cpu").evaluate(resume=True)
        assert timeless(write_reports(again)) == timeless(read_report(log.folder))


def test_other_defences_are_another_run(finished: RunLog, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "out"
    shutil.copytree(finished.folder, folder)
    arguments = ["audit", "demo:digits", "--data", "demo:digits", "--attacks", "pgd,character_attack", "--out"]
    arguments += [
        str(folder),
        "--eps",
        "16/255",
        "--limit",
        "20",
        "--batch-size",
        "12",
        "--group-size",
        "12",
        "--seed",
        "1",
        "--resume",
    ]
    arguments += ["--defence", "spatial_smoothing:window_size=3", "--defence", "jpeg:quality=75"]
    before = (folder / "log.jsonl").read_bytes()
    assert main(arguments) == 2
    assert "defences: ['spatial_smoothing" in capsys.readouterr().err
    assert main([*arguments, "--defence", "spelling"]) == 0
    printed = capsys.readouterr().out
    assert max(len(line) for line in printed.splitlines() if str(tmp_path) not in line) <= 80
    assert "defences: spatial_smoothing:window_size=3; jpeg:quality=75; spelling" in printed
    assert (folder / "log.jsonl").read_bytes() == before


def test_of_random_defences_most_draws_count(finished_random: RunLog, tmp_path: Path) -> None:
    report = read_report(finished_random.folder)
    assert report["complete"] and "4 draws" in report["protocol"]["random_defences"]
    clean, pgd = report["results"]["clean"], report["results"]["pgd"]
    assert clean["accuracy"] > 0.5 > pgd["accuracy"]
    # Four draws of each step and two attacks at least, besides what is scored.
    assert pgd["queries"] >= 4 * RANDOM.steps and pgd["gradients"] >= 4 * RANDOM.steps
    # The draws come from the seed, and no global generator is left in another state.
    np.random.seed(5)
    state = np.random.get_state()[1].copy()
    assert timeless(report_of(tmp_path / "again", RANDOM)) == timeless(report)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    audit = Audit(RANDOM, tmp_path / "votes", device="cpu")
    answers = iter(np.array([[3, 3, 1], [3, 5, 1], [4, 3, 1], [4, 5, 2]]))
    votes = audit.subject.voted(lambda: next(answers), np.array([3, 3, 1]))
    # 3 and 4 tie, and so do 3 and 5: both count against the model; 1 has three of four.
    assert votes.tolist() == [4, 5, 1]


def test_of_pairs_and_of_retrieval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exhaustive, "MOST_TEXTS_OF_A_SAMPLE", 300)
    small = {"eps": 8 / 255, "steps": 2, "limit": 8, "batch_size": 8, "max_queries": 20}
    with little_effort():
        pairs = report_of(
            tmp_path / "pairs",
            AuditSettings("demo:shapes", "demo:shapes", attacks="art_pgd,character_attack,worst_text", **small),
            defences=("jpeg", "gaussian_augmentation:sigma=0.05", "unicode", "spelling"),
            draws=2,
        )
    found = report_of(
        tmp_path / "retrieval",
        AuditSettings("demo:scenes", "demo:scenes", task="retrieval", attacks="pgd,co_attack", **small),
        defences=("gaussian_augmentation:sigma=0.05", "spelling"),
        draws=2,
    )
    for report in (pairs, found):
        assert report["complete"]
        for name in report["attacks"]:
            row = report["results"][name]
            assert row["naive"]["attacked"] == row["attacked"] > 0
    assert found["results"]["pgd"]["naive"]["n"] == 8
    assert "what is found is found by the mean" in found["protocol"]["random_defences"]


def test_models_side_by_side_have_both_numbers(tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    arguments = [
        "audit",
        "demo:shapes",
        "demo:shapes/concat",
        "--data",
        "demo:shapes",
        "--attacks",
        "art_pgd",
        "--limit",
    ]
    arguments += ["8", "--eps", "16/255", "--steps", "2", "--defence", "jpeg", "--out", str(out)]
    assert main(arguments) == 0
    report = read_report(out)
    for name in ("report.html", "report.md"):
        page = (out / name).read_text()
        assert "defences jpeg:quality=50" in page
        for entry in report["models"]:
            naive = entry["report"]["results"]["art_pgd"]["naive"]
            assert f"naive {100 * naive['accuracy']:.1f} %" in page


def test_hostile_names_of_files_are_escaped(tmp_path: Path) -> None:
    words = tmp_path / "<b>| `x` [y](z) {{ 7*7 }}.txt"
    words.write_text("a photo of the handwritten digit zero one two three four five six seven eight nine")
    folder = tmp_path / "out"
    report_of(folder, attacks="pgd", limit=4, defences=(f"spelling:vocabulary={words}",))
    html, markdown = ((folder / name).read_text() for name in ("report.html", "report.md"))
    assert "<b>" not in html + markdown and "49.txt" not in html + markdown
    assert "&lt;b&gt;| `x`" in html and md(words.name) in markdown
    assert json.loads((folder / "run.json").read_text())["defences"] == [f"spelling:vocabulary={words}"]
