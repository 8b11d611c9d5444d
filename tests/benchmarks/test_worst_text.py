"""The benchmark of worst words runs end to end, and brute force finds nothing that worst_text misses."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "worst_text.py"


def test_edits_of_the_brute_force() -> None:
    edits = runpy.run_path(str(SCRIPT))["edits"]
    assert {"b", "a", "ba", "zab", "azb", "abz", "zb", "az"} <= edits("ab")
    assert len(edits("ab")) <= 3 * 26 + 2 * 26 + 2 + 1
    assert "" not in edits("a")


def test_results_are_nested_and_agree() -> None:
    result = json.loads((SCRIPT.parent / "results" / "worst_text.json").read_text(encoding="utf-8"))
    header, rows = result["table"]["header"], result["table"]["rows"]
    for model in result["settings"]["models"]:
        mine = [dict(zip(header, row, strict=True)) for row in rows if row[0] == model]
        points = [float(row["accuracy"]) for row in mine if row["attack"].startswith("worst_text")]
        assert points == sorted(points, reverse=True)
        assert mine[-1]["attack"] == "brute force" and mine[-1]["missed"] == 0
        assert float(mine[-1]["accuracy"]) == points[-1]
