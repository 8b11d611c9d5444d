"""Embedded models that were trained further: their weights as safetensors, and their names."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from art_multimodal.demo.digits import DigitsEncoder
from art_multimodal.demo.scene_encoder import SceneEncoder
from art_multimodal.demo.shapes import MODELS
from art_multimodal.demo.spoken import FUSIONS, TASKS, SpokenModel
from art_multimodal.errors import InputError, unknown_name
from art_multimodal.models.base import Model
from art_multimodal.models.families.family import Family
from art_multimodal.models.weight_files import fill_exactly, write_weights

_WEIGHTS = "model.safetensors"
#: By the name in ``demo:NAME``; those of ``demo:views`` are modular models and saved as such.
_KINDS: dict[str, Any] = {"digits": DigitsEncoder, "scenes": SceneEncoder}
_KINDS |= {f"shapes/{fusion}": kind for fusion, kind in MODELS.items()}
_SPOKEN = {f"spoken/{task}/{fusion}": partial(SpokenModel, task, fusion) for task in TASKS for fusion in FUSIONS}


def _facts(model: Model) -> dict[str, Any]:
    for name, kind in _KINDS.items():
        if type(model) is kind:
            return {"name": name}
    if type(model) is SpokenModel:
        return {"name": model.name}
    raise InputError(f"A {type(model).__name__} is not one of the embedded models, which alone are saved by name.")


def _load(folder: Path, facts: Mapping[str, Any]) -> Model:
    name = str(facts.get("name"))
    new = {**_KINDS, **_SPOKEN}
    if name not in new:
        raise unknown_name("demo model", name, new)
    model = new[name]()
    fill_exactly(model, folder / _WEIGHTS, f"demo:{name}")
    return model.eval()


FAMILY = Family(_facts, lambda model, folder: write_weights(model, folder / _WEIGHTS), _load)
