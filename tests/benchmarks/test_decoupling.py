"""The decoupling benchmark in miniature: it writes what the docs read."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "decoupling.py"


def test_it_writes_a_table(tmp_path: Path) -> None:
    out = tmp_path / "decoupling.json"
    arguments = ["--cifar", str(tmp_path / "nowhere.npz"), "--samples", "12", "--queries", "40", "--out", str(out)]
    returned = runpy.run_path(str(SCRIPT))["main"](arguments)
    assert json.loads(out.read_text()) == returned
    assert str(tmp_path) not in out.read_text()
    searches = returned["results"]["demo:digits"]["searches"]
    assert list(searches) == ["exhaustive", "black box, 40", "white box, 40"]
    assert searches["exhaustive"]["ratio"] == 1.0
    for row in searches.values():
        assert row["n"] == 12 and row["lost"] == 0
    assert searches["white box, 40"]["queries_max"] <= 40
    assert all(len(row) == len(returned["table"]["header"]) for row in returned["table"]["rows"])
