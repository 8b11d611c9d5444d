"""Files of a bundle: tensors and lines that are read by one who trusts neither their sizes nor their contents."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from art_multimodal.errors import InputError
from art_multimodal.shown import shown
from art_multimodal.store import cannot_write, open_regular, opened_line, read_regular, replace_file, sealed_line

#: Most bytes of a file of tensors or of lines, of the header of one of tensors, and of a line.
MOST_BYTES, MOST_HEADER, MOST_LINE = 4 << 30, 1 << 20, 64 << 20
#: Numbers as safetensors calls them: samples, and lengths of sequences.
_DTYPES = {"F32": np.float32, "I64": np.int64}
_MOST_AXES = 8


def sha256_of(path: Path, follow: bool = False) -> tuple[int, str]:
    """Size and SHA-256 of a regular file.

    :param follow: Whether a link may lead to it.
    :raises OSError: If it cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    with open_regular(path, follow=follow) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> str:
    """Write tensors as safetensors, whole or not at all.

    :param tensors: float32 or int64.
    :return: SHA-256 of the file.
    :raises InputError: If it cannot be written.
    """
    from safetensors.numpy import save

    content = save({name: np.ascontiguousarray(values) for name, values in tensors.items()})
    _write(path, content)
    return hashlib.sha256(content).hexdigest()


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """Read tensors, and the SHA-256 of their file. What is in memory is never larger than the file.

    :raises ValueError: If it is no file of float32 and int64 tensors, or too large.
    :raises OSError: If it cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    content = read_regular(path, MOST_BYTES)
    _check_header(content)
    try:
        tensors = load(content)
    except (SafetensorError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"it is no whole file of tensors ({shown(error)[:100]})") from error
    return tensors, hashlib.sha256(content).hexdigest()


def _check_header(content: bytes) -> None:
    """Refuse a header that is large, or names anything but numbers of the two kinds that are written here."""
    if len(content) < 8:
        raise ValueError("it is too short for a file of tensors")
    (length,) = struct.unpack("<Q", content[:8])
    if length > min(MOST_HEADER, len(content) - 8):
        raise ValueError(f"its header claims {length:,} bytes")
    try:
        header = json.loads(content[8 : 8 + length])
    except (ValueError, RecursionError):
        raise ValueError("its header is no JSON") from None
    if type(header) is not dict:
        raise ValueError("its header is no object of JSON")
    for name, entry in header.items():
        shape = entry.get("shape") if type(entry) is dict else None
        if type(shape) is not list or len(shape) > _MOST_AXES or entry.get("dtype") not in _DTYPES:
            raise ValueError(f"its tensor {shown(name)[:60]} is not of float32 or int64")


def write_lines(path: Path, values: Iterable[dict[str, Any]]) -> None:
    """Write sealed lines of JSON, whole or not at all.

    :raises InputError: If they cannot be written, or nobody could read them again.
    """
    lines = [sealed_line(value) for value in values]
    if any(len(line) > MOST_LINE for line in lines) or sum(map(len, lines)) > MOST_BYTES:
        raise InputError(f"The texts of {shown(path.name)} are too large to be kept. Give a smaller --group-size.")
    _write(path, b"".join(lines))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read what :func:`write_lines` wrote.

    :raises ValueError: If a line is damaged, or too long; the message names it.
    :raises OSError: If it cannot be read.
    """
    found = []
    with open_regular(path) as stream:
        if stream.seek(0, 2) > MOST_BYTES:
            raise ValueError("it is too large")
        stream.seek(0)
        while text := stream.readline(MOST_LINE + 1):
            try:
                if len(text) > MOST_LINE:
                    raise ValueError("it is too long")
                found.append(opened_line(text))
            except ValueError as error:
                raise ValueError(f"line {len(found) + 1}: {error}") from None
    return found


def _write(path: Path, content: bytes) -> None:
    try:
        replace_file(path, content)
    except OSError as error:
        raise cannot_write(path, error) from error
