"""Do the walks of docs/extending.md literally: their files are written, their commands run, and nothing else is there.

The check of a release does them in an environment that holds nothing but the built wheel and what it depends on, and
writes what it counted to docs/walks.json, of which the page shows a table. A test does them in a folder that holds the
built wheel, and looks at what comes out.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.environments import Done, Environment, Failed

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "extending.md"
RESULTS = ROOT / "docs" / "walks.json"
PACKAGE = "art_multimodal"


@dataclass(frozen=True)
class Walk:
    """A section of the page: files by name, and commands."""

    files: dict[str, str]
    commands: list[str]

    def digest(self) -> str:
        """That of all that is written and run, so that counts of an earlier page are not taken for those of this."""
        return hashlib.sha256(json.dumps([self.files, self.commands]).encode()).hexdigest()


@dataclass(frozen=True)
class Walked:
    """What has become of a walk.

    :param done: Its commands.
    :param edited: Files of the installed package that are not as they were, are gone, or are new.
    """

    done: list[Done]
    edited: list[str]


def walks(page: str | None = None) -> dict[str, Walk]:
    """The sections of the page that have files, in its order."""
    page = PAGE.read_text(encoding="utf-8") if page is None else page
    found = {}
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        heading, _, text = section.partition("\n")
        files = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", text, re.DOTALL))
        commands = re.findall(r"^art-multimodal .*$", text, re.MULTILINE)
        if files or commands:
            found[heading] = Walk(files, commands)
    return found


def digests(site: Path) -> dict[str, str]:
    """Every file of the installed package, and its digest; not what the interpreter has compiled."""
    files = sorted(path for path in (site / PACKAGE).rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {path.relative_to(site).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Names of files whose digests differ, or that only one of both has."""
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def do(found: dict[str, Walk], site: Path, folder: Path, run: Callable[[list[str]], list[Done]]) -> dict[str, Walked]:
    """Write the files of each walk into a folder, run its commands, and see what has changed in the package.

    :param site: Where the package is installed.
    :param run: Runs commands in the folder.
    """
    walked, before = {}, digests(site)
    for heading, one in found.items():
        for name, text in one.files.items():
            (folder / name).write_text(text, encoding="utf-8")
        done, after = run(one.commands), digests(site)
        walked[heading] = Walked(done, differing(before, after))
        before = after
    return walked


def counted(found: dict[str, Walk], walked: dict[str, Walked]) -> list[dict[str, Any]]:
    """Of each walk what was written and run, how many commands ended well, and which files of the package changed."""
    return [
        {
            "walk": heading,
            "files": list(one.files),
            "lines": sum(bool(line.strip()) for text in one.files.values() for line in text.splitlines()),
            "commands": len(one.commands),
            "well": sum(done.code == 0 for done in walked[heading].done),
            "edited": walked[heading].edited,
            "digest": one.digest(),
        }
        for heading, one in found.items()
    ]


def walk_in(environment: Environment, folder: Path, results: Path = RESULTS) -> str:
    """Do all walks with the script of an environment, write what was counted, and say it.

    :param folder: An empty one, away from the repository.
    :raises Failed: If a command fails, or a file of the package is edited.
    """
    found = walks()
    walked = do(found, environment.site, folder, lambda of: [environment.run(*one.split(), cwd=folder) for one in of])
    rows = counted(found, walked)
    facts = {
        "version": environment.run("art-multimodal", "--version", cwd=folder).out.strip(),
        "python": environment.run("python", "--version", cwd=folder).out.split()[-1],
        "packages": len(environment.installed()),
        "package_files": len(digests(environment.site)),
        "walks": rows,
    }
    results.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    for one in (done for of in walked.values() for done in of.done if done.code):
        raise Failed(f"{one.command} ended with code {one.code}:\n{one.out[-2000:]}{one.err[-2000:]}")
    edited = [name for of in walked.values() for name in of.edited]
    if edited or not rows:
        raise Failed(f"files of the package were edited: {edited}" if edited else "there are no walks")
    return f"{len(rows)} walks: {sum(one['commands'] for one in rows)} commands, no file of the package edited"
