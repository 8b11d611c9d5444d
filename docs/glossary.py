"""The glossary: each word with its definition, gathered from the lists of definitions of all pages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

DOCS = Path(__file__).parent


@dataclass(frozen=True)
class Definition:
    """A word that a page defines.

    :param term: The word, without its marks.
    :param also: Its other name, which stands in brackets behind it; or empty.
    :param text: What it means: the first paragraph, in Markdown, as the page has it.
    :param page: Name of the page's file.
    :param title: Heading of the page.
    :param anchor: Of the nearest heading above it.
    """

    term: str
    also: str
    text: str
    page: str
    title: str
    anchor: str


def anchor_of(heading: str) -> str:
    """The anchor of a heading, as GitHub and MyST make it."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-")


def definitions_of(path: Path) -> list[Definition]:
    """What the lists of definitions of a page define, in order."""
    lines = [*path.read_text(encoding="utf-8").splitlines(), ""]
    found, title, anchor, fenced = [], "", "", False
    for number, line in enumerate(lines[:-1]):
        fenced ^= line.startswith(("```", ":::"))
        heading = None if fenced else re.match(r"^#{1,3} +(.*)$", line)
        if heading:
            title, anchor = title or heading[1], anchor_of(heading[1])
        elif not fenced and lines[number + 1].startswith(": ") and line.startswith("*"):
            term, _, also = re.sub(r"[*`]", "", line).strip().partition(" (")
            text = " ".join(one.strip() for one in takewhile(str.strip, lines[number + 1 :])).removeprefix(": ")
            found.append(Definition(term, also.removesuffix(")"), text, path.name, title, anchor))
    return found


def definitions() -> list[Definition]:
    """Those of all pages, by the alphabet."""
    found = [one for path in sorted(DOCS.glob("*.md")) for one in definitions_of(path)]
    return sorted(found, key=lambda one: one.term.casefold())


def page() -> str:
    """The page, which lies in a folder of its own beside the others."""
    entries = [_entry(one) for one in definitions()]
    return "# Glossary\n\nEach word once, with the page that says more.\n\n" + "\n".join(entries)


def _entry(one: Definition) -> str:
    text = re.sub(r"\]\((?!https?:|#)(?:generated/)?([^)]+)\)", _moved, one.text)
    text = re.sub(r"\]\(#", f"](../{one.page}#", text)
    also = f" ({one.also})" if one.also else ""
    return f"**{one.term}**{also}\n: {text} *[{one.title}](../{one.page}#{one.anchor})*\n"


def _moved(link: re.Match[str]) -> str:
    return f"]({link[1]})" if "](generated/" in link[0] else f"](../{link[1]})"
