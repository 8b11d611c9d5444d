"""What a process has used so far, as Linux says it."""

from __future__ import annotations

import os
from pathlib import Path


def peak_bytes(process: int | str = "self") -> int:
    """The most resident memory that a process has had; its own, not that of whoever started it."""
    for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/{process}/status says nothing of VmHWM.")


def processor_seconds(process: int | str = "self") -> float:
    """Processor time of a process, over all its threads."""
    # The name, in parentheses, may hold anything.
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
