"""A modular model on the disk: what it is made of in JSON, by names that are known here, and its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from art_multimodal.errors import InputError
from art_multimodal.models.families.described import load_described, made_modality, modality_facts
from art_multimodal.models.families.family import Family
from art_multimodal.models.families.modular.layers import described_layer, made_layer
from art_multimodal.models.families.modular.model import ModularModel, Tower
from art_multimodal.models.fusions import FUSIONS, Fusion, new_fusion
from art_multimodal.models.fusions.fusion import option_names
from art_multimodal.models.weight_files import write_weights
from art_multimodal.registry import class_name, not_here

_WEIGHTS = "model.safetensors"


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
    described = modality_facts(modality)
    if described is None:
        raise _code(f"The modality {name} is of class {type(modality).__name__}")
    layer = described_layer(tower.module)
    if isinstance(layer, str):
        raise _code(
            f"The tower of {name} has a layer of class {layer}", "layers of torch such as Linear, in a Sequential"
        )
    return {"modality": described, "module": layer, "width": tower.width}


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
    return {
        "name": name,
        "options": found,
        **({} if FUSIONS.origin(name) is None else {"class": class_name(type(fusion))}),
    }


def _load(folder: Path, facts: Mapping[str, Any]) -> ModularModel:
    return load_described(folder, _WEIGHTS, lambda: _made(facts), "a modular model")


def _made(facts: Mapping[str, Any]) -> ModularModel:
    towers = [
        Tower(made_modality(tower["modality"]), made_layer(tower["module"]), int(tower["width"]))
        for tower in facts["towers"]
    ]
    name = str(facts["fusion"]["name"])
    if name not in FUSIONS:
        raise not_here("fusion", name, FUSIONS, facts["fusion"].get("class"))
    fusion = new_fusion(
        name,
        {tower.modality.name: tower.width for tower in towers},
        len(facts["class_names"]),
        **facts["fusion"]["options"],
    )
    return ModularModel(towers, fusion, facts["class_names"])


def _code(what: str, known: str = "ModularModel, Tower and registered modalities") -> InputError:
    return InputError(
        f"{what}, and code is never saved: what is saved by name are {known}. Keep the state_dict with safetensors "
        "yourself."
    )


FAMILY = Family(_facts, lambda model, folder: write_weights(model, folder / _WEIGHTS), _load)
