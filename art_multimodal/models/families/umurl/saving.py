"""A model of the views of a skeleton on the disk: what it was made with in JSON, and its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from art_multimodal.errors import InputError
from art_multimodal.modalities import Skeleton
from art_multimodal.models.families.described import load_described, made_modality, modality_facts
from art_multimodal.models.families.family import Family
from art_multimodal.models.fusions.unified_stream import UnifiedStream
from art_multimodal.models.weight_files import write_weights

_WEIGHTS = "model.safetensors"
#: What the constructor takes as a plain value.
_OPTIONS = ("threat", "hidden", "layers", "heads", "projection", "joint_positions")


def _facts(model: UnifiedStream) -> dict[str, Any]:
    joint = modality_facts(model.joint)
    other = model.joint if joint is None else model
    if joint is None or type(model) is not UnifiedStream:
        raise InputError(
            f"This model is of class {type(other).__name__}, and code is never saved: what is saved by name are "
            "UnifiedStream and Skeleton. Keep the state_dict with safetensors yourself."
        )
    return {
        "joint": joint,
        "class_names": list(model.class_names),
        "parents": list(model.parents),
        "views": list(model.views),
        **{option: getattr(model, option) for option in _OPTIONS},
    }


def _load(folder: Path, facts: Mapping[str, Any]) -> UnifiedStream:
    return load_described(folder, _WEIGHTS, lambda: _made(facts), "a model of the views of a skeleton")


def _made(facts: Mapping[str, Any]) -> UnifiedStream:
    joint = made_modality(facts["joint"])
    if not isinstance(joint, Skeleton):
        raise ValueError(f"its joints are a {joint.kind}")
    options = {option: facts[option] for option in _OPTIONS}
    return UnifiedStream(joint, facts["class_names"], facts["parents"], facts["views"], **options)


FAMILY = Family(_facts, lambda model, folder: write_weights(model, folder / _WEIGHTS), _load)
