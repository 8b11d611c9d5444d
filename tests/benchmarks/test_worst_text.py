"""The brute force of the benchmark of worst words."""

from __future__ import annotations

import runpy
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "worst_text.py"


def test_edits_of_the_brute_force() -> None:
    edits = runpy.run_path(str(SCRIPT))["edits"]
    assert {"b", "a", "ba", "zab", "azb", "abz", "zb", "az"} <= edits("ab")
    assert len(edits("ab")) <= 3 * 26 + 2 * 26 + 2 + 1
    assert "" not in edits("a")
