"""A few of the hostile inputs of each category; ``make fuzz`` runs many."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.driver import Finding, categories, faults, run_one
from fuzz.driver import Input as Given

_FEW = 4


@pytest.mark.parametrize("category", categories())
def test_a_few_inputs_end_as_they_should(category: str, tmp_path: Path) -> None:
    make = categories()[category]
    found: list[Finding] = []
    for number in range(_FEW):
        _, finding = run_one(category, make, number, tmp_path)
        found += [finding] if finding is not None else []
    assert not found, "\n".join(f"{one.category} {one.number}: {one.what}\n{one.printed}" for one in found)


@pytest.mark.parametrize(
    ("code", "out", "err", "what"),
    [
        (3, "", "", "exit code 3"),
        (0, "\x1b[31m", "", "raw control"),
        (0, "\u202e", "", "raw control"),
        (2, "", "", "0 error lines"),
        (2, "", "error: a\nerror: b\n", "2 error lines"),
        (2, "", "error: a\nand more\n", "not the last"),
        (0, "", "Traceback (most recent call last):\n", "a traceback"),
    ],
)
def test_the_judge_sees(code: int, out: str, err: str, what: str) -> None:
    assert any(what in fault for fault in faults(Given([]), code, out, err, 1.0, 0))
    assert not faults(Given([]), 2, "", "pgd 0/2\nerror: one line\n", 1.0, 0)
    assert faults(Given([]), 0, "", "", 61.0, 0) and faults(Given([]), 0, "", "", 1.0, 5 << 30)
