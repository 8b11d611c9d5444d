"""What several families keep of their models in JSON: modalities, and models made again from facts and weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch import nn

from art_multimodal.errors import InputError, one_line
from art_multimodal.modalities import KINDS, Modality
from art_multimodal.models.weight_files import check_build, fill_exactly, sizes_of
from art_multimodal.registry import class_name, not_here
from art_multimodal.shown import shown

Made = TypeVar("Made", bound=nn.Module)


def load_described(folder: Path, weights: str, make: Callable[[], Made], what: str) -> Made:
    """Make a model of facts that a folder gives, and fill it with the weights there; in evaluation mode.

    :param weights: Name of the file.
    :param make: Makes the model of the facts.
    :param what: The folder describes, for messages: "a modular model".
    :raises InputError: If the facts describe no such model, a larger one than the weights, or another one.
    """
    check_build(make, folder, sizes_of([folder / weights]))
    try:
        model = make()
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{shown(folder)} does not describe {what} ({type(error).__name__}: {one_line(error)}). Was it changed?"
        ) from error
    fill_exactly(model, folder / weights, what)
    return model.eval()


def modality_facts(modality: Modality) -> dict[str, Any] | None:
    """Return what a modality of numbers is, in JSON's types; ``None`` for one of a class that is not registered."""
    kind = modality.kind
    if not modality.numeric or kind not in KINDS or KINDS[kind] is not type(modality):
        return None
    return {
        "kind": modality.kind,
        "name": modality.name,
        "shape": list(modality.shape),
        "point_axes": list(modality.point_axes),
        "clip_values": [_number_facts(value) for value in modality.clip_values],
        "variable": modality.variable,
        "fill": _number_facts(modality.fill),
        **({} if KINDS.origin(kind) is None else {"class": class_name(type(modality))}),
    }


def _number_facts(value: Any) -> Any:
    if np.ndim(value) == 0:
        return float(value)
    dtype = "float32" if np.asarray(value).dtype == np.float32 else "float64"
    return {"dtype": dtype, "numbers": np.asarray(value).tolist()}


def made_modality(facts: Mapping[str, Any]) -> Modality:
    """Make a modality of numbers again.

    :raises InputError: If its kind is none that is registered.
    :raises KeyError: If it says too little of itself; what it says may raise ``TypeError`` and ``ValueError``, too.
    """
    low, high = map(_made_number, facts["clip_values"])
    name = str(facts["kind"])
    known = [other for other, kind in KINDS.items() if kind.numeric]
    if name not in known:
        raise not_here("kind of modality", name, known, facts.get("class"))
    kind = KINDS[name]
    return kind(
        str(facts["name"]),
        tuple(None if size is None else int(size) for size in facts["shape"]),
        tuple(map(int, facts["point_axes"])),
        (low, high),
        bool(facts["variable"]),
        _made_number(facts["fill"]),
    )


def _made_number(value: Any) -> Any:
    if isinstance(value, dict):
        with np.errstate(over="ignore"):  # what is infinite then is refused by the modality
            return np.array(value["numbers"], dtype=np.float32 if value["dtype"] == "float32" else np.float64)
    return float(value)
