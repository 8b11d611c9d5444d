"""Data sets of captions: COCO and Flickr30k, with the splits of Karpathy and Fei-Fei where their file is there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from art_multimodal.datasets.named.listing import Captioned
from art_multimodal.datasets.named.pictures import Files
from art_multimodal.datasets.named.place import Place
from art_multimodal.shown import brief

#: In training of retrieval the rest of COCO's validation images counts as training.
_KARPATHY = {"test": ("test",), "val": ("val",), "train": ("train", "restval")}


def read_coco(place: Place, split: str) -> Captioned:
    """COCO 2017 (Chen et al., 2015): ``annotations/captions_val2017.json``; or a split of Karpathy and Fei-Fei."""
    needs = place.entry.splits[split].needs
    if not split.endswith("2017"):
        return _karpathy(place, split, needs[0], lambda row: f"{row['filepath']}/{row['filename']}")
    listed, folder = needs
    content = place.json(listed)
    try:
        files = {int(row["id"]): f"{folder}/{row['file_name']}" for row in content["images"]}
        captions: dict[int, list[str]] = {}
        for row in content["annotations"]:
            captions.setdefault(int(row["image_id"]), []).append(" ".join(str(row["caption"]).split()))
    except (KeyError, TypeError, ValueError):
        raise place.wrong(f"{brief(listed)} does not hold images and their captions") from None
    if lost := next((one for one in captions if one not in files), None):
        raise place.wrong(f"{brief(listed)} has a caption of image {lost}, which it does not list")
    kept = [one for one in files if one in captions]
    return _captioned(place, [files[one] for one in kept], [captions[one] for one in kept])


def read_flickr(place: Place, split: str) -> Captioned:
    """Flickr30k (Young et al., 2014): lines ``1000092795.jpg#0<tab>Two young guys ...``; or a split of Karpathy's."""
    needs = place.entry.splits[split].needs
    folder = needs[1]
    if split != "all":
        return _karpathy(place, split, needs[0], lambda row: f"{folder}/{row['filename']}")
    captions: dict[str, list[str]] = {}
    for name, text in place.fields(needs[0], 2, "\t"):
        captions.setdefault(f"{folder}/{name.partition('#')[0]}", []).append(text.strip())
    return _captioned(place, captions, captions.values())


def _karpathy(place: Place, split: str, listed: str, file_of: Any) -> Captioned:
    """A split of Karpathy and Fei-Fei (2015), as their JSON files give them."""
    try:
        rows = [row for row in place.json(listed)["images"] if row["split"] in _KARPATHY[split]]
        files = [str(file_of(row)) for row in rows]
        captions = [[" ".join(str(one["raw"]).split()) for one in row["sentences"]] for row in rows]
    except (KeyError, TypeError):
        raise place.wrong(f"{brief(listed)} does not hold images with their split and sentences") from None
    return _captioned(place, files, captions)


def _captioned(place: Place, files: Iterable[str], captions: Iterable[list[str]]) -> Captioned:
    return Captioned(Files(place.folder, list(files)), [tuple(own) for own in captions])
