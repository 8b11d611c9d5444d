"""The glossary: where on the pages each word is defined, gathered from their lists of definitions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

DOCS = Path(__file__).parent
_TERM = re.compile(r"^(\*.+)$")


@dataclass(frozen=True)
class Definition:
    """A word that a page defines.

    :param term: The word, without its marks.
    :param page: Name of the page's file.
    :param title: Heading of the page.
    :param anchor: Of the nearest heading above it.
    """

    term: str
    page: str
    title: str
    anchor: str


def anchor_of(heading: str) -> str:
    """The anchor of a heading, as GitHub and MyST make it."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-")


def definitions_of(path: Path) -> list[Definition]:
    """What the lists of definitions of a page define, in order."""
    lines = path.read_text(encoding="utf-8").splitlines()
    found, title, anchor, fenced = [], "", "", False
    for line, below in pairwise([*lines, ""]):
        fenced ^= line.startswith(("```", ":::"))
        heading = None if fenced else re.match(r"^#{1,3} +(.*)$", line)
        if heading:
            title, anchor = title or heading[1], anchor_of(heading[1])
        elif not fenced and below.startswith(": ") and line.startswith("*"):
            term = re.sub(r"[*`]", "", line).strip()
            found.append(Definition(term, path.name, title, anchor))
    return found


def definitions() -> list[Definition]:
    """Those of all pages, by the alphabet."""
    found = [one for path in sorted(DOCS.glob("*.md")) for one in definitions_of(path)]
    return sorted(found, key=lambda one: one.term.casefold())


def page() -> str:
    """The page."""
    rows = [f"- **{one.term}**: [{one.title}](../{one.page}#{one.anchor})" for one in definitions()]
    return "# Glossary\n\nWhere each word is defined, once.\n\n" + "\n".join(rows) + "\n"
