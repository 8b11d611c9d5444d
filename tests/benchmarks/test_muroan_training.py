"""The training study in miniature."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "muroan_training.py"


def test_it_writes_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "training.json"
    main = runpy.run_path(str(SCRIPT))["main"]
    monkeypatch.setitem(main.__globals__, "TREATMENTS", ("none", "pgd", "decoupling_both"))
    monkeypatch.setitem(main.__globals__, "TEST_QUERIES", 20)
    sizes = ["--seeds", "2", "--groups", "4", "--epochs", "1", "--samples", "6"]
    returned = main(["--fusions", "late", *sizes, "--out", str(out)])
    assert json.loads(out.read_text()) == returned
    treatments = returned["results"]["late"]
    assert list(treatments) == ["none", "pgd", "decoupling_both"]
    for name, numbers in treatments.items():
        assert len(numbers["clean"]["by_seed"]) == (1 if name == "none" else 2)
        low, high = numbers["clean"]["ci95"]
        assert 0.5 <= low <= numbers["clean"]["mean"] <= high <= 1
    assert treatments["none"]["clean"]["mean"] > 0.95
    assert all(len(row) == len(returned["table"]["header"]) for row in returned["table"]["rows"])
