"""What a format is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from art_multimodal.registry import Registry

#: What ``report.json`` holds: see ``report.schema.json``.
Report = Mapping[str, Any]


@dataclass(frozen=True)
class Options:
    """What a report does not say, and a format may need.

    :param dataset: Id on the Hub of the benchmark that results are to be listed under.
    :param plan: Path of the plan, as a repository has it: where failed limits were declared.
    """

    dataset: str | None = None
    plan: str | None = None


#: No options.
NOTHING = Options()


@dataclass(frozen=True)
class Format:
    """A format that other tools read.

    >>> def accuracies(report, options: Options):
    ...     return ",".join(f"{row}={numbers['n']}" for row, numbers in report["results"].items())
    ...
    >>> csv = Format("csv", "accuracies.csv", "how many samples each row counts", accuracies)
    >>> csv.text(report, Options()).split(",")[0]
    'clean=4'

    :param name: As one asks for it.
    :param file: Name of the file, in folders of its own if need be.
    :param summary: One line for listings.
    :param text: Writes a report in it. Depends on nothing else: the same report gives the same text.
    """

    name: str
    file: str
    summary: str
    text: Callable[[Report, Options], str]


#: Every format by name.
FORMATS: Registry[Format] = Registry("format", Format)


#: Of the folder of an audit, where formats are written, too.
_OF_RUNS = ("run.json", "log.jsonl", "report.json", "report.md", "report.html", "samples.csv", "evidence", "pictures")


def register(one: Format) -> Format:
    """Add a format: from now on ``art-multimodal export`` knows it.

    >>> from art_multimodal.evaluations.formats import FORMATS
    >>> one = Format("count", "count.txt", "how many samples", lambda report, _: str(report["results"]["clean"]["n"]))
    >>> register(one).text(report, Options()), "count" in FORMATS
    ('4', True)

    :raises ValueError: If the name or the file is taken, or the file does not lie in the folder of the report.
    """
    path = PurePosixPath(one.file)
    if path.is_absolute() or ".." in path.parts or not path.parts or path.parts[0] in _OF_RUNS:
        raise ValueError(f"The format {one.name!r} cannot be written to {one.file!r}: name a file of its own.")
    if taken := next((name for name, other in FORMATS.items() if other.file == one.file), None):
        raise ValueError(f"The format {one.name!r} is written to {one.file}, as {taken} is.")
    return FORMATS.add(one.name, one)
