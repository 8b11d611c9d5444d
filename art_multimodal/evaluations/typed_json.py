"""Frozen dataclasses to JSON and back; what does not fit its type is refused with the name of the entry."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache, lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from art_multimodal.shown import shown

T = TypeVar("T")

#: Reads a value of one type; raises ``ValueError``, which says what it must be.
_Reader = Callable[[Any], Any]

#: Numbers beyond are not exact in JSON.
_MOST = 2**53


@dataclass(frozen=True)
class Within:
    """The range of a whole number, both ends included: ``Annotated[int, Within(0)]``."""

    low: int
    high: int = _MOST


@dataclass(frozen=True)
class Signed:
    """Any finite number, also below zero: ``Annotated[float, Signed()]``."""


@dataclass(frozen=True)
class Matching:
    """A string that a regular expression matches as a whole."""

    pattern: str


def plain(value: Any) -> Any:
    """A value of dataclasses, tuples and mappings in JSON types, without entries that are as they are by default."""
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return value
    if is_dataclass(kind):
        written: dict[str, Any] = {}
        for name, default in _defaults(kind).items():
            entry = getattr(value, name)
            if entry is None or (default is not MISSING and entry == default):
                continue
            written[name] = plain(entry)
        return written
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, (tuple, list)) else value


def typed(kind: Callable[..., T], value: Any, what: str, **known: Any) -> T:
    """A value of JSON as a dataclass; entries that it does not know are passed over.

    :param kind: The class.
    :param what: How the value is called, for errors.
    :param known: Fields that have been read already.
    :raises ValueError: Naming the entry that does not fit, or is not there.
    """
    readers = _fields(kind)
    if type(value) is not dict:
        raise ValueError(f"{what} is not an object")
    for name, (read, needed) in readers.items():
        if name not in known and (needed or name in value):
            known[name] = _entry(read, value, name, what)
    return kind(**known) if known else _empty(kind)


def entries(value: Any, hints: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Entries of an object of JSON, each of a type; others are passed over.

    :param hints: Their types by name; all must be there.
    :param what: How the object is called, for errors.
    :raises ValueError: Naming the entry that does not fit, or is not there.
    """
    return Entries(hints)(value, what)


class Entries:
    """What :func:`entries` does, for many objects alike: the types are looked at once.

    :param hints: Types by name.
    """

    def __init__(self, hints: Mapping[str, Any]) -> None:
        self._readers = {name: _reader(hint) for name, hint in hints.items()}

    def __call__(self, value: Any, what: str) -> dict[str, Any]:
        """Read the entries of an object."""
        if type(value) is not dict:
            raise ValueError(f"{what} is not an object")
        return {name: _entry(read, value, name, what) for name, read in self._readers.items()}


def _entry(read: _Reader, value: dict[str, Any], name: str, what: str) -> Any:
    if name not in value:
        raise ValueError(f"{what} has no {name}")
    try:
        return read(value[name])
    except ValueError as error:
        raise ValueError(f"{name} of {what} must be {error}, not {shown(repr(value[name]))[:60]}") from None


@cache
def _empty(kind: Callable[[], T]) -> T:
    """The one of which nothing is said. It is frozen, so all may share it."""
    return kind()


@cache
def _fields(kind: Any) -> dict[str, tuple[_Reader, bool]]:
    """Of each field what reads it, and whether it must be there."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: (_reader(hints[name]), default is MISSING) for name, default in _defaults(kind).items()}


@cache
def _defaults(kind: Any) -> dict[str, Any]:
    """Of each field the default, ``MISSING`` where there is none."""
    return {one.name: _default(one) for one in fields(kind)}


def _default(one: Field[Any]) -> Any:
    return one.default_factory() if one.default_factory is not MISSING else one.default


@lru_cache(4096)
def _reader(hint: Any) -> _Reader:
    """What reads values of a type. A log has millions of values of few types: each is taken apart once."""
    if hint is Any:
        return lambda value: value
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        (inner,) = (_reader(one) for one in arguments if one is not NoneType)
        return (lambda value: None if value is None else inner(value)) if NoneType in arguments else inner
    if origin is Annotated:
        return _narrowed(arguments[1])
    if origin in (tuple, list):
        return _tuple(arguments if origin is tuple else (*arguments, ...))
    if origin in (dict, Mapping):
        return _mapping(_reader(arguments[1]))
    if isinstance(hint, type) and is_dataclass(hint):
        return lambda value: typed(hint, value, "an entry")
    return _PLAIN[hint]


def _mapping(read: _Reader) -> _Reader:
    def mapping(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise ValueError("an object")
        return {key: read(entry) for key, entry in value.items()}

    return mapping


def _tuple(arguments: tuple[Any, ...]) -> _Reader:
    ragged = len(arguments) == 2 and arguments[1] is Ellipsis
    readers = [_reader(one) for one in arguments if one is not Ellipsis]

    def read(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or not (ragged or len(value) == len(readers)):
            raise ValueError("a list" if ragged else f"a list of {len(readers)}")
        if ragged:
            return tuple(readers[0](entry) for entry in value)
        return tuple(one(entry) for one, entry in zip(readers, value, strict=True))

    return read


def _whole(low: int, high: int = _MOST) -> _Reader:
    def read(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"a whole number from {low}{f' to {high}' if high < _MOST else ' on'}")
        return value

    return read


def _narrowed(how: Within | Signed | Matching) -> _Reader:
    if isinstance(how, Within):
        return _whole(how.low, how.high)
    if isinstance(how, Signed):
        return lambda value: _number(value, -_MOST)

    def read(value: Any) -> str:
        if type(value) is not str or not re.fullmatch(how.pattern, value):
            raise ValueError("a string of another form")
        return value

    return read


def _number(value: Any, low: int = 0) -> float:
    if type(value) not in (int, float) or not (math.isfinite(value) and low <= value <= _MOST):
        raise ValueError("a number" if low else "a number of at least 0")
    return value


def _of(kind: type, name: str) -> Any:
    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise ValueError(name)
        return value

    return read


_PLAIN: dict[Any, _Reader] = {
    int: _whole(0),
    float: _number,
    str: _of(str, "a string"),
    bool: _of(bool, "true or false"),
}
#: Types of JSON that are written as they are.
_AS_THEY_ARE = frozenset({str, int, float, bool, type(None)})
