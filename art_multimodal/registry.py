"""A tiny registry: every model source, data source and attack is named once, and found by that name everywhere."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any, Generic, TypeVar

from art_multimodal.errors import InputError, unknown_name

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """Names and their entries, in the order of registration.

    :param kind: What is registered, in singular, for error messages ("attack").
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry] = {}

    def add(self, name: str, entry: Entry) -> Entry:
        """Register an entry under a new name and return it."""
        if name in self._entries:
            raise ValueError(f"The {self.kind} {name!r} is registered already.")
        self._entries[name] = entry
        return entry

    def __getitem__(self, name: str) -> Entry:
        """Return an entry.

        :raises InputError: If the name is not known; the nearest names are suggested.
        """
        try:
            return self._entries[name]
        except KeyError:
            raise unknown_name(self.kind, name, self._entries) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def items(self) -> Iterator[tuple[str, Entry]]:
        """Iterate over names and entries."""
        return iter(self._entries.items())


def import_all(package: str, path: Iterable[str]) -> None:
    """Import every module of a package, so that a file that registers something is named nowhere else.

    :param package: Its name.
    :param path: Its ``__path__``.
    """
    for found in pkgutil.iter_modules(path):
        import_module(f"{package}.{found.name}")


def imported(place: str) -> Any:
    """Return what ``"package.module:name"`` names, as entry points do; its module is imported when it is asked for."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def split_scheme(kind: str, spec: str, registry: Registry) -> tuple[str, str]:
    """Split ``"scheme:rest"``, checking that the scheme is registered.

    :raises InputError: If there is no scheme, or an unknown one.
    """
    scheme, separator, rest = spec.partition(":")
    if not separator:
        raise InputError(f"{kind} {spec!r} has no source. Write SOURCE:NAME, with SOURCE one of {', '.join(registry)}.")
    registry[scheme]
    return scheme, rest
