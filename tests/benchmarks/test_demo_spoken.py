"""The benchmark of models that see and hear, in miniature."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "demo_spoken.py"


def test_it_writes_tables(tmp_path: Path) -> None:
    out = tmp_path / "spoken.json"
    returned = runpy.run_path(str(SCRIPT))["main"](["--samples", "60", "--steps", "3", "--out", str(out)])
    assert json.loads(out.read_text()) == returned
    assert str(tmp_path) not in out.read_text()
    alone, speakers, attacked = (
        {tuple(row[:2]): [float(cell.split()[0]) for cell in row[2:] if cell] for row in table["rows"]}
        for table in returned["tables"]
    )
    for task in ("redundant", "complementary"):
        for fusion in ("concat", "late", "gated"):
            clean, *changed = attacked[task, fusion]
            assert clean == alone[task, fusion][0]
            assert changed[-1] < clean
            # Sixty pairs, thirty or so of each of two speakers.
            assert min(speakers[task, fusion]) <= clean <= max(speakers[task, fusion])
    assert alone["redundant", "oracle"] == [1, 1]
    # Of the first sixty; of all pairs it is exactly one in ten.
    assert max(alone["complementary", "oracle"]) < 0.3
    assert min(alone["redundant", "concat"]) > 0.3 > max(alone["complementary", "concat"][1:])
