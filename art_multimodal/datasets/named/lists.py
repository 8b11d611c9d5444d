"""Data sets with lists of their images in text files: pets, aircraft, food, textures and scenes."""

from __future__ import annotations

from collections.abc import Sequence

from art_multimodal.datasets.named.listing import Labelled, spaced
from art_multimodal.datasets.named.pictures import Files
from art_multimodal.datasets.named.place import Place
from art_multimodal.shown import brief


def listed(
    place: Place, split: str, files: Sequence[str], keys: Sequence[str], order: Sequence[str], names: Sequence[str]
) -> Labelled:
    """Listed files with the classes that lists name.

    :param files: Relative to the folder of the data set.
    :param keys: Of each what the list calls its class.
    :param order: What the list calls the classes, in their order.
    :param names: As prompts speak of them.
    :raises InputError: If a list names a class that there is not.
    """
    index = {key: number for number, key in enumerate(order)}
    if (unknown := next((key for key in keys if key not in index), None)) is not None:
        raise place.wrong(f"the list of the split {split} names the class {brief(unknown, 60)!r}, which there is not")
    return Labelled(Files(place.folder, files), [index[key] for key in keys], tuple(names))


def read_pets(place: Place, split: str) -> Labelled:
    """Oxford-IIIT Pet (Parkhi et al., 2012): lines ``Abyssinian_201 1 1 1``: image, class, species, breed."""
    rows = place.fields(place.entry.splits[split].needs[0], 2)
    keys = [row[1].split()[0] for row in rows]
    # The name of a breed is that of its images, without their number.
    breeds = {key: row[0].rpartition("_")[0] for key, row in zip(keys, rows, strict=True)}
    if (wrong := next((key for key, breed in breeds.items() if not key.isdecimal() or not breed), None)) is not None:
        raise place.wrong(f"the list of the split {split} has the class {brief(wrong, 40)!r}, which is no number")
    order = sorted(breeds, key=int)
    files = [f"images/{row[0]}.jpg" for row in rows]
    return listed(place, split, files, keys, order, [spaced(breeds[key]) for key in order])


def read_aircraft(place: Place, split: str) -> Labelled:
    """FGVC-Aircraft (Maji et al., 2013), by variant: lines ``0034309 737-200``."""
    rows = place.fields(place.entry.splits[split].needs[0], 2)
    variants = place.lines("data/variants.txt")
    files = [f"data/images/{row[0]}.jpg" for row in rows]
    return listed(place, split, files, [row[1].strip() for row in rows], variants, variants)


def read_food(place: Place, split: str) -> Labelled:
    """Food-101 (Bossard et al., 2014): lines ``apple_pie/1005649``."""
    rows = place.lines(place.entry.splits[split].needs[0])
    classes = sorted(place.lines("meta/classes.txt"))
    files = [f"images/{row}.jpg" for row in rows]
    return listed(place, split, files, [row.partition("/")[0] for row in rows], classes, list(map(spaced, classes)))


def read_textures(place: Place, split: str) -> Labelled:
    """Describable Textures (Cimpoi et al., 2014), the first of its ten partitions: ``banded/banded_0002.jpg``."""
    rows = place.lines(place.entry.splits[split].needs[0])
    keys = [row.partition("/")[0] for row in rows]
    classes = sorted(set(keys))
    return listed(place, split, [f"images/{row}" for row in rows], keys, classes, list(map(spaced, classes)))


def read_scenes(place: Place, split: str) -> Labelled:
    """SUN397 (Xiao et al., 2010): ``ClassName.txt`` has the folders, ``Testing_01.txt`` the first of ten partitions.

    Folders such as ``/a/apse/indoor`` are the classes; without a list all their images are taken.
    """
    from art_multimodal.datasets.named.folders import images_in

    needs = place.entry.splits[split].needs
    classes = [line.strip().strip("/") for line in place.lines("ClassName.txt")]
    names = [spaced(name[2:].replace("/", " ")) for name in classes]
    if len(needs) > 1:
        files = [line.strip().strip("/") for line in place.lines(needs[1])]
    else:
        files = [file for name in classes if (place.folder / name).is_dir() for file in images_in(place, name)]
    if not files:
        raise place.wrong("the folders that ClassName.txt names hold no images")
    keys = [file.rpartition("/")[0] for file in files]
    return listed(place, split, files, keys, classes, names)
