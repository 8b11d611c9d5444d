"""Fixtures: the samples of a pass on a batch as arrays and texts, and back.

A pass on a batch has up to two files: ``pNNN-bNNNNNN.jsonl``, a head and a line for each sample, and
``pNNN-bNNNNNN.safetensors`` with the arrays. Arrays are float32 as the model took them. What an attack left as it was
(the images of an attack on texts) is kept once, with the samples before any attack. The lines are written last: where
they are, the arrays are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np

from art_multimodal.evaluations.evidence.files import read_lines, read_tensors, write_lines, write_tensors
from art_multimodal.evaluations.suite.detail import Count
from art_multimodal.evaluations.typed_json import Matching, Within, plain, typed
from art_multimodal.shown import shown

#: Raised when what files hold changes.
SCHEMA_VERSION = 1
#: Folder of the fixtures, within the evidence.
FOLDER = "fixtures"
#: Names of files come from numbers alone: that of the pass in the order of the run, 0 before any attack, and the batch.
FILE = re.compile(r"p(\d{3,5})-b(\d{6,9})\.(jsonl|safetensors)")
#: Of an image that is no field among others.
IMAGE = "image"
#: Of texts of pairs, captions and class prompts.
TEXT = "text"
#: Of sequences, behind the name of the field.
_VALUES, _LENGTH = ".values", ".length"
_MOST_VERSIONS = 16
_MOST_GROUPS = 1 << 20

#: Arrays by the name of the field, each ``(N, ...)``.
Arrays = dict[str, np.ndarray]
#: Texts of a sample by the name of the field: of captions there are several.
Texts = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class SampleTexts:
    """What a line says of a sample.

    :param index: Its place in the data.
    :param group: Number of its group.
    :param name: What it is called; before any attack only.
    :param label: Its class among the run's; before any attack only.
    :param texts: By the name of the field.
    :param versions: Texts of further versions, where several attacks stand side by side.
    :param prompts: By the number of a class its prompts, where they are not the usual ones; ``None`` where the attack
        knows of no prompts.
    """

    index: Count
    group: Count
    name: str | None = None
    label: Count | None = None
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    versions: tuple[Mapping[str, tuple[str, ...]], ...] = ()
    prompts: Mapping[str, tuple[str, ...]] | None = None


@dataclass(frozen=True)
class Head:
    """The first line.

    :param fixtures: The schema's version.
    :param mode: ``"all"`` or ``"successes"``.
    :param attack: Name of the pass, or ``"clean"``.
    :param batch: Number of the batch.
    :param groups: How many samples each group has.
    :param versions: How many versions of a sample there are.
    :param same: Tensors that are as before any attack, and are not kept again.
    :param tensors: SHA-256 of the file of tensors; ``None`` where there is none.
    """

    fixtures: Count
    mode: str
    attack: str
    batch: Count
    groups: tuple[Count, ...]
    versions: Annotated[int, Within(1, _MOST_VERSIONS)] = 1
    same: tuple[str, ...] = ()
    tensors: Annotated[str, Matching("[0-9a-f]{64}")] | None = None


@dataclass(frozen=True)
class Group:
    """Samples of one shape that were attacked together.

    :param arrays: Of each version, by the name of the field, each ``(N, ...)``.
    :param lines: Of each sample.
    """

    arrays: tuple[Arrays, ...]
    lines: tuple[SampleTexts, ...]

    @property
    def indices(self) -> list[int]:
        """Places of the samples in the data."""
        return [line.index for line in self.lines]

    def rows(self, chosen: Sequence[int]) -> Group:
        """Some of the samples."""
        picked = list(chosen)
        arrays = tuple({name: values[picked] for name, values in one.items()} for one in self.arrays)
        return Group(arrays, tuple(self.lines[row] for row in picked))


def file_stem(number: int, batch: int) -> str:
    """What the names of the files of a pass on a batch begin with.

    :param number: Of the pass in the order of the run; 0 before any attack.
    """
    return f"p{number:03d}-b{batch:06d}"


def parts_of(x: np.ndarray, starts: np.ndarray) -> tuple[Arrays, list[dict[str, tuple[str, ...]]]]:
    """Arrays and texts of samples as an estimator takes them.

    :param x: Images, pairs, or samples of any modalities.
    :param starts: The first row of each sample: in retrieval it has one for every caption, and the image of the first.
    :return: Arrays by field, ``(N, ...)``; and of each sample its texts by field.
    """
    if x.dtype.names is None:
        return {IMAGE: np.asarray(x[starts], dtype=np.float32)}, [{} for _ in starts]
    ends = [*starts[1:].tolist(), len(x)]
    arrays: Arrays = {}
    texts: list[dict[str, tuple[str, ...]]] = [{} for _ in starts]
    for name in x.dtype.names:
        values = x[name]
        if values.dtype == object:
            for found, start, end in zip(texts, starts.tolist(), ends, strict=True):
                found[name] = tuple(map(str, values[start:end]))
        elif values.dtype.names:
            arrays[name + _VALUES] = np.ascontiguousarray(values["values"][starts])
            arrays[name + _LENGTH] = np.ascontiguousarray(values["length"][starts])
        else:
            arrays[name] = np.ascontiguousarray(values[starts])
    return arrays, texts


def given_to_samples(arrays: Arrays, texts: Sequence[Texts], order: Sequence[str]) -> dict[str, object]:
    """What :func:`art_multimodal.sample_arrays.samples` takes: fields in order.

    :raises ValueError: If a field is not there.
    """
    found: dict[str, object] = {}
    for name in order:
        if name in arrays:
            found[name] = arrays[name]
        elif name + _VALUES in arrays:
            found[name] = (arrays[name + _VALUES], arrays[name + _LENGTH])
        elif all(len(one.get(name, ())) == 1 for one in texts):
            found[name] = [one[name][0] for one in texts]
        else:
            raise ValueError(f"samples lack {shown(name)[:60]}")
    return found


def fields_of_modality(name: str, variable: bool) -> tuple[str, ...]:
    """Names of the arrays of a modality of numbers."""
    return (name + _VALUES, name + _LENGTH) if variable else (name,)


def modality_of(field: str) -> str:
    """The modality that an array is of, by the name of the field."""
    return field.partition(".")[0]


def says_length(field: str) -> bool:
    """Whether an array says how long sequences are, by the name of the field."""
    return field.endswith(_LENGTH)


def key_of(group: int, version: int, name: str) -> str:
    """The name of a tensor."""
    return f"g{group}.v{version}.{name}"


def write_fixtures(folder: Path, number: int, head: Head, groups: Sequence[Group], clean: Sequence[Group] = ()) -> None:
    """Write the files of a pass on a batch.

    :param folder: Of all fixtures.
    :param number: Of the pass.
    :param head: Its ``groups``, ``versions``, ``same`` and ``tensors`` are filled in here.
    :param clean: The same samples before the attack, in the same groups; none of those themselves.
    :raises InputError: If they cannot be written.
    """
    tensors: Arrays = {}
    same: list[str] = []
    versions = max((len(group.arrays) for group in groups), default=1)
    for place, group in enumerate(groups):
        for version, arrays in enumerate(group.arrays if group.lines else ()):
            for name, values in arrays.items():
                before = clean[place].arrays[0].get(name) if clean else None
                if before is not None and _same(before, values):
                    same.append(key_of(place, version, name))
                else:
                    tensors[key_of(place, version, name)] = values
    stem = folder / file_stem(number, head.batch)
    digest = write_tensors(stem.with_suffix(".safetensors"), tensors) if tensors else None
    head = replace(
        head,
        groups=tuple(len(group.lines) for group in groups),
        versions=versions,
        same=tuple(same),
        tensors=digest,
    )
    lines = [plain(line) for group in groups for line in group.lines]
    write_lines(stem.with_suffix(".jsonl"), [plain(head), *lines])


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal to the last bit, of NaN, too."""
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def read_head(folder: Path, number: int, batch: int) -> tuple[Head, list[dict[str, object]]]:
    """Read the lines of a pass on a batch: the head, and what is said of each sample.

    :raises ValueError: If they are damaged, or of something else.
    :raises OSError: If they cannot be read.
    """
    values = read_lines(folder / f"{file_stem(number, batch)}.jsonl")
    if not values:
        raise ValueError("it is empty")
    head = typed(Head, values[0], "the head")
    if head.fixtures != SCHEMA_VERSION:
        raise ValueError(f"it is of schema {head.fixtures}, here {SCHEMA_VERSION}")
    if head.batch != batch or len(head.groups) > _MOST_GROUPS or sum(head.groups) != len(values) - 1:
        raise ValueError("its head does not fit what follows")
    return head, list(values[1:])


def read_fixtures(
    folder: Path, number: int, batch: int, fields: Sequence[str], clean: Mapping[int, tuple[Group, int]] | None = None
) -> tuple[Head, list[Group]]:
    """Read a pass on a batch.

    :param fields: Names of the arrays that a sample must have.
    :param clean: Of each sample before any attack its group and row; ``None`` where those themselves are read.
    :raises ValueError: Saying what is wrong.
    :raises OSError: If a file cannot be read.
    """
    head, values = read_head(folder, number, batch)
    lines = [typed(SampleTexts, value, "a sample") for value in values]
    if len({line.index for line in lines}) != len(lines):
        raise ValueError("a sample stands there twice")
    tensors: Arrays = {}
    if head.tensors is not None:
        tensors, digest = read_tensors(folder / f"{file_stem(number, batch)}.safetensors")
        if digest != head.tensors:
            raise ValueError("its tensors are not those that it was written with")
    groups, start = [], 0
    for place, count in enumerate(head.groups):
        own = tuple(lines[start : start + count])
        start += count
        if any(line.group != place or len(line.versions) != head.versions - 1 for line in own):
            raise ValueError("its samples are not in the order of the groups")
        arrays = tuple(
            {name: _array(head, tensors, key_of(place, version, name), name, own, clean) for name in fields}
            for version in range(head.versions)
        )
        groups.append(Group(arrays if own else (), own))
    if tensors:
        raise ValueError(f"it has a tensor {shown(next(iter(tensors)))[:60]}, which belongs to no sample")
    return head, groups


def _array(
    head: Head,
    tensors: Arrays,
    key: str,
    name: str,
    lines: Sequence[SampleTexts],
    clean: Mapping[int, tuple[Group, int]] | None,
) -> np.ndarray:
    """The array of a field, taken out of the tensors, or as it was before any attack."""
    if not lines:
        return np.zeros(0, dtype=np.float32)
    if key in head.same:
        if clean is None or any(line.index not in clean for line in lines):
            raise ValueError(f"{shown(key)[:60]} is said to be as before, and there is nothing before")
        rows = [clean[line.index] for line in lines]
        found = [group.arrays[0][name][row] for group, row in rows]
        if len({one.shape for one in found}) != 1:
            raise ValueError("samples of a group differ in shape")
        return np.stack(found)
    if key not in tensors:
        raise ValueError(f"it lacks the tensor {shown(key)[:60]}")
    values = tensors.pop(key)
    wanted = np.int64 if name.endswith(_LENGTH) else np.float32
    if values.dtype != wanted or values.ndim == 0 or len(values) != len(lines):
        raise ValueError(f"its tensor {shown(key)[:60]} is not of {len(lines)} samples")
    return values


def by_index(groups: Sequence[Group]) -> dict[int, tuple[Group, int]]:
    """Of each sample its group and row."""
    return {index: (group, row) for group in groups for row, index in enumerate(group.indices)}


def files_of(stem: str, head: Head) -> Iterator[str]:
    """Names of the files of a pass on a batch."""
    yield f"{stem}.jsonl"
    if head.tensors is not None:
        yield f"{stem}.safetensors"
