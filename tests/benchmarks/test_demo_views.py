"""The benchmark of the views in miniature."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "demo_views.py"


def test_it_writes_a_table(tmp_path: Path) -> None:
    out = tmp_path / "views.json"
    returned = runpy.run_path(str(SCRIPT))["main"](["--samples", "40", "--steps", "3", "--out", str(out)])
    assert json.loads(out.read_text()) == returned
    assert str(tmp_path) not in out.read_text()
    shares = {tuple(row[:2]): [float(cell.split()[0]) for cell in row[2:]] for row in returned["table"]["rows"]}
    for fusion in ("concat", "late", "gated"):
        assert min(shares[fusion, "nothing"]) > 0.9
        assert max(shares[fusion, "attacked"]) < min(shares[fusion, "nothing"])
        assert shares[fusion, "removed"] != shares[fusion, "missing"]
