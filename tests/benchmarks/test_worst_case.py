"""The benchmark of the image ensemble in miniature."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "worst_case.py"


def test_it_writes_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("multiprocess")
    monkeypatch.setattr(sys, "path", [str(SCRIPT.parent), *sys.path])
    out = tmp_path / "worst.json"
    returned = runpy.run_path(str(SCRIPT))["main"](["--digits", "6", "--eps", "8", "--out", str(out)])
    assert json.loads(out.read_text()) == returned
    assert str(tmp_path) not in out.read_text()
    left = {row[1]: float(row[2]) for row in returned["table"]["rows"]}
    assert list(left) == ["worst_image", "AutoAttack", "AutoAttack, targeted too"]
    assert left["AutoAttack, targeted too"] <= left["AutoAttack"] < 1
    assert left["worst_image"] <= left["AutoAttack"]
