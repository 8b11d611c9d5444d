"""Weights of open_clip's formats, filled into a model: by name, all of them, and resized only with a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from art_multimodal.errors import InputError, one_line
from art_multimodal.models.weight_files import read_weights
from art_multimodal.shown import shown

#: What training scripts put in front of the names of an image tower's weights.
_PREFIXES = ("module.", "model.", "clip.", "visual.", "vision_model.")


def fill(model: Any, path: Path, source: str, settings: str) -> tuple[str, ...]:
    """Fill a model of open_clip with the weights of a file.

    :param source: Of the weights, for messages.
    :param settings: Where the model's configuration stands, for messages.
    :return: What a reader of results must know: what was resized or not in the file.
    :raises InputError: If weights are missing, left over, or of another shape.
    """
    from open_clip import factory

    if path.suffix in (".npz", ".npy"):
        try:
            factory.load_checkpoint(model, str(path))
        except Exception as error:
            raise InputError(
                f"Cannot load {source} into {settings}: {type(error).__name__}: {one_line(error)}"
            ) from error
        return ()
    state = read_weights(path)
    tower = model.visual.state_dict()
    if len(state) == len(tower) and {_stripped(name) for name in state} == tower.keys():
        raise InputError(
            f"{source} holds an image tower alone. Name the model that its text tower and all else come from, too: "
            f"open_clip:{settings}/TAG+{source}"
        )
    try:
        state = factory.convert_state_dict(model, state)
        if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
            state = factory.convert_to_custom_text_state_dict(state)
    except Exception as error:
        raise InputError(f"{source} is not a checkpoint of {settings}: {type(error).__name__}.") from error
    state = dict(state)
    notes = []
    # A buffer that transformers wrote until version 4.31.
    state.pop("text.transformer.embeddings.position_ids", None)
    own = model.state_dict()
    for name in ("logit_scale", "logit_bias"):
        if name in state and name in own and state[name].numel() == own[name].numel():
            state[name] = state[name].reshape(own[name].shape)
    if "logit_bias" in own and "logit_bias" not in state:
        state["logit_bias"] = torch.zeros_like(own["logit_bias"])
        notes.append("the checkpoint has no logit_bias; it is taken for zero")
    for what, resize in (("image", factory.resize_pos_embed), ("text", factory.resize_text_pos_embed)):
        notes += _resized(model, state, what, resize, source, settings)
    _check_names(state, own, source, settings)
    model.load_state_dict(state)
    return tuple(notes)


def _resized(model: Any, state: dict[str, Tensor], what: str, resize: Any, source: str, settings: str) -> list[str]:
    """Bring position embeddings of another resolution or context length to the model's, and say so."""
    own = model.state_dict()
    unlike = {n: t for n, t in state.items() if "positional_embedding" in n and n in own and t.shape != own[n].shape}
    if not unlike:
        return []
    try:
        resize(state, model)
    except Exception as error:
        raise InputError(f"{source} is not a checkpoint of {settings}: {one_line(error)}") from error
    changed = [name for name, tensor in unlike.items() if state[name].shape == own[name].shape]
    if not changed:
        return []
    before, after = tuple(unlike[changed[0]].shape), tuple(own[changed[0]].shape)
    kind = "resolution" if what == "image" else "context length"
    return [
        f"the weights were trained for another {kind}: {changed[0]} was resized from {before[0]} to {after[0]} "
        "positions, so this is not the published model"
    ]


def _check_names(state: dict[str, Tensor], own: dict[str, Tensor], source: str, settings: str) -> None:
    missing, more = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    unlike = sorted(name for name in own.keys() & state.keys() if own[name].shape != state[name].shape)
    if not (missing or more or unlike):
        return
    said = [
        f"{len(names)} {what}, for example {shown(', '.join(names[:2]))[:120]}"
        for names, what in ((missing, "missing"), (more, "without a place in it"), (unlike, "of another shape"))
        if names
    ]
    raise InputError(f"{source} is not a checkpoint of {settings}: weights are {'; '.join(said)}.")


def _stripped(name: str) -> str:
    while prefix := next((part for part in _PREFIXES if name.startswith(part)), None):
        name = name.removeprefix(prefix)
    return name


def image_tower_of(state: dict[str, Tensor], tower: nn.Module, source: str) -> dict[str, Tensor]:
    """The weights of an image tower, by the tower's own names.

    :param state: With ``visual.``, ``model.`` or nothing in front of all names.
    :param source: Of the weights, for messages.
    :raises InputError: If weights are missing, left over, or of another shape.
    """
    named = {_stripped(name): tensor for name, tensor in state.items()}
    own = tower.state_dict()
    # Published with the normalisation in front of the tower; that belongs to the preprocessing here.
    missing, more = sorted(own.keys() - named.keys()), sorted(named.keys() - own.keys())
    unlike = sorted(name for name in own.keys() & named.keys() if own[name].shape != named[name].shape)
    wrong = [(missing, "missing"), (more, "without a place in it"), (unlike, "of another shape")]
    said = [f"{len(names)} {what}, for example {shown(names[0])[:80]}" for names, what in wrong if names]
    if said or len(named) != len(state):
        raise InputError(
            f"{source} does not hold the weights of this architecture's image tower alone: "
            f"{'; '.join(said) or 'twice'}."
        )
    return named
