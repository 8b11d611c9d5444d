"""Tables of what of ART works, from the run that ``make interop`` makes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

FOUND = Path(__file__).parent / "interoperability.json"


def interoperability(table: Callable[..., str]) -> str:
    """The matrix, the families counted, and what cannot apply."""
    if not FOUND.exists():
        return "Not measured yet: run `make interop`.\n"
    found = json.loads(FOUND.read_text(encoding="utf-8"))
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    subjects = found["subjects"]
    evasion = [row for row in found["rows"].values() if row["family"] == "evasion attacks"]
    wrong = sum(cell.get("rows_with_wrong_text", 0) for row in evasion for cell in row["on"].values())
    parts = [
        f"Measured with {versions}. {wrong} rows of fusion models were evaluated with a wrong text. "
        "[*]: with a note below the table.\n"
    ]
    counts = []
    for family in found["families"]:
        rows = [row for row in found["rows"].values() if row["family"] == family]
        counts.append(
            (family, len(rows), *(sum("measured" in row["on"].get(name, {}) for row in rows) for name in subjects))
        )
    parts.append(table(("family", "rows", *(f"work on {name}" for name in subjects)), counts))
    for family in found["families"]:
        rows = [(name, row) for name, row in found["rows"].items() if row["family"] == family]
        parts.append(f"## {family.capitalize()}\n")
        lines = [
            (f"{name} [*]" if _note(row) else name, *(_cell(row, subject) for subject in subjects))
            for name, row in rows
        ]
        parts.append(table(("what", *subjects), lines))
        # Below the table: they are too long for a column of it.
        parts.append("\n".join(f"- *{name}*: {_note(row)}" for name, row in rows if _note(row)) + "\n")
    parts.append("## Not applicable\n")
    parts.append(table(("why", "what"), ((why, ", ".join(names)) for why, names in found["not_applicable"].items())))
    return "\n".join(parts)


def _cell(row: dict, subject: str) -> str:
    cell = row["on"].get(subject, {})
    if "measured" in cell:
        return f"works: {cell['measured']}"
    if "failed" in cell:
        return "broken in ART"
    return row["not_for"].get(subject, "not run")


def _note(row: dict) -> str:
    broken = row["broken"]
    where = f"ART 1.20.1, {broken['where']}." if broken else ""
    instead = f"Use {broken['instead']}." if broken and broken["instead"] else ""
    return " ".join(part for part in (row["note"], where, instead) if part)
