"""A modular model on the disk: what it is made of in JSON, by names that are known here, and its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from art_multimodal import modalities
from art_multimodal.errors import InputError, one_line
from art_multimodal.modalities import Modality
from art_multimodal.models.families.family import Family
from art_multimodal.models.families.modular.layers import described_layer, made_layer
from art_multimodal.models.families.modular.model import ModularModel, Tower
from art_multimodal.models.fusions import FUSIONS, Fusion, new_fusion
from art_multimodal.models.fusions.fusion import option_names
from art_multimodal.models.weight_files import check_build, fill_exactly, sizes_of, write_weights
from art_multimodal.shown import shown

_WEIGHTS = "model.safetensors"
#: By the name that a kind of modality has.
_KINDS: dict[str, type[Modality]] = {
    kind.kind: kind
    for kind in vars(modalities).values()
    if isinstance(kind, type) and issubclass(kind, Modality) and kind.numeric
}


def _facts(model: ModularModel) -> dict[str, Any]:
    if type(model) is not ModularModel:
        raise _code(f"This model is of class {type(model).__name__}")
    return {
        "class_names": list(model.class_names),
        "towers": [_tower_facts(tower) for tower in model.towers.values()],
        "fusion": _fusion_facts(model.fusion),
    }


def _tower_facts(tower: Any) -> dict[str, Any]:
    name, modality = tower.modality.name, tower.modality
    if type(tower) is not Tower:
        raise _code(f"The tower of {name} is of class {type(tower).__name__}")
    if _KINDS.get(modality.kind) is not type(modality):
        raise _code(f"The modality {name} is of class {type(modality).__name__}")
    layer = described_layer(tower.module)
    if isinstance(layer, str):
        raise _code(
            f"The tower of {name} has a layer of class {layer}", "layers of torch such as Linear, in a Sequential"
        )
    return {"modality": _modality_facts(modality), "module": layer, "width": tower.width}


def _modality_facts(modality: Modality) -> dict[str, Any]:
    return {
        "kind": modality.kind,
        "name": modality.name,
        "shape": list(modality.shape),
        "point_axes": list(modality.point_axes),
        "clip_values": [_number_facts(value) for value in modality.clip_values],
        "variable": modality.variable,
        "fill": _number_facts(modality.fill),
    }


def _number_facts(value: Any) -> Any:
    if np.ndim(value) == 0:
        return float(value)
    dtype = "float32" if np.asarray(value).dtype == np.float32 else "float64"
    return {"dtype": dtype, "numbers": np.asarray(value).tolist()}


def _fusion_facts(fusion: Fusion) -> dict[str, Any]:
    name = next((name for name, kind in FUSIONS.items() if type(fusion) is kind), None)
    if name is None:
        raise _code(
            f"The fusion is of class {type(fusion).__name__}", f"fusions of the registry ({', '.join(FUSIONS)})"
        )
    found = {option: getattr(fusion, option, fusion) for option in option_names(fusion)}
    for option, value in found.items():
        if not isinstance(value, int | float | str | None):
            raise InputError(f"The fusion {name} cannot be saved: it has no attribute {option} that is a number.")
    return {"name": name, "options": found}


def _load(folder: Path, facts: Mapping[str, Any]) -> ModularModel:
    sizes = sizes_of([folder / _WEIGHTS])
    check_build(lambda: _made(facts), folder, sizes)
    try:
        model = _made(facts)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{shown(folder)} does not describe a modular model ({type(error).__name__}: {one_line(error)}). Was it "
            "changed?"
        ) from error
    fill_exactly(model, folder / _WEIGHTS, "this modular model")
    return model.eval()


def _made(facts: Mapping[str, Any]) -> ModularModel:
    towers = [
        Tower(_made_modality(tower["modality"]), made_layer(tower["module"]), int(tower["width"]))
        for tower in facts["towers"]
    ]
    fusion = new_fusion(
        str(facts["fusion"]["name"]),
        {tower.modality.name: tower.width for tower in towers},
        len(facts["class_names"]),
        **facts["fusion"]["options"],
    )
    return ModularModel(towers, fusion, facts["class_names"])


def _made_modality(facts: Mapping[str, Any]) -> Modality:
    low, high = map(_made_number, facts["clip_values"])
    kind = _KINDS[facts["kind"]]
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


def _code(what: str, known: str = "ModularModel, Tower and the modalities of this package") -> InputError:
    return InputError(
        f"{what}, and code is never saved: what is saved by name are {known}. Keep the state_dict with safetensors "
        "yourself."
    )


FAMILY = Family(_facts, lambda model, folder: write_weights(model, folder / _WEIGHTS), _load)
