"""Which tests are left to `make test-slow` is measured, and what is listed is there."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import slow_tests

ROOT = Path(__file__).parents[1]


def functions(file: Path) -> set[str]:
    """Names of the tests of a file, without what makes one of them several."""
    return {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)}


def test_whatever_is_listed_is_there() -> None:
    names = slow_tests.listed()
    assert names == sorted(set(names))
    # What has another name by now runs with the others; it is no longer listed when somebody measures again.
    for file in {slow_tests.file_of(name) for name in names}:
        of_file = {name.split("::")[-1].partition("[")[0] for name in names if slow_tests.file_of(name) == file}
        assert of_file <= functions(ROOT / file), file


def test_a_listed_test_is_left_out_and_its_neighbour_is_not(request: pytest.FixtureRequest) -> None:
    marked = {item.nodeid for item in request.session.items if item.get_closest_marker("listed")}
    names = set(slow_tests.listed())
    assert all((item.nodeid in names) == (item.nodeid in marked) for item in request.session.items)
    assert not request.node.get_closest_marker("slow")


def test_a_test_takes_its_part_of_what_fixtures_take() -> None:
    calls = {"a.py::one": 0.1, "a.py::two": slow_tests.LONGEST, "b.py::one": 0.0, "b.py::two": 0.0}
    assert slow_tests.slow_tests(calls, {"a.py": 0.02}) == ["a.py::two"]
    assert slow_tests.slow_tests(calls, {"b.py": 2 * slow_tests.LONGEST + 0.1}) == ["b.py::one", "b.py::two"]
    assert slow_tests.slow_tests(calls, {}) == []


def test_only_files_that_ran_are_listed_anew() -> None:
    before = ["a.py::one", "a.py::two[x::y]", "b.py::one"]
    assert slow_tests.replaced(before, ["a.py"], ["a.py::three"]) == ["a.py::three", "b.py::one"]
    assert slow_tests.replaced(before, [], []) == before


def test_of_several_processes_one_writes(tmp_path: Path) -> None:
    """The plug-in by itself: two tests in a folder, one of which sleeps."""
    (tmp_path / "test_it.py").write_text(
        "import time\ndef test_short(): pass\ndef test_long(): time.sleep(0.3)\n", encoding="utf-8"
    )
    file = tmp_path / "slow.txt"
    file.write_text("test_it.py::test_short\nother.py::test_kept\n", encoding="utf-8")
    (tmp_path / "conftest.py").write_text(
        "from pathlib import Path\nfrom tools import slow_tests\n"
        f"slow_tests.LISTED, slow_tests.LONGEST = Path({str(file)!r}), 0.2\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "xdist", "-p", "tools.slow_tests", "-n", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    assert file.read_text().splitlines() == ["other.py::test_kept", "test_it.py::test_long"]
