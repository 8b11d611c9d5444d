"""A few of the hostile inputs of each category; ``make fuzz`` runs many."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fuzz import driver, plausible
from fuzz.driver import Finding, categories, faults, run_one
from fuzz.driver import Input as Given

from art_multimodal.datasets import UnreadableSample, open_data
from art_multimodal.errors import InputError

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


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak begins anew on Linux alone")
def test_an_input_does_not_hide_behind_the_memory_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ones(given: Given) -> tuple[int, str, str]:
        np.ones(2**25)  # 256 MiB, freed at once
        return 0, "", ""

    monkeypatch.setattr(driver, "call", ones)
    monkeypatch.setattr(driver, "BYTES", 2**27)
    for number in range(2):
        _, finding = run_one("x", lambda rng, folder: Given([]), number, tmp_path)
        assert finding is not None and "GB more" in finding.what


def _dies(*at: int) -> tuple[list[int], Callable[..., SimpleNamespace]]:
    """Processes that are killed at some inputs, and where each of them began."""
    began: list[int] = []

    def run(command: list[str], **how: object) -> SimpleNamespace:
        first, count = (int(command[command.index(option) + 1]) for option in ("--first", "--count"))
        began.append(first)
        last = min([number for number in at if number >= first], default=first + count)
        ended = [driver.Ended(number, "exit 0", 0.1, None) for number in range(first, last)]
        printed = "".join(f"noise\n{driver._MARK}{json.dumps(asdict(one))}\n" for one in ended)
        return SimpleNamespace(stdout=printed, returncode=0 if last == first + count else -9)

    return began, run


def test_an_input_that_kills_its_process_is_found_and_the_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    began, run = _dies(12, 15)
    monkeypatch.setattr(subprocess, "run", run)
    ended = driver._in_processes("x", 10, 8)
    assert began == [10, 13, 16] and [one.number for one in ended] == list(range(10, 18))
    assert [one.number for one in ended if one.end == "lost" and one.finding] == [12, 15]


def test_processes_that_cannot_run_at_all_are_not_tried_for_each_input(monkeypatch: pytest.MonkeyPatch) -> None:
    began, run = _dies(*range(100))
    monkeypatch.setattr(subprocess, "run", run)
    ended = driver._in_processes("x", 0, 50)
    assert len(began) == 2 and [one.number for one in ended if one.finding] == list(range(50))


def test_every_input_is_given_to_a_category() -> None:
    names = list(categories())
    shares = driver._shares(20_000, names)
    assert sum(shares.values()) == 20_000
    assert abs(shares["images"] - 2 * shares["numbers"]) <= 2
    assert set(driver.WEIGHTS) <= set(names) and min(driver._shares(3, names).values()) == 1


@pytest.mark.parametrize("kind", ["folder", "csv"])
def test_what_is_plausible_is_read(kind: str, tmp_path: Path) -> None:
    """At least half of the images of most data: what stands behind the reader meets them."""
    taken = 0
    for seed in range(20):
        rng, root = np.random.default_rng(seed), tmp_path / str(seed)
        root.mkdir()
        names = plausible.folders(rng, root)
        (root / "table.csv").write_bytes(plausible.table(rng, names))
        try:
            data = open_data(f"folder:{root}" if kind == "folder" else f"csv:{root / 'table.csv'}", None)
        except InputError:
            continue
        taken += sum(_is_read(data, index) for index in range(len(data))) >= len(data) / 2
    assert taken >= 12


def _is_read(data: object, index: int) -> bool:
    try:
        data.image(index)  # type: ignore[attr-defined]
    except UnreadableSample:
        return False
    return True


def test_reports_are_judged_that_the_run_wrote(tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    report.write_bytes(b"damaged \x1b[31m")
    given = Given([], out=tmp_path)
    assert not faults(given, 2, "", "error: one line\n", 1.0, 0, {report: report.read_bytes()})
    for before in (None, {}, {report: b"another one"}):
        assert any("report.md" in fault for fault in faults(given, 0, "", "", 1.0, 0, before))
