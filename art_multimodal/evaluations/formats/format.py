"""What a format is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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


NOTHING = Options()


@dataclass(frozen=True)
class Format:
    """A format that other tools read.

    :param name: As one asks for it.
    :param file: Name of the file, in folders of its own if need be.
    :param summary: One line for listings.
    :param text: Writes a report in it. Depends on nothing else: the same report gives the same text.
    """

    name: str
    file: str
    summary: str
    text: Callable[[Report, Options], str]


FORMATS: Registry[Format] = Registry("format")


def register(one: Format) -> Format:
    """Add a format: from now on ``art-multimodal export`` knows it.

    :raises ValueError: If the name is taken.
    """
    return FORMATS.add(one.name, one)
