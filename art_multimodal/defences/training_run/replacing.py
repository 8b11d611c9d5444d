"""Replacing a training run by another."""

from __future__ import annotations

import json
import re
from pathlib import Path

from art_multimodal import replacing
from art_multimodal.defences.training_run.folder import HEADER_FILE, STEPS_FILE
from art_multimodal.errors import InputError
from art_multimodal.models.saving import INDEX
from art_multimodal.shown import shown
from art_multimodal.store.lock import LOCK_FILE

_FILES = {HEADER_FILE, STEPS_FILE, f".{HEADER_FILE}.part", f".{STEPS_FILE}.part", LOCK_FILE}
_MODELS = ("best", "last")
#: What is in the other folders.
_INSIDE = {
    "state": re.compile(r"\.?(step-\d+\.safetensors|checkpoint\.json)(\.part)?"),
    "tensorboard": re.compile(r"events\.out\.tfevents\..+"),
}
_WHAT = "a training run"


def check_replaceable(folder: Path, model: str) -> None:
    """Find out whether a folder holds nothing but a training run.

    :param model: What is to be trained: it must not be what is replaced.
    :raises InputError: If there is anything else in it, or the model is.
    """
    replacing.contents(folder, _is_ours, _WHAT)
    source = Path(model.partition(":")[2]).expanduser()
    if source.exists() and (source.resolve() == folder.resolve() or folder.resolve() in source.resolve().parents):
        raise InputError(f"{shown(model)} is in {shown(folder)}, which --overwrite would remove. Choose another --out.")


def remove_run(folder: Path) -> None:
    """Remove the training run in a folder.

    :raises InputError: If there is anything else in it, or it cannot be removed.
    """
    replacing.remove(folder, _is_ours, _WHAT, HEADER_FILE)


def _is_ours(path: Path, folder: Path) -> bool:
    place = path.relative_to(folder).parts
    if len(place) == 1:
        return place[0] in ({*_MODELS, *_INSIDE} if path.is_dir() else _FILES)
    part, name = place[0], "/".join(place[1:])
    if part in _MODELS:
        files = _saved_files(folder / part)
        return any(file.startswith(f"{name}/") for file in files) if path.is_dir() else name in files
    return not path.is_dir() and len(place) == 2 and _INSIDE[part].fullmatch(name) is not None


def _saved_files(folder: Path) -> set[str]:
    """What the index of a saved model lists, some of it in folders, and the index."""
    try:
        return {INDEX, *map(str, json.loads((folder / INDEX).read_text(encoding="utf-8"))["files"])}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
