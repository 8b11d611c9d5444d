"""The pages that people read, taken apart: blocks of code, links, headings."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))
#: Pages that are no part of the site.
FRONT = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "benchmarks/README.md")
_FENCE = re.compile(r"^( *)(`{3,}|:{3,})(.*)$")
#: Why a block is not run, in the line before it; invisible on the page.
_NOT_RUN = re.compile(r"^<!-- not run: (.+) -->$")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    :param page: Where it stands, relative to the repository.
    :param line: Of its first fence, from 1.
    :param language: What stands behind the fence; empty for what is typed into a terminal, and for drawings.
    :param text: Its lines.
    :param reason: Why it cannot be run, as the page says; empty where it can.
    """

    page: str
    line: int
    language: str
    text: str
    reason: str = ""

    @property
    def place(self) -> str:
        """For a test's name."""
        return f"{self.page}:{self.line}"


def page_files() -> list[Path]:
    """All pages, those of the site first."""
    return [*sorted(DOCS.glob("*.md")), *(ROOT / name for name in FRONT if (ROOT / name).exists())]


@cache
def blocks_of(path: Path) -> tuple[Block, ...]:
    """The blocks of a page, in order; directives (``{include}``) among them."""
    return tuple(_blocks(path))


def _blocks(path: Path) -> Iterator[Block]:
    page, lines = path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8").splitlines()
    open_at, fence, language = 0, "", ""
    for number, line in enumerate(lines, start=1):
        found = _FENCE.match(line)
        if not fence and found:
            open_at, fence, language = number, found[2], found[3].strip()
        elif fence and line.strip() == fence:
            before = lines[open_at - 2].strip() if open_at > 1 else ""
            marked = _NOT_RUN.match(before)
            yield Block(
                page, open_at, language, "\n".join(lines[open_at : number - 1]) + "\n", marked[1] if marked else ""
            )
            fence = ""
    assert not fence, f"{page}:{open_at}: a block has no end"


def prose_of(path: Path) -> list[tuple[int, str]]:
    """The lines of a page that are in no block, with their numbers."""
    inside = {line for one in blocks_of(path) for line in range(one.line, one.line + one.text.count("\n") + 2)}
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(number, line) for number, line in enumerate(lines, start=1) if number not in inside]


def commands_of(block: Block) -> list[str]:
    """The commands of a block that is typed into a terminal, one string each; comments behind them are left out."""
    joined = re.sub(r"\\\n\s*", "", block.text)
    return [re.sub(r"\s+#\s.*$", "", line).strip() for line in joined.splitlines() if line.strip() and line[:1] != "#"]


def section_of(path: Path, heading: str) -> range:
    """The lines of a section, its heading included.

    :param heading: As it stands on the page, with its marks.
    """
    inside = prose_of(path)
    first = next(number for number, line in inside if line == heading)
    depth = heading.index(" ")
    ends = (number for number, line in inside if number > first and re.match(rf"^#{{1,{depth}}} ", line))
    return range(first, next(ends, 10**6))
