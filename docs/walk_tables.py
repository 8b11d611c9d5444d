"""The table of what contributors' walks take, as the check of a release counted it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

RESULTS = Path(__file__).parent / "walks.json"


def walked(table: Callable[..., str]) -> str:
    """Each walk with what it writes and runs, as :mod:`tools.walks` wrote it."""
    # A source that nobody has tried has an empty table.
    if not RESULTS.exists():
        return table(("walk",), ())
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    header = ("walk", "files written", "lines", "commands run", "ended well", "files of the package edited")
    rows = [
        (
            one["walk"],
            ", ".join(f"`{name}`" for name in one["files"]),
            *(one["lines"], one["commands"], one["well"], len(one["edited"])),
        )
        for one in found["walks"]
    ]
    said = (
        f"\n{found['version']} under Python {found['python']}, in an environment of {found['packages']} packages, pip "
        f"among them; all {found['package_files']} files of the package were hashed before and after each walk.\n"
    )
    return table(header, rows) + said
