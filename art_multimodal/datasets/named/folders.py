"""Data sets with a folder for each class: Caltech, EuroSAT, Country211, ImageNet and Tiny ImageNet."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from art_multimodal.datasets.named.listing import Labelled, made_distinct, spaced
from art_multimodal.datasets.named.names import CALTECH101, COUNTRIES, EUROSAT
from art_multimodal.datasets.named.pictures import Files
from art_multimodal.datasets.named.place import Place, is_inside
from art_multimodal.datasets.photos import endings_read
from art_multimodal.shown import brief

_WORDNET_ID = re.compile(r"n[0-9]{8}")


def folders_in(place: Place, inside: str) -> list[str]:
    """The visible folders in one of a data set, sorted.

    :raises InputError: If there are none, or they cannot be listed.
    """
    try:
        entries = sorted(place.path(inside).iterdir())
        found = [one.name for one in entries if not one.name.startswith(".") and one.is_dir()]
    except OSError as error:
        raise place.wrong(f"{brief(inside)} cannot be read ({error.strerror})") from None
    if not found:
        raise place.wrong(f"there are no class folders in {brief(place.folder / inside)}")
    return found


def images_in(place: Place, inside: str) -> list[str]:
    """The visible images in a folder of a data set, sorted, relative to that of the data set.

    :raises InputError: If the folder cannot be listed.
    """
    folder, endings = place.folder / inside, endings_read()
    if not is_inside(place.folder, folder):
        return []
    try:
        names = sorted(one.name for one in folder.iterdir())
    except OSError as error:
        raise place.wrong(f"{brief(inside)} cannot be read ({error.strerror})") from None
    return [f"{inside}/{name}" for name in names if not name.startswith(".") and name.lower().endswith(endings)]


def in_class_folders(
    place: Place, inside: str, folders: Sequence[str], class_names: Sequence[str], below: str = "", notes: Sequence = ()
) -> Labelled:
    """Images in a folder for each class.

    :param inside: The folder that those of the classes are in.
    :param folders: Of the classes, in their order.
    :param class_names: Of the classes.
    :param below: The folder in each of them that holds the images; empty for itself.
    :raises InputError: If one holds no images.
    """
    files, labels = [], []
    for label, folder in enumerate(folders):
        own = images_in(place, "/".join(filter(None, (inside, folder, below))))
        if not own:
            raise place.wrong(f"there are no images in {brief(place.folder / inside / folder)}, or a link leads out")
        files += own
        labels += [label] * len(own)
    return Labelled(Files(place.folder, files), labels, tuple(class_names), tuple(notes))


def read_caltech101(place: Place, split: str) -> Labelled:
    """Caltech-101 (Fei-Fei et al., 2004), without the folder of backgrounds, as torchvision lists it."""
    inside = place.entry.splits[split].needs[0]
    folders = [name for name in folders_in(place, inside) if name != "BACKGROUND_Google"]
    return in_class_folders(place, inside, folders, [CALTECH101.get(name, spaced(name).lower()) for name in folders])


def read_caltech256(place: Place, split: str) -> Labelled:
    """Caltech-256 (Griffin et al., 2007): folders such as ``002.american-flag``; ``257.clutter`` counts, too."""
    inside = place.entry.splits[split].needs[0]
    folders = folders_in(place, inside)
    names = [spaced(re.sub(r"^[0-9]+\.|-101$", "", name).replace("-", " ")) for name in folders]
    return in_class_folders(place, inside, folders, *_distinct(names, folders))


def read_eurosat(place: Place, split: str) -> Labelled:
    """EuroSAT in colours (Helber et al., 2019)."""
    inside = place.entry.splits[split].needs[0]
    folders = folders_in(place, inside)
    return in_class_folders(place, inside, folders, [EUROSAT.get(name, spaced(name)) for name in folders])


def read_country211(place: Place, split: str) -> Labelled:
    """Country211 (Radford et al., 2021): a folder for the code of each country."""
    inside = place.entry.splits[split].needs[0]
    folders = folders_in(place, inside)
    return in_class_folders(place, inside, folders, [COUNTRIES.get(name, name) for name in folders])


def read_imagenet(place: Place, split: str) -> Labelled:
    """ImageNet (Russakovsky et al., 2015): a folder for each WordNet id, named as open_clip names ImageNet's classes.

    Other ids have the first of their names in ``meta.bin``, which torchvision writes, or ``LOC_synset_mapping.txt``.

    :raises InputError: If the images lie in no folders of classes, or one has no name.
    """
    from art_multimodal.datasets.named.imagenet import class_names_of

    inside = place.entry.splits[split].needs[0]
    ids = [name for name in folders_in(place, inside) if _WORDNET_ID.fullmatch(name)]
    if not ids:
        raise place.wrong(f"the folders in {brief(place.folder / inside)} are no WordNet ids such as n01440764")
    return in_class_folders(place, inside, ids, *class_names_of(place, ids))


def read_tiny_imagenet(place: Place, split: str) -> Labelled:
    """Tiny ImageNet (Le and Yang, 2015): ``wnids.txt``, ``words.txt``, ``train/ID/images`` and ``val``.

    ``val/val_annotations.txt`` says which image is of which class; a folder for each class, as scripts sort them, is
    read as well. Classes have the first of their names in ``words.txt``.

    :raises InputError: If a list is not complete, or names a class that there is not.
    """
    ids = sorted(place.lines("wnids.txt"))
    words = {row[0]: [word.strip() for word in row[1].split(",")] for row in place.fields("words.txt", 2, "\t")}
    if (unknown := next((one for one in ids if one not in words), None)) is not None:
        raise place.wrong(f"words.txt has no name for {brief(unknown, 40)}")
    names, notes = made_distinct([words[one][0] for one in ids], [words[one][1:] for one in ids])
    if split == "train":
        return in_class_folders(place, "train", ids, names, "images", notes)
    if not (place.folder / "val" / "val_annotations.txt").exists():
        return _sorted_validation(place, ids, names, notes)
    rows = place.fields("val/val_annotations.txt", 3, "\t")
    index = {one: number for number, one in enumerate(ids)}
    if (unknown := next((row[1] for row in rows if row[1] not in index), None)) is not None:
        raise place.wrong(f"val_annotations.txt names the class {brief(unknown, 40)}, which wnids.txt has not")
    files = [f"val/images/{row[0]}" for row in rows]
    return Labelled(Files(place.folder, files), [index[row[1]] for row in rows], names, notes)


def _sorted_validation(place: Place, ids: list[str], names: Sequence[str], notes: Sequence[str]) -> Labelled:
    there = set(folders_in(place, "val"))
    if not set(ids) <= there:
        raise place.wrong("there is neither val/val_annotations.txt nor a folder for each class in val")
    below = "images" if (place.folder / "val" / ids[0] / "images").is_dir() else ""
    return in_class_folders(place, "val", ids, names, below, notes)


def _distinct(names: list[str], folders: Iterable[str]) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    """Distinct names, no folder below, and a note, as :func:`in_class_folders` takes them."""
    found, notes = made_distinct(names, [[folder] for folder in folders])
    return found, "", notes
