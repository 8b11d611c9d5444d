"""Checkpoints: tensors in one safetensors file, everything else in a JSON file that names it.

A new pair of files is complete on the disk before the old one goes, so a kill at any time leaves one that is whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_multimodal.errors import InputError
from art_multimodal.store import open_regular, opened_document, read_regular, replace_file, sealed_document

INDEX = "checkpoint.json"
_FORMAT = 2
_MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class Checkpoint:
    """A state of training.

    :param run: What the run was started with, in JSON's types; a run goes on only with the same.
    :param step: How many steps have been taken.
    :param model: The state of the whole model.
    :param optimizer: The state of the optimizer: for each trained parameter's name its tensors.
    :param memory: What else training keeps from step to step, by name.
    """

    run: dict[str, Any]
    step: int
    model: dict[str, Tensor]
    optimizer: dict[str, dict[str, Tensor]]
    memory: dict[str, Tensor] = field(default_factory=dict)


def save_checkpoint(folder: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in place of the one that a folder holds, if any.

    :raises InputError: If it cannot be written (a full disk); what the folder held is still there then.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    folder = Path(folder)
    # Copies: safetensors refuses tensors that share memory or are not contiguous.
    tensors = {f"model/{name}": _copy(tensor) for name, tensor in checkpoint.model.items()}
    for name, state in checkpoint.optimizer.items():
        tensors |= {f"optimizer/{key}/{name}": _copy(tensor) for key, tensor in state.items()}
    tensors |= {f"memory/{name}": _copy(tensor) for name, tensor in checkpoint.memory.items()}
    name = f"step-{checkpoint.step:09d}.safetensors"
    index = {"format": _FORMAT, "step": checkpoint.step, "tensors": name, "run": checkpoint.run}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / name, lambda path: save_file(tensors, path))
        replace_file(folder / INDEX, sealed_document(index))
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"The checkpoint of step {checkpoint.step} could not be written to {folder}: {error}. What was there "
            "before is unharmed. Make room, and go on with resume=True."
        ) from error
    for path in folder.glob("step-*.safetensors"):
        if path.name != name:
            path.unlink(missing_ok=True)


def load_checkpoint(folder: str | Path) -> Checkpoint:
    """Read the checkpoint of a folder.

    :raises InputError: If there is none, or it is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(folder) / INDEX
    try:
        index = opened_document(read_regular(path, _MOST_BYTES))
        if index["format"] != _FORMAT:
            raise InputError(f"{path} has format {index['format']}; this version reads format {_FORMAT}.")
        file = path.parent / Path(index["tensors"]).name
        if not file.exists():
            raise InputError(f"The checkpoint in {folder} is not whole: there is no {file.name}.")
        # What somebody has put a link in the place of is not read.
        open_regular(file).close()
        tensors = load_file(file)
        step, run = index["step"], dict(index["run"])
        if type(step) is not int or step < 0:
            raise ValueError("its step is not a whole number")
    except FileNotFoundError as error:
        raise InputError(f"{folder} holds no checkpoint: there is no {INDEX}.") from error
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise InputError(f"The checkpoint in {folder} cannot be read: {error}.") from error
    model: dict[str, Tensor] = {}
    optimizer: dict[str, dict[str, Tensor]] = {}
    memory: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition("/")
        if kind == "model":
            model[rest] = tensor
        elif kind == "memory":
            memory[rest] = tensor
        else:
            key, _, parameter = rest.partition("/")
            optimizer.setdefault(parameter, {})[key] = tensor
    return Checkpoint(run, step, model, optimizer, memory)


def holds_checkpoint(folder: str | Path) -> bool:
    """Whether a folder holds a checkpoint."""
    return (Path(folder) / INDEX).exists()


def check_same_run(saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with a run that was started with something else.

    :raises InputError: Naming what differs.
    """
    differing = differences(saved, now)
    if not differing:
        return
    if saved.get("began_from") != now["began_from"]:
        raise InputError(
            "The checkpoint is of another model: that training began from other weights. Go on with a trainer on the "
            "model as it was when the training began, not on one that has been trained since."
        )
    shown = [f"{name} was {was}, now {is_now}" for name, was, is_now in differing[:5]]
    raise InputError(
        f"The checkpoint is of another run: {'; '.join(shown)}. Go on with the same settings, or start anew in another "
        "folder."
    )


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What differs between two nested mappings of JSON's types: dotted names, and both values as they are shown.

    What one of them does not mention is as good as ``None``.
    """
    one, other = _flat(before), _flat(after)
    names = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    return [(name, f"{one.get(name)!r:.60}", f"{other.get(name)!r:.60}") for name in names]


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """What is equal for equal names, shapes, dtypes and values."""
    found = blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        found.update(repr((name, tuple(tensor.shape), str(tensor.dtype))).encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def described_defence(defence: Any) -> dict[str, Any]:
    """A preprocessing defence in JSON's types."""
    return {"name": type(defence).__name__} | {name: plain(getattr(defence, name)) for name in defence.params}


def plain(value: Any) -> Any:
    """A parameter in JSON's types."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (np.integer, np.floating)):
        return value.item()
    if isinstance(value, (set, frozenset)):
        return sorted(map(plain, value))
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return type(value).__name__


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found
