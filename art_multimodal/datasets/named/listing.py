"""What is known of a data set before an image is opened: its images, and their labels or captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from art_multimodal.datasets.named.pictures import Pictures


@dataclass(frozen=True)
class Labelled:
    """Images with labels.

    :param pictures: The images.
    :param labels: Of each the index of its class.
    :param class_names: As prompts speak of them.
    :param notes: What a user should know about how they were understood.
    :param templates: Prompt templates that lie beside the data; empty where none do.
    """

    pictures: Pictures
    labels: Sequence[int]
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()


@dataclass(frozen=True)
class Captioned:
    """Images with captions.

    :param pictures: The images.
    :param captions: Of each its captions, one at least and none twice.
    :param notes: What a user should know about how they were understood.
    """

    pictures: Pictures
    captions: Sequence[tuple[str, ...]]
    notes: tuple[str, ...] = ()


Listing = Labelled | Captioned


def spaced(name: str) -> str:
    """A class name of a file, as prompts speak of it: with spaces for underscores."""
    return " ".join(name.replace("_", " ").split())


def made_distinct(names: Sequence[str], others: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Class names of which no two are the same, and a note on those that were.

    :param names: Class names.
    :param others: Of each class further names of it; the first that no class is called is added in brackets.
    """
    counts = Counter(names)
    twice = [name for name, count in counts.items() if count > 1]
    taken = set(names)
    found = list(names)
    for name in twice:
        for index in [index for index, one in enumerate(names) if one == name]:
            other = next((one for one in others[index] if one not in taken), None)
            if other is not None and Counter(found)[name] > 1:
                found[index] = f"{name} ({other})"
    if not twice:
        return tuple(found), ()
    changed = [one for one, before in zip(found, names, strict=True) if one != before]
    note = (
        f"{len(twice)} class name(s) stand for more than one class, and are told apart by another of their names: "
        f"{', '.join(changed[:4])}"
    )
    return tuple(found), (note,)
