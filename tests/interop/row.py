"""A row of the matrix: what of ART is run, and how it shows that it did its job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec

from interop.subjects import SUBJECTS, Subject

FAMILIES = (
    "evasion attacks",
    "preprocessors",
    "postprocessors",
    "trainers",
    "detectors",
    "poisoning attacks",
    "extraction and inference attacks",
    "certification",
    "wrappers",
    "metrics and evaluations",
    "data, saving and copying",
)


@dataclass(frozen=True)
class Broken:
    """What fails inside of ART, on its own classifier too.

    :param where: File and line in ART 1.20.1, and why it fails.
    :param raises: What comes of it.
    :param instead: What to use instead, if anything.
    :param on: Subjects that it fails on. The control always; others unless they are mended here.
    """

    where: str
    raises: type[Exception] | tuple[type[Exception], ...]
    instead: str = ""
    on: tuple[str, ...] = SUBJECTS


@dataclass(frozen=True)
class Row:
    """One thing that ART can do, on every subject.

    :param name: Names the row; of the class, and of the variant if there are several.
    :param covers: The public classes and functions of ART that are run, as ``module.name``.
    :param run: Does it, asserts that it did its job, and returns what was measured in a few words.
    :param note: What somebody who uses it has to know.
    :param not_for: Subjects that this cannot apply to, and why.
    :param needs: Packages that ART imports for this without declaring them.
    :param slow: Left to ``make interop``.
    """

    name: str
    family: str
    covers: tuple[str, ...]
    run: Callable[[Subject], str] = field(compare=False)
    note: str = ""
    not_for: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    broken: Broken | None = None
    slow: bool = False

    def __post_init__(self) -> None:
        assert self.family in FAMILIES, self.family
        assert set(self.not_for) <= set(SUBJECTS), self.not_for

    @property
    def missing(self) -> list[str]:
        """Packages that are needed and not installed."""
        return [name for name in self.needs if find_spec(name) is None]


def named(*things: object) -> tuple[str, ...]:
    """Classes and functions as ``module.name``; strings are taken as they are."""
    return tuple(thing if isinstance(thing, str) else f"{thing.__module__}.{thing.__qualname__}" for thing in things)


def load(name: str) -> type:
    """What ``module.name`` stands for."""
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)
