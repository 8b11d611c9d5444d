"""The page on modalities shows what works: its blocks are run, one after the other."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import numpy as np
import pytest

from art_multimodal import modalities
from art_multimodal.cli.program import main

PAGE = Path(__file__).parents[2] / "docs" / "modalities.md"
#: What constructors need besides a name.
SIZES = {"sequence": (4, 2), "spectrogram": (4, 3), "video": (2, 3, 4, 4), "skeleton": (2, 5), "point_cloud": (6,)}
SIZES |= {"image": (1, 4, 4), "table": (3,), "text": ()}


@pytest.fixture(scope="module")
def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.slow
def test_the_examples_run(blocks, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    given, audit, saved, file, numbers, trust, own, digits, spoken, night = blocks
    names: dict = {}
    exec(given, names)
    exec(audit, names)
    rows = names["report"]["results"]
    assert len(capsys.readouterr().out.splitlines()) == len(rows) > 15
    exec(saved, names)
    (tmp_path / "sensors.py").write_text(file, encoding="utf-8")
    exec(numbers, names)
    accuracy = dict(line.split() for line in capsys.readouterr().out.splitlines())
    shares = {what: float(share) for what, share in accuracy.items()}
    assert shares["clean"] > 0.95 and shares["both"] <= shares["one"] < shares["clean"] - 0.2
    assert min(shares["missing"], shares["removed"]) > 0.5 and shares["missing"] != shares["removed"]
    x, one, both = names["x"], names["one"], names["both"]
    assert np.array_equal(one["rgb"], x["rgb"]) and np.abs(one["depth"] - x["depth"]).max() <= 0.2 + 1e-5
    assert np.abs(both["rgb"] - x["rgb"]).max() == pytest.approx(4 / 255, abs=1e-5)
    # The same answers by the audit: told that depth is missing, and not told.
    for what in ("missing", "removed"):
        assert rows[f"modality_{what}@depth"]["accuracy"] == shares[what]
    assert rows["clean"]["accuracy"] == shares["clean"] and rows["art_pgd@depth"]["accuracy"] <= shares["one"] + 0.05
    # And by the command line, whose model is another object with the same weights.
    command = re.search(r"^art-multimodal (audit python:.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    more = ["--out", "again", "--device", "cpu", "--attacks", "pgd,modality_missing,modality_removed"]
    assert main([*command[1].split(), *more]) == 0
    again = json.loads(Path("again", "report.json").read_text(encoding="utf-8"))["results"]
    same = [name for name in again if "@" in name or name == "clean"]
    assert len(same) == 7 and all(again[name]["accuracy"] == rows[name]["accuracy"] for name in same)
    capsys.readouterr()
    exec(trust, names)
    sources = names["trust"].sources
    assert set(sources) == {"rgb", "depth"} and capsys.readouterr().out.count("\n") == 2
    assert sources["depth"].cost_of_trust == pytest.approx(shares["missing"] - sources["depth"].accuracy)
    assert sources["depth"].removed.mean() == shares["removed"]
    exec(own, names)
    before, noisy = names["heard_and_seen"]["audio"], names["noisy"]["audio"]
    assert np.array_equal(noisy["length"], before["length"])
    for values, length in zip(noisy["values"], noisy["length"], strict=True):
        assert not values[length:].any()
    assert 0.19 < np.abs(noisy["values"] - before["values"]).max() <= 0.2 + 1e-5
    # A sample without sound is answered as if the tower had said nothing.
    assert capsys.readouterr().out.startswith("(6, 3) ")
    exec(digits, names)
    assert float(capsys.readouterr().out) >= 0.95
    exec(spoken, names)
    both, alone = (float(line.split()[-1]) for line in capsys.readouterr().out.splitlines())
    assert both > 0.6 and alone < 0.2
    exec(night, names)
    shares = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    # The model, the rule, and the rule that sees one image.
    assert len(shares) == 4 and shares[1] > shares[0] > 0.9 and max(shares[2:]) < 0.75


def test_the_first_examples_end_with_a_report(blocks, tmp_path, monkeypatch, capsys) -> None:
    """Quickly: an epoch, two attacks and few samples; all of the page is among the slow tests."""
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(blocks[0], names)
    changes = {"nb_epochs=15": "nb_epochs=1", "x[350:], labels[350:]": "x[390:], labels[390:]"}
    changes["max_queries=100"] = "attacks='pgd,modality_missing'"
    audit = blocks[1]
    for old, new in changes.items():
        assert audit.count(old) == 1
        audit = audit.replace(old, new)
    exec(audit, names)
    rows = names["report"]["results"]
    assert {"clean", "pgd@rgb", "pgd@depth", "modality_missing@rgb", "modality_missing@depth"} <= set(rows)
    assert rows["clean"]["n"] == 10 and len(capsys.readouterr().out.splitlines()) == len(rows)
    assert "depth" in Path("sensors", "report.html").read_text(encoding="utf-8")


def test_from_modules_to_a_report_it_takes_thirty_lines(blocks) -> None:
    lines = [line for line in blocks[1].splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert len(lines) <= 30


def test_the_table_has_every_kind() -> None:
    rows = re.findall(r"^\| `(\w+)\(.*\)` \| (.*) \| ([\w ]+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    functions = {name for name in modalities.__all__ if inspect.isfunction(getattr(modalities, name))}
    # The one that makes no modality tells classes of others by name.
    constructors = functions - {"register"}
    assert {name for name, _, _ in rows} == constructors and len(rows) == len(constructors)
    for name, field, point in rows:
        kind = getattr(modalities, name)("some", *SIZES[name])
        assert point == kind.point
        assert kind.variable == ("`length`" in field)
        if kind.numeric:
            assert len(kind.shape) == len(re.findall(r"\((.*?)\)", field)[0].strip(",").split(","))
