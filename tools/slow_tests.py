"""Writes which tests `make test` leaves to `make test-slow`, by what they took: a plug-in of pytest.

make slow-tests

Of the files that ran, what was listed before is replaced. A test takes the seconds of its call and its part of what
the fixtures of its file take, since who is left there takes those over. Run it on cores that do nothing else.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

LISTED = Path(__file__).parents[1] / "tests" / "slow.txt"
#: Seconds from which on a test is listed.
LONGEST = 0.6
_calls: Counter[str] = Counter()
_fixtures: Counter[str] = Counter()


def listed() -> list[str]:
    """Names of the tests that are listed, as pytest writes them."""
    return LISTED.read_text(encoding="utf-8").splitlines()


def slow_tests(calls: Mapping[str, float], fixtures: Mapping[str, float]) -> list[str]:
    """Tests that are to be listed.

    :param calls: By the name of a test the seconds of its call.
    :param fixtures: By a file the seconds of its fixtures.
    """
    of_file: defaultdict[str, list[str]] = defaultdict(list)
    for name in calls:
        of_file[file_of(name)].append(name)
    return sorted(
        name
        for file, names in of_file.items()
        for name in names
        if calls[name] + fixtures.get(file, 0.0) / len(names) > LONGEST
    )


def file_of(name: str) -> str:
    """The file of a test."""
    return name.partition("::")[0]


def replaced(before: Iterable[str], files: Iterable[str], found: Iterable[str]) -> list[str]:
    """What is listed when the tests of some files were measured again."""
    measured = set(files)
    return sorted({*found, *(name for name in before if file_of(name) not in measured)})


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call":
        _calls[report.nodeid] += report.duration
    else:
        _fixtures[file_of(report.nodeid)] += report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    # Of several processes the one that hands out tests hears of all.
    if _calls and not hasattr(session.config, "workerinput"):
        files = {file_of(name) for name in _calls}
        names = replaced(listed(), files, slow_tests(_calls, _fixtures))
        LISTED.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
