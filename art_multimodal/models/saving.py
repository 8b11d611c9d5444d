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

from art_multimodal.errors import InputError
from art_multimodal.models.base import ImageTextModel, Model
from art_multimodal.models.checked_json import read_json
from art_multimodal.models.families.family import facts_of, load_files, save_files
from art_multimodal.models.resized import with_resize
from art_multimodal.shown import shown
from art_multimodal.store import sync_folder

#: Says what a folder holds.
INDEX = "saved_model.json"
_FORMAT = 1


def save_model(model: Model, folder: str | Path, trained_from: str | None = None) -> None:
    """Save a dual encoder or a fusion model in place of what a folder holds, if anything.

    >>> save_model(load_model("demo:digits"), "mine")
    >>> type(load_model("checkpoint:mine")).__name__
    'DigitsEncoder'

    An open_clip model is written as ``open_clip_model.safetensors`` and ``open_clip_config.json``, which
    ``open_clip.create_model_from_pretrained("local-dir:FOLDER")`` reads; one of transformers by ``save_pretrained``,
    for ``from_pretrained``; an embedded one as ``model.safetensors``; an MMBT as :func:`save_mmbt` does; a
    :class:`LateFusion` as its dual encoder and ``predictor.safetensors``; a :class:`ModularModel` whose towers are made
    of torch's own layers as ``model.safetensors``. ``load_model("checkpoint:FOLDER")`` reads all of them without a
    network. Weights are there once, and code is never saved.

    :param model: As ``load_model`` returns it, trained or not.
    :param folder: Replaced as a whole when the new one is complete: after a kill or on a full disk it is the old one.
    :param trained_from: The name of the model that training began with, for those who look.
    :raises InputError: If there is no format for this model, or it cannot be written.
    """
    # A link stays one, and "." has a name.
    folder = Path(folder).resolve()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file. Choose a folder to save the model in.")
    facts: dict[str, Any] = {"format": _FORMAT, **facts_of(model)}
    facts |= {"trained_from": trained_from, "weights_sha256": weights_sha256(model)}
    if isinstance(model, ImageTextModel) and model.preprocess.is_deployed:
        # The formats of libraries have no word for it.
        facts["resize"] = model.preprocess.interpolation

    def fill(part: Path) -> None:
        save_files(model, part)
        files = sorted(path for path in part.rglob("*") if path.is_file())
        facts["files"] = {path.relative_to(part).as_posix(): _sha256_of(path) for path in files}
        (part / INDEX).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    _replace_folder(folder, fill)


def load_saved_model(folder: str | Path) -> Any:
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
        digests = {str(name): str(digest) for name, digest in dict(facts["files"]).items()}
        facts["family"]
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{shown(folder / INDEX)} cannot be read ({type(error).__name__}: {shown(error)}).") from error
    there = (path.relative_to(folder).as_posix() for path in folder.rglob("*.safetensors"))
    unknown = sorted(name for name in there if name not in digests)
    if unknown:
        raise InputError(f"{folder / INDEX} does not list {unknown[0]}: it is not one that was saved there.")
    for name, digest in digests.items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(f"{folder / INDEX} lists {shown(name)[:80]}, which is no file of this folder.")
        path = folder / name
        if not path.is_file() or _sha256_of(path) != digest:
            raise InputError(
                f"{path} is not the file that was saved there: it was changed, cut or removed. Restore the folder, or "
                "save the model again. (open_clip:ARCH/FILE and hf:FOLDER read their formats unchecked.)"
            )
    model = load_files(folder, facts)
    return with_resize(model, str(facts["resize"])) if "resize" in facts else model


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


def check_can_be_saved(model: Model) -> None:
    """Find out before any work whether there is a format for a model.

    :raises InputError: If there is none.
    """
    facts_of(model)


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
            if path.is_dir():
                sync_folder(path)
                continue
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
