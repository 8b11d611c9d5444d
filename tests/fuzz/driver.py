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
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from texts import controls

MODULES = ("names", "options", "run_folders", "models_and_data", "arrays", "certifying")
SECONDS, BYTES = 60, 4 << 30
#: How many inputs a category gets, against 1 of others: more where much is read, by many libraries.
WEIGHTS = {"checkpoints": 2.0, "images": 2.0, "tables": 2.0, "folders": 2.0}
# A process waits ten seconds for its imports, so it takes many inputs; what one of them leaves behind, others meet.
_CHUNK = 1000
# Of a line of a worker process, among whatever libraries print.
_MARK, _LOST = "ended: ", "lost"


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


def faults(
    given: Input,
    code: int,
    out: str,
    err: str,
    seconds: float,
    grown: int,
    there: dict[Path, bytes] | None = None,
) -> list[str]:
    """What is wrong about how an input ended.

    :param there: The reports that were there before it was run.
    """
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
    for path, content in _reports(given).items():
        # What was there before, and damaged by whoever made the input, is none that the run wrote.
        if (there or {}).get(path) == content:
            continue
        if any(secret in content for secret in given.forbidden):
            found.append(f"{path.name} holds what a link leads to")
        if path.suffix in (".md", ".html") and (raw := controls(content.decode("utf-8", "replace"))):
            found.append(f"raw control characters in {path.name}: {sorted(map(ascii, raw))}")
    return found


def _reports(given: Input) -> dict[Path, bytes]:
    """The reports in the folder of a run."""
    out = given.out
    if out is None or not os.access(out, os.R_OK) or not out.is_dir():
        return {}
    paths = [path for path in sorted(out.glob("report.*")) if path.is_file() and not path.is_symlink()]
    return {path: path.read_bytes() for path in paths if os.access(path, os.R_OK)}


@cache
def _warm() -> None:
    """Import what the first input would wait for."""
    for module in (
        "evaluations.audit",
        "evaluations.certification",
        "defences.training_run",
        "models.loading",
        "datasets",
    ):
        importlib.import_module(f"art_multimodal.{module}")


def _peak_from_here() -> int:
    """Begin the peak of memory anew, in KiB: it would hide inputs behind one that took more."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def run_one(category: str, make: Make, number: int, base: Path) -> tuple[str, Finding | None]:
    """Make an input, run it and judge it; how it ended, in a word, and what was wrong."""
    _warm()
    folder = base / f"{category}-{number}"
    folder.mkdir(parents=True)
    given = make(random.Random(f"{category} {number}"), folder)
    before, there = _state(given.untouched), _reports(given)
    peak = _peak_from_here()
    started = time.process_time()
    try:
        code, out, err = call(given)
    except _TooLong:
        code, out, err = -1, "", f"it was still running after {SECONDS} s"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024
    found = faults(given, code, out, err, time.process_time() - started, grown, there)
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


@dataclass(frozen=True)
class Ended:
    """How an input ended.

    :param end: In a word: its exit code, or that its process was lost.
    :param seconds: Time of the processor that it took, from making it to judging it.
    :param finding: What was wrong.
    """

    number: int
    end: str
    seconds: float
    finding: dict[str, Any] | None


def run_some(category: str, first: int, count: int) -> Iterator[Ended]:
    """Run inputs of a category, one after the other, in this process."""
    make = categories()[category]
    _warm()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as base:
        for number in range(first, first + count):
            started = time.process_time()
            end, finding = run_one(category, make, number, Path(base))
            seconds = time.process_time() - started
            yield Ended(number, end, round(seconds, 4), asdict(finding) if finding is not None else None)


def _in_processes(category: str, first: int, count: int) -> list[Ended]:
    """Run inputs in a process of their own, and go on in a new one behind an input that killed it."""
    ended: list[Ended] = []
    last = first + count
    while first < last:
        command = [sys.executable, "-m", "fuzz.driver", "--only", category, "--first", str(first), "--json"]
        process = subprocess.run([*command, "--count", str(last - first)], stdout=subprocess.PIPE, text=True)
        lines = [line for line in process.stdout.splitlines() if line.startswith(_MARK)]
        ended += [Ended(**json.loads(line.removeprefix(_MARK))) for line in lines]
        first += len(lines)
        if first == last:
            break
        # Two that die at once are no matter of an input: whatever it is would kill all others, too.
        hopeless = not lines and bool(ended) and ended[-1].end == _LOST
        for number in range(first, last if hopeless else first + 1):
            what = f"its process ended with {process.returncode}"
            ended.append(Ended(number, _LOST, 0.0, asdict(Finding(category, number, what, [], ""))))
        first = ended[-1].number + 1
    return ended


def _shares(count: int, names: list[str]) -> dict[str, int]:
    """How many inputs each category gets: by its weight, and at least one."""
    weights = {name: WEIGHTS.get(name, 1.0) for name in names}
    bounds = [round(count * passed / sum(weights.values())) for passed in accumulate(weights.values(), initial=0.0)]
    return {name: max(1, after - before) for name, (before, after) in zip(names, pairwise(bounds), strict=True)}


def run_all(count: int, workers: int, only: list[str]) -> int:
    """Run that many inputs over all categories in worker processes, and print a table; the number of findings."""
    names = [name for name in categories() if not only or name in only]
    chunks = []
    for name, share in _shares(count, names).items():
        pieces = -(-share // _CHUNK)
        bounds = [share * piece // pieces for piece in range(pieces + 1)]
        chunks += [(name, first, after - first) for first, after in pairwise(bounds)]
    ended: dict[str, list[Ended]] = {name: [] for name in names}
    started = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        for chunk, results in zip(chunks, pool.map(lambda chunk: _in_processes(*chunk), chunks), strict=True):
            ended[chunk[0]] += results
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    findings = _print_table(ended)
    inputs = sum(map(len, ended.values()))
    print(f"{inputs} inputs in {time.perf_counter() - started:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of CPU")
    return findings


def _print_table(ended: dict[str, list[Ended]]) -> int:
    """Print a row for each category, and then what was wrong; the number of findings."""
    columns = sorted({one.end for several in ended.values() for one in several})
    titles = ("inputs", "CPU s each", *columns, "findings")
    print(f"{'category':<24}" + "".join(f"{title:>12}" for title in titles))
    for name, several in ended.items():
        ends = Counter(one.end for one in several)
        each = sum(one.seconds for one in several) / max(1, len(several))
        wrong = sum(one.finding is not None for one in several)
        cells = (len(several), f"{each:.3f}", *(ends[end] for end in columns), wrong)
        print(f"{name:<24}" + "".join(f"{cell:>12}" for cell in cells))
    findings = [one.finding for several in ended.values() for one in several if one.finding is not None]
    for finding in findings:
        print(ascii(json.dumps(finding)))
    return len(findings)


def main() -> int:
    """The command line of the driver."""
    parser = argparse.ArgumentParser(description="Run hostile inputs through the command line.")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", action="append", default=[], help="a category; may be repeated")
    parser.add_argument("--first", type=int, help="with --only: run numbers from here on in this process")
    parser.add_argument("--json", action="store_true", help="print how each input ended as JSON")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if options.first is None:
        return 1 if run_all(options.count, options.workers, options.only) else 0
    ended = []
    for one in run_some(options.only[0], options.first, options.count):
        ended.append(one)
        if options.json:
            print(_MARK + json.dumps(asdict(one)), flush=True)
    if options.json:
        return 0
    return 1 if _print_table({options.only[0]: ended}) else 0


if __name__ == "__main__":
    sys.exit(main())
