"""Configurations of open_clip: known settings of the right kind and size alone, nothing that leads elsewhere."""

from __future__ import annotations

import dataclasses
import inspect
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from art_multimodal.errors import InputError
from art_multimodal.models.checked_json import check_folder, check_settings
from art_multimodal.models.hub import hub_folder, is_hub_name
from art_multimodal.models.preprocessing import INTERPOLATIONS, RESIZE_MODES, check_sides
from art_multimodal.models.texts import check_context
from art_multimodal.shown import shown

#: What open_clip's tokenizers may be told; anything else would go on to transformers.
_TOKENIZER: dict[str, Any] = {
    "clean": ("canonicalize", "lower", "whitespace"),
    "strip_sep_token": bool,
    "language": str | None,
    "additional_special_tokens": list | None,
    "reduction_mask": ("", "simple", None),
}
#: What layers of activation and normalisation may be told.
_LAYER: dict[str, Any] = {"approximate": ("none", "tanh"), "eps": float, "elementwise_affine": bool, "bias": bool}
_PREPROCESS: dict[str, Any] = {
    "size": int | list | tuple,
    "mode": ("RGB",),
    "mean": list | tuple,
    "std": list | tuple,
    "interpolation": INTERPOLATIONS[:3],
    "resize_mode": RESIZE_MODES,
    "fill_color": int | float,
}
#: Written beside a model by open_clip's and timm's scripts, and read by nobody.
_IGNORED = {"preprocess_cfg", "model_cfg", "license", "tags", "model_name", "description", "architectures"}


def check_model_config(config: Any, source: object) -> dict[str, Any]:
    """Return a configuration of a model of open_clip that holds known settings alone.

    :param config: Its ``model_cfg``.
    :param source: Where it stands, for messages.
    :raises InputError: Naming the setting that is unknown, of another kind, or leads elsewhere.
    """
    from open_clip import CLIP
    from open_clip.coca_model import MultimodalCfg
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg

    signature = inspect.signature(CLIP.__init__).parameters
    known: dict[str, Any] = {
        name: float | int | bool | str | None for name in signature if name not in ("self", "cast_dtype")
    }
    known |= {"embed_dim": int, "vision_cfg": dict, "text_cfg": dict, "multimodal_cfg": dict, "custom_text": bool}
    config = _known(config, known, "model_cfg", source)
    for part, kind in (("vision_cfg", CLIPVisionCfg), ("text_cfg", CLIPTextCfg), ("multimodal_cfg", MultimodalCfg)):
        if part not in config:
            if part == "multimodal_cfg":
                continue
            raise InputError(f"{shown(source)} has no {part}, so it is no configuration of open_clip.")
        config[part] = _known(config[part], _kinds_of(kind), part, source)
        for name, settings in (("act_kwargs", _LAYER), ("norm_kwargs", _LAYER), ("tokenizer_kwargs", _TOKENIZER)):
            if config[part].get(name) is not None:
                config[part][name] = _known(config[part][name], settings, f"{part}.{name}", source)
    if "embed_dim" not in config:
        raise InputError(f"{shown(source)} has no embed_dim, so it is no configuration of open_clip.")
    _check_names(config, source)
    check_settings(config, source)
    context = config["text_cfg"].get("context_length")
    if context is not None:
        check_context(context)
    size = config["vision_cfg"].get("image_size", 224)
    check_sides(size if isinstance(size, list | tuple) else [size], f"vision_cfg.image_size in {shown(source)}")
    return config


def check_preprocessing(config: Any, source: object) -> dict[str, Any]:
    """Return a ``preprocess_cfg`` that holds known settings alone.

    :raises InputError: Naming the setting that is unknown, of another kind, or out of range.
    """
    config = {
        key: value for key, value in _known(config, _PREPROCESS, "preprocess_cfg", source).items() if value is not None
    }
    if "size" in config:
        size = config["size"]
        check_sides(size if isinstance(size, list | tuple) else [size], f"preprocess_cfg.size in {shown(source)}")
    for name in ("mean", "std"):
        numbers = config.get(name, [1.0] * 3)
        plain = all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers)
        if len(numbers) != 3 or not plain or not all(abs(number) < 1e6 for number in numbers):
            raise InputError(
                f"{shown(source)} sets preprocess_cfg.{name} to {shown(numbers)[:80]}: three numbers are needed."
            )
        if name == "std" and not all(number > 0 for number in numbers):
            raise InputError(
                f"{shown(source)} sets preprocess_cfg.std to {shown(numbers)[:80]}: they must be above zero."
            )
    if not 0 <= config.get("fill_color", 0) <= 255:
        raise InputError(
            f"{shown(source)} sets preprocess_cfg.fill_color to {config['fill_color']}: 0 to 255 is allowed."
        )
    return config


def without_extras(config: Mapping[str, Any]) -> dict[str, Any]:
    """A file's ``model_cfg`` and ``preprocess_cfg``; what else stands beside them is read by nobody."""
    return {"model_cfg": config.get("model_cfg"), "preprocess_cfg": config.get("preprocess_cfg") or {}}


def transformers_folder(name: str, source: object) -> Path:
    """The checked folder of a tokenizer or text tower of transformers that a configuration names.

    :param name: A hub name, or a folder here.
    :raises InputError: If it cannot be had, or holds what is refused.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if not is_hub_name(name):
            raise InputError(
                f"{shown(source)} names {shown(name)[:80]!r}, which is neither a folder here nor a hub name (ORG/NAME)."
            )
        # Without weights: what the checkpoint itself holds is all that is loaded.
        try:
            folder = hub_folder(name, ("*.json", "*.txt", "*.model"))
        except InputError as error:
            raise InputError(f"The tokenizer or text tower of {shown(source)} cannot be loaded. {error}") from error
    check_folder(folder)
    return folder


def _kinds_of(dataclass: type) -> dict[str, Any]:
    hints = typing.get_type_hints(dataclass)
    kinds = {field.name: _plain(hints[field.name]) for field in dataclasses.fields(dataclass)}
    # Declared as whole numbers or dicts, and given otherwise by configurations of open_clip itself.
    kinds |= {name: dict | None for name in ("act_kwargs", "norm_kwargs", "tokenizer_kwargs") if name in kinds}
    if "mlp_ratio" in kinds:
        kinds["mlp_ratio"] = float
    # Published configurations say null where a setting does not matter to them.
    return {name: kind | None for name, kind in kinds.items()}


def _plain(hint: Any) -> Any:
    """An annotation without the kinds of what a container holds; JSON has lists where tuples are declared."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        joined: Any = None
        for part in typing.get_args(hint):
            plain = _plain(part)
            joined = plain if joined is None else joined | plain
        return joined
    origin = typing.get_origin(hint) or hint
    return tuple | list if origin is tuple else origin


def _known(settings: Any, known: dict[str, Any], name: str, source: object) -> dict[str, Any]:
    if not isinstance(settings, dict):
        raise InputError(f"{shown(source)}: {name} must be an object with settings, not {shown(settings)!r:.60}.")
    for key, value in settings.items():
        if key not in known:
            raise InputError(
                f"{shown(source)} sets {name}.{shown(key)[:60]}, which is not known here and was refused. Known: "
                f"{', '.join(sorted(known))}."
            )
        kind = known[key]
        fits = value in kind if isinstance(kind, tuple) and isinstance(value, str | None) else _fits(value, kind)
        if not fits:
            allowed = ", ".join(map(str, kind)) if isinstance(kind, tuple) else getattr(kind, "__name__", str(kind))
            raise InputError(
                f"{shown(source)} sets {name}.{shown(key)} to {shown(value)[:60]!r}, which is refused. Allowed: "
                f"{allowed}."
            )
    return dict(settings)


def _fits(value: Any, kind: Any) -> bool:
    if isinstance(kind, tuple):
        return False
    kinds = typing.get_args(kind) or (kind,)
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int | float) and not abs(value) < math.inf:
        return False
    if isinstance(value, int) and float in kinds:
        return True
    if isinstance(value, list | tuple) and any(not isinstance(part, int | float | str) for part in value):
        return False
    return isinstance(value, kind)


def _check_names(config: dict[str, Any], source: object) -> None:
    """Refuse names of parts that are no names: timm's, and those of transformers."""
    import timm

    name = config["vision_cfg"].get("timm_model_name")
    # timm takes addresses there ("hf-hub:", "local-dir:"), and would fetch or open what they lead to.
    if name and not timm.is_model(name):
        raise InputError(
            f"{shown(source)} sets vision_cfg.timm_model_name to {shown(name)[:80]!r}, which is refused: it is no "
            "model of timm by name (timm.list_models)."
        )
    for key in ("hf_model_name", "hf_tokenizer_name"):
        given = config["text_cfg"].get(key)
        if given and not (is_hub_name(given) or Path(given).is_absolute()):
            raise InputError(
                f"{shown(source)} sets text_cfg.{key} to {shown(given)[:80]!r}, which is refused: a hub name "
                "(ORG/NAME) or an absolute folder is allowed."
            )
