"""What is said of the Pythons that were tried: nothing passes that was not run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tools import pythons
from tools.release_check import PYTHONS

ROOT = Path(__file__).parents[1]


def test_what_pytest_counted_is_read() -> None:
    printed = "....\n2 failed, 2622 passed, 20 skipped, 4 warnings in 2054.43s (0:34:14)\n"
    assert pythons.counted(printed) == "2 failed, 2622 passed, 20 skipped, 4 warnings"
    assert pythons.counted("no tests ran in 0.01s") == "no test ran"


def test_a_python_that_is_not_there_fails(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    with pytest.raises(SystemExit, match="1"):
        pythons.main(["--versions", "3.99", "--results", str(results), "--folder", str(tmp_path / "made")])
    (found,) = json.loads(results.read_text()).values()
    assert not found["passed"] and "no interpreter" in found["said"]
    # One that is of another version is not taken for it.
    assert not pythons.works(Path(sys.executable), "3.99")


def test_the_lowest_versions_are_those_that_are_stated() -> None:
    import tomllib

    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    lowest = {name: least for name, _, least in (one.partition(",")[0].partition(">=") for one in stated)}
    lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    given = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert given.keys() == lowest.keys()
    for name, least in lowest.items():
        # Zeros at the end may be left out; a mark of ours may name the first release of a line.
        assert given[name].removesuffix(".0").startswith(least.removesuffix(".0")), name


def test_every_python_that_is_stated_was_tried() -> None:
    known = json.loads(pythons.RESULTS.read_text())
    # The first is that of the gate itself.
    assert {name.partition(",")[0] for name, found in known.items() if found["passed"]} >= set(PYTHONS[1:])
