"""From files, numbers and texts, one for each sample, to the fields of samples and what describes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from art_multimodal.datasets.photos import UnreadableSample
from art_multimodal.datasets.sample_files import Content, kind_of_file, read_content
from art_multimodal.errors import InputError
from art_multimodal.modalities import image, sequence, table
from art_multimodal.modalities.modality import Modality, field_dtype
from art_multimodal.shown import brief, quoted

#: Most memory that the numbers of all samples may take, in bytes.
MOST_BYTES = 2**32


@dataclass(frozen=True)
class File:
    """A file that holds a modality of a sample.

    :param path: Where it is.
    :param name: Names it in errors.
    """

    path: Path
    name: str


#: What a sample has of a modality: a file, a text, numbers ``(D,)``, or nothing.
Entry = File | str | np.ndarray | None


def gather(
    entries: Mapping[str, Sequence[Entry]], places: Sequence[str], given: Mapping[str, Modality]
) -> tuple[dict[str, np.ndarray], list[Modality]]:
    """Read everything, and make a field of each modality.

    A sample that lacks a modality gets NaN throughout, a sequence of length 0, or an empty text.

    :param entries: For each modality what each sample has of it.
    :param places: Names the samples in errors.
    :param given: Modalities that are known, by name; others are described by what is read.
    :return: Fields by name, and a description of each modality that can be described.
    :raises InputError: Naming the first sample whose file cannot be read, or does not fit the others.
    """
    fields, described = {}, []
    used = 0
    for name, column in entries.items():
        modality = given.get(name)
        contents = _read(name, column, places, modality, MOST_BYTES - used)
        texts = modality is not None and not modality.numeric
        if all(content is None for content in contents) and modality is None:
            raise InputError(f"No sample has anything of {brief(name)}. Leave it out.")
        if texts or (modality is None and any(isinstance(content, str) for content in contents)):
            fields[name] = _texts(name, contents, places)
        else:
            pictures = any(isinstance(entry, File) and kind_of_file(entry.name) == "picture" for entry in column)
            fields[name] = _numbers(name, contents, places, modality, pictures, MOST_BYTES - used)
            used += fields[name].nbytes
        modality = modality or _described(name, column, fields[name])
        if modality is not None:
            described.append(modality)
    return fields, described


def _read(name: str, column: Sequence[Entry], places: Sequence[str], modality: Modality | None, most: int) -> list[Any]:
    """What the entries hold: arrays, texts and ``None``."""
    found: list[Any] = []
    rates: dict[int, str] = {}
    used = 0
    for entry, place in zip(column, places, strict=True):
        if not isinstance(entry, File):
            found.append(entry)
            continue
        try:
            content: Content = read_content(entry.path, entry.name, modality)
        except UnreadableSample as error:
            raise InputError(f"{place}, {brief(name)}: {error}.") from None
        if content.rate is not None and rates.setdefault(content.rate, entry.name) and len(rates) > 1:
            one, other = (f"{brief(of)} {rate:,}" for rate, of in rates.items())
            raise InputError(
                f"{brief(name)}: the sounds have different numbers of steps a second: {one}, {other}. Bring them to "
                "one."
            )
        used += 0 if isinstance(content.values, str) else content.values.nbytes
        _check_memory(name, used, most)
        found.append(content.values)
    return found


def _texts(name: str, contents: Sequence[Any], places: Sequence[str]) -> np.ndarray:
    field = np.empty(len(contents), dtype=object)
    for row, (content, place) in enumerate(zip(contents, places, strict=True)):
        if isinstance(content, np.ndarray):
            raise InputError(f"{place}, {brief(name)}: a text is needed, and this is an array of numbers.")
        field[row] = content or ""
    return field


def _numbers(
    name: str,
    contents: Sequence[Any],
    places: Sequence[str],
    modality: Modality | None,
    pictures: bool,
    most: int,
) -> np.ndarray:
    """A field of numbers: an array, or records of values and lengths."""
    for content, place in zip(contents, places, strict=True):
        if isinstance(content, str):
            raise InputError(
                f"{place}, {brief(name)}: numbers or a file of them are needed, and this is a text, "
                f"{quoted(content, 60)}."
            )
    there = [content for content in contents if content is not None]
    if modality is None:
        first = there[0]
        # Pictures of one and of three channels are no sequences of different lengths.
        alike = not pictures and first.ndim > 1 and {one.shape[1:] for one in there} == {first.shape[1:]}
        variable = alike and len({len(one) for one in there}) > 1
        shape: tuple[int | None, ...] = first.shape
    else:
        variable, shape = modality.variable, modality.shape
    longest = max((len(one) for one in there), default=0)
    if variable:
        shape = (modality.shape[0] if modality is not None else longest, *shape[1:])
    sizes = [size if size is not None else _first_size(there, axis) for axis, size in enumerate(shape)]
    for content, place in zip(contents, places, strict=True):
        if content is None:
            continue
        fits = content.ndim == len(sizes) and content.shape[variable:] == tuple(sizes[variable:])
        if not fits or (variable and len(content) > sizes[0]):
            wanted = ", ".join([f"at most {sizes[0]}", *map(str, sizes[1:])] if variable else map(str, sizes))
            whose = "as the model takes it" if modality is not None else "as in the samples before"
            raise InputError(
                f"{place}, {brief(name)}: it has the shape {content.shape}, and must have ({wanted}), {whose}."
            )
    dtype = field_dtype(tuple(sizes), variable)
    _check_memory(name, len(contents) * np.dtype(dtype).itemsize, most)
    if not variable:
        field = np.full((len(contents), *sizes), np.nan, dtype=np.float32)
        for row, content in enumerate(contents):
            if content is not None:
                field[row] = content
        return field
    records: Any = np.zeros(len(contents), dtype=dtype)
    for row, content in enumerate(contents):
        if content is not None:
            records["values"][row, : len(content)] = content
            records["length"][row] = len(content)
    return records


def _first_size(there: Sequence[np.ndarray], axis: int) -> int:
    """What the first sample has along an axis that the model leaves open."""
    return there[0].shape[axis] if there and axis < there[0].ndim else 1


def _described(name: str, column: Sequence[Entry], field: np.ndarray) -> Modality | None:
    """What the kind of file says of a modality; ``None`` where the values alone do."""
    first = next(entry for entry in column if entry is not None)
    if isinstance(first, np.ndarray):
        with np.errstate(invalid="ignore"):
            low, high = np.nanmin(field, axis=0), np.nanmax(field, axis=0)
        return table(name, field.shape[1], (low, np.where(high > low, high, low + 1)), fill=np.nanmean(field, axis=0))
    kind = kind_of_file(first.name) if isinstance(first, File) else None
    if kind == "picture":
        return image(name, *field.shape[1:])
    if kind == "sound":
        values = field["values"] if field.dtype.names else field
        _, steps, width = values.shape
        return sequence(name, steps, width, variable=field.dtype.names is not None)
    return None


def _check_memory(name: str, used: int, most: int) -> None:
    if used > most:
        raise InputError(
            f"With {brief(name)} the samples would take more than the {MOST_BYTES >> 30} GiB of memory that data may. "
            "Give fewer samples, or smaller or shorter ones."
        )
