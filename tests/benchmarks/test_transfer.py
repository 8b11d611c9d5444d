"""The measurement of transfer in miniature: every cell is kept, and a second run makes none."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


def test_models_and_cells_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    script = runpy.run_path(str(ROOT / "benchmarks" / "transfer.py"))
    rng, arrays = np.random.default_rng(0), {}
    for part, count in (("train", 256), ("test", 8)):
        arrays[f"y_{part}"] = rng.integers(10, size=count)
        arrays[f"x_{part}"] = rng.integers(256, size=(count, 32, 32, 3)).astype(np.uint8)
        # Classes differ in how bright they are.
        arrays[f"x_{part}"] //= 1 + arrays[f"y_{part}"].astype(np.uint8)[:, None, None, None]
    np.savez(tmp_path / "data.npz", **arrays)
    given = ["--data", str(tmp_path / "data.npz"), "--folder", str(tmp_path / "kept"), "--variants", "plain steps"]
    given += ["momentum", "--train", "256", "--epochs", "8", "--samples", "8", "--eps", "24", "--steps", "2"]
    given += ["--out", str(tmp_path / "r.json")]
    result = script["main"](given)
    assert json.loads((tmp_path / "r.json").read_text()) == result and str(tmp_path) not in json.dumps(result)
    helps, matrix = result["tables"]
    assert [row[0] for row in helps["rows"]] == ["noise", "plain steps", "momentum"]
    assert [row[0] for row in matrix["rows"]] == ["accuracy before", "noise", *script["TOWERS"], "all others"]
    for shown in (helps, matrix):
        assert all(len(row) == len(shown["header"]) for row in shown["rows"])
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").glob("*.safetensors")}
    assert len(kept) == 3

    def never(*arguments: object, **named: object) -> None:
        raise AssertionError("it is there already")

    monkeypatch.setattr(script["TransferAttack"], "generate", never)
    assert script["main"](given) == result
    assert all(path.stat().st_mtime_ns == before for path, before in kept.items())


def test_what_was_measured_lies_between_noise_and_a_white_box() -> None:
    """On average over pairs of models; of one target alone the page says where it hardly carries over."""
    result = json.loads((ROOT / "benchmarks" / "results" / "transfer.json").read_text(encoding="utf-8"))
    helps, matrix = result["tables"]

    def share(cell: str) -> float:
        return float(cell.split(" ")[0])

    rows = {name: dict(zip(helps["header"][1:], cells, strict=True)) for name, *cells in helps["rows"]}
    noise = share(rows.pop("noise")["one to another"])
    assert len(rows) >= 5
    for row in rows.values():
        for kind in ("one to another", "two to the third"):
            assert noise < share(row[kind]) < share(row["white box"])
        assert share(row["one to another"]) < share(row["two to the third"])
    models = matrix["header"][1:]
    cells = {name: dict(zip(models, map(share, of), strict=True)) for name, *of in matrix["rows"]}
    others = [(source, target) for source in (*models, "all others") for target in models if source != target]
    for source, target in others:
        assert cells["noise"][target] <= cells[source][target] < cells[target][target]
