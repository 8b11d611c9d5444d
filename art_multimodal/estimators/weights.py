"""Whether the weights of a model are still what they were: what is remembered of them must not outlive them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

#: Tensors of so many numbers are compared as a whole, larger ones at some places, so many numbers at each.
_WHOLE, _PLACES, _AT_EACH = 1024, 4, 32


class WeightState:
    """What weights were when this was made; :meth:`holds` as long as they are the same.

    Noticed is whatever is written in place or loaded, moved, converted or replaced, and adapters (of peft) that are
    added, switched or merged. What torch does not count as a change (writes to ``param.data``, fused optimizers) is
    noticed by the numbers themselves: all of a tensor of up to 1,024, of a larger one 128 at four places. So a step of
    training is noticed, and a few numbers of a large matrix, written through ``param.data``, may not be.

    :param weights: Everything that what is remembered was computed from.
    :param modules: Where adapters may be.
    """

    def __init__(self, weights: Iterable[Tensor], modules: Iterable[nn.Module] = ()) -> None:
        self._weights = tuple(weights)
        self._adapters = tuple(module for module in modules if hasattr(module, "merged_adapters"))
        self._versions = _versions_of(self._weights)
        self._settings = self._adapter_settings()
        # Views of what the weights hold, and with them their memory: no other tensor can come to lie in its place.
        self._places = _places_in(self._weights)
        self._contents = self._read()

    def holds(self, weights: Iterable[Tensor]) -> bool:
        """Whether these are the same weights, and no other numbers."""
        weights = tuple(weights)
        return (
            len(weights) == len(self._weights)
            and all(now is then for now, then in zip(weights, self._weights, strict=True))
            and _versions_of(weights) == self._versions
            and self._adapter_settings() == self._settings
            and all(torch.equal(now, then) for now, then in zip(self._read(), self._contents, strict=True))
        )

    def _read(self) -> list[Tensor]:
        return [torch.cat(places) for places in self._places]

    def _adapter_settings(self) -> list[str]:
        names = ("active_adapters", "disable_adapters", "merged_adapters", "scaling")
        return [repr([getattr(module, name, None) for name in names]) for module in self._adapters]


def _versions_of(weights: Iterable[Tensor]) -> list[tuple]:
    """What changes whenever weights are moved, or written to in ways that torch counts."""
    return [
        (p.device, p.data_ptr() if _has_memory(p) else None, 0 if p.is_inference() else p._version) for p in weights
    ]


def _has_memory(weight: Tensor) -> bool:
    """Whether a tensor's numbers lie in memory of its own: not of one that is sparse, sharded or a mere shape."""
    plain = type(weight) in (Tensor, nn.Parameter) and weight.layout is torch.strided
    return plain and not weight.is_meta and not weight.is_quantized


def _places_in(weights: Iterable[Tensor]) -> list[list[Tensor]]:
    """Stretches of the memory of weights, by device and dtype."""
    kinds: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for weight in weights:
        # Others are told by their versions alone.
        if not _has_memory(weight) or not weight.numel():
            continue
        extent = 1 + sum((size - 1) * stride for size, stride in zip(weight.shape, weight.stride(), strict=True))
        memory = weight.detach().as_strided((extent,), (1,))
        places = kinds.setdefault((weight.device, weight.dtype), [])
        if extent <= _WHOLE:
            places.append(memory)
            continue
        last = extent - _AT_EACH
        places += [memory[start : start + _AT_EACH] for start in (last * i // (_PLACES - 1) for i in range(_PLACES))]
    return list(kinds.values())
