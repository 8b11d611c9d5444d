"""Low-rank matrices beside the layers of towers: few parameters that adapt a model whose own weights stay."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from art_multimodal.errors import InputError, unknown_name
from art_multimodal.models.families.modular.model import ModularModel

#: What can be adapted: these layers themselves, and no subclass, whose weights may be used in other ways.
_ADAPTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class LowRank(nn.Module):
    """A layer, and what a product of two small matrices adds to its weights: ``W + (scale / rank) B A``.

    ``B`` is zero at the start, so that nothing changes. The layer is called as it is; the product is never formed, but
    of a convolution in groups.

    | Paper link: https://arxiv.org/abs/2106.09685 (LoRA), https://arxiv.org/abs/2310.05193 (MMLoRA)

    >>> layer = torch.nn.Linear(8, 8)
    >>> adapted = LowRank(layer, rank=2)
    >>> bool((adapted(torch.ones(1, 8)) == layer(torch.ones(1, 8))).all()), adapted.down.shape
    (True, torch.Size([2, 8]))

    :param layer: A linear layer or a convolution. It stays the object that it is.
    :param rank: Rows of ``A`` (``down``, ``[rank, in]``) and columns of ``B`` (``up``, ``[out, rank]``); ``in`` counts
        the weights of one output, of a convolution over its window.
    :param scale: Factor of the product, divided by the rank; default: the rank.
    :raises InputError: For another layer, a rank below 1, or a scale that is not finite.
    """

    #: As adapters of peft say it, so that what remembers embeddings notices a switch.
    merged_adapters: tuple[str, ...] = ()

    def __init__(self, layer: nn.Module, rank: int = 8, scale: float | None = None) -> None:
        super().__init__()
        if type(layer) not in _ADAPTED:
            raise InputError(f"Linear layers and convolutions can be adapted, and no {type(layer).__name__}.")
        scale = float(rank) if scale is None else float(scale)
        if rank < 1 or not math.isfinite(scale):
            raise InputError(f"rank ({rank}) must be at least 1, and scale ({scale}) finite.")
        self.layer: Any = layer
        self.rank, self.scale = rank, scale
        weight: Any = layer.weight
        place = {"dtype": weight.dtype, "device": weight.device}
        self.down = nn.Parameter(torch.empty(rank, weight[0].numel(), **place))
        self.up = nn.Parameter(torch.zeros(len(weight), rank, **place))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        #: Whether the layer answers alone.
        self.disable_adapters = False

    def forward(self, values: Tensor) -> Tensor:
        found = self.layer(values)
        return found if self.disable_adapters else found + self.scale / self.rank * self._product(values)

    @property
    def added(self) -> Tensor:
        """What is added to the weights of the layer, in their shape."""
        return (self.scale / self.rank * (self.up @ self.down)).view_as(self.layer.weight)

    @property
    def weight(self) -> Tensor:
        """The weights with what is added, for modules that read them; not a parameter."""
        return self.layer.weight if self.disable_adapters else self.layer.weight + self.added

    @property
    def bias(self) -> Tensor | None:
        """The bias of the layer."""
        return self.layer.bias

    def _product(self, values: Tensor) -> Tensor:
        """``B A`` of the input, as the layer would take it, without its bias."""
        layer = self.layer
        if isinstance(layer, nn.Linear):
            return F.linear(F.linear(values, self.down), self.up)
        if layer.groups > 1:
            return layer._conv_forward(values, (self.up @ self.down).view_as(layer.weight), None)
        small = layer._conv_forward(values, self.down.view(self.rank, *layer.weight.shape[1:]), None)
        channels = 1 - layer.weight.ndim
        return F.linear(small.movedim(channels, -1), self.up).movedim(-1, channels)


def add_low_rank(
    model: ModularModel,
    rank: int = 8,
    scale: float | None = None,
    modalities: Sequence[str] | None = None,
    layers: str | Sequence[str] = "*",
) -> list[str]:
    """Put low-rank matrices beside the linear layers and convolutions in towers; answers stay as they are.

    Each such layer is replaced by a :class:`LowRank` that holds it; :func:`drop_low_rank` and :func:`merge_low_rank`
    put it back. Train :func:`adapter_parameters`, and no others: whether the others want gradients is left as it is,
    and running statistics move in training mode. A projection inside ``nn.MultiheadAttention``, which is not called, is
    not adapted.

    | Paper link: https://arxiv.org/abs/2310.05193 (MMLoRA: unimodal training first, then these, jointly)

    >>> model = load_model("demo:views")
    >>> names = add_low_rank(model, rank=2, modalities=["pix"])
    >>> all(name.startswith("towers") for name in names), len(names) > 0
    (True, True)
    >>> bool(np.allclose(FusionClassifier(model).predict(x), sensors.predict(x), atol=1e-4))
    True

    :param model: A model of towers.
    :param rank: Of the product; at least 1.
    :param scale: Factor of the product, divided by the rank; default: the rank.
    :param modalities: Names of those whose towers are adapted; default: all.
    :param layers: Which layers of them, by their names in ``model.named_modules()``: patterns as of files, such as
        ``"*.q_proj"``, one or several.
    :return: Names of the layers, in order.
    :raises InputError: For another model, unknown modalities, no such layer, towers that are adapted already, or
        numbers that cannot be used. Nothing has been changed then.
    """
    towers = _towers(model, modalities)
    patterns = [layers] if isinstance(layers, str) else list(layers)
    if adapted := [name for name, tower in towers.items() if any(isinstance(m, LowRank) for m in tower.modules())]:
        raise InputError(f"The tower of {adapted[0]} is adapted already. Merge or drop what it has first.")
    found: dict[str, nn.Module] = {}
    for name, tower in towers.items():
        for place, module in tower.named_modules(prefix=f"towers.{name}"):
            if type(module) in _ADAPTED and any(fnmatchcase(place, pattern) for pattern in patterns):
                found.setdefault(place, module)
    if not found:
        raise InputError(
            f"No linear layer or convolution of the towers of {', '.join(towers)} is called like {', '.join(patterns)}."
        )
    # A layer that stands at two places has one pair of matrices.
    _exchange(towers, {layer: LowRank(layer, rank, scale) for layer in found.values()})
    return list(found)


def merge_low_rank(model: ModularModel) -> None:
    """Add the products to the weights of their layers, in place, and put the layers back: inference costs no more.

    >>> model = load_model("demo:views")
    >>> names = add_low_rank(model, rank=2)
    >>> merge_low_rank(model)
    >>> any(isinstance(one, LowRank) for one in model.modules())
    False

    :raises InputError: If there are no adapters, or a layer's weights are those of another one, too: that one would
        change with it. Nothing has been changed then.
    """
    wrappers = _wrappers(model)
    for wrapper in wrappers:
        weight = wrapper.layer.weight
        sharing = [m for m in model.modules() if any(parameter is weight for parameter in m._parameters.values())]
        if len(sharing) > 1:
            raise InputError(
                f"A {type(wrapper.layer).__name__} shares its weights with a {type(sharing[-1]).__name__}, which would "
                "change as well. Adapt neither, or drop the adapters."
            )
    with torch.no_grad():
        for wrapper in wrappers:
            wrapper.layer.weight.add_(wrapper.added)
    _put_back(model, wrappers)


def drop_low_rank(model: ModularModel) -> None:
    """Put the layers back as they were before :func:`add_low_rank`.

    >>> model = load_model("demo:views")
    >>> names = add_low_rank(model, rank=2)
    >>> drop_low_rank(model)
    >>> any(isinstance(one, LowRank) for one in model.modules())
    False

    :raises InputError: If there are no adapters.
    """
    _put_back(model, _wrappers(model))


@contextmanager
def without_adapters(model: ModularModel) -> Iterator[None]:
    """Let the model answer without what its adapters add, inside; for all threads.

    >>> model = load_model("demo:views")
    >>> names = add_low_rank(model, rank=2)
    >>> with without_adapters(model):
    ...     scores = FusionClassifier(model).predict(x)
    ...
    >>> scores.shape
    (8, 10)

    :raises InputError: If there are no adapters.
    """
    wrappers = _wrappers(model)
    before = [wrapper.disable_adapters for wrapper in wrappers]
    try:
        for wrapper in wrappers:
            wrapper.disable_adapters = True
        yield
    finally:
        for wrapper, disabled in zip(wrappers, before, strict=True):
            wrapper.disable_adapters = disabled


def adapter_parameters(model: ModularModel) -> list[nn.Parameter]:
    """The matrices of all adapters: ``rank (in + out)`` numbers for each layer.

    >>> model = load_model("demo:views")
    >>> names = add_low_rank(model, rank=2)
    >>> len(adapter_parameters(model)) == 2 * len(names)
    True

    :raises InputError: If there are no adapters.
    """
    return [matrix for wrapper in _wrappers(model) for matrix in (wrapper.down, wrapper.up)]


def _wrappers(model: ModularModel) -> list[LowRank]:
    found = [m for tower in _towers(model).values() for m in tower.modules() if isinstance(m, LowRank)]
    if not found:
        raise InputError("The model has no adapters; add_low_rank(model) adds them.")
    return list(dict.fromkeys(found))


def _towers(model: ModularModel, modalities: Sequence[str] | None = None) -> dict[str, nn.Module]:
    if not isinstance(model, ModularModel):
        raise InputError(f"Adapters are for the towers of a ModularModel, not for a {type(model).__name__}.")
    if modalities is None:
        return dict(model.towers.items())
    if isinstance(modalities, str) or not modalities:
        raise InputError(f"modalities must be a list of names, at least one, not {modalities!r}.")
    if strange := [name for name in modalities if name not in model.modalities]:
        raise unknown_name("modality", strange[0], model.modalities)
    return {name: model.towers[name] for name in modalities}


def _put_back(model: ModularModel, wrappers: Sequence[LowRank]) -> None:
    _exchange(_towers(model), {wrapper: wrapper.layer for wrapper in wrappers})


def _exchange(towers: Mapping[str, nn.Module], exchanged: Mapping[nn.Module, nn.Module]) -> None:
    """Put modules in the places of others, wherever they stand in towers."""
    for tower in towers.values():
        for parent in list(tower.modules()):
            if parent in exchanged:
                continue
            for key, child in list(parent._modules.items()):
                if child is not None and child in exchanged:
                    setattr(parent, key, exchanged[child])
