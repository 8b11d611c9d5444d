"""The comparison of fusions in miniature: one cell, its table, and the costs."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_a_cell_becomes_a_row(tmp_path: Path, monkeypatch) -> None:
    from benchmarks.fusions import __main__, cells, problems, store, tables

    whole = problems.views()

    def few() -> problems.Problem:
        from dataclasses import replace

        rows = slice(0, 60)
        train, test = ((x[rows], y[rows]) for x, y in (whole.train, whole.test))
        return replace(whole, train=train, test=test, epochs=2)

    few.__doc__ = problems.views.__doc__
    monkeypatch.setitem(problems.PROBLEMS, "views", few)
    monkeypatch.setattr(cells, "STEPS", 2)
    monkeypatch.setattr(cells, "DECOUPLED", 2)
    arguments = ["--problems", "views", "--seeds", "1", "--cells", str(tmp_path), "--contenders", "qmf"]
    __main__.main([*arguments, "concat, joint"])
    found = store.load(tmp_path / "views" / "qmf-0.json")
    store.save(tmp_path / "again.json", found)
    again = store.load(tmp_path / "again.json")
    assert found.keys() == again.keys()
    assert all(np.array_equal(found[name], again[name], equal_nan=found[name].dtype != bool) for name in found)
    for number, eps in enumerate((0.05, 0.1, 0.2)):
        joint = found[f"joint/{number}"]
        for name in ("pix", "fou", "kar"):
            # Whoever may attack all may attack one; who is wrong before is wrong after.
            assert not (joint & ~found[f"single/{name}/{eps}"]).any()
            assert not (found[f"single/{name}/{eps}"] & ~found["clean"]).any()
    result = tables.main(["--cells", str(tmp_path), "--out", str(tmp_path / "fusions.json")])
    assert json.loads((tmp_path / "fusions.json").read_text()) == result
    table = result["problems"]["views"]
    assert [row[0] for row in table["rows"]] == ["qmf", "concat, joint"]
    assert table["values"]["qmf"]["columns"]["clean"]["value"] == round(float(found["clean"].mean()), 4)
    assert set(table["values"]["qmf"]["weights"]) == {"pix", "fou", "kar"}
    assert table["values"]["concat, joint"]["weights"] == {}
    # What is there is not computed again.
    before = (tmp_path / "views" / "qmf-0.json").stat().st_mtime_ns
    __main__.main(arguments)
    assert (tmp_path / "views" / "qmf-0.json").stat().st_mtime_ns == before


def test_costs_are_ratios(tmp_path: Path) -> None:
    out = tmp_path / "costs.json"
    arguments = ["--size", "32", "--batch", "2", "--repeats", "1", "--out", str(out)]
    main = runpy.run_path(str(BENCHMARKS / "fusion_costs.py"))["main"]
    returned = main([*arguments, "--fusions", "concat", "qmf", "--methods", "qmf"])
    assert json.loads(out.read_text()) == returned
    assert returned["forward"]["concat"]["concat"] == 1.0 and returned["training"]["plain (concat)"] == 1.0
    assert returned["forward"]["concat"]["qmf"] > 0 and [row[0] for row in returned["tables"][0]["rows"]] == [
        "concat",
        "qmf",
    ]


def test_doubt_only_ever_takes_samples_away(tmp_path: Path, monkeypatch) -> None:
    from dataclasses import replace

    from benchmarks.fusions import doubt, problems

    whole = problems.views()
    train, test = ((x[:60], y[:60]) for x, y in (whole.train, whole.test))
    monkeypatch.setitem(problems.PROBLEMS, "views", lambda: replace(whole, train=train, test=test, epochs=2))
    for name, value in (("STEPS", 2), ("DRAWN", 2), ("QUERIES", 5), ("LONGER", 2), ("MORE_STARTS", 1)):
        monkeypatch.setattr(doubt, name, value)
    monkeypatch.setattr(doubt, "OTHERS", ("concat",))
    out = tmp_path / "doubt.json"
    result = doubt.main(["--contender", "late", "--samples", "12", "--out", str(out)])
    assert json.loads(out.read_text()) == result
    shares = np.array([[float(cell.split()[0]) for cell in row[1:]] for row in result["table"]["rows"]])
    assert len(shares) > 5 and (np.diff(shares, axis=0) <= 1e-9).all()
    # The worst of several counts each sample that any of them misleads.
    assert (shares[:, -1] <= shares[:, :-1].min(axis=1) + 1e-9).all()
