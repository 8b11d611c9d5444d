"""A tiny registry: every model source, data source and attack is named once, and found by that name everywhere."""

from __future__ import annotations

import pkgutil
import re
import sys
from collections.abc import Container, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from art_multimodal.errors import InputError, unknown_name
from art_multimodal.shown import quoted, shown

Entry = TypeVar("Entry")

_OWN = __name__.partition(".")[0]
#: Names that others give: they become names of files, of rows and of options.
_FIT = re.compile(r"[A-Za-z][\w .@-]{0,79}", re.ASCII)


class Registry(Generic[Entry]):
    """Names and their entries, in the order of registration.

    >>> colours = Registry("colour", of=str)
    >>> colours.add("red", "#f00"), list(colours), "blue" in colours
    ('#f00', ['red'], False)

    Whoever registers something outside of this package is remembered: see :meth:`origin`.

    :param kind: What is registered, in singular, for error messages ("attack").
    :param of: Type of the entries, one or several.
    :param subclasses: Whether entries are classes under ``of``, and no instances.
    :param home: Module that registers what this package has, where importing the registry alone does not: it is
        imported before anybody else registers something.
    """

    def __init__(
        self, kind: str, of: type | tuple[type, ...] = object, subclasses: bool = False, home: str | None = None
    ) -> None:
        self.kind = kind
        self._of, self._subclasses, self._home = of, subclasses, home
        self._entries: dict[str, Entry] = {}
        self._origins: dict[str, str] = {}
        _REGISTRIES.add(self)

    def add(self, name: str, entry: Entry) -> Entry:
        """Register an entry under a new name and return it.

        :raises ValueError: If the name is taken, or cannot be one.
        :raises TypeError: If the entry is of another type.
        """
        origin = _registering()
        if origin is not None:
            if self._home is not None:
                import_module(self._home)
            if not isinstance(name, str) or not _FIT.fullmatch(name):
                raise ValueError(
                    f"{quoted(name, 80)} is no name: begin with a letter, go on with letters, digits, _ - ."
                )
        if name in self._entries:
            by = self._origins.get(name)
            raise ValueError(f"The {self.kind} {name!r} is registered already{'' if by is None else f' by {by}'}.")
        self._check_type(name, entry)
        self._entries[name] = entry
        if origin is not None:
            self._origins[name] = origin
        return entry

    def _check_type(self, name: str, entry: object) -> None:
        fits = (
            isinstance(entry, type) and issubclass(entry, self._of) if self._subclasses else isinstance(entry, self._of)
        )
        if not fits:
            types = self._of if isinstance(self._of, tuple) else (self._of,)
            wanted = " or ".join(one.__name__ for one in types)
            said = f"a subclass of {wanted}" if self._subclasses else wanted
            given = f"the class {entry.__name__}" if isinstance(entry, type) else type(entry).__name__
            raise TypeError(f"The {self.kind} {name!r} must be {said}, not {given}.")

    def origin(self, name: str) -> str | None:
        """The module that has registered an entry, as it was imported; ``None`` of what this package has."""
        return self._origins.get(name)

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

    def forget(self, origins: Container[str]) -> None:
        """Take out what some modules have registered."""
        for name in [name for name, origin in self._origins.items() if origin in origins]:
            self._entries.pop(name, None)
            del self._origins[name]


#: All there are: of what a plug-in has registered nothing is to stay if it fails.
_REGISTRIES: WeakSet[Registry[Any]] = WeakSet()


def registries() -> list[Registry[Any]]:
    """All registries that are in use, by their kinds."""
    return sorted(_REGISTRIES, key=lambda registry: registry.kind)


def _registering() -> str | None:
    """The module that is being imported right now, or run as a script; ``None`` for one of this package.

    Importing a plug-in may import modules of this package for the first time: what these register is not the plug-in's.
    """
    frame = sys._getframe(2)
    while frame.f_code.co_name != "<module>":
        if frame.f_back is None:
            return "__main__"
        frame = frame.f_back
    name = str(frame.f_globals.get("__name__") or "__main__")
    return None if name == _OWN or name.startswith(f"{_OWN}.") else name


def import_all(package: str, path: Iterable[str], first: Iterable[str] = ()) -> None:
    """Import every module of a package, so that a file that registers something is named nowhere else.

    :param package: Its name.
    :param path: Its ``__path__``.
    :param first: Names of modules that are imported before the others, in this order.
    """
    for name in dict.fromkeys([*first, *(found.name for found in pkgutil.iter_modules(path))]):
        import_module(f"{package}.{name}")


def imported(place: str) -> Any:
    """Return what ``"package.module:name"`` names, as entry points do; its module is imported when it is asked for."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def look_here_last() -> None:
    """Let imports look in the current folder, too.

    Behind everything else: a file here that is called like a library must not take its place.
    """
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)


def class_name(kind: type) -> str:
    """How a class is called with its module, for those who look for what is missing."""
    return f"{kind.__module__}.{kind.__qualname__}"


def not_here(kind: str, name: str, known: Iterable[str], of: object) -> InputError:
    """The error for a name in a file that nothing here has.

    :param kind: What is named, in singular.
    :param known: All names that would have been accepted.
    :param of: The class that had the name when the file was written, if it was no class of this package; it is shown,
        and nothing is imported by it.
    """
    error = unknown_name(kind, name, known)
    if not isinstance(of, str):
        return error
    return InputError(
        f"Unknown {kind} {quoted(name, 60)}: here was {shown(of)[:120]}, a class of a plug-in that is not loaded. "
        "Install it, or give its module with --plugin, if you trust it. Nothing is imported because a file names it."
    )


def split_scheme(kind: str, spec: str, registry: Registry) -> tuple[str, str]:
    """Split ``"scheme:rest"``, checking that the scheme is registered.

    :raises InputError: If there is no scheme, or an unknown one.
    """
    scheme, separator, rest = spec.partition(":")
    if not separator:
        raise InputError(f"{kind} {spec!r} has no source. Write SOURCE:NAME, with SOURCE one of {', '.join(registry)}.")
    registry[scheme]
    return scheme, rest
