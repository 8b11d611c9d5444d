"""The benchmark of text attacks in miniature."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "text_attacks.py"


def test_it_writes_a_table(tmp_path: Path) -> None:
    out = tmp_path / "texts.json"
    main = runpy.run_path(str(SCRIPT))["main"]
    returned = main(["--templates", "2", "--questions", "12", "--out", str(out)])
    assert json.loads(out.read_text()) == returned
    rows = returned["table"]["rows"]
    assert {row[0] for row in rows} == {"demo:digits", "demo:shapes/concat", "demo:shapes/cross_attention"}
    accuracy = {tuple(row[:2]): float(row[2]) for row in rows}
    assert accuracy["demo:digits", "none"] > 0.9
    assert accuracy["demo:digits", "BertAttack, candidate_words=None"] < accuracy["demo:digits", "none"] - 0.05
