"""Layers of torch as names and numbers: those that towers are made of, and no others."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from art_multimodal.models.adapters.low_rank import LowRank
from art_multimodal.models.families.modular.steps import EachStep

#: A layer remembers everything that its constructor takes, under the same names.
_LAYERS = {
    *(
        f"{name}{axes}d"
        for name in ("Conv", "MaxPool", "AvgPool", "AdaptiveAvgPool", "BatchNorm")
        for axes in (1, 2, 3)
    ),
    *("Linear", "LayerNorm", "GroupNorm", "Dropout", "Flatten"),
    *("ELU", "GELU", "LeakyReLU", "ReLU", "Sigmoid", "SiLU", "Softplus", "Tanh"),
}


def described_layer(module: nn.Module) -> dict[str, Any] | str:
    """Return what a layer is, in JSON's types; the name of its class, or of one inside, where that is not known here.

    :param module: A layer, a Sequential of such, one of them applied to each step, or a layer with an adapter.
    """
    name = type(module).__name__
    if type(module) is EachStep:
        inner = described_layer(module.module)
        return inner if isinstance(inner, str) else {"layer": name, "module": inner, "mean": module.mean}
    if type(module) is nn.Sequential:
        layers = {key: described_layer(layer) for key, layer in module.named_children()}
        unknown = [layer for layer in layers.values() if isinstance(layer, str)]
        return unknown[0] if unknown else {"layer": name, "layers": layers}
    if type(module) is LowRank:
        inner = described_layer(module.layer)
        further = {"rank": module.rank, "scale": module.scale}
        return inner if isinstance(inner, str) else {"layer": name, "module": inner, **further}
    if name not in _LAYERS or type(module) is not getattr(nn, name):
        return name
    found = {option: getattr(module, option) for option in _options(name)}
    # Of a bias the constructor is told whether there is one.
    return {"layer": name, **{key: value is not None if key == "bias" else value for key, value in found.items()}}


def made_layer(facts: Mapping[str, Any]) -> nn.Module:
    """Make a layer again.

    :raises KeyError: If it is none of those known here, or says too little of itself.
    :raises TypeError: If it says too much.
    """
    name = facts["layer"]
    if name == "Sequential":
        layers = nn.Sequential()
        for key, layer in facts["layers"].items():
            layers.add_module(key, made_layer(layer))
        return layers
    if name == "EachStep":
        return EachStep(made_layer(facts["module"]), bool(facts["mean"]))
    if name == "LowRank":
        return LowRank(made_layer(facts["module"]), int(facts["rank"]), float(facts["scale"]))
    if name not in _LAYERS:
        raise KeyError(f"no layer {str(name)[:40]}")
    if unknown := set(facts) - {"layer", *_options(name)}:
        raise TypeError(f"{name} has no {min(unknown)[:40]}")
    return getattr(nn, name)(**{key: _tuple(facts[key]) for key in _options(name)})


def _options(name: str) -> list[str]:
    parameters = inspect.signature(getattr(nn, name)).parameters.values()
    named = [entry.name for entry in parameters if entry.kind is entry.POSITIONAL_OR_KEYWORD]
    return [option for option in named if option not in ("device", "dtype")]


def _tuple(value: Any) -> Any:
    """JSON knows lists only."""
    return tuple(value) if isinstance(value, list) else value
