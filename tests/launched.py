"""Two processes on one task, as a launcher starts them."""

from __future__ import annotations

import os
import subprocess
import sys

from audits import ONE_THREAD

#: Of what the processes said, kept in a failure's message. The launcher's own trace comes behind it.
SHOWN = 3000


def two_processes(*command: str, ends_with: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a script or ``-m MODULE`` in two processes on the processor.

    :param ends_with: The exit code that both have.
    :raises AssertionError: If they end otherwise; it shows what the processes said, from the beginning.
    """
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, **ONE_THREAD, "COLUMNS": "80"}
    done = subprocess.run([*launcher, *command], env=environment, capture_output=True, text=True)
    # A launcher turns every other exit code than 0 into 1.
    assert done.returncode == min(ends_with, 1), done.stderr[:SHOWN]
    return done
