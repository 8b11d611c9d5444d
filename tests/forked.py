"""Processes that begin as a copy of one that has imported the package: no test waits for that import twice.

The copy has what commands import when they come to it, too: the modules of a language model take seconds.

Each still has its own memory, environment, exit code and end by a signal. What is about importing, or about what an
interpreter reads when it starts, is a process of :mod:`subprocess`.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: One thread each: a process that has others cannot be doubled. Results are compared bit for bit, besides.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_ROOT = Path(__file__).parents[1]
#: Reads a line for each request. A copy leaves the loop, runs what it is for, and ends as any interpreter does.
_SERVER = """
import contextlib, json, os, runpy, signal, sys
import sklearn.datasets, torch.distributed
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertForMaskedLM
import art_multimodal.cli.program, art_multimodal.cli.options, art_multimodal.defences.trainer
import art_multimodal.defences.training_run, art_multimodal.evaluations.benchmark.amending
import art_multimodal.evaluations.certification, art_multimodal.evaluations.evidence.bundle
import art_multimodal.demo.night_data, art_multimodal.evaluations.plans
with contextlib.suppress(ImportError):
    # Patterns of names of weights, which the first model of a process compiles; to load one would leave threads.
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping
    get_checkpoint_conversion_mapping("bert")

def become(given):
    os.environ.clear()
    os.environ.update(given["environment"])
    null = os.open(os.devnull, os.O_RDONLY)
    out, err = (os.open(given[name], os.O_WRONLY | os.O_APPEND) for name in ("out", "err"))
    for stream, number in ((null, 0), (out, 1), (err, 2)):
        os.dup2(stream, number)
    kind, *sys.argv = given["command"]
    if kind == "-c":
        code, sys.argv[0] = sys.argv[0], "-c"
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    elif kind == "-m":
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [kind, *sys.argv]
        runpy.run_path(kind, run_name="__main__")

while line := sys.stdin.readline():
    what, given = json.loads(line)
    if what == "start":
        answer = os.fork()
        if answer == 0:
            become(given)
            break
    else:
        found, status = os.waitpid(given, os.WNOHANG if what == "poll" else 0)
        answer = os.waitstatus_to_exitcode(status) if found else None
    sys.stdout.write(json.dumps(answer) + "\\n")
    sys.stdout.flush()
"""
_server: subprocess.Popen[str] | None = None


def _asked(what: str, given: Any) -> Any:
    global _server
    if _server is None:
        environment = {**os.environ, **ONE_THREAD}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        _server = subprocess.Popen([sys.executable, "-c", _SERVER], cwd=_ROOT, env=environment, **pipes)
        atexit.register(_server.communicate)
    _server.stdin.write(json.dumps([what, given]) + "\n")
    _server.stdin.flush()
    return json.loads(_server.stdout.readline())


class Forked:
    """A process that runs a script, ``-m MODULE`` or ``-c CODE``, with arguments, as ``python`` would.

    :param folder: Where what it says is kept.
    :param environment: Variables besides those of the tests.
    """

    def __init__(self, folder: Path, *command: str, environment: Mapping[str, str] | None = None) -> None:
        self.returncode: int | None = None
        self._said = {name: folder / f".{name}-{time.monotonic_ns()}" for name in ("out", "err")}
        given = {**os.environ, **ONE_THREAD, **(environment or {})}
        files = {name: str(path) for name, path in self._said.items()}
        for path in self._said.values():
            path.touch()
        self.pid = _asked("start", {"command": command, "environment": given, **files})

    def poll(self) -> int | None:
        """The exit code, negative of one that a signal has ended; ``None`` while it runs."""
        if self.returncode is None:
            self.returncode = _asked("poll", self.pid)
        return self.returncode

    def wait(self) -> int:
        """Wait for its end, and return the exit code."""
        if self.returncode is None:
            self.returncode = _asked("wait", self.pid)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return self._said["out"].read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        """What it has said on standard error so far."""
        return self._said["err"].read_text(encoding="utf-8")
