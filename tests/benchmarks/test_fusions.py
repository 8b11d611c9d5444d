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


def test_differences_are_those_of_the_same_samples() -> None:
    """Of cells that are made up, against their means."""
    from benchmarks.fusions import claims

    radii = {"one": (0.1, 0.2, 0.4), "other": (0.1, 0.2, 0.4)}
    rng = np.random.default_rng(0)

    def cell(standing: float) -> dict[str, np.ndarray]:
        names = [f"noise/{of}/{level}" for of in radii for level in claims.NOISE] + [f"missing/{of}" for of in radii]
        found = {name: rng.random(200) < 0.9 for name in ["clean", *names]}
        for number in range(3):
            for of, its in radii.items():
                found[f"single/{of}/{its[number]:.4g}"] = rng.random(200) < standing - 0.2 * number
            found[f"joint/{number}"] = rng.random(200) < 0.5 * standing
        return found

    standing = {"concat": 0.8, "late": 0.8, "qmf": 0.7, "concat, joint": 0.9, "concat, in-turn": 0.9, "median": 0.9}
    standing |= {"concat, most-vulnerable": 0.9, claims.HARDENED: 1.0}
    cells = {name: [cell(share) for _ in range(3)] for name, share in standing.items()}

    def mean(name: str, *conditions: str) -> float:
        return float(np.mean([np.all([one[of] for of in conditions], axis=0) for one in cells[name]]))

    noisy = [np.mean([mean(name, f"noise/{of}/0.3") for of in radii]) for name in ("qmf", "late")]
    found = claims.noise(cells, radii)
    assert list(found) == ["qmf"] and abs(found["qmf"][1]["value"] - (noisy[0] - noisy[1])) < 1e-4
    attacked = [f"single/{of}/{radius}" for of in radii for radius in (0.1, 0.2)]
    expected = mean("concat, most-vulnerable", *attacked) - mean("concat, joint", *attacked)
    low, high = claims.schedules(cells, radii)["joint"][1]["ci95"]
    assert abs(claims.schedules(cells, radii)["joint"][1]["value"] - expected) < 1e-4 and low < expected < high
    demanded = claims.demands(cells, radii)
    # Of a share of .9, .64 are left at the first radius by two independent attacks, and a fifth at the second.
    assert demanded["radius"] == 1 and list(demanded["values"]) == ["median", claims.HARDENED]
    median = demanded["values"]["median"]
    kept = {
        of: mean("median", f"single/{of}/0.1", f"single/{of}/0.2") - 0.9 * mean("median", f"missing/{of}")
        for of in radii
    }
    assert median["oracle"]["modality"] == min(kept, key=lambda of: kept[of])
    assert abs(median["oracle"]["value"] - min(kept.values())) < 1e-4
    assert abs(median["clean"]["value"] - (mean("median", "clean") - mean("concat", "clean"))) < 1e-4
    of_hardened = mean(claims.HARDENED, "joint/0", "joint/1")
    assert abs(median["joint"]["value"] - (mean("median", "joint/0", "joint/1") - of_hardened)) < 1e-4
    # The best is behind nobody.
    assert demanded["values"][claims.HARDENED]["small"]["value"] == 0.0


def test_mechanisms_are_attacked_in_miniature(tmp_path: Path, monkeypatch) -> None:
    from dataclasses import replace

    from art_multimodal.demo.spoken_data import SpokenData
    from benchmarks.fusions import mechanisms, problems

    whole = problems.views()
    train, test = ((x[:60], y[:60]) for x, y in (whole.train, whole.test))
    monkeypatch.setitem(problems.PROBLEMS, "views", lambda: replace(whole, train=train, test=test, epochs=1))
    spoken = SpokenData("redundant")
    part = spoken.samples(np.arange(60)), spoken.labels[:60]
    kinds, radii = tuple(spoken.modalities.values()), {"digit": (0.1,) * 3, "speech": (0.02,) * 3}
    streams = problems.Problem(kinds, tuple(spoken.class_names), part, part, radii, 1)
    monkeypatch.setitem(problems.PROBLEMS, mechanisms.STREAMS, lambda: streams)
    for name, value in (("STEPS", 2), ("UNROLLED", (1,)), ("QUERIES", 3), ("SHIFTS", (1,)), ("SHIFTED", ("late",))):
        monkeypatch.setattr(mechanisms, name, value)
    out = tmp_path / "mechanisms.json"
    result = mechanisms.main(["--samples", "8", "--out", str(out)])
    assert json.loads(out.read_text()) == result
    gradients, solver, _ = result["tables"]
    shares = {row[0]: [float(cell.split()[0]) for cell in row[1:]] for row in gradients["rows"]}
    assert list(shares) == ["clean", "implicit", "unrolled, 1 steps", "none", "the worst of these"]
    for row in shares.values():
        assert all(
            worst <= share <= clean
            for worst, share, clean in zip(shares["the worst of these"], row, shares["clean"], strict=True)
        )
    assert [row[0] for row in solver["rows"]] == ["pix", "fou", "kar", "all"]
