"""``wds:PATH``: samples in tar archives, as WebDataset writes them.

Read with Python's own ``tarfile``: where each member lies is listed once, and an image is read when it is asked for.
The library webdataset reads shards from front to end alone, and unpickles members by their ending.
"""

from __future__ import annotations

import json
import os
import sys
import tarfile
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from art_multimodal.datasets.named.images import ListedCaptions, ListedImages
from art_multimodal.datasets.named.listing import Captioned, Labelled, spaced
from art_multimodal.datasets.named.pictures import Pictures
from art_multimodal.datasets.named.place import is_inside
from art_multimodal.datasets.named.spec import split_spec
from art_multimodal.datasets.naming import as_index
from art_multimodal.datasets.photos import PhotoTransform, UnreadableSample, endings_read, read_photo_bytes
from art_multimodal.errors import InputError, one_line
from art_multimodal.shown import brief

_FORM = "wds:PATH:split=NAME, a .tar file or a folder of them"
#: Files beside shards that name classes and prompts, as CLIP Benchmark has them.
_CLASSES, _TEMPLATES = "classnames.txt", "zeroshot_classification_templates.txt"
#: Most bytes of a label or a caption, and of an image file.
_MOST_TEXT, _MOST_IMAGE = 2**16, 2**28
#: Endings of members that hold a label or a caption.
_LABELS, _TEXTS = ("cls", "cls.txt", "label.txt", "index"), ("txt", "caption", "text", "caption.txt")
#: What is said of an image: its label, its captions.
_Said = TypeVar("_Said")


@dataclass(frozen=True, slots=True)
class _Member:
    """Where a member of a shard lies."""

    shard: Path
    name: str
    start: int
    size: int

    def content(self, most: int) -> bytes:
        """Its bytes.

        :raises UnreadableSample: If there are more than ``most``, or fewer than the archive says.
        """
        if self.size > most:
            raise UnreadableSample(self.name, f"its {self.size:,} bytes are more than the {most:,} that are read")
        try:
            with self.shard.open("rb") as stream:
                stream.seek(self.start)
                found = stream.read(self.size)
        except OSError as error:
            raise UnreadableSample(self.name, f"its shard cannot be read ({error.strerror})") from None
        if len(found) < self.size:
            raise UnreadableSample(self.name, "its shard is cut off")
        return found


class _Images(Pictures):
    """Images that are members of shards: a million take a few bytes each, besides the letters of their names."""

    def __init__(self) -> None:
        self._files: list[Path] = []
        self._file, self._start, self._size = array("i"), array("q"), array("q")
        self._names, self._ends = bytearray(), array("q", [0])

    def append(self, member: _Member) -> None:
        """Take an image in, behind the others."""
        if not self._files or self._files[-1] != member.shard:
            self._files.append(member.shard)
        self._file.append(len(self._files) - 1)
        self._start.append(member.start)
        self._size.append(member.size)
        # A name may hold bytes that are no text.
        self._names += member.name.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._names))

    def _member(self, index: int) -> _Member:
        index = range(len(self))[index]
        name = self._names[self._ends[index] : self._ends[index + 1]].decode("utf-8", "surrogatepass")
        return _Member(self._files[self._file[index]], name, self._start[index], self._size[index])

    def __len__(self) -> int:
        return len(self._file)

    def name_of(self, index: int) -> str:
        member = self._member(index)
        return f"{member.shard.name}/{member.name}"

    def image(self, index: int, transform: PhotoTransform | None) -> np.ndarray:
        return read_photo_bytes(self._member(index).content(_MOST_IMAGE), self.name_of(index), transform)


@dataclass(frozen=True)
class _Shards(Generic[_Said]):
    """What lies in the shards of a data set.

    :param folder: That of the shards.
    :param images: All images.
    :param said: What is said of each.
    :param notes: What a user should know about what is not read.
    """

    folder: Path
    images: _Images
    said: list[_Said]
    notes: tuple[str, ...]


#: Members of a sample by ending, ``"image"`` for the image.
_Sample = Mapping[str, _Member]


def open_shards(rest: str, classes: Sequence[str] | None, transform: PhotoTransform | None) -> ListedImages:
    """Open labelled images in shards: members ``KEY.jpg`` and ``KEY.cls``, the index of a class; or ``KEY.json``.

    Names of classes are the lines of ``classnames.txt`` beside the shards or above them, or ``classes``.

    :param rest: A ``.tar`` file, or a folder of them; ``:split=test`` for a folder in it.
    :param classes: Names of the classes, in the order of their indices.
    :param transform: Applied to every decoded photo.
    :raises InputError: If there are no shards, one is damaged, or an image has no label.
    """
    shards = _list_shards(rest, _label_of)
    labels = shards.said
    names = tuple(_lines_beside(shards.folder, _CLASSES))
    numbers = {label: as_index(label) for label in dict.fromkeys(labels)}
    if all(number is not None for number in numbers.values()):
        if not names and classes is None:
            raise InputError(
                f"The labels in {brief(rest)} are numbers, and there is no {_CLASSES} beside the shards. Say what they "
                "stand for: --classes names.txt."
            )
        known = names or tuple(classes or ())
        if (wrong := next((n for n in numbers.values() if n is None or not 0 <= n < len(known)), None)) is not None:
            raise InputError(f"A label in {brief(rest)} is {wrong}, and there are {len(known)} classes from 0.")
        places = {label: number for label, number in numbers.items() if number is not None}
    else:
        order = sorted(numbers)
        places, known = {label: place for place, label in enumerate(order)}, tuple(map(spaced, order))
    rows = [places[label] for label in labels]
    listing = Labelled(shards.images, rows, known, shards.notes, _prompts(shards))
    return ListedImages(listing, classes, transform, folders=(shards.folder,))


def open_captioned_shards(rest: str, transform: PhotoTransform | None) -> ListedCaptions:
    """Open captioned images in shards: members ``KEY.jpg`` and ``KEY.txt``, a caption a line; or ``KEY.json``.

    :param rest: As for :func:`open_shards`.
    :param transform: Applied to every decoded photo.
    :raises InputError: If there are no shards, one is damaged, or an image has no caption.
    """
    shards = _list_shards(rest, _captions_of)
    return ListedCaptions(Captioned(shards.images, shards.said, shards.notes), transform, (shards.folder,))


def _list_shards(rest: str, said_of: Callable[[_Sample], _Said]) -> _Shards[_Said]:
    """List all shards, one after the other.

    :param said_of: What is said of an image, by its sample.
    """
    given, options = split_spec(rest, ("split",), _FORM)
    try:
        path = Path(given).expanduser()
        path = path / options["split"] if "split" in options else path
        files = [path] if path.is_file() else sorted(path.glob("*.tar")) if path.is_dir() else []
        if not files and path.is_dir() and not options:
            parts = sorted(one.name for one in path.iterdir() if one.is_dir() and any(one.glob("*.tar")))
            if parts:
                raise InputError(f"{brief(path)} has shards of {', '.join(parts)}: give wds:{given}:split={parts[0]}.")
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError):
        files, path = [], Path(given)
    if not files:
        raise InputError(f"There are no shards {brief(path)}: give {_FORM}.")
    folder = Path(os.path.realpath(path if path.is_dir() else path.parent))
    images, said = _Images(), []
    others = bare = 0
    for file in files:
        if not is_inside(folder, file):
            raise InputError(f"{brief(file)} is a link that leads out of the folder of the data. Copy the file there.")
        # What is not needed later goes shard by shard: of all samples together it would fill the memory.
        samples, left_out = _list_members(file)
        for sample in samples.values():
            if "image" in sample:
                images.append(sample["image"])
                said.append(said_of(sample))
        others, bare = others + left_out, bare + sum("image" not in sample for sample in samples.values())
    if not images:
        raise InputError(f"There are no images in {brief(path)}: members are to be called KEY.jpg, KEY.png and so on.")
    notes = []
    if others:
        notes.append(f"{others} member(s) of the shards are links or other things that are no files, and are left out")
    if bare:
        notes.append(f"{bare} sample(s) of the shards have no image, and are left out")
    return _Shards(folder, images, said, tuple(notes))


def _list_members(file: Path) -> tuple[dict[str, dict[str, _Member]], int]:
    """List what lies in a shard: samples by their keys, and how many members are no files."""
    samples: dict[str, dict[str, _Member]] = {}
    endings, others = endings_read(), 0
    try:
        with tarfile.open(file, "r:") as archive:
            for member in archive:
                if not member.isfile() or member.issparse():
                    others += not member.isdir()
                    continue
                folder, _, name = member.name.rpartition("/")
                key, _, ending = name.partition(".")
                if not key or not ending:
                    continue
                ending = ending.lower()
                role = "image" if f".{ending.rpartition('.')[2]}" in endings else ending
                place = _Member(file, member.name, member.offset_data, member.size)
                samples.setdefault(f"{folder}/{key}", {}).setdefault(role, place)
                # What is listed is kept above; the archive's own list would hold it again.
                archive.members = []  # type: ignore[attr-defined]
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        hint = " Unpack a compressed one with gunzip." if file.name.endswith(("gz", "zst", "bz2", "xz")) else ""
        raise InputError(
            f"The shard {brief(file)} is damaged: {one_line(error, 100)}.{hint} Download it again."
        ) from None
    return samples, others


def _text(member: _Member) -> str:
    try:
        return member.content(_MOST_TEXT).decode("utf-8-sig").strip()
    except UnreadableSample as error:
        raise InputError(f"{error}. Download the shard again.") from None
    except UnicodeDecodeError:
        raise InputError(f"{brief(member.name)} in {brief(member.shard.name)} is no text in UTF-8.") from None


def _settings(sample: _Sample) -> dict:
    if "json" not in sample:
        return {}
    try:
        content = json.loads(_text(sample["json"]))
    except (ValueError, RecursionError):
        raise InputError(f"{brief(sample['json'].name)} in {brief(sample['json'].shard.name)} is no JSON.") from None
    return content if isinstance(content, dict) else {}


def _label_of(sample: _Sample) -> str:
    member = next((sample[ending] for ending in _LABELS if ending in sample), None)
    content = {} if member is not None else _settings(sample)
    own = next((content[key] for key in ("cls", "label", "class") if key in content), "")
    value = own if member is None else _text(member)
    if isinstance(value, bool) or not isinstance(value, (int, str)) or value == "":
        raise InputError(
            f"{brief(sample['image'].name)} in {brief(sample['image'].shard.name)} has no label: a member of that name "
            f'with .cls, or .json with "label". For captions give --task retrieval.'
        )
    # There are few different ones.
    return sys.intern(str(value))


def _captions_of(sample: _Sample) -> tuple[str, ...]:
    member = next((sample[ending] for ending in _TEXTS if ending in sample), None)
    if member is not None:
        texts = [line.strip() for line in _text(member).splitlines()]
    else:
        content = _settings(sample)
        value: object = next((content[key] for key in ("caption", "captions", "text") if key in content), [])
        texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    if not any(texts):
        raise InputError(
            f"{brief(sample['image'].name)} in {brief(sample['image'].shard.name)} has no caption: a member of that "
            'name with .txt, or .json with "caption".'
        )
    return tuple(text for text in texts if isinstance(text, str) and text)


def _lines_beside(folder: Path, name: str) -> list[str]:
    """The lines of a text file beside shards, or in the folder above them; none if there is none."""
    for place in (folder, folder.parent):
        path = place / name
        try:
            if path.is_file() and is_inside(place, path) and path.stat().st_size < 2**20:
                return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError):
            raise InputError(f"{brief(path)} is no text in UTF-8.") from None
    return []


def _prompts(shards: _Shards[str]) -> tuple[str, ...]:
    """Prompt templates beside shards, where ``{c}`` stands for the class."""
    return tuple(line.replace("{c}", "{}") for line in _lines_beside(shards.folder, _TEMPLATES))
