"""What each test costs of the processor, with the processes that it starts: a plug-in of pytest, for Linux.

python -m pytest -p tools.test_costs tests/attacks

Seconds of the clock say little beside other work. What a fixture takes counts for the test that comes first.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

#: Files and tests that are listed.
MOST = 25
_TICKS = os.sysconf("SC_CLK_TCK")
_spent: Counter[str] = Counter()


def _of_children(process: int) -> float:
    """Seconds of all processes below one, those included that have ended."""
    seconds = 0.0
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except OSError:  # a thread that has just ended
            continue
        for child in children:
            try:
                # Behind the name, which may hold anything: own seconds, and those of children that were waited for.
                numbers = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11:15]
            except OSError:
                continue
            seconds += sum(map(int, numbers)) / _TICKS + _of_children(child)
    return seconds


def _seconds() -> float:
    return sum(os.times()[:4]) + _of_children(os.getpid())


def _counted(name: str) -> Iterator[None]:
    before = _seconds()
    try:
        return (yield)
    finally:
        _spent[name] += _seconds() - before


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    return (yield from _counted(f"{collector.nodeid}, collected" if isinstance(collector, pytest.Module) else ""))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    return (yield from _counted(item.nodeid))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    tests = {name: seconds for name, seconds in _spent.items() if "::" in name}
    files: Counter[str] = Counter()
    for name, seconds in tests.items():
        files[name.partition("::")[0]] += seconds
    collected = {name: seconds for name, seconds in _spent.items() if name.endswith(", collected")}
    for title, of in (("files", files), ("tests", Counter(tests)), ("to collect", Counter(collected))):
        terminalreporter.section(f"seconds of the processor: {title}")
        for name, seconds in of.most_common(MOST):
            terminalreporter.line(f"{seconds:8.2f}  {name}")
    terminalreporter.line(f"{_seconds():8.2f}  everything")
