"""What is said of the Pythons that were tried: nothing passes that was not run."""

from __future__ import annotations

import json
import subprocess
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


def test_an_environment_that_is_there_is_kept_where_it_is_of_the_version(tmp_path: Path, monkeypatch) -> None:
    """And in no other case: what another Python has installed is no use, and a fresh one is the rule."""
    version = "3.12"
    kept, ran = tmp_path / f"{version}-constraints", []

    def run(step: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append((step[1:4], (kept / "there").exists()))
        return subprocess.CompletedProcess(step, int("check" in step), "", "")

    monkeypatch.setattr(pythons.subprocess, "run", run)
    monkeypatch.setattr(pythons, "versions", lambda python: {})
    monkeypatch.setattr(pythons, "interpreters", lambda version: iter([Path(sys.executable)]))
    for reuse, another in ((True, False), (True, True), (False, False)):
        (kept / "bin").mkdir(parents=True, exist_ok=True)
        (kept / "bin" / "python").touch()
        (kept / "there").touch()
        monkeypatch.setattr(pythons, "works", lambda path, _, other=another: not (other and kept in path.parents))
        ran.clear()
        found = pythons.tried(version, "constraints.txt", tmp_path, "none", reuse)
        assert [step[:2] for step, _ in ran] == [["-m", "venv"], ["-m", "pip"], ["-m", "pip"]]
        assert all(there == (reuse and not another) for _, there in ran)
        # What does not fit together is not passed on to the audit.
        assert not found["passed"] and found["said"] == "the step check failed"


@pytest.mark.parametrize(
    ("tests", "code", "said"),
    [
        ("quick", 0, "the quick tests: 3 passed"),
        ("whole", 0, "all tests: 3 passed"),
        ("quick", 1, "the step tests failed, the quick tests: 3 passed"),
        ("none", 0, "the audit; no tests were run"),
    ],
)
def test_what_was_run_is_named(tmp_path: Path, monkeypatch, tests: str, code: int, said: str) -> None:
    ran = []

    def run(step: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(step)
        failed = code if "pytest" in step else 0
        return subprocess.CompletedProcess(step, failed, "3 passed in 1.00s\n", "")

    monkeypatch.setattr(pythons.subprocess, "run", run)
    monkeypatch.setattr(pythons, "versions", lambda python: {})
    monkeypatch.setattr(pythons, "interpreters", lambda version: iter([Path(sys.executable)]))
    monkeypatch.setattr(pythons, "works", lambda path, version: True)
    found = pythons.tried("3.12", "constraints.txt", tmp_path, tests)
    assert found == {"passed": code == 0, "said": said}
    given = [step[4:] for step in ran if "pytest" in step]
    assert given == {"quick": [list(pythons.QUICK)], "whole": [[]], "none": []}[tests]


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
