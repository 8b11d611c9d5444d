"""Two audits of the same samples: what changed, and whether chance alone would do that."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audits import header_of, line_of, typed_lines
from evidence import KINDS, kept

from art_multimodal import cli
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.log import RunLog
from art_multimodal.evaluations.evidence.comparing import ALPHA, as_markdown, compare
from art_multimodal.functional.statistics import paired_difference_ci95

COUNT = 60


def run(folder: Path, rows: dict[str, list[bool]], **changes: Any) -> Path:
    """A run whose samples are right or wrong as is said; clean all are right unless it says otherwise."""
    attacks = [name for name in rows if name != "clean"]
    header = header_of(*attacks, listed=COUNT, fingerprint="f", spec="folder:x", **changes.pop("data", {}))
    header |= {"settings": {"seed": 0, "model": str(folder)}, "budget": {"eps": 0.1}, "schema_version": 5}
    header["model"] = {"spec": folder.name}
    for part, entries in changes.items():
        header[part] = {**header[part], **entries} if isinstance(entries, dict) else entries
    clean = rows.get("clean", [True] * COUNT)
    log = RunLog.create(folder, header)
    samples = [{"index": i, "name": f"n{i}", "predicted": int(not right)} for i, right in enumerate(clean)]
    values = [line_of("clean", 0, *samples)]
    for name in attacks:
        hit = [{**one, "predicted": int(not right)} for one, right in zip(samples, rows[name], strict=True)]
        values.append(line_of(name, 0, *(one for one, right in zip(hit, clean, strict=True) if right)))
    for line in typed_lines(header, *values):
        log.append(line)
    return folder


def rights(wrong: int, start: int = 0) -> list[bool]:
    return [not start <= index < start + wrong for index in range(COUNT)]


def test_changes_are_counted_in_pairs(tmp_path: Path) -> None:
    from statsmodels.stats.contingency_tables import mcnemar

    a = run(tmp_path / "a", {"pgd": rights(10), "square": rights(5), "apgd": rights(20)})
    b = run(tmp_path / "b", {"pgd": rights(20, 5), "square": rights(5), "apgd": rights(8)})
    found = compare(a, b)
    assert (found.model_a, found.model_b, found.samples) == ("a", "b", COUNT)
    rows = {one.row: one for one in found.rows}
    assert list(rows) == ["clean", "pgd", "square", "apgd", "image"]
    pgd = rows["pgd"]
    assert pgd.gained == tuple(range(5)) and pgd.lost == tuple(range(10, 25))
    assert pgd.difference == pytest.approx(-10 / COUNT) and pgd.accuracy_a == pytest.approx(50 / COUNT)
    both = COUNT - 30
    assert pgd.p == pytest.approx(mcnemar(np.array([[both, 15], [5, 5]]), exact=True).pvalue)
    assert pgd.difference_ci95 == paired_difference_ci95(rights(20, 5), rights(10))
    assert rows["square"].p == rows["clean"].p == 1 and rows["square"].gained == ()
    # The worst case of three attacks.
    assert rows["image"].lost == tuple(range(20, 25)) and rows["image"].n == COUNT
    # Holm: the smallest times five, the next times four, and never less than the one before.
    ordered = sorted(found.rows, key=lambda one: one.p)
    expected, last = [], 0.0
    for place, one in enumerate(ordered):
        last = max(last, min(1.0, one.p * (len(ordered) - place)))
        expected.append(last)
    assert [one.p_holm for one in ordered] == pytest.approx(expected)


def test_a_regression_is_significant_and_beyond_the_margin(tmp_path: Path) -> None:
    a = run(tmp_path / "a", {"pgd": rights(5), "square": rights(5), "apgd": rights(30)})
    b = run(tmp_path / "b", {"pgd": rights(20), "square": rights(7), "apgd": rights(5)})
    found = compare(a, b)
    # Two of sixty are chance; twenty-five better are none.
    assert [one.row for one in found.regressions()] == ["pgd"]
    assert [one.row for one in found.regressions(0.24)] == ["pgd"] and not found.regressions(0.26)
    back = compare(b, a)
    assert [one.row for one in back.regressions()] == ["apgd", "image"]
    assert {one.row: -one.difference for one in back.rows} == {one.row: one.difference for one in found.rows}
    assert ALPHA == 0.05


def test_the_command_line(tmp_path: Path, capsys) -> None:
    a = run(tmp_path / "a", {"pgd": rights(5), "decoupling_exhaustive": rights(9)})
    b = run(tmp_path / "b", {"pgd": rights(50), "decoupling_exhaustive": rights(9)})
    out = tmp_path / "out"
    assert cli.main(["compare", str(a), str(b), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.replace(str(tmp_path), "").splitlines())) <= 80
    assert "regression: pgd by 75.0 points, 45 of 60 samples lost, 0 gained" in printed
    assert "<0.001*" in printed and "-75.0" in printed
    value = json.loads((out / "comparison.json").read_text())
    (row,) = [one for one in value["rows"] if one["row"] == "pgd"]
    assert row["lost"] == list(range(5, 50)) and row["gained"] == [] and value["regressions"] == ["pgd", "image"]
    assert "| pgd **worse** | 60 |" in (out / "comparison.md").read_text()
    assert cli.main(["compare", str(a), str(b), "--fail-on-regression"]) == 1
    assert "regression: pgd" in capsys.readouterr().err
    assert cli.main(["compare", str(a), str(b), "--fail-on-regression", "--margin", "80"]) == 0
    assert cli.main(["compare", str(b), str(a), "--fail-on-regression"]) == 0
    capsys.readouterr()
    (out / "notes.txt").write_text("mine")
    for arguments, said in (
        ([str(a), str(b), "--margin", "-1"], "--margin is a number of points"),
        ([str(a), str(b), "--out", str(out)], "holds notes.txt, which is of no comparison"),
        ([str(a), str(tmp_path / "nowhere")], "is no folder"),
        ([str(a), str(out)], "holds no audit|is no bundle"),
    ):
        import re

        assert cli.main(["compare", *arguments]) == 2
        err = capsys.readouterr().err
        assert re.search(said, err) and err.count("\n") == 1


def test_rows_that_were_made_in_another_way_are_left_out(tmp_path: Path) -> None:
    a = run(tmp_path / "a", {"pgd": rights(5), "square": rights(5)})
    more = run(tmp_path / "more", {"pgd": rights(5), "apgd": rights(5)})
    found = compare(a, more)
    assert [one.row for one in found.rows] == ["clean", "pgd"]
    assert found.left_out == {
        "square": "only one of the audits has it",
        "apgd": "only one of the audits has it",
        "image": "it is the worst case of other attacks",
    }
    stronger = run(tmp_path / "stronger", {"pgd": rights(5), "square": rights(5)}, budget={"eps": 0.2})
    found = compare(a, stronger)
    assert [one.row for one in found.rows] == ["clean"] and found.differences == ("eps: 0.1 and 0.2",)
    assert set(found.left_out.values()) == {"the budgets or settings differ"}
    page = as_markdown(found)
    assert "## What differs besides\n\n- eps: 0.1 and 0.2" in page and "- pgd: the budgets or settings differ" in page


def test_other_samples_are_refused_and_some_in_common_are_compared(tmp_path: Path) -> None:
    a = run(tmp_path / "a", {"pgd": rights(5)})
    for name, changes, said in (
        ("b", {"data": {"fingerprint": "g"}}, "of different data"),
        ("c", {"data": {"class_names": ["x", "y", "other"]}}, "of different classes"),
        ("d", {"task": "pairs"}, "One audit is of zero-shot, the other of pairs"),
    ):
        data = changes.pop("data", {})
        folder = run(tmp_path / name, {"pgd": rights(5)})
        header = json.loads((folder / "run.json").read_text())
        del header["checksum"]
        header["data"] |= data
        header |= changes
        shutil.rmtree(folder)
        log = RunLog.create(folder, header)
        for line in typed_lines(header, line_of("clean", 0, {"index": 0, "name": "n0"})):
            log.append(line)
        with pytest.raises(InputError, match=said):
            compare(a, folder)
    few = tmp_path / "few"
    header = RunLog.read_header(a / "run.json")
    log = RunLog.create(few, header)
    samples = [{"index": index, "name": f"n{index}", "predicted": 0} for index in range(10)]
    for line in typed_lines(header, line_of("clean", 0, *samples), line_of("pgd", 0, *samples)):
        log.append(line)
    found = compare(a, few)
    assert found.samples == 10 and "of 60 and 10 samples 10 are in both" in found.differences[0]
    assert {one.row: len(one.gained) for one in found.rows} == {"clean": 0, "pgd": 5, "image": 5}
    strangers = tmp_path / "strangers"
    log = RunLog.create(strangers, header)
    for line in typed_lines(header, line_of("clean", 0, {"index": 3, "name": "another"})):
        log.append(line)
    with pytest.raises(InputError, match="no sample in common"):
        compare(a, strangers)


def test_damaged_runs_are_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    a, b = (run(tmp_path / name, {"pgd": rights(5)}) for name in "ab")
    whole = (b / "log.jsonl").read_bytes()
    (b / "log.jsonl").write_bytes(whole[:-20])
    before = {path.name: path.read_bytes() for path in b.iterdir() if path.is_file()}
    with pytest.raises(InputError, match=r"Line 2 of .*log\.jsonl is damaged"):
        compare(a, b)
    assert {path.name: path.read_bytes() for path in b.iterdir() if path.is_file()} == before
    (b / "run.json").write_text("{}")
    with pytest.raises(InputError, match=r"run\.json cannot be read"):
        compare(a, b)


def test_a_bundle_is_compared_as_its_run_is_and_checked_first(tmp_path: Path) -> None:
    from dataclasses import replace

    settings = replace(KINDS["views"], attacks="apgd,modality_missing")
    one = kept(settings, tmp_path / "a")
    other = kept(replace(settings, model="demo:views/concat", attacks="apgd"), tmp_path / "b")
    found, again = compare(one.folder, other.folder), compare(tmp_path / "a", other.folder)
    assert found == again and found.samples == 6
    assert found.left_out["modality_missing"] == "only one of the audits has it"
    assert {"clean", "apgd@pix", "single_source"} <= {row.row for row in found.rows}
    path = one.folder / "log.jsonl"
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    with pytest.raises(InputError, match=r"log\.jsonl was changed"):
        compare(one.folder, other.folder)
