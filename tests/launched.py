"""Two processes on one task, as a launcher starts them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from forked import ONE_THREAD, Forked

#: Of what the processes said, kept in a failure's message. The launcher's own trace comes behind it.
SHOWN = 3000
#: What both processes are told by a launcher, besides which of them they are.
MEETING = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
#: Seconds that a process has to end, once the other has failed: more than a busy machine needs, less than a hang.
_GRACE = 600


@dataclass(frozen=True)
class Ended:
    """What both processes have said."""

    stdout: str
    stderr: str


def two_processes(folder: Path, *command: str, ends_with: int = 0) -> Ended:
    """Run a script or ``-m MODULE`` in two processes on the processor, which know of each other what a launcher says.

    :param folder: Where what they say is kept.
    :param ends_with: The exit code that both have.
    :raises AssertionError: If they end otherwise; it shows what the processes said, from the beginning.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meeting = {**MEETING, "MASTER_PORT": port}
    ranks = [{**meeting, "RANK": rank, "LOCAL_RANK": rank, "COLUMNS": "80"} for rank in ("0", "1")]
    both = [Forked(folder, *command, environment=rank) for rank in ranks]
    until = None
    while None in [one.poll() for one in both]:
        time.sleep(0.01)
        if until is None and any(one.returncode for one in both):
            until = time.monotonic() + _GRACE
        if until is not None and time.monotonic() > until:
            for one in both:
                one.send_signal(signal.SIGKILL)
    done = Ended(*("".join(getattr(one, name) for one in both) for name in ("stdout", "stderr")))
    assert [one.returncode for one in both] == [ends_with] * 2, done.stderr[:SHOWN]
    return done


def by_torchrun(*command: str, ends_with: int = 0) -> Ended:
    """The same by a launcher, which imports everything anew: a test of it is slow.

    :raises AssertionError: As above.
    """
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, **ONE_THREAD, "COLUMNS": "80"}
    done = subprocess.run([*launcher, *command], env=environment, capture_output=True, text=True)
    # A launcher turns every other exit code than 0 into 1.
    assert done.returncode == min(ends_with, 1), done.stderr[:SHOWN]
    return Ended(done.stdout, done.stderr)
