"""Audits behind a defence at test time: what papers report beside what is left, and what an answer costs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audits import ends_of_lines, header_of, read_report, run_audit, timeless, typed_lines
from scipy.stats import binomtest

from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit import Audit, AuditSettings, write_reports
from art_multimodal.evaluations.audit.flags import flags_of_results, sentences_of
from art_multimodal.evaluations.audit.lines import CLEAN
from art_multimodal.evaluations.audit.log import RunLog
from art_multimodal.evaluations.audit.outcomes import outcomes
from art_multimodal.evaluations.audit.subject import Subject
from art_multimodal.evaluations.audit.summary import summarise
from art_multimodal.evaluations.evidence.bundle import Bundle, write_bundle
from art_multimodal.evaluations.evidence.rescoring import rescore

#: A defence that has a third of these digits wrong, so that there is something to turn right.
SETTINGS = AuditSettings(
    "demo:digits",
    "demo:digits",
    attacks="pgd,art_pgd",
    eps=6 / 255,
    steps=3,
    limit=12,
    group_size=6,
    seed=2,
    draws=1,
    defences=("ttc:eps=8/255",),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunLog:
    audit = Audit(SETTINGS, tmp_path_factory.mktemp("published") / "out", device="cpu", fixtures="all")
    log = audit.evaluate()
    write_reports(log)
    write_bundle(audit, log)
    return log


def by_pass(log: RunLog) -> dict[str, dict[int, bool]]:
    """Whether each sample is right, by the pass."""
    found: dict[str, dict[int, bool]] = {}
    for line in log.lines():
        found.setdefault(line.attack, {}).update({one.index: one.right for one in line.samples})
    return found


def test_naive_attacks_are_made_on_all_samples_and_others_on_right_ones(run: RunLog) -> None:
    said, report = by_pass(run), read_report(run.folder)
    clean, results = said[CLEAN], report["results"]
    right = {index for index, was in clean.items() if was}
    assert report["published"] is True and 0 < len(right) < 12
    for name in ("pgd", "art_pgd"):
        naive, row = said[f"naive:{name}"], results[name]
        assert set(said[name]) == right and naive.keys() == clean.keys()
        published = row["naive"]["published"]
        assert published["n"] == 12 and published["accuracy"] == np.mean(list(naive.values()))
        assert published["turned_right"] == sum(now and not clean[index] for index, now in naive.items()) > 0
        assert published["turned_wrong"] == sum(clean[index] and not now for index, now in naive.items())
        # The naive number of a row is over the same samples, and one that was wrong before is wrong.
        assert row["naive"]["accuracy"] == sum(naive[index] for index in right) / 12 < published["accuracy"]
        assert row["naive"]["attacked"] == len(right)
        assert outcomes(report, run.lines())[f"naive:{name}"] == {i: clean[i] and naive[i] for i in clean}
    both = [all(said[f"naive:{name}"][index] for name in ("pgd", "art_pgd")) for index in clean]
    assert results["image"]["naive"]["published"]["accuracy"] == np.mean(both)
    assert results["image"]["accuracy"] <= min(results["clean"]["accuracy"], results["image"]["naive"]["accuracy"])


@pytest.mark.parametrize(("model", "eps"), [("demo:digits", 6), ("demo:digits/robust", 20), ("demo:scenes", 2)])
def test_what_is_by_construction_and_what_is_flagged(tmp_path: Path, model: str, eps: int) -> None:
    """Rows are at most clean, the worst at most each; where who knows the defence leaves more, that is flagged."""
    settings = replace(SETTINGS, limit=24, model=model, eps=eps / 255, attacks="pgd", defences=("et3",), steps=10)
    log = run_audit(settings, tmp_path / "out")
    said, results = by_pass(log), read_report(log.folder)["results"]
    n, right = len(said[CLEAN]), [index for index, was in said[CLEAN].items() if was]
    informed, naive = (sum(said[name][index] for index in right) for name in ("pgd", "naive:pgd"))
    both = sum(said["pgd"][index] and said["naive:pgd"][index] for index in right)
    assert (results["pgd"]["accuracy"], results["pgd"]["naive"]["accuracy"]) == (informed / n, naive / n)
    assert results["image"]["accuracy"] == both / n <= min(informed, naive) / n <= results["clean"]["accuracy"]
    weak = informed / n > binomtest(naive, n).proportion_ci(method="wilsoncc").high
    assert weak == any(flag.kind == "weak_adaptive" and flag.row == "pgd" for flag in flags_of_results(results))
    if model == "demo:digits/robust":
        # Descents through its gradient steps do not come far in ten steps, where the bare model falls.
        assert weak


def test_pages_show_it(run: RunLog) -> None:
    share = read_report(run.folder)["results"]["pgd"]["naive"]["published"]["accuracy"]
    for name in ("report.md", "report.html"):
        page = (run.folder / name).read_text(encoding="utf-8")
        assert "published" in page and f"{100 * share:.1f}" in page and "Papers on such defences" in page


def test_rows_are_those_of_a_run_without_it(run: RunLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random numbers of the samples that were right do not depend on whether the others are attacked, too."""
    monkeypatch.setattr(Subject, "at_test_time", property(lambda self: False))
    other = read_report(run_audit(SETTINGS, tmp_path / "out").folder)
    assert "published" not in other
    for name, row in read_report(run.folder)["results"].items():
        kept, old = timeless(row), timeless(other["results"][name])
        published = kept.get("naive", {}).pop("published", None)
        assert (published is None) == (name == CLEAN)
        if name in ("image", CLEAN):
            for cost in ("queries", "gradients"):
                kept.pop(cost), old.pop(cost, None)
        assert kept == old


def test_reports_of_logs_that_lack_any_passes(run: RunLog, tmp_path: Path) -> None:
    """Whatever pass a run that is not finished has, and whatever it lacks, there is a report of it."""
    lines = list(run.lines())
    names = list(dict.fromkeys(line.attack for line in lines))
    assert len(names) == 5
    subsets = [some for size in range(len(names)) for some in itertools.combinations(names, size)]
    for some in subsets:
        summary = summarise(run.header, [line for line in lines if line.attack in some])
        assert not summary["complete"]
        for name in ("pgd", "art_pgd"):
            # Where one of the two has no numbers there is nothing to compare.
            weak = [one for one in summary["flags"] if (one["kind"], one["row"]) == ("weak_adaptive", name)]
            assert not weak or {name, f"naive:{name}", CLEAN} <= {*some}
    (tmp_path / "run.json").write_bytes((run.folder / "run.json").read_bytes())
    kept = zip(lines, (run.folder / "log.jsonl").read_bytes().splitlines(keepends=True), strict=True)
    only = (CLEAN, "naive:pgd", "naive:art_pgd")
    (tmp_path / "log.jsonl").write_bytes(b"".join(text for line, text in kept if line.attack in only))
    report = write_reports(RunLog.open(tmp_path))
    row, page = report["results"]["image"], (tmp_path / "report.md").read_text(encoding="utf-8")
    # Those that were wrong without an attack are all that is known of who knows the defence.
    assert row["n"] < row["naive"]["n"] == report["results"]["clean"]["n"]
    assert "not finished" in page and "instead of" not in page and "as much damage" not in page


def test_it_goes_on_and_is_verified(run: RunLog, tmp_path: Path) -> None:
    job = Audit(SETTINGS, tmp_path / "cut", device="cpu")
    job.out.mkdir()
    for name in ("run.json", "log.jsonl"):
        (job.out / name).write_bytes((run.folder / name).read_bytes())
    log = (job.out / "log.jsonl").read_bytes()
    # Cut behind the first naive line, in the middle of the second batch.
    (job.out / "log.jsonl").write_bytes(log[: ends_of_lines(run)[8]])
    assert timeless(write_reports(job.evaluate(resume=True))) == timeless(read_report(run.folder))
    assert rescore(Bundle(run.folder), device="cpu").confirmed


def test_a_run_goes_on_whose_defence_was_written_in_digits(run: RunLog) -> None:
    def with_defence(spec: str) -> dict[str, Any]:
        return {**run.header, "settings": {**run.header["settings"], "defences": [spec]}}

    now = run.header["settings"]["defences"][0]
    in_digits = now.replace("eps=8/255", f"eps={8 / 255}")
    assert in_digits != now
    RunLog(run.folder, with_defence(in_digits)).check_same(run.header)
    for other in (now.replace("beta=2.0", "beta=1.0"), "ttc:gone=1", now.replace("ttc", "gone")):
        with pytest.raises(InputError, match="had other settings .defences: .* then, .* now.. Give the same ones"):
            RunLog(run.folder, with_defence(other)).check_same(run.header)


def test_what_an_answer_costs_stands_in_the_row_before_attacks(run: RunLog) -> None:
    clean = read_report(run.folder)["results"]["clean"]
    assert (clean["queries"], clean["gradients"]) == (4, 2)  # 4 forward passes, 2 of them with a backward pass
    row = next(line for line in (run.folder / "report.md").read_text().splitlines() if line.startswith("| clean"))
    assert "| 4 |" in row


@pytest.mark.parametrize(("defence", "cost"), [("purification", (1, 0)), ("et3", (3, 2)), ("resize_pad", (1, 0))])
def test_costs_are_those_that_a_defence_states(tmp_path: Path, defence: str, cost: tuple[int, int]) -> None:
    settings = replace(SETTINGS, attacks="noise", defences=(defence,), limit=3)
    clean = read_report(run_audit(settings, tmp_path / "out").folder)["results"]["clean"]
    assert (clean["queries"], clean["gradients"]) == cost


def written(right: int, wrong: int, kept: int, still: int) -> dict[str, Any]:
    """A run of one attack where so many samples turn right, turn wrong, stay right and stay wrong in the naive pass."""
    header = {**header_of("pgd"), "defences": ["ttc"], "published": True}

    def samples() -> Iterator[tuple[bool, bool]]:
        yield from [(False, True)] * right + [(True, False)] * wrong + [(True, True)] * kept + [(False, False)] * still

    before, after = [], []
    for index, (was, now) in enumerate(samples()):
        before.append({"index": index, "label": 0, "predicted": 0 if was else 1})
        after.append({"index": index, "label": 0, "predicted": 0 if now else 1})
    attacked = [one for one in before if one["predicted"] == 0]
    header["data"]["selected"] = len(before)
    lines = [("clean", before), ("pgd", attacked), ("naive:pgd", after)]
    return summarise(header, typed_lines(header, *({"attack": name, "samples": some} for name, some in lines)))


def test_the_flag_above_clean_fires_where_more_turn_right_than_chance_would() -> None:
    for right, wrong, certain in ((11, 2, True), (30, 0, True), (3, 2, False)):
        summary = written(right, wrong, 20, 4)
        assert summary["complete"]
        (flag,) = [one for one in flags_of_results(summary["results"]) if one.kind == "above_clean"]
        assert (flag.row, flag.count, flag.against, flag.certain) == ("pgd", right, wrong, certain)
        shown = sentences_of({"results": summary["results"]}, "pgd")
        assert any("as papers report it" in one for one in shown) is certain
    assert not [one for one in flags_of_results(written(2, 11, 20, 4)["results"]) if one.kind == "above_clean"]
    # Rows stay worst cases: whoever turned right there was wrong before, and counts as wrong.
    row = written(11, 2, 20, 4)["results"]["pgd"]["naive"]
    assert row["accuracy"] == 20 / 37 and row["published"]["accuracy"] == 31 / 37


def test_a_log_without_the_mark_is_read_as_before(run: RunLog) -> None:
    header = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))
    del header["published"]
    right = {index for index, was in by_pass(run)[CLEAN].items() if was}
    lines = []
    for line in run.lines():
        kept = tuple(one for one in line.samples if line.attack == CLEAN or one.index in right)
        lines.append(replace(line, samples=kept))
    old = summarise(header, lines)
    assert old["complete"] and "published" not in old["results"]["pgd"]["naive"]
    assert not [one for one in old["flags"] if one["kind"] == "above_clean"]
