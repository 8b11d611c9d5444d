"""Opens ``data:NAME``, ``hf:PATH`` and ``wds:PATH``."""

from __future__ import annotations

from collections.abc import Sequence

from art_multimodal.datasets.named.entry import RETRIEVAL, NamedData
from art_multimodal.datasets.named.images import ListedCaptions, ListedImages
from art_multimodal.datasets.named.listing import Captioned, Labelled, Listing
from art_multimodal.datasets.named.place import Place, data_root, find_place
from art_multimodal.datasets.named.registry import NAMED_DATA, find_name
from art_multimodal.datasets.named.spec import OPTIONS, split_spec
from art_multimodal.datasets.photos import PhotoTransform
from art_multimodal.errors import InputError, unknown_name

_FORM = "data:NAME:split=NAME,root=FOLDER"


def open_named(rest: str, classes: Sequence[str] | None, transform: PhotoTransform | None) -> ListedImages:
    """Open a data set of labelled images by name.

    :param rest: ``cifar10`` or ``cifar10:split=train,root=FOLDER``.
    :param classes: Class names instead of the data set's own.
    :param transform: Applied to every decoded photo.
    :raises InputError: If the name or the split is not known, or something of the data set is missing or damaged.
    """
    place, split = _placed(rest)
    if place.entry.task == RETRIEVAL:
        raise InputError(f"data:{place.name} has captions and no classes: give --task retrieval.")
    listing = place.entry.read(place, split)
    assert isinstance(listing, Labelled)
    listed = Labelled(
        listing.pictures,
        listing.labels,
        listing.class_names,
        (*listing.notes, *_notes(place, split, listing)),
        listing.templates,
    )
    return ListedImages(listed, classes, transform, place.entry.templates, (place.folder,), place.advice())


def open_named_captions(rest: str, transform: PhotoTransform | None) -> ListedCaptions:
    """Open a data set of captioned images by name.

    :param rest: ``coco`` or ``coco:split=test,root=FOLDER``.
    :param transform: Applied to every decoded photo.
    :raises InputError: As :func:`open_named` does, or if the data set has no captions.
    """
    place, split = _placed(rest)
    if place.entry.task != RETRIEVAL:
        others = ", ".join(f"data:{name}" for name, entry in NAMED_DATA.items() if entry.task == RETRIEVAL)
        raise InputError(f"data:{place.name} has classes and no captions, which retrieval needs. Give {others}.")
    listing = place.entry.read(place, split)
    assert isinstance(listing, Captioned)
    noted = Captioned(listing.pictures, listing.captions, (*listing.notes, *_notes(place, split, listing)))
    return ListedCaptions(noted, transform, (place.folder,), place.advice())


def split_of(name: str, entry: NamedData, given: str | None) -> str:
    """The split of a data set that is asked for.

    :param given: ``None`` for the one that is measured on.
    :raises InputError: If it has no such split.
    """
    if given is None:
        return entry.default_split
    if given not in entry.splits:
        more = f" {entry.note[0].upper()}{entry.note[1:]}." if entry.note else ""
        raise InputError(f"data:{name}: {unknown_name('split', given, entry.splits)!s}{more}")
    return given


def _placed(rest: str) -> tuple[Place, str]:
    given, options = split_spec(rest, OPTIONS, _FORM)
    name = find_name(given)
    entry = NAMED_DATA[name]
    split = split_of(name, entry, options.get("split"))
    return find_place(name, entry, data_root(options.get("root")), split), split


def _notes(place: Place, split: str, listing: Listing) -> list[str]:
    """What is different from what papers measure on."""
    entry, notes = place.entry, []
    if split == "all":
        notes.append(f"{place.name}: {entry.note}")
    parts = []
    if isinstance(listing, Labelled) and len(listing.class_names) != entry.classes:
        parts.append(f"{len(listing.class_names)} classes instead of {entry.classes}")
    if len(listing.pictures) != entry.splits[split].size:
        parts.append(f"{len(listing.pictures):,} images instead of {entry.splits[split].size:,}")
    if parts:
        notes.append(
            f"{place.name}: the split {split} has {' and '.join(parts)} here, so its numbers are not those of papers"
        )
    return notes
