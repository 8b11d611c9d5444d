"""A certification from end to end: its numbers, its controls, going on after a kill, and attacks beside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import several
from audits import timeless

from art_multimodal import FusionClassifier
from art_multimodal.ablation import elements_of
from art_multimodal.attacks.evasion.vote_flipping import VoteFlippingAttack
from art_multimodal.datasets import LabelledSampleArrays
from art_multimodal.errors import InputError
from art_multimodal.estimators.certification import AblatedEnsemble, Independent, ModalityVote, Partition
from art_multimodal.evaluations.certification import (
    CertificateBroken,
    Certification,
    CertificationLog,
    CertificationSettings,
    EmpiricalAttack,
    write_reports,
)

COUNT = 11
KEEP = {"rgb": 2, "lab": 2, "note": 1}
NOTES = ("a red cat", "red cat", "what is this?", "a cat", "blue sky", "one two three")


def samples(count: int = COUNT) -> np.ndarray:
    lengths = [several.LENGTHS[row % 6] for row in range(count)]
    return several.make_samples(lengths=lengths, notes=[NOTES[row % 6] for row in range(count)], seed=3)


def model() -> Any:
    return several.separate("late", seed=1)


def data(count: int = COUNT, wrong: int = 3) -> LabelledSampleArrays:
    """Labels are what the model says, but for some."""
    x = samples(count)
    labels = FusionClassifier(model(), device_type="cpu").predict(x).argmax(axis=1)
    labels[:wrong] = (labels[:wrong] + 1) % 3
    return LabelledSampleArrays(x, labels, several.ANSWERS)


def settings(**changes: Any) -> CertificationSettings:
    given: dict[str, Any] = {"elements": {"rgb": "blocks:3"}, "batch_size": 7, "group_size": 4, "seed": 2}
    given |= {"keep": KEEP, "budgets": ("rgb=1,note=1", "sticker:rgb=4"), **changes}
    return CertificationSettings(model=model(), data=data(), **given)


def certify(out: Path, attacks: Any = (), **changes: Any) -> CertificationLog:
    return Certification(settings(**changes), out, device="cpu", attacks=attacks).evaluate()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> CertificationLog:
    log = certify(tmp_path_factory.mktemp("certified") / "run")
    write_reports(log)
    return log


def read_report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())


def by_budget(name: str) -> dict[str, int]:
    return {of: int(number) for of, number in (part.split("=") for part in name.split(","))}


def ensemble(keep: Mapping[str, int]) -> AblatedEnsemble:
    known = {one.name: one for one in several.modalities()}
    elements = {name: elements_of(known[name], "blocks:3" if name == "rgb" else "") for name in keep}
    classifier = FusionClassifier(model(), device_type="cpu")
    return AblatedEnsemble(classifier, elements, Partition(keep))


def test_numbers_are_those_of_the_ensembles_asked_by_hand(finished: CertificationLog) -> None:
    report, x, y = read_report(finished.folder), samples(), data().labels
    controls = {f"without_{name}": {**KEEP, name: 0} for name in KEEP}
    assert list(report["results"]) == ["model", "certified", *controls, "vote_majority", "vote_median", "constant"]
    assert report["complete"] and not report["skipped"]
    for row, keep in {"certified": KEEP, **controls}.items():
        found = ensemble(keep).certify(x)
        result = report["results"][row]
        assert result["n"] == COUNT and result["accuracy"] == np.mean(found.predictions == y)
        # Every combination up to the largest numbers: a patch of 4 x 4 pixels touches 4 blocks, of 2 groups.
        assert len(result["certified"]) == 3 * 1 * 2 and list(result["certified"])[-1] == "rgb=2,lab=0,note=1"
        for name, share in result["certified"].items():
            budget = by_budget(name)
            right = [
                one.prediction == label and one.covers({of: min(budget[of], one.counts[of]) for of in budget})
                for one, label in zip(found, y, strict=True)
            ]
            assert share["accuracy"] == np.mean(right) and share["n"] == COUNT
            low, high = share["accuracy_ci95"]
            assert low <= share["accuracy"] <= high
    voted = ModalityVote(FusionClassifier(model(), device_type="cpu"), "majority").certify(x)
    alone = [[one.covers({name: 1}) for name in ("rgb", "audio", "lab", "note")] for one in voted]
    right = (voted.predictions == y)[:, None] & np.array(alone)
    result = report["results"]["vote_majority"]
    assert result["any_one"]["accuracy"] == right.all(axis=1).mean()
    assert [of["accuracy"] for of in result["replaced"].values()] == right.mean(axis=0).tolist()
    # What is changed of a modality counts as all of it.
    assert result["certified"]["rgb=2,lab=0,note=0"]["accuracy"] == right[:, 0].mean()
    constant = report["results"]["constant"]
    assert constant["accuracy"] == np.bincount(y).max() / COUNT
    assert {share["accuracy"] for share in constant["certified"].values()} == {constant["accuracy"]}
    assert report["results"]["model"]["accuracy"] == (COUNT - 3) / COUNT


def test_the_log_says_what_was_voted_and_how_far_it_holds(finished: CertificationLog) -> None:
    found = {one.index: one for line in finished.lines() if line.row == "certified" for one in line.samples}
    expected = ensemble(KEEP).certify(samples())
    for index, one in enumerate(expected):
        logged = found[index]
        assert logged.predicted == one.prediction and logged.counts == tuple(one.counts.values())
        assert logged.corners == one.frontier.corners and logged.name == f"sample {index}"
        assert {int(of): votes for of, votes in logged.votes.items()} == {
            of: votes for of, votes in enumerate(one.votes) if votes
        }
    passes = [line.passes for line in finished.lines() if line.row == "certified"]
    assert all(of["votes"] > 0 for of in passes) and len(passes) == 3


def test_a_run_that_was_cut_anywhere_ends_with_the_same_lines_and_report(
    finished: CertificationLog, tmp_path: Path
) -> None:
    whole = (finished.folder / "log.jsonl").read_bytes()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == 10]
    assert len(ends) == 3 * 7
    job = Certification(settings(), tmp_path / "run", device="cpu")
    for number, cut in enumerate((0, ends[0], ends[4] - 7, ends[9] + 30, ends[-1] - 1, ends[-1])):
        job.out = tmp_path / str(number)
        shutil.copytree(finished.folder, job.out)
        (job.out / "log.jsonl").write_bytes(whole[:cut])
        report = write_reports(job.evaluate(resume=True))
        assert timeless(report) == timeless(read_report(finished.folder)), cut
        lines = [timeless(json.loads(line)) for line in (job.out / "log.jsonl").read_text().splitlines()]
        assert lines == [timeless(json.loads(line)) for line in whole.splitlines()]


def test_what_several_processes_left_is_put_together(finished: CertificationLog, tmp_path: Path) -> None:
    whole = (finished.folder / "log.jsonl").read_bytes().splitlines(keepends=True)
    out = tmp_path / "run"
    shutil.copytree(finished.folder, out)
    (out / "log.jsonl").write_bytes(b"".join(whole[7:9]))
    (out / "log.0.jsonl").write_bytes(b"".join(whole[:3]))
    (out / "log.1.jsonl").write_bytes(b"".join(whole[14:]) + b'{"batch": 1, "ro')
    told: list[tuple[str, int]] = []
    job = Certification(settings(), out, device="cpu")
    job.evaluate(resume=True, progress=lambda name, count: told.append((name, count)))
    lines = [timeless(json.loads(line)) for line in (out / "log.jsonl").read_text().splitlines()]
    assert lines == [timeless(json.loads(line)) for line in whole]
    assert not list(out.glob("log.*.jsonl"))
    assert sum(count for name, count in told if name == "certified") == COUNT


def test_votes_per_pass_and_samples_per_line_change_nothing(finished: CertificationLog, tmp_path: Path) -> None:
    other = write_reports(certify(tmp_path / "run", batch_size=64, group_size=3))
    before = read_report(finished.folder)
    for row, result in other["results"].items():
        assert result.get("certified") == before["results"][row].get("certified")


def test_other_budgets_are_read_off_the_same_votes(finished: CertificationLog, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished.folder, out)
    job = Certification(settings(budgets=("lab=2",)), out, device="cpu")
    job.rows = [replaced for replaced in job.rows if setattr(replaced, "verdicts", None) is None]  # nobody is asked
    report = write_reports(job.evaluate(resume=True))
    assert list(report["results"]["certified"]["certified"]) == [f"rgb=0,lab={n},note=0" for n in range(3)]
    with pytest.raises(InputError, match=r"other settings \(keep: .* then, .* now\)"):
        certify_again = Certification(settings(keep={**KEEP, "rgb": 1}), out, device="cpu")
        certify_again.evaluate(resume=True)


def test_data_that_changed_are_noticed(finished: CertificationLog, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished.folder, out)
    x = samples()
    x["lab"][0, 0] *= 0.5
    changed = LabelledSampleArrays(x, data().labels, several.ANSWERS)
    given = CertificationSettings(
        model=model(), data=changed, keep=KEEP, elements={"rgb": "blocks:3"}, group_size=4, seed=2
    )
    with pytest.raises(InputError, match="fingerprint"):
        Certification(given, out, device="cpu").evaluate(resume=True)


def test_random_masks_say_their_confidence(tmp_path: Path) -> None:
    given = {"masks": "independent", "samples": 60, "choosing": 9, "alpha": 0.01, "rule": "paired"}
    report = write_reports(certify(tmp_path / "run", budgets=(), **given))
    assert report["protocol"]["confidence"].endswith("a chance of 0.01")
    assert "0.99 or more" in (tmp_path / "run" / "report.md").read_text()
    known = {one.name: one for one in several.modalities()}
    elements = {name: elements_of(known[name], "blocks:3" if name == "rgb" else "") for name in KEEP}
    by_hand = AblatedEnsemble(
        FusionClassifier(model(), device_type="cpu"),
        elements,
        Independent(KEEP, samples=60, choosing=9, seed=2),
        rule="paired",
        alpha=0.01,
    ).certify(samples())
    found = report["results"]["certified"]
    assert found["accuracy"] == by_hand.certified_accuracy(data().labels, dict.fromkeys(KEEP, 0))
    for name, share in found["certified"].items():
        assert share["accuracy"] == by_hand.certified_accuracy(data().labels, by_budget(name))


def test_of_elements_drawn_together_the_controls_see_nothing_of_a_modality(tmp_path: Path) -> None:
    job = Certification(settings(masks="joint", samples=20, choosing=3), tmp_path / "run", device="cpu")
    masks = {row.name: row.ensemble.masks for row in job.rows if hasattr(row, "ensemble")}
    counts = {"rgb": 4, "lab": 4, "note": 2}
    assert masks["certified"].ballot(counts).kept["rgb"].any()
    for name in KEEP:
        kept = masks[f"without_{name}"].ballot(counts).kept
        assert not kept[name].any() and all(of.any() for other, of in kept.items() if other != name)


def test_what_is_seen_whole_is_said_and_its_control_sees_it(tmp_path: Path) -> None:
    report = write_reports(certify(tmp_path / "run", keep={"rgb": 2}, budgets=("rgb=1",)))
    assert report["seen_whole"] == ["audio", "lab", "note"]
    assert "audio, lab, note: always seen whole" in (tmp_path / "run" / "report.md").read_text()
    x, y = samples(), data().labels
    hidden = x.copy()
    hidden["rgb"] = 0.4
    expected = FusionClassifier(model(), device_type="cpu").predict(hidden).argmax(axis=1)
    control = report["results"]["without_rgb"]
    assert control["accuracy"] == np.mean(expected == y)
    # No edit of what is not seen changes an answer.
    assert {share["accuracy"] for share in control["certified"].values()} == {control["accuracy"]}


def turning(ensemble: AblatedEnsemble, x: np.ndarray, y: np.ndarray, budget: Mapping[str, int]) -> np.ndarray:
    attack = VoteFlippingAttack(ensemble, dict(budget), max_iter=3, restarts=1, verbose=False)
    return attack.generate(x, y)


def test_attacks_leave_no_less_than_is_certified(tmp_path: Path) -> None:
    attacks = [EmpiricalAttack("vote_flipping", turning)]
    log = certify(tmp_path / "run", attacks, keep={"rgb": 1, "lab": 1}, budgets=("rgb=1,lab=1", "rgb=2"))
    report = write_reports(log)
    for name in ("rgb=1,lab=1", "rgb=2,lab=0"):
        row = report["results"][f"attacked:vote_flipping@{name}"]
        certified = report["results"]["certified"]["certified"][name]
        assert row["certified"] == certified and row["n"] == COUNT and not row["broken_certificates"]
        assert row["accuracy"] >= certified["accuracy"]
        assert row["accuracy"] < report["results"]["certified"]["accuracy"]
    assert "the truth lies between" in (tmp_path / "run" / "report.md").read_text()


def test_a_broken_certificate_stops_the_run_as_an_error_of_ours(tmp_path: Path) -> None:
    def cheating(ensemble: AblatedEnsemble, x: np.ndarray, y: np.ndarray, budget: Mapping[str, int]) -> np.ndarray:
        # Everything is replaced, by what is answered otherwise.
        others = samples(24)
        said = ensemble.predict(others).argmax(axis=1)
        return np.concatenate([others[np.flatnonzero(said != label)[:1]] for label in y])

    with pytest.raises(CertificateBroken, match=r"sample \d+: within rgb=0,lab=0,note=0 the answer \d is certified"):
        certify(tmp_path / "run", [EmpiricalAttack("cheating", cheating)], budgets=("rgb=0",))
    assert not issubclass(CertificateBroken, ValueError)


def test_a_vote_needs_three_modalities_that_say_something_alone(tmp_path: Path) -> None:
    given = replace_model(several.separate("concat", seed=1))
    job = Certification(given, tmp_path / "run", device="cpu")
    assert not [row.name for row in job.rows if row.name.startswith("vote")]


def replace_model(other: Any) -> CertificationSettings:
    return CertificationSettings(model=other, data=data(), keep={"lab": 2})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"keep": {"rgb": 0}}, "keep is 0 for every modality"),
        ({"keep": {}}, "keep names at least one modality"),
        ({"keep": {"rgb": 5}}, r"keep is 5 for rgb, and a sample has 4"),
        ({"keep": {"note": 3}}, r"keep is 3 for note, and a sample has 2"),
        ({"keep": {"depth": 1}}, "Unknown modality for --keep 'depth'"),
        ({"masks": "none"}, "Unknown kind of masks 'none'"),
        ({"budgets": ("rgb=5",)}, "5 of rgb are more than any sample has, 4"),
        ({"budgets": ("audio=1",)}, "nothing of audio is hidden"),
        ({"budgets": ("depth=1",)}, "Unknown modality for --budget 'depth'"),
        ({"budgets": ("sticker:lab=1",)}, "a sticker covers pixels, and elements of lab are columns"),
        ({"budgets": ("rgb",)}, "is not of the form"),
        ({"elements": {"lab": "words"}}, "lab holds numbers"),
        ({"elements": {"audio": "steps"}}, "--elements names audio, of which --keep says nothing"),
        ({"edits": "any"}, "masks partition certify modifications in place only"),
        ({"samples": 10}, "leave out --samples"),
        ({"masks": "design", "layout": "contiguous"}, "--layout is of masks partition"),
        ({"masks": "independent", "alpha": 1.5}, "alpha is a chance"),
        ({"masks": "independent", "rule": "best"}, "Unknown rule 'best'"),
        ({"masks": "bernoulli"}, "the chance to keep an element"),
        ({"keep": {"rgb": 1.5}}, "whole number of elements"),
        (
            {"protected_words": tuple(" ".join(NOTES).split()), "keep": {"note": 1}},
            "No sample has any",
        ),
    ],
)
def test_bad_input_is_refused_before_any_work(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    elements = {"rgb": "blocks:3"} if "rgb" in changes.get("keep", KEEP) else {}
    # The name of a sample may stand behind it as a note.
    with pytest.raises(InputError, match=rf"^[^\n]*{said}[^\n]*(\nsample \d+)?$"):
        Certification(settings(**{"elements": elements, "budgets": (), **changes}), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_edits_of_any_kind_need_elements_that_can_be_added(tmp_path: Path) -> None:
    given = {"edits": "any", "masks": "independent", "samples": 10, "choosing": 3, "budgets": ()}
    with pytest.raises(InputError, match="rgb"):
        Certification(settings(**given), tmp_path / "run", device="cpu")
    report = write_reports(certify(tmp_path / "run", **{**given, "keep": {"note": 1}, "elements": {}}))
    assert "change, add or delete" in (tmp_path / "run" / "report.md").read_text() and report["complete"]


def test_settings_that_are_the_same_are_written_the_same() -> None:
    one = settings(masks="independent").as_json()
    assert one == settings(masks="independent", samples=1000, choosing=100, alpha=0.001, rule="majority").as_json()
    assert replace(settings(), budgets=()).as_json() == settings().as_json()


def test_an_attack_stands_beside_certificates_and_breaks_none(tmp_path: Path) -> None:
    report = write_reports(certify(tmp_path / "run", attack_steps=2))
    rows = {name: row for name, row in report["results"].items() if name.startswith("attacked:vote_flipping@")}
    assert len(rows) == len(report["budget"]["asked"])
    for row in rows.values():
        assert row["certified"]["accuracy"] <= row["accuracy"] <= report["results"]["certified"]["accuracy"]
    again = write_reports(certify(tmp_path / "again", attack_steps=2))
    assert timeless(again["results"]) == timeless(report["results"])
