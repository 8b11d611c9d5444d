"""Hostile inputs, each run through the real command line and judged: ``python -m fuzz.driver --count 20000``.

A category is a function ``make(rng, folder) -> Input`` that lays an input into an empty folder and says how the command
line is called on it. Modules of this folder name theirs in ``CATEGORIES``; all that are in ``MODULES`` and are there
take part. An input is made anew from its category and its number, so a finding can be repeated alone:
``python -m fuzz.driver --only CATEGORY --first NUMBER --count 1``.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from texts import controls

MODULES = ("names", "options", "run_folders", "models_and_data")
SECONDS, BYTES = 60, 4 << 30
_CHUNK = 250


@dataclass(frozen=True)
class Input:
    """How the command line is called.

    :param arguments: Of the command line.
    :param environment: Variables of the environment that are set for it.
    :param untouched: Files and folders outside that it must leave as they are (what links lead to, canaries).
    :param forbidden: Bytes that must come into no report: what stands behind links.
    :param out: The folder whose reports are looked at.
    """

    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    untouched: tuple[Path, ...] = ()
    forbidden: tuple[bytes, ...] = ()
    out: Path | None = None


Make = Callable[[random.Random, Path], Input]


@dataclass(frozen=True)
class Finding:
    """What an input did that it must not do."""

    category: str
    number: int
    what: str
    arguments: list[str]
    printed: str


def categories() -> dict[str, Make]:
    """The categories of all modules that are there."""
    found: dict[str, Make] = {}
    for name in MODULES:
        if importlib.util.find_spec(f"fuzz.{name}") is not None:
            found |= importlib.import_module(f"fuzz.{name}").CATEGORIES
    return found


class _TooLong(BaseException):
    pass


@contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    def ring(*_: Any) -> None:
        raise _TooLong

    # Time of the processor, which others do not share; and ten times as much by the clock, for what waits.
    timers = ((signal.SIGPROF, signal.ITIMER_PROF, seconds), (signal.SIGALRM, signal.ITIMER_REAL, 10 * seconds))
    before = [signal.signal(number, ring) for number, _, _ in timers]
    for _, timer, limit in timers:
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for (number, timer, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def call(given: Input) -> tuple[int, str, str]:
    """Run the command line; its exit code and what it printed on both streams."""
    from art_multimodal import cli

    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2)]
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = streams
    try:
        with _environment(given.environment), _time_limit(SECONDS):
            code = cli.main(given.arguments)
    except SystemExit as stop:
        code = -1
        print(f"SystemExit {stop.code} left main", file=streams[1])
    except Exception:
        code = -1
        traceback.print_exc(file=streams[1])
    finally:
        sys.stdout, sys.stderr = before
    printed = []
    for stream in streams:
        stream.flush()
        printed.append(stream.buffer.getvalue().decode("utf-8", "replace"))
    return code, printed[0], printed[1]


def _state(paths: tuple[Path, ...]) -> str:
    digest = hashlib.blake2b()
    for root in paths:
        for path in sorted([root, *root.rglob("*")]) if os.path.lexists(root) else ():
            digest.update(str(path).encode("utf-8", "surrogateescape"))
            if path.is_file() and not path.is_symlink():
                digest.update(path.read_bytes())
    return digest.hexdigest()


def faults(given: Input, code: int, out: str, err: str, seconds: float, grown: int) -> list[str]:
    """What is wrong about how an input ended."""
    found = []
    if code not in (0, 1, 2):
        found.append(f"exit code {code}")
    if "Traceback (most recent call last)" in out + err:
        found.append("a traceback")
    if raw := controls(out + err):
        found.append(f"raw control characters {sorted(map(ascii, raw))}")
    errors = [line for line in err.split("\n") if line.startswith("error: ")]
    if code == 2 and (len(errors) != 1 or err.rstrip("\n").split("\n")[-1] != errors[0]):
        found.append(f"{len(errors)} error lines, or not the last one")
    if code != 2 and errors and code in (0, 1):
        found.append("an error line without exit code 2")
    if seconds > SECONDS:
        found.append(f"{seconds:.0f} s")
    if grown > BYTES:
        found.append(f"{grown / 2**30:.1f} GB more")
    for path in (
        sorted(given.out.glob("report.*")) if given.out and os.access(given.out, os.R_OK) and given.out.is_dir() else ()
    ):
        if path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        if any(secret in content for secret in given.forbidden):
            found.append(f"{path.name} holds what a link leads to")
        if path.suffix in (".md", ".html") and (raw := controls(content.decode("utf-8", "replace"))):
            found.append(f"raw control characters in {path.name}: {sorted(map(ascii, raw))}")
    return found


@cache
def _warm() -> None:
    """Import what the first input would wait for."""
    for module in ("evaluations.audit", "defences.training_run", "models.loading", "datasets"):
        importlib.import_module(f"art_multimodal.{module}")


def run_one(category: str, make: Make, number: int, base: Path) -> tuple[str, Finding | None]:
    """Make an input, run it and judge it; how it ended, in a word, and what was wrong."""
    _warm()
    folder = base / f"{category}-{number}"
    folder.mkdir(parents=True)
    given = make(random.Random(f"{category} {number}"), folder)
    before = _state(given.untouched)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    try:
        code, out, err = call(given)
    except _TooLong:
        code, out, err = -1, "", f"it was still running after {SECONDS} s"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024
    found = faults(given, code, out, err, time.process_time() - started, grown)
    if _state(given.untouched) != before:
        found.append("something outside was changed")
    _remove(folder)
    finding = Finding(category, number, "; ".join(found), given.arguments, (out + err)[-3000:]) if found else None
    return f"exit {code}", finding


def _remove(folder: Path) -> None:
    for path in [folder, *(Path(root) / name for root, names, _ in os.walk(folder) for name in names)]:
        if not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def run_some(category: str, first: int, count: int) -> tuple[Counter[str], list[Finding]]:
    """Run inputs of a category, one after the other, in this process."""
    make = categories()[category]
    ends: Counter[str] = Counter()
    findings = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as base:
        for number in range(first, first + count):
            end, finding = run_one(category, make, number, Path(base))
            ends[end] += 1
            if finding is not None:
                findings.append(finding)
    return ends, findings


def _in_a_process(category: str, first: int, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fuzz.driver", "--only", category, "--first", str(first), "--count", str(count)]
    return subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True)


def run_all(count: int, workers: int, only: list[str]) -> int:
    """Run that many inputs over all categories in worker processes, and print a table; the number of findings."""
    names = [name for name in categories() if not only or name in only]
    share = {name: count // len(names) + (place < count % len(names)) for place, name in enumerate(names)}
    waiting = [(n, first, min(_CHUNK, share[n] - first)) for n in names for first in range(0, share[n], _CHUNK)]
    ends: dict[str, Counter[str]] = {name: Counter() for name in names}
    findings: list[dict[str, Any]] = []
    started = time.perf_counter()
    running: list[tuple[tuple[str, int, int], subprocess.Popen[str]]] = []
    while waiting or running:
        while waiting and len(running) < workers:
            chunk = waiting.pop(0)
            running.append((chunk, _in_a_process(*chunk)))
        chunk, process = running.pop(0)
        printed, _ = process.communicate()
        try:
            result = json.loads(printed.splitlines()[-1])
        except (ValueError, IndexError):
            what = f"the process of inputs {chunk[1]} to {chunk[1] + chunk[2] - 1} ended with {process.returncode}"
            result = {"ends": {"lost": chunk[2]}, "findings": [{"category": chunk[0], "number": -1, "what": what}]}
        ends[chunk[0]].update(result["ends"])
        findings += result["findings"]
    _print_table(ends, findings, time.perf_counter() - started)
    return len(findings)


def _print_table(ends: dict[str, Counter[str]], findings: list[dict[str, Any]], seconds: float) -> None:
    columns = sorted({end for counter in ends.values() for end in counter})
    print(f"{'category':<24}" + "".join(f"{name:>10}" for name in ("inputs", *columns, "findings")))
    for name, counter in ends.items():
        wrong = sum(finding["category"] == name for finding in findings)
        cells = (sum(counter.values()), *(counter[end] for end in columns), wrong)
        print(f"{name:<24}" + "".join(f"{cell:>10}" for cell in cells))
    print(f"{sum(sum(counter.values()) for counter in ends.values())} inputs in {seconds:.0f} s")
    for finding in findings:
        print(ascii(json.dumps(finding)))


def main() -> int:
    """The command line of the driver."""
    parser = argparse.ArgumentParser(description="Run hostile inputs through the command line.")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", action="append", default=[], help="a category; may be repeated")
    parser.add_argument("--first", type=int, help="with --only: run numbers from here on in this process")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if options.first is None:
        return 1 if run_all(options.count, options.workers, options.only) else 0
    ends, findings = run_some(options.only[0], options.first, options.count)
    if options.json:
        print(json.dumps({"ends": ends, "findings": [asdict(finding) for finding in findings]}))
    else:
        _print_table({options.only[0]: ends}, [asdict(finding) for finding in findings], 0.0)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
