"""Accuracy of each class and the confusions of attacks: against counting by hand, and bounded on the pages."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audits import header_of, line_of, logged, read_report, typed_lines
from hypothesis import given
from hypothesis import strategies as st

from art_multimodal.evaluations.audit import RunLog, summarise, write_reports
from art_multimodal.evaluations.audit.findings.classes import MOST_CONFUSIONS, shown_classes, shown_confusions
from art_multimodal.evaluations.audit.outcomes import outcomes
from art_multimodal.functional.statistics import proportion_ci95
from art_multimodal.store import sealed_line

K = 3


def summary_of(labels: list[int], said: dict[str, dict[int, int]], **more: Any) -> dict[str, Any]:
    """The summary of a run: what is said of each sample before an attack (``clean``) and under each."""
    attacks = [name for name in said if name != "clean"]
    header = header_of(*attacks, selected=len(labels), **more)
    lines = []
    for name, answers in said.items():
        samples = [{"index": i, "label": labels[i], "predicted": answer} for i, answer in answers.items()]
        lines.append(line_of(name, 0, *samples))
    return summarise(header, typed_lines(header, *lines))


@given(st.data())
def test_each_class_is_counted_as_by_hand(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 12))
    classes = st.integers(0, K - 1)
    labels, clean = (data.draw(st.lists(classes, min_size=n, max_size=n)) for _ in range(2))
    right = [index for index in range(n) if labels[index] == clean[index]]
    said = {name: {index: data.draw(classes) for index in right} for name in ("pgd", "apgd")}
    found = summary_of(labels, {"clean": dict(enumerate(clean)), **said})
    for row, members in (("clean", []), ("pgd", ["pgd"]), ("apgd", ["apgd"]), ("image", ["pgd", "apgd"])):
        of, result = found["by_class"][row], found["results"][row]
        survives = [index in right and all(said[one][index] == labels[index] for one in members) for index in range(n)]
        for place in range(K):
            own = [survives[index] for index in range(n) if labels[index] == place]
            assert of["n"][place] == len(own)
            assert of["accuracy"][place] == (sum(own) / len(own) if own else None)
            assert of["accuracy_ci95"][place] == proportion_ci95(sum(own), len(own))
        # The classes add up to the row.
        assert sum(of["n"]) == result["n"]
        # Each sample counts once, as what the first attack that misleads the model makes of it.
        pairs = Counter()
        for index in range(n) if row == "clean" else right:
            answers = [clean[index]] if row == "clean" else [said[one][index] for one in members]
            wrong = [answer for answer in answers if answer != labels[index]]
            pairs.update([(labels[index], wrong[0])] if wrong else [])
        listed = {(one["label"], one["predicted"]): one["count"] for one in of["confusions"]}
        assert listed == dict(pairs) and of["mistaken"] == pairs.total()
        counts = [one["count"] for one in of["confusions"]]
        assert counts == sorted(counts, reverse=True)


def test_samples_that_an_attack_has_not_reached_are_left_out() -> None:
    found = summary_of([0, 0, 1], {"clean": {0: 0, 1: 0, 2: 2}, "pgd": {0: 1}})["by_class"]
    assert found["clean"]["n"] == [2, 1, 0] and found["pgd"]["n"] == [1, 1, 0]
    assert found["pgd"]["accuracy"] == [0.0, 0.0, None] and found["pgd"]["accuracy_ci95"][2] is None
    # What was wrong before is none of the attack's.
    assert found["clean"]["confusions"] == [{"label": 1, "predicted": 2, "count": 1}]
    assert found["pgd"]["confusions"] == [{"label": 0, "predicted": 1, "count": 1}] and found["pgd"]["mistaken"] == 1


@pytest.mark.parametrize("kind", ["finished", "finished_pairs"])
def test_a_real_run_agrees_with_the_outcome_of_every_sample(request, kind: str) -> None:
    log: RunLog = request.getfixturevalue(kind)
    report = read_report(log.folder)
    labels = {s["index"]: s["label"] for line in logged(log) for s in line["samples"] if line["attack"] == "clean"}
    assert set(report["by_class"]) == set(report["results"])
    for row, right in outcomes(log.header, log.lines()).items():
        truth = np.array([labels[index] for index in right])
        hits = np.bincount(truth, weights=list(right.values()), minlength=len(report["data"]["class_names"]))
        there = np.bincount(truth, minlength=len(hits))
        of = report["by_class"][row]
        assert of["n"] == there.tolist()
        found = [0.0 if share is None else share * n for share, n in zip(of["accuracy"], of["n"], strict=True)]
        np.testing.assert_allclose(found, hits, atol=1e-9)
        assert sum(one["count"] for one in of["confusions"]) == of["mistaken"]
    attacked = [row for row in report["results"] if row != "clean"]
    assert any(report["by_class"][row]["confusions"] for row in attacked)


def test_retrieval_has_no_classes(finished_retrieval: RunLog) -> None:
    assert read_report(finished_retrieval.folder)["by_class"] is None
    for page in ("report.html", "report.md"):
        text = (finished_retrieval.folder / page).read_text()
        assert "Not applicable: in retrieval there are captions and no classes." in text


def thousand_classes(finished: RunLog, folder: Path) -> dict[str, Any]:
    """A report about 1,000 classes with three samples each: class 7 is the worst, 999 is what all are taken for."""
    header = {**finished.header, "attacks": ["pgd"]}
    names = [f"class {place}" for place in range(1000)]
    header["data"] = {**header["data"], "class_names": names, "listed": 3000, "selected": 3000}
    RunLog.create(folder, header)
    for batch in range(30):
        indices = range(100 * batch, 100 * batch + 100)
        clean = [{"index": i, "label": i // 3, "predicted": 999 if i // 3 == 7 else i // 3} for i in indices]
        right = [sample for sample in clean if sample["predicted"] == sample["label"]]
        fallen = [{**s, "predicted": 999 if s["index"] % 3 == 0 else s["label"]} for s in right]
        lines = line_of("clean", batch, *clean), line_of("pgd", batch, *fallen)
        with (folder / "log.jsonl").open("ab") as stream:
            stream.writelines(map(sealed_line, lines))
    return write_reports(RunLog(folder, header))


def test_of_a_thousand_classes_the_worst_are_shown_and_all_are_kept(finished: RunLog, tmp_path: Path) -> None:
    report = thousand_classes(finished, tmp_path / "run")
    of = report["by_class"]["image"]
    assert len(of["n"]) == len(of["accuracy"]) == 1000 and len(of["confusions"]) == MOST_CONFUSIONS
    # 999 itself stays right, and 7 was wrong before.
    assert of["mistaken"] == 998
    shown = shown_classes(report, "image")
    assert len(shown) == 20 and shown[0]["name"] == "class 7" and shown[0]["clean"]["accuracy"] == 0.0
    assert shown[1]["taken_for"] == {"name": "class 999", "count": 1}
    assert len(shown_confusions(report, "image")) == 10
    html, markdown = ((tmp_path / "run" / name).read_text() for name in ("report.html", "report.md"))
    for page in (html, markdown):
        assert "The worst 20 of 1000 classes" in page and "class 500" not in page
    assert len(html) < 200_000 and len(markdown) < 50_000


def test_the_worst_class_comes_first_and_one_without_samples_last() -> None:
    said = {"clean": {0: 0, 1: 0, 2: 1, 3: 1}, "pgd": {0: 1, 1: 0, 2: 0, 3: 2}}
    found = summary_of([0, 0, 1, 1], said)
    report = {**found, "data": {"class_names": ["a", "b", "c"]}}
    shown = shown_classes(report, "pgd")
    assert [(one["name"], one["attacked"]["accuracy"]) for one in shown] == [("b", 0.0), ("a", 0.5), ("c", None)]
    assert [one["taken_for"] for one in shown] == [{"name": "a", "count": 1}, {"name": "b", "count": 1}, None]
    assert [one["name"] for one in shown_classes(report, None)] == ["a", "b", "c"]
    assert shown_confusions(report, "clean") == []
