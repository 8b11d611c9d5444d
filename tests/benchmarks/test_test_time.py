"""The measurement of test-time defences in miniature, and what its results promise."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import test_time as script
from benchmarks.fusions.store import load

ROOT = Path(__file__).parents[2]
MINIATURE = ["--limit", "4", "--steps", "2", "--queries", "6", "--models", "demo:digits"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("test_time")


def test_cells_are_kept_and_tables_are_made_of_them(folder: Path) -> None:
    where = ["--cells", str(folder / "cells"), "--out", str(folder / "out.json")]
    result = script.main([*MINIATURE, "--defences", "none", "purification", "ttc", *where])
    written = folder / "out.json"
    assert json.loads(written.read_text()) == result and str(folder) not in written.read_text()
    digits, robust = result["tables"]
    assert [row[0] for row in digits["rows"]] == ["`none`", "`purification`", "`ttc`"] and not robust["rows"]
    for row in digits["rows"]:
        assert len(row) == len(digits["header"]) and row[1] == 4
    # What is there is not computed again.
    files = {file: file.stat().st_mtime_ns for file in (folder / "cells").rglob("*.json")}
    assert len(files) == 3
    again = script.main([*MINIATURE, "--defences", "none", "purification", "ttc", *where])
    assert again == result and {file: file.stat().st_mtime_ns for file in files} == files


def test_adaptive_is_at_most_naive_and_the_worst_at_most_clean(folder: Path) -> None:
    cells = [*(folder / "cells").rglob("*.json"), *(ROOT / "benchmarks" / "results" / "test_time").rglob("*.json")]
    assert len(cells) >= 3
    for file in cells:
        cell = script.numbers(load(file))
        for attack in ("naive", *(name for name in script.ADAPTIVE if name in cell)):
            assert not (cell["adaptive"] & ~cell[attack]).any(), file
            assert not (cell["worst"] & ~(cell["clean"] & cell[attack])).any(), file
        assert len({len(of) for of in cell.values() if of.ndim}) == 1


def test_sentences_of_the_page() -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import test_time_tables as tables
    finally:
        sys.path.remove(str(ROOT / "docs"))
    of = {"clean": 0.8, "naive": 0.9, "cross_entropy": 0.5, "margin": 0.52, "bpda": 0.7, "square": 0.4, "worst": 0.3}
    row = tables._row("ttc", of | {"lottery": 0.2}, 0.4)
    assert row[1:7] == ["40.0", "90.0", "Square: 40.0", "unrolled, cross-entropy: 50.0, does not agree", "30.0",
                        "60.0 points"]  # fmt: skip
    assert row[7] == "attacked above clean; a black box beats gradients; random verdicts (20.0 % of images)"
    assert tables.flags({**of, "clean": 1.0, "square": 1.0, "naive": 0.4, "worst": 0.4}, 0.4) == [
        "no effect even where nobody knows of it",
        "nothing got below naive: attacks too weak to tell",
    ]


def test_the_page_shows_what_was_measured() -> None:
    result = json.loads((ROOT / "benchmarks" / "results" / "test_time.json").read_text())
    page = (ROOT / "docs" / "test_time.md").read_text(encoding="utf-8")
    digits = result["values"]["demo:digits"]
    # The bare model of the trial that the page compares with.
    assert f"{100 * digits['none']['worst']:.1f} %" in page
    published = [name for name, of in digits.items() if name != "none" and of["naive"] > digits["none"]["worst"] + 0.1]
    assert len(published) >= len(digits) // 2
    for of in digits.values():
        assert of["worst"] <= min(of["clean"], of["naive"])
        assert not np.isnan(list(of.values())).any()
