"""Processes that are killed where what they keep on the disk changes: at a place, not after a time.

Between two changes of a folder nothing in it can differ, so these are all moments that there are; and a slow machine
has the same ones as a quick one.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

from forked import Forked

#: Runs a module, and ends it by SIGKILL before the N-th change below a folder, of those with a name that is wanted.
_SCRIPT = """
import os, re, runpy, signal, sys
folder, names, left = os.path.realpath(sys.argv[1]), re.compile(sys.argv[2]), int(sys.argv[3])

def watch(event, arguments):
    global left
    if event == "open":
        changes = isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    else:
        changes = event in ("os.rename", "os.mkdir", "os.remove", "os.truncate")
    path = arguments[1 if event == "os.rename" else 0] if changes else None
    if not isinstance(path, (str, bytes, os.PathLike)):
        return
    place = os.path.relpath(os.path.realpath(os.fsdecode(path)), folder)
    if not place.startswith("..") and names.search(place):
        left -= 1
        if left == 0:
            os.write(2, f"\\nkilled at {place}".encode())
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)
del sys.argv[1:4]
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


def killed_in(folder: Path, number: int, *command: str, names: str = "") -> str:
    """Run a module until it is about to change a folder for the N-th time, and kill it there.

    :param folder: Counted is what is opened for writing, made, renamed or removed below it.
    :param number: N, from 1 on.
    :param command: The module and its arguments.
    :param names: Of what is counted, a pattern of the place below the folder.
    :return: The place.
    :raises AssertionError: If it ended before that.
    """
    process = Forked(folder.parent, "-c", _SCRIPT, str(folder), names, str(number), *command)
    assert process.wait() == -signal.SIGKILL, f"not killed at change {number} of {names!r}: {process.stderr}"
    return process.stderr.rpartition("killed at ")[2]


def stages(places: Sequence[str]) -> set[str]:
    """What was being written where it was killed: the ends of names, without those of samples."""
    return {"picture" if place.endswith(".png.part") or "pictures" in place else Path(place).name for place in places}
