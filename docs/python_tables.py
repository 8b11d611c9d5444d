"""The table of what was tried under which Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

RESULTS = Path(__file__).parent / "pythons.json"


def tried(table: Callable[..., str]) -> str:
    """Each Python and set of versions, and what came of it, as :mod:`tools.pythons` wrote it."""
    rows = []
    # A source that nobody has tried has an empty table.
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for name, found in known.items():
        version, _, constraints = name.partition(", ")
        said = "passed" if found["passed"] else "**failed**"
        of = ", ".join(f"{one} {number}" for one, number in found.get("versions", {}).items() if number)
        rows.append((found.get("python", version), f"`{constraints}`", f"{said}: {found['said']}", of))
    return table(("Python", "versions", "audit and tests", "of these"), rows)
