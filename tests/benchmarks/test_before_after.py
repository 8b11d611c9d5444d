"""Two trees are compared by turns: here one with itself."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_tree_is_compared_with_itself(tmp_path: Path, capsys) -> None:
    out = tmp_path / "found.json"
    run = runpy.run_path(str(ROOT / "benchmarks" / "before_after.py"))["main"]
    result = run([str(ROOT), "--only", "few_digits", "--repeats", "1", "--out", str(out)])
    assert json.loads(out.read_text(encoding="utf-8")) == result
    seconds = result["work"]["few_digits"]["seconds"]
    assert len(seconds) == 1 and min(seconds[0].values()) > 0
    assert capsys.readouterr().out.startswith("few_digits: ")
