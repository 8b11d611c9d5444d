"""Image files that are the same, whatever they are called."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from pathlib import Path

from art_multimodal.datasets.naming import repr_of
from art_multimodal.shown import brief

#: More labelled files are not compared: on a network's disk that would take longer than a small audit of them.
MOST_COMPARED = 20_000
#: Bytes at each end of a file by which equal ones are looked for.
_ENDS = 4096


def twins(files: dict[str, Path]) -> dict[str, str]:
    """Files with the same bytes as one before them, and which that is. Whole files are read only where ends agree."""
    groups: list[list[str]] = [list(files)]
    for measure in (_size, _ends, _digest):
        parts: dict[tuple[int, object], list[str]] = {}
        for number, group in enumerate(groups):
            for key in group:
                try:
                    parts.setdefault((number, measure(files[key])), []).append(key)
                except (OSError, ValueError):
                    continue
        groups = [part for part in parts.values() if len(part) > 1]
    return {key: group[0] for group in groups for key in group[1:]}


def repeated(keys: Sequence[Hashable], labels: Sequence[int]) -> tuple[list[int], list[int]]:
    """Samples that are listed again: those with another label than at first, and those with the same.

    :param keys: Of each sample what it shares with the same one, and with no other.
    :param labels: Of each sample.
    """
    first: dict[Hashable, int] = {}
    other: list[int] = []
    again: list[int] = []
    for index, key in enumerate(keys):
        place = first.setdefault(key, index)
        if place != index:
            (again if labels[place] == labels[index] else other).append(index)
    return other, again


def note_on_labels(
    other: Sequence[int],
    keys: Sequence[Hashable],
    names: Sequence[str],
    labels: Sequence[int],
    class_names: Sequence[str],
) -> str:
    """What a user should know about images that are listed under several labels.

    :param other: Of :func:`repeated`; not empty.
    :param keys: As there.
    """
    example = other[0]
    rows = [row for row, key in enumerate(keys) if key == keys[example]]
    said = " and ".join(dict.fromkeys(repr_of(class_names[labels[row]]) for row in rows))
    copy = "" if names[rows[0]] == names[example] else f" (the same photo as {brief(names[rows[0]])})"
    return (
        f"{len(other)} image(s) are listed under several labels, of which one at most is predicted, for example "
        f"{brief(names[example])}{copy} under {said[:200]}"
    )


def _size(path: Path) -> int:
    found = path.stat()
    if not path.is_file() or not found.st_size:
        raise ValueError("nothing to compare")
    return found.st_size


def _ends(path: Path) -> bytes:
    with path.open("rb") as stream:
        head = stream.read(_ENDS)
        stream.seek(max(0, path.stat().st_size - _ENDS))
        return hashlib.sha256(head + stream.read(_ENDS)).digest()


def _digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.digest()
