"""Which name belongs to which class folder or label; nothing is guessed where two readings differ."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from art_multimodal.errors import InputError
from art_multimodal.prompts import check_class_names
from art_multimodal.shown import brief, shown

_WORDNET_ID = re.compile(r"n[0-9]{8}")
#: Numbers as labels, also as pandas writes whole ones: ``0.0``.
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?|nan", re.IGNORECASE)
#: How many names a message mentions.
_MENTIONED = 3


@dataclass(frozen=True)
class Naming:
    """Class names, and which of them each folder or label has.

    :param class_names: In the order of the labels.
    :param labels: The index of the class name for each folder, or each kind of label, in the order given.
    :param notes: What a user should know about it.
    """

    class_names: tuple[str, ...]
    labels: tuple[int, ...]
    notes: tuple[str, ...] = ()


def folder_order(folders: Iterable[str]) -> list[str]:
    """Class folders in the order of their labels: of numbers if all are numbers, otherwise of characters."""
    folders = sorted(folders)
    return sorted(folders, key=int) if all(map(_is_index, folders)) else folders


def name_folders(folders: Sequence[str], classes: Sequence[str] | None) -> Naming:
    """Name class folders.

    :param folders: In the order of :func:`folder_order`.
    :param classes: ``FOLDER=NAME`` entries, or names: those of the folders in any order; for folders that are numbers
        those at these indices; otherwise one for each folder in sorted order. ``None`` names them as the folders, with
        spaces for underscores; WordNet ids of ImageNet as open_clip does.
    :raises InputError: Where it is not certain which name belongs to which folder.
    """
    if classes is None:
        return _named_after(folders)
    if all("=" in entry for entry in classes):
        return assign_entries(folders, classes, "folder")
    names = check_class_names(classes)
    found = _by_name(folders, names) or (
        _by_number(folders, names) if all(map(_is_index, folders)) else _by_place(folders, names)
    )
    return Naming(found.class_names, found.labels, (*notes_on(names), *found.notes))


def assign_entries(keys: Sequence[str], entries: Sequence[str], what: str) -> Naming:
    """Name folders or labels by ``KEY=NAME`` entries; those of one name are one class. A key may be as it is shown.

    :param keys: Names of folders, or labels.
    :param what: What they are, in singular.
    :raises InputError: If one has no name, or two.
    """
    names: dict[str, str] = {}
    for key, _, name in (entry.partition("=") for entry in entries):
        key, name = key.strip(), name.strip()
        if names.setdefault(key, name) != name:
            raise InputError(f"--classes names the {what} {brief(key)} twice. Give it one name.")
    wanted = [names.get(key, names.get(shown(key))) for key in keys]
    missing = [brief(key) for key, name in zip(keys, wanted, strict=True) if name is None]
    if missing:
        raise InputError(f"--classes names no class for the {what}(s) {', '.join(missing[:5])}.")
    class_names = check_class_names(list(dict.fromkeys(name for name in wanted if name is not None)))
    labels = tuple(class_names.index(name) for name in wanted if name is not None)
    return Naming(class_names, labels, (*notes_on(class_names), *_merged(keys, labels, class_names, f"{what}s")))


def fold(name: str) -> str:
    """What is left of a name without case, spacing and ways to write an accent: names that share it look the same."""
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", name).casefold()).strip()


def is_number(label: str) -> bool:
    """Whether a label is a number, or the trace of a missing one."""
    return _NUMBER.fullmatch(label) is not None


def as_index(label: str) -> int | None:
    """The whole number that a label is, written ``3`` or ``3.0``; ``None`` if it is something else."""
    if not is_number(label):
        return None
    # Long ones are out of every range: Python refuses to convert thousands of digits.
    value = float(label) if len(label) < 40 else float("inf")
    return int(value) if value.is_integer() else None


def notes_on(class_names: Sequence[str]) -> tuple[str, ...]:
    """What a user should know about class names."""
    notes = []
    counts: dict[str, int] = {}
    for name in class_names:
        counts[name] = counts.get(name, 0) + 1
    if twice := [name for name, count in counts.items() if count > 1]:
        notes.append(
            f"the class name(s) {_quoted(twice)} stand more than once: prompts of such classes are the same, and of "
            "equal scores the first class counts as predicted"
        )
    groups: dict[str, list[str]] = {}
    for name in counts:
        groups.setdefault(fold(name), []).append(name)
    alike = [group for group in groups.values() if len(group) > 1]
    if alike:
        notes.append(
            f"the classes {' and '.join(repr_of(name) for name in alike[0])} differ in case or spacing only, and count "
            f"as {len(alike[0])} classes{f' ({len(alike)} such groups)' if len(alike) > 1 else ''}: give --classes if "
            "they are one"
        )
    return tuple(notes)


def repr_of(name: str) -> str:
    """A name in quotes, fit to be shown."""
    return f"'{brief(name)}'"


def _named_after(folders: Sequence[str]) -> Naming:
    strange = [folder for folder in folders if not _is_text(folder)]
    if strange:
        raise InputError(
            f"The name of the class folder {brief(strange[0])} is not UTF-8, so it is no class name. Rename it, or "
            f"name it with --classes: '{brief(strange[0])}=NAME', and so on for each folder."
        )
    if all(_WORDNET_ID.fullmatch(folder) for folder in folders):
        return _named_by_wordnet(folders)
    first: dict[str, str] = {}
    for folder in folders:
        other = first.setdefault(folder.replace("_", " ").strip(), folder)
        if other != folder:
            raise InputError(
                f"The class folders {brief(other)} and {brief(folder)} would have the same name. Rename one, or give "
                "--classes FOLDER=NAME,...: folders of one name become one class."
            )
    names = check_class_names([folder.replace("_", " ") for folder in folders])
    notes = list(notes_on(names))
    if all(map(is_number, folders)):
        notes.append(
            f"the class folders are numbers, and so are the class names ({_quoted(names)}): give --classes names.txt "
            "if they stand for something"
        )
    elif ids := [folder for folder in folders if _WORDNET_ID.fullmatch(folder)]:
        notes.append(f"{len(ids)} class names look like WordNet ids ({_quoted(ids)}): give --classes FOLDER=NAME,...")
    return Naming(names, tuple(range(len(names))), tuple(notes))


def _named_by_wordnet(ids: Sequence[str]) -> Naming:
    """WordNet ids by the names that open_clip has for ImageNet's; others stay, with a note."""
    known = _imagenet_names()
    names = check_class_names([known.get(wordnet_id, wordnet_id) for wordnet_id in ids])
    unknown = [wordnet_id for wordnet_id in ids if wordnet_id not in known]
    if unknown:
        note = (
            f"{len(unknown)} of {len(ids)} class folders are WordNet ids without a name here ({_quoted(unknown)}), and "
            "prompts speak of them as they stand: give --classes names.txt with lines such as n01440764=tench"
        )
    else:
        first = ", ".join(f"{one} is {repr_of(name)}" for one, name in list(zip(ids, names, strict=True))[:_MENTIONED])
        note = f"the class folders are WordNet ids, with the names that open_clip has for ImageNet: {first}"
    return Naming(names, tuple(range(len(names))), (note, *notes_on(names)))


def _imagenet_names() -> dict[str, str]:
    try:
        from open_clip import IMAGENET_CLASSNAMES
        from timm.data import ImageNetInfo
    except ImportError:
        return {}
    ids = ImageNetInfo().label_names()
    return dict(zip(ids, IMAGENET_CLASSNAMES, strict=True)) if len(ids) == len(IMAGENET_CLASSNAMES) else {}


def _by_name(folders: Sequence[str], names: tuple[str, ...]) -> Naming | None:
    """Names that are those of the folders, in any order; ``None`` where they are others.

    :raises InputError: If only some are.
    """
    exact = _places(names, lambda name: name)
    spaced = _places(names, lambda name: name.replace("_", " "))
    folded = _places(names, fold)
    found: list[int | None] = []
    for folder in folders:
        places = exact.get(folder) or spaced.get(folder.replace("_", " ")) or folded.get(fold(folder)) or []
        if len(places) > 1:
            raise InputError(
                f"--classes has {len(places)} classes that the folder {brief(folder)} could be. Give FOLDER=NAME "
                "entries."
            )
        found.append(places[0] if places else None)
    if all(place is None for place in found):
        return None
    labels = [place for place in found if place is not None]
    if len(labels) < len(found):
        if len(names) == len(folders) and all(place in (None, number) for number, place in enumerate(found)):
            return _by_place(folders, names)
        other = folders[found.index(None)]
        raise InputError(
            f"--classes has names of some folders, such as {repr_of(names[labels[0]])}, and none of the folder "
            f"{brief(other)}. Give FOLDER=NAME entries."
        )
    notes = [*_merged(folders, labels, names, "folders"), *_unused(labels, names)]
    if labels != sorted(labels):
        notes.insert(
            0, "the names of --classes are those of the class folders in another order: each folder has its own"
        )
    return Naming(names, tuple(labels), tuple(notes))


def _by_number(folders: Sequence[str], names: tuple[str, ...]) -> Naming:
    numbers = [int(folder) for folder in folders]
    if len(set(numbers)) < len(numbers):
        raise InputError("Two class folders have the same number. Rename one, or give FOLDER=NAME entries.")
    first = 0
    if max(numbers) == len(names) and 0 not in numbers:
        first = 1
    elif max(numbers) >= len(names):
        raise InputError(
            f"--classes gives {len(names)} names, and a class folder is called {max(numbers)}. Give a name for every "
            "number from 0, or FOLDER=NAME entries."
        )
    labels = [number - first for number in numbers]
    notes = []
    if first or len(labels) < len(names):
        notes.append(
            f"the class folders are numbers, counted from {first}: folder {brief(folders[0])} is "
            f"{repr_of(names[labels[0]])}"
        )
    return Naming(names, tuple(labels), (*notes, *_unused(labels, names)))


def _by_place(folders: Sequence[str], names: tuple[str, ...]) -> Naming:
    if len(names) != len(folders):
        raise InputError(
            f"--classes gives {len(names)} names, but there are {len(folders)} class folders. Give one per folder in "
            "sorted order, or FOLDER=NAME entries."
        )
    natural = sorted(folders, key=_natural)
    if natural != list(folders):
        place = next(i for i, (one, other) in enumerate(zip(folders, natural, strict=True)) if one != other)
        raise InputError(
            f"It is not certain which name of --classes is whose: {brief(folders[place])} and {brief(natural[place])} "
            "sort differently as numbers and as letters, or by case. Give FOLDER=NAME entries."
        )
    pairs = [f"{brief(one)} is {repr_of(name)}" for one, name in zip(folders, names, strict=True)]
    more = f", ... ({len(pairs)})" if len(pairs) > _MENTIONED else ""
    note = f"the class folders have the names of --classes in sorted order: {', '.join(pairs[:_MENTIONED])}{more}"
    return Naming(names, tuple(range(len(names))), (note,))


def _merged(keys: Sequence[str], labels: Sequence[int], names: Sequence[str], what: str) -> list[str]:
    of: dict[int, list[str]] = {}
    for key, label in zip(keys, labels, strict=True):
        of.setdefault(label, []).append(key)
    return [
        f"the {what} {' and '.join(map(brief, own))} are one class, {repr_of(names[label])}"
        for label, own in of.items()
        if len(own) > 1
    ][:_MENTIONED]


def _unused(labels: Sequence[int], names: Sequence[str]) -> list[str]:
    used = set(labels)
    unused = [name for index, name in enumerate(names) if index not in used]
    if not unused:
        return []
    return [f"{len(unused)} of the {len(names)} classes have no images, for example {repr_of(unused[0])}"]


def _places(names: Sequence[str], key: Callable[[str], str]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        places.setdefault(key(name), []).append(index)
    return places


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Sorts as people and file managers do: by case folded, and by numbers as numbers."""
    parts = re.split(r"([0-9]{1,18})", name.casefold())
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts if part]


def _is_index(folder: str) -> bool:
    return folder.isascii() and folder.isdecimal() and len(folder) < 19


def _is_text(name: str) -> bool:
    """Whether a name is one, and not bytes that are no UTF-8."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _quoted(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _MENTIONED else ""
    return ", ".join(repr_of(name) for name in names[:_MENTIONED]) + more
