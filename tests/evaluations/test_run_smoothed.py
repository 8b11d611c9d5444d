"""The smoothed model in an audit: its certificates beside an attack on it, runs that go on, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import several
from audits import header_of, line_of, one_thread, read_report, run_audit, timeless, typed_lines

from art_multimodal.datasets import LabelledSampleArrays
from art_multimodal.errors import InputError
from art_multimodal.estimators.certification import AblatedEnsemble
from art_multimodal.evaluations.audit import Audit, AuditSettings, RunLog, write_reports
from art_multimodal.evaluations.audit.summary import summarise
from art_multimodal.evaluations.certification import CertificateBroken, Certification, CertificationSettings
from art_multimodal.evaluations.smoothing.settings import AuditedSmoothing

COUNT = 9
NOTES = ("a red cat", "red cat", "what is this?", "a cat", "blue sky", "one two three")
ROWS = ("smoothed", "vote_flipping", "certified")
KEEP = {"rgb": 1, "note": 1}
DIGITS: dict[str, Any] = {"model": "demo:digits", "data": "demo:digits", "attacks": "pgd"}
SHAPES: dict[str, Any] = {"model": "demo:shapes/late", "data": "demo:shapes", "attacks": "art_pgd"}


def samples() -> np.ndarray:
    lengths = [several.LENGTHS[row % 6] for row in range(COUNT)]
    return several.make_samples(lengths=lengths, notes=[NOTES[row % 6] for row in range(COUNT)], seed=3)


def of_several(kind: str, seed: int = 0) -> dict[str, Any]:
    """A tiny model over four modalities, and data that it has right but for some."""
    model, x = several.make(kind, seed=seed), samples()
    labels = several.FusionClassifier(model, device_type="cpu").predict(x).argmax(axis=1)
    labels[:2] = (labels[:2] + 1) % 3
    data = LabelledSampleArrays(x, labels, several.ANSWERS)
    return {"model": model, "data": data, "attacks": "modality_swap"}


def smoothing(**changes: Any) -> AuditedSmoothing:
    given = {"keep": KEEP, "elements": {"rgb": "blocks:3"}, "budget": "note=1", "attack_steps": 2, **changes}
    return AuditedSmoothing(**given)


def settings(of: dict[str, Any], smoothed: AuditedSmoothing, **changes: Any) -> AuditSettings:
    given = {"steps": 1, "group_size": 4, "batch_size": 16, "limit": None, **of, **changes}
    return AuditSettings(**given, smoothing=smoothed)


def said(log: RunLog, name: str) -> dict[int, Any]:
    return {one.index: one for line in log.lines() if line.attack == name for one in line.samples}


@pytest.fixture(scope="module", autouse=True)
def alone() -> Any:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunLog:
    return run_audit(settings(of_several("late"), smoothing()), tmp_path_factory.mktemp("smoothed") / "run")


@pytest.mark.parametrize(
    ("of", "smoothed", "changes", "some"),
    [
        (of_several("concat", 1), smoothing(keep={"rgb": 1}, budget="rgb=1", masks="all"), {"seed": 1}, True),
        (of_several("joint", 2), smoothing(masks="design"), {"seed": 2}, False),
        (of_several("gated", 3), smoothing(attack_steps=4), {"seed": 3}, True),
        (of_several("late", 4), smoothing(budget="sticker:rgb=2,note=1"), {"seed": 4}, False),
        (
            of_several("late", 4),
            smoothing(keep={"note": 1}, elements={}, masks="all", edits="any", attack_steps=1),
            {"limit": 5},
            True,
        ),
        (DIGITS, smoothing(keep={"image": 4}, elements={}, budget="image=1"), {"limit": 5}, False),
        (DIGITS, smoothing(keep={"image": 4}, elements={}, budget="image=3", masks="design"), {"limit": 5}, False),
        (
            SHAPES,
            smoothing(keep={"image": 8, "text": 2}, elements={"image": "blocks:8"}, budget="text=1"),
            {"limit": 5, "seed": 5},
            False,
        ),
    ],
    ids=lambda value: "",
)
def test_nothing_that_is_certified_falls(of, smoothed, changes, some, tmp_path: Path) -> None:
    chosen = settings(of, smoothed, **changes)
    log = run_audit(chosen, tmp_path / "run")
    before, after, report = said(log, "smoothed"), said(log, "vote_flipping"), read_report(log.folder)
    assert before.keys() == said(log, "clean").keys() and after.keys() == {i for i, one in before.items() if one.right}
    certified = {index for index, one in before.items() if one.right and one.detail.certified}
    unbroken = {index for index, one in after.items() if one.right}
    assert certified <= unbroken <= {index for index, one in before.items() if one.right}
    results = report["results"]
    # Not empty where the numbers of elements allow any certificate.
    assert certified or not some
    shares = [results[name]["accuracy"] for name in ROWS]
    assert shares == [len(found) / len(before) for found in (after, unbroken, certified)]
    assert list(results)[-3:] == list(ROWS) and report["complete"]
    assert results["vote_flipping"]["broken_certificates"] == 0


def test_numbers_are_those_of_a_certification(finished: RunLog, tmp_path: Path) -> None:
    of = of_several("late")
    other = CertificationSettings(
        model=of["model"], data=of["data"], keep=KEEP, elements={"rgb": "blocks:3"}, budgets=("note=1",)
    )
    log = Certification(other, tmp_path / "run", device="cpu").evaluate()
    own = said(finished, "smoothed")
    for line in log.lines():
        for one in line.samples if line.row == "certified" else ():
            assert own[one.index].verdict.predicted == one.predicted
            assert own[one.index].detail.certified == one.holds_within((0, 1), "modify")
    assert {one.detail.certified for one in own.values()} == {True, False}
    report = read_report(finished.folder)
    assert report["smoothing"]["budget"]["name"] == "rgb=0,note=1"
    assert report["smoothing"]["seen_whole"] == ["audio", "lab"] and report["smoothing"]["exact"]
    assert report["smoothing"]["elements"]["rgb"] == log.header["elements"]["rgb"]


def test_all_reports_have_its_rows_and_say_what_they_mean(finished: RunLog) -> None:
    results = read_report(finished.folder)["results"]
    for page in ("report.html", "report.md"):
        text = (finished.folder / page).read_text()
        for name in ROWS:
            assert name.replace("_", "\\_") in text or name in text
        assert f"{100 * results['certified']['accuracy']:.1f} % stay right" in text
        assert "1 element of note" in text and "always seen whole" in text
        assert "certified (worst case)" not in text and "the same answer to every sample would be right for" in text


def test_a_run_that_was_cut_anywhere_ends_with_the_same_lines_and_report(finished: RunLog, tmp_path: Path) -> None:
    whole = (finished.folder / "log.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    ends = np.cumsum([len(line) for line in lines]).tolist()
    places = [number for number, line in enumerate(lines) if json.loads(line)["attack"] in ROWS]
    assert len(places) == 2 * 3
    job = Audit(settings(of_several("late"), smoothing()), tmp_path / "run", device="cpu")
    for number, cut in enumerate((0, ends[places[0]] - 9, ends[places[0]], ends[places[3]], ends[-1])):
        job.out = tmp_path / str(number)
        shutil.copytree(finished.folder, job.out)
        (job.out / "log.jsonl").write_bytes(whole[:cut])
        assert timeless(write_reports(job.evaluate(resume=True))) == timeless(read_report(finished.folder)), cut
    other = Audit(settings(of_several("late"), smoothing(budget="rgb=2")), tmp_path / "1", device="cpu")
    with pytest.raises(InputError, match="smoothing_budget: note=1 then, rgb=2 now"):
        other.evaluate(resume=True)


def test_what_several_processes_left_is_put_together(finished: RunLog, tmp_path: Path) -> None:
    whole = (finished.folder / "log.jsonl").read_bytes().splitlines(keepends=True)
    out, each = tmp_path / "run", len(whole) // 3
    shutil.copytree(finished.folder, out)
    (out / "log.jsonl").write_bytes(b"".join(whole[each : each + 2]))
    (out / "log.0.jsonl").write_bytes(b"".join(whole[:each]))
    (out / "log.1.jsonl").write_bytes(b"".join(whole[2 * each : -1]))
    job = Audit(settings(of_several("late"), smoothing()), out, device="cpu")
    assert timeless(write_reports(job.evaluate(resume=True))) == timeless(read_report(finished.folder))
    found = [timeless(json.loads(line)) for line in (out / "log.jsonl").read_text().splitlines()]
    assert found == [timeless(json.loads(line)) for line in whole]


def test_passes_of_the_model_change_nothing(finished: RunLog, tmp_path: Path) -> None:
    log = run_audit(settings(of_several("late"), smoothing(), batch_size=5), tmp_path / "run")
    own, other = (read_report(one.folder)["results"] for one in (finished, log))
    for name in ROWS:
        assert {**timeless(own[name]), "queries": 0} == {**timeless(other[name]), "queries": 0}


def test_an_attack_that_breaks_a_certificate_stops_the_run(tmp_path: Path, monkeypatch) -> None:
    real = AblatedEnsemble.predict

    def another(self: Any, x: np.ndarray) -> np.ndarray:
        """What is asked after an attack alone: as if each answer had been turned."""
        return np.roll(real(self, x), 1, axis=1)

    monkeypatch.setattr(AblatedEnsemble, "predict", another)
    job = Audit(settings(of_several("late"), smoothing()), tmp_path / "run", device="cpu")
    with pytest.raises(CertificateBroken, match="within rgb=0,note=1 the answer . is certified"):
        job.evaluate()


def test_of_votes_at_random_broken_certificates_are_counted(tmp_path: Path) -> None:
    drawn = smoothing(masks="independent", samples=60, choosing=10, alpha=0.2)
    report = read_report(run_audit(settings(of_several("late"), drawn), tmp_path / "run").folder)
    assert not report["smoothing"]["exact"] and "for a chance of 0.2 for each sample" in report["protocol"]["certified"]
    assert report["results"]["certified"]["accuracy"] <= report["results"]["smoothed"]["accuracy"]
    header = {**header_of("pgd", listed=2), "smoothing": report["smoothing"], "defences": []}
    clean = line_of("clean", 0, {"index": 0}, {"index": 1})
    silent = {"index": 1, "certified": False, "predicted": -1}
    smoothed = line_of("smoothed", 0, {"index": 0, "certified": True}, silent)
    lines = [clean, line_of("pgd", 0, {"index": 0}, {"index": 1}), smoothed]
    flipped = line_of("vote_flipping", 0, {"index": 0, "predicted": 1})
    found = summarise(header, typed_lines(header, *lines, flipped))
    assert found["complete"] and found["results"]["vote_flipping"]["broken_certificates"] == 1
    assert found["results"]["smoothed"]["abstained"] == 0.5 == found["results"]["certified"]["accuracy"]
    assert not summarise(header, typed_lines(header, *lines))["complete"]


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ({}, "a sample of the smoothed model has no certified"),
        ({"certified": 1}, "certified of a sample must be true or false"),
        ({"certified": True, "predicted": -1}, "something is certified about no answer"),
        ({"certified": False, "predicted": -2}, "predicted of a sample"),
        ({"certified": False, "predicted": 3}, "predicted of a sample"),
    ],
)
def test_lines_that_no_run_writes_are_refused(sample: dict[str, Any], message: str) -> None:
    header = {**header_of("pgd"), "smoothing": {"budget": {}, "elements": {}, "exact": True}}
    with pytest.raises(ValueError, match=message):
        typed_lines(header, line_of("smoothed", 0, {"index": 0, **sample}))
    with pytest.raises(ValueError, match="is none of the attacks of the run"):
        typed_lines(header_of("pgd"), line_of("smoothed", 0, {"index": 0, "certified": True}))
    with pytest.raises(ValueError, match="predicted of a sample"):
        typed_lines(header, line_of("vote_flipping", 0, {"index": 0, "predicted": -1}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"smoothed": {"budget": "depth=1"}}, "Unknown modality for --certify-budget 'depth'"),
        ({"smoothed": {"budget": "audio=1"}}, "nothing of audio is hidden, so no change of it can be certified"),
        ({"smoothed": {"budget": "rgb=99"}}, "--certify-budget rgb=99: 99 of rgb are more than any sample has"),
        ({"smoothed": {"budget": "rgb"}}, "--certify-budget 'rgb' is not of the form"),
        ({"smoothed": {"keep": {"rgb": 99}}}, "keep is 99 for rgb"),
        ({"smoothed": {"keep": {}}}, "keep names at least one modality"),
        ({"smoothed": {"masks": "none"}}, "Unknown kind of masks 'none'"),
        ({"smoothed": {"attack_steps": 0}}, "attack steps"),
        ({"smoothed": {"alpha": 0.1}}, "--alpha is of masks that are drawn at random"),
        ({"model": "demo:scenes", "data": "demo:scenes", "task": "retrieval"}, "are of classifiers: leave them out"),
        (
            {**DIGITS, "smoothed": {"keep": {"image": 4}, "elements": {}}, "defences": ("gaussian_augmentation",)},
            "a defence draws at random",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_before_any_work(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    given = {**of_several("late"), **changes}
    smoothed = given.pop("smoothed", {})
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        Audit(settings(given, smoothing(**{"budget": "", **smoothed})), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_defences_that_draw_nothing_are_part_of_what_is_smoothed(tmp_path: Path) -> None:
    smoothed = smoothing(keep={"image": 4}, elements={}, budget="image=1")
    log = run_audit(settings(DIGITS, smoothed, limit=4, defences=("jpeg:quality=75",)), tmp_path / "run")
    before, after = said(log, "smoothed"), said(log, "vote_flipping")
    assert all(after[index].right for index, one in before.items() if one.right and one.detail.certified)
    assert read_report(log.folder)["complete"]
