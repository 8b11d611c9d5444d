"""Frozen dataclasses to JSON and back; what does not fit its type is refused with the name of the entry."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from art_multimodal.shown import shown

T = TypeVar("T")

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
    if is_dataclass(value) and not isinstance(value, type):
        written: dict[str, Any] = {}
        for one in fields(value):
            entry = getattr(value, one.name)
            if entry is None or (_has_default(one) and entry == _default(one)):
                continue
            written[one.name] = plain(entry)
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
    there = value if type(value) is dict else {}
    hints = {
        name: hint for name, (hint, needed) in _fields(kind).items() if name not in known and (needed or name in there)
    }
    return kind(**entries(value, hints, what), **known)


def entries(value: Any, hints: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Entries of an object of JSON, each of a type; others are passed over.

    :param hints: Their types by name; all must be there.
    :param what: How the object is called, for errors.
    :raises ValueError: Naming the entry that does not fit, or is not there.
    """
    if type(value) is not dict:
        raise ValueError(f"{what} is not an object")
    found = {}
    for name, hint in hints.items():
        if name not in value:
            raise ValueError(f"{what} has no {name}")
        try:
            found[name] = _read(hint, value[name])
        except ValueError as error:
            raise ValueError(f"{name} of {what} must be {error}, not {shown(repr(value[name]))[:60]}") from None
    return found


@cache
def _fields(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Of each field the type, and whether it must be there."""
    hints = get_type_hints(kind, include_extras=True)
    return {one.name: (hints[one.name], not _has_default(one)) for one in fields(kind)}


def _has_default(one: Field[Any]) -> bool:
    return one.default is not MISSING or one.default_factory is not MISSING


def _default(one: Field[Any]) -> Any:
    return one.default_factory() if one.default_factory is not MISSING else one.default


def _read(hint: Any, value: Any) -> Any:
    """A value of a type.

    :raises ValueError: Saying what it must be.
    """
    if hint is Any:
        return value
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        if value is None and NoneType in arguments:
            return None
        (inner,) = (one for one in arguments if one is not NoneType)
        return _read(inner, value)
    if origin is Annotated:
        return _narrowed(value, arguments[1])
    if origin in (tuple, list):
        return _tuple(arguments if origin is tuple else (*arguments, ...), value)
    if origin in (dict, Mapping):
        if type(value) is not dict:
            raise ValueError("an object")
        return {key: _read(arguments[1], entry) for key, entry in value.items()}
    if isinstance(hint, type) and is_dataclass(hint):
        return typed(hint, value, "an entry")
    if hint is int:
        return _whole(value, Within(0))
    return _PLAIN[hint](value)


def _tuple(arguments: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    ragged = len(arguments) == 2 and arguments[1] is Ellipsis
    if type(value) is not list or not (ragged or len(value) == len(arguments)):
        raise ValueError("a list" if ragged else f"a list of {len(arguments)}")
    return tuple(_read(arguments[0 if ragged else number], entry) for number, entry in enumerate(value))


def _whole(value: Any, within: Within) -> int:
    if type(value) is not int or not within.low <= value <= within.high:
        top = f" to {within.high}" if within.high < _MOST else " on"
        raise ValueError(f"a whole number from {within.low}{top}")
    return value


def _narrowed(value: Any, how: Within | Signed | Matching) -> Any:
    if isinstance(how, Within):
        return _whole(value, how)
    if isinstance(how, Signed):
        return _number(value, -_MOST)
    if type(value) is not str or not re.fullmatch(how.pattern, value):
        raise ValueError("a string of another form")
    return value


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


_PLAIN: dict[Any, Any] = {float: _number, str: _of(str, "a string"), bool: _of(bool, "true or false")}
