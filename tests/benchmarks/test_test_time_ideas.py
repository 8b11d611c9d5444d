"""Ideas for defences at test time in miniature, and what their results promise."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import test_time_ideas as script
from benchmarks.fusions.store import load

ROOT = Path(__file__).parents[2]
MINIATURE = {"limit": 4, "steps": 2, "restarts": 1, "queries": 6, "pictures": 32}


def test_cells_are_kept_and_the_table_is_made_of_them(tmp_path: Path) -> None:
    where = ["--cells", str(tmp_path / "cells"), "--out", str(tmp_path / "out.json"), "--models", "demo:digits"]
    options = [text for name, value in MINIATURE.items() for text in (f"--{name}", str(value))]
    result = script.main([*options, *where, "--ideas", "none", "coarse_grid", "least_of_grids"])
    assert json.loads((tmp_path / "out.json").read_text()) == result and str(tmp_path) not in json.dumps(result)
    digits, robust = result["tables"]
    assert len(digits["rows"]) == 3 and not robust["rows"]
    assert all(len(row) == len(digits["header"]) for row in digits["rows"])
    values = result["values"]["demo:digits"]
    for of in values.values():
        assert of["worst"] <= min(of["clean"], of["naive"])
    assert script.main([*options, *where, "--table"]) == result
    grid = values["coarse_grid"]
    assert grid["certified"] <= grid["worst"] and "certified" not in values["least_of_grids"]


def test_no_attack_breaks_what_was_certified_by_counting() -> None:
    cells = [*(ROOT / "benchmarks" / "results" / "test_time_ideas").rglob("*.json")]
    assert len(cells) >= len(script.IDEAS)
    for file in cells:
        cell = script.numbers(load(file))
        if "complete" in cell:
            assert not (cell["certified"] & ~cell["worst"]).any(), file
            # Where all was asked for, attacks cannot find more than there is.
            assert not (cell["complete"] & cell["counted"] & ~cell["worst"] & cell["clean"]).any(), file
