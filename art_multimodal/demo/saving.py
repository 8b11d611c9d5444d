"""Embedded models that were trained further: their weights as safetensors, and their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from art_multimodal.demo.digits import DigitsEncoder
from art_multimodal.demo.scene_encoder import SceneEncoder
from art_multimodal.demo.small_clip import SmallClip
from art_multimodal.errors import InputError, unknown_name
from art_multimodal.models.families.family import Family

_WEIGHTS = "model.safetensors"
_NEW: dict[str, Callable[[], SmallClip]] = {"digits": DigitsEncoder, "scenes": SceneEncoder}


def _facts(model: SmallClip) -> dict[str, Any]:
    for name, kind in _NEW.items():
        if type(model) is kind:
            return {"name": name}
    raise InputError(f"A {type(model).__name__} is not one of the embedded models, which alone are saved by name.")


def _save(model: SmallClip, folder: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}, folder / _WEIGHTS)


def _load(folder: Path, facts: Mapping[str, Any]) -> SmallClip:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    name = str(facts.get("name"))
    if name not in _NEW:
        raise unknown_name("demo model", name, _NEW)
    model = _NEW[name]()
    try:
        model.load_state_dict(load_file(folder / _WEIGHTS))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{folder} does not hold the weights of demo:{name}: {str(error)[:200]}") from error
    return model.eval()


FAMILY = Family(_facts, _save, _load)
