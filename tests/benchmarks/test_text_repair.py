"""The benchmark of spelling repair in miniature."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "text_repair.py"


def test_it_writes_a_table(tmp_path: Path, monkeypatch) -> None:
    names = runpy.run_path(str(SCRIPT))
    made = names["attacks_on"]
    # Two edits and words take the most of its time.
    monkeypatch.setitem(names["main"].__globals__, "attacks_on", lambda *given: {"one edit": made(*given)["one edit"]})
    out = tmp_path / "new" / "repair.json"
    returned = names["main"](["--templates", "1", "--images", "20", "--out", str(out)])
    assert json.loads(out.read_text()) == returned
    assert str(tmp_path) not in out.read_text()
    header = returned["table"]["header"]
    found = {tuple(row[:2]): dict(zip(header, row, strict=True)) for row in returned["table"]["rows"]}
    number = {
        key: {name: float(row[name].split()[0]) for name in ("none", "English", "fitted")} for key, row in found.items()
    }
    assert min(number["clean", ""].values()) >= 95
    assert number["one edit", "naive"]["none"] < 30
    assert (
        number["one edit", "naive"]["fitted"] == number["one edit", "worst"]["fitted"] == number["clean", ""]["fitted"]
    )
    assert number["one edit", "worst"]["English"] <= number["one edit", "adaptive"]["English"]
