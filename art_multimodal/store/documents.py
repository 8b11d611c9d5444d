"""Lines and documents of JSON that carry a checksum, so that what was changed or cut is noticed when it is read.

The checksum has no key: it finds accidents and edits by hand, not somebody who computes it anew.
"""

from __future__ import annotations

import json
import re
from hashlib import blake2b
from typing import Any

_SEAL = "checksum"
_LINE = re.compile(rb'(\{.+),"' + _SEAL.encode() + rb'":"([0-9a-f]{16})"\}\r?\n?', re.DOTALL)


def sealed_line(value: dict[str, Any]) -> bytes:
    """A line of JSON with its checksum as the last entry.

    :param value: Not empty, of JSON's types; numbers are finite.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")
    return text[:-1] + f',"{_SEAL}":"{_checksum(text)}"}}\n'.encode("ascii")


def opened_line(text: bytes) -> dict[str, Any]:
    """What :func:`sealed_line` was given.

    :raises ValueError: If it is no such line, or was changed; the message says so without naming the line.
    """
    found = _LINE.fullmatch(text)
    if found is None:
        raise ValueError("it is cut, or was not written here")
    if _checksum(found[1] + b"}") != found[2].decode():
        raise ValueError("it was changed: its checksum does not fit")
    return _parsed(found[1] + b"}")


def sealed_document(value: dict[str, Any]) -> str:
    """A document of JSON, to be read by people too, with its checksum as the last entry.

    :param value: Of JSON's types; numbers are finite.
    """
    return json.dumps({**value, _SEAL: _checksum(_canonical(value))}, indent=2, ensure_ascii=True) + "\n"


def opened_document(text: bytes) -> dict[str, Any]:
    """What :func:`sealed_document` was given; how it is laid out does not matter.

    :raises ValueError: If it is no such document, or was changed.
    """
    value = _parsed(text)
    seal = value.pop(_SEAL, None)
    if seal != _checksum(_canonical(value)):
        raise ValueError("it was changed: its checksum does not fit" if seal else "it has no checksum")
    return value


def _checksum(text: bytes) -> str:
    return blake2b(text, digest_size=8).hexdigest()


def _canonical(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=True, allow_nan=False, sort_keys=True, separators=(",", ":")).encode("ascii")


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("it is not an object of JSON")
    return value


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")
