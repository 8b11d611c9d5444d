"""Late fusion on the disk: its dual encoder in the format of its family, and the predictor's weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from art_multimodal.errors import InputError
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.families.family import Family, facts_of, load_files, save_files
from art_multimodal.models.families.late_fusion.model import LateFusion
from art_multimodal.models.weight_files import fill_exactly, sizes_of, write_weights
from art_multimodal.shown import shown

_ENCODER, _PREDICTOR = "dual_encoder", "predictor.safetensors"


def _facts(model: LateFusion) -> dict[str, Any]:
    if type(model) is not LateFusion or not model.own_predictor:
        what = "a predictor" if type(model) is LateFusion else "code"
        raise InputError(
            f"This {type(model).__name__} has {what} of your own, and code is never saved. Give LateFusion the width "
            "of a hidden layer (hidden) instead, or save its state_dict yourself."
        )
    return {"class_names": list(model.class_names), "dual_encoder": facts_of(model.dual_encoder)}


def _save(model: LateFusion, folder: Path) -> None:
    (folder / _ENCODER).mkdir()
    save_files(model.dual_encoder, folder / _ENCODER)
    write_weights(model.predictor, folder / _PREDICTOR)


def _load(folder: Path, facts: Mapping[str, Any]) -> LateFusion:
    names, of_encoder = facts.get("class_names"), facts.get("dual_encoder")
    if not isinstance(of_encoder, dict) or not isinstance(names, list):
        raise InputError(f"{shown(folder)} does not say what its dual encoder and its classes are. Was it changed?")
    encoder = load_files(folder / _ENCODER, of_encoder)
    if not isinstance(encoder, DualEncoder):
        raise InputError(f"{shown(folder / _ENCODER)} holds no dual encoder. Was the folder changed?")
    # Two linear layers have a hidden one between them; the weights say how wide it is.
    shapes = sizes_of([folder / _PREDICTOR]).shapes
    hidden = max(1, *shapes.get("0.weight", ())[:1]) if "2.weight" in shapes else None
    model = LateFusion(encoder, names, hidden)
    fill_exactly(model.predictor, folder / _PREDICTOR, "the predictor")
    model.notes += encoder.notes
    return model.eval()


FAMILY = Family(_facts, _save, _load)
