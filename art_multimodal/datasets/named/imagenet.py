"""Names and prompts of ImageNet's classes, from the libraries and files that have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from art_multimodal.datasets.named.listing import made_distinct
from art_multimodal.datasets.named.place import Place
from art_multimodal.errors import InputError, one_line
from art_multimodal.shown import brief, shown

#: Files beside the images that name classes: torchvision's, and that of the competition's download.
_META, _MAPPING = "meta.bin", "LOC_synset_mapping.txt"


def imagenet_templates() -> tuple[str, ...]:
    """The 80 prompt templates of the CLIP paper, which open_clip has."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    return tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES)


def class_names_of(place: Place, ids: Sequence[str]) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    """Names of classes by their WordNet ids; no folder below that of a class; and notes.

    :raises InputError: If one has no name.
    """
    from open_clip import IMAGENET_CLASSNAMES
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    known = dict(zip(info.label_names(), IMAGENET_CLASSNAMES, strict=True))
    synonyms = {one: _words(info.label_name_to_description(one)) for one in known}
    own: dict[str, list[str]] = {}
    if any(one not in known for one in ids):
        own = _own_names(place)
        if (unknown := next((one for one in ids if one not in known and one not in own), None)) is not None:
            raise place.wrong(
                f"{brief(unknown, 40)} is no class of ImageNet's 1,000, and no {_META} or {_MAPPING} names it"
            )
    names = [known.get(one) or own[one][0] for one in ids]
    found, notes = made_distinct(names, [synonyms.get(one) or own[one][1:] for one in ids])
    return found, "", notes


def _own_names(place: Place) -> dict[str, list[str]]:
    """All names of classes in the files beside the images, by WordNet id."""
    if (place.folder / _MAPPING).exists():
        return {row[0]: _words(row[1]) for row in place.fields(_MAPPING, 2)}
    if not (place.folder / _META).exists():
        return {}
    path = place.path(_META)
    try:
        import torch

        content: Any = torch.load(path, map_location="cpu", weights_only=True)
        return {str(one): [str(word) for word in words] for one, words in content[0].items()}
    except Exception as error:  # an unpickler's, a reader's, or another content
        raise InputError(
            f"{shown(path)} does not hold names of classes, or asks for code to be run, which is refused "
            f"({type(error).__name__}: {one_line(error, 80)}). Remove it, or let torchvision write it again."
        ) from None


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
