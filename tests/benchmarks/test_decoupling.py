"""The decoupling benchmark in miniature: it writes what the docs read."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "decoupling.py"


def test_it_writes_a_table(tmp_path: Path) -> None:
    out = tmp_path / "decoupling.json"
    arguments = ["--cifar", str(tmp_path / "nowhere.npz"), "--samples", "12", "--queries", "40", "--out", str(out)]
    arguments += ["--fusions", "cross_attention"]
    returned = runpy.run_path(str(SCRIPT))["main"](arguments)
    assert json.loads(out.read_text()) == returned
    assert str(tmp_path) not in out.read_text()
    assert list(returned["results"]) == ["demo:shapes/cross_attention", "demo:digits"]
    for result in returned["results"].values():
        for searches in (result["image"], result["both"]):
            assert list(searches) == ["exhaustive", "black box, 40", "white box, 40"]
            assert searches["exhaustive"]["ratio"] == 1.0
            for row in searches.values():
                assert row["n"] == 12 and row["lost"] == 0
                assert row["image_only"] + row["text_only"] + row["both"] == round(12 * row["success"])
            assert searches["white box, 40"]["queries_max"] <= 40
        assert all(not row["words_mean"] for row in result["image"].values())
    assert len(returned["tables"]) == 2
    for table in returned["tables"]:
        assert all(len(row) == len(table["header"]) for row in table["rows"])
