"""Models on the disk, in the formats of their libraries: what training writes, and ``checkpoint:FOLDER`` reads."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from art_multimodal.errors import InputError, unknown_name
from art_multimodal.models.checked_json import read_json
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.families.family import Family
from art_multimodal.registry import imported
from art_multimodal.shown import shown
from art_multimodal.store import sync_folder

#: Says what a folder holds.
INDEX = "saved_model.json"
_FORMAT = 1
#: Where each family of models says how it is saved and loaded; imported when it is needed.
FAMILIES = {
    "demo": "art_multimodal.demo.saving:FAMILY",
    "open_clip": "art_multimodal.models.families.open_clip.saving:FAMILY",
    "hf": "art_multimodal.models.families.hugging_face.saving:FAMILY",
}


def save_model(model: DualEncoder, folder: str | Path, trained_from: str | None = None) -> None:
    """Save a dual encoder in place of what a folder holds, if anything.

    An open_clip model is written as ``open_clip_model.safetensors`` and ``open_clip_config.json``, which
    ``open_clip.create_model_from_pretrained("local-dir:FOLDER")`` reads; one of transformers by ``save_pretrained``,
    for ``from_pretrained``; an embedded one as ``model.safetensors``. ``load_model("checkpoint:FOLDER")`` reads all of
    them without a network. Weights are there once.

    :param model: As ``load_model`` returns it, trained or not.
    :param folder: Replaced as a whole when the new one is complete: after a kill or on a full disk it is the old one.
    :param trained_from: The name of the model that training began with, for those who look.
    :raises InputError: If there is no format for this model, or it cannot be written.
    """
    # A link stays one, and "." has a name.
    folder = Path(folder).resolve()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file. Choose a folder to save the model in.")
    family = _family_of(model)
    facts: dict[str, Any] = {"format": _FORMAT, "family": model.family, **family.facts(model)}
    facts |= {"trained_from": trained_from, "weights_sha256": weights_sha256(model)}

    def fill(part: Path) -> None:
        family.save(model, part)
        facts["files"] = {path.name: _sha256_of(path) for path in sorted(part.iterdir()) if path.is_file()}
        (part / INDEX).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    _replace_folder(folder, fill)


def load_saved_model(folder: str | Path) -> DualEncoder:
    """Load what :func:`save_model` wrote, in evaluation mode, on the CPU. Nothing is unpickled.

    :raises InputError: If the folder holds no saved model, or not the weights that were saved.
    """
    found = saved_folder(folder)
    if found is None:
        raise InputError(f"{folder} holds no saved model: there is no {INDEX}.")
    folder = found
    try:
        facts = read_json(folder / INDEX)
        if facts["format"] != _FORMAT:
            raise InputError(
                f"{folder / INDEX} has format {shown(facts['format'])[:40]}; this version reads format {_FORMAT}."
            )
        family, digests = facts["family"], {str(name): str(digest) for name, digest in dict(facts["files"]).items()}
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{shown(folder / INDEX)} cannot be read ({type(error).__name__}: {shown(error)}).") from error
    unknown = sorted(path.name for path in folder.glob("*.safetensors") if path.name not in digests)
    if unknown:
        raise InputError(f"{folder / INDEX} does not list {unknown[0]}: it is not one that was saved there.")
    for name, digest in digests.items():
        path = folder / Path(name).name
        if not path.is_file() or _sha256_of(path) != digest:
            raise InputError(
                f"{path} is not the file that was saved there: it was changed, cut or removed. Restore the folder, or "
                "save the model again. (open_clip:ARCH/FILE and hf:FOLDER read their formats unchecked.)"
            )
    if family not in FAMILIES:
        raise unknown_name("family of models", str(family), FAMILIES)
    return imported(FAMILIES[family]).load(folder, facts)


def saved_folder(folder: str | Path) -> Path | None:
    """Where the saved model of a folder is, if there is one: a kill may have come while folders were exchanged."""
    folder = Path(folder).resolve()
    return next((path for path in (folder, _old(folder)) if (path / INDEX).is_file()), None)


def weights_sha256(model: nn.Module) -> str:
    """What is equal for equal weights; the header of an audit names a model by it, too."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_can_be_saved(model: DualEncoder) -> None:
    """Find out before any work whether there is a format for a model.

    :raises InputError: If there is none.
    """
    _family_of(model).facts(model)


def _family_of(model: DualEncoder) -> Family:
    if model.family is not None:
        return imported(FAMILIES[model.family])
    raise InputError(
        f"A {type(model).__name__} has no format to be saved in. Save its state_dict with safetensors yourself; models "
        "of open_clip, transformers and the demos are saved here."
    )


def _replace_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Fill a new folder, and put it in the place of an old one when all of it is on the disk.

    :raises InputError: If it cannot be written.
    """
    from safetensors import SafetensorError

    part, old = folder.with_name(f".{folder.name}.part"), _old(folder)
    try:
        _put_back(old, folder)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        fill(part)
        for path in part.rglob("*"):
            if path.is_file():
                with path.open("rb+") as stream:
                    os.fsync(stream.fileno())
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        sync_folder(part)
        part.rename(folder)
        sync_folder(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"The model could not be written to {folder}: {error}. What was there before is unharmed. Make room."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        _put_back(old, folder)


def _put_back(old: Path, folder: Path) -> None:
    if old.exists() and not folder.exists():
        old.rename(folder)


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")
