"""Faults planted in models over several modalities: each is found by the property that is meant for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from several import make
from testing.planted import Fault, changed, damaged_when_saved, with_a_lambda
from torch import Tensor

from art_multimodal import load_model
from art_multimodal.demo.towers import byte_tokens
from art_multimodal.modalities.kinds import Table
from art_multimodal.models.families.modular.model import ModularModel
from art_multimodal.testing import check_multimodal_model
from art_multimodal.testing.multimodal import MULTIMODAL_MODEL

encode, combine, predict = ModularModel.encode, ModularModel.combine, ModularModel.predict


class Forgetful(Table):
    """Removed columns become zero, whatever the fill."""

    def remove(self, field: np.ndarray, removed: np.ndarray) -> np.ndarray:
        return self.with_values(field, np.where(removed, 0, field))


def encoded(name: str, change: Callable[[Any, Any, Tensor], Tensor]) -> dict[str, Any]:
    """An encode() that does something else with one modality."""

    def other(self: Any, of: str, part: Any) -> Tensor:
        embedded = encode(self, of, part)
        return change(self, part, embedded) if of == name else embedded

    return {"encode": other}


def writing_into_samples(self: Any, name: str, part: Any) -> Tensor:
    if name == "rgb":
        part.values.mul_(0.99)
    return encode(self, name, part)


def without_gradients(self: Any, fused: Tensor) -> Tensor:
    torch.set_grad_enabled(False)
    return predict(self, fused)


def in_training(self: Any, fused: Tensor) -> Tensor:
    self.towers["rgb"].train()
    return predict(self, fused)


def counting_calls(self: Any, fused: Tensor) -> Tensor:
    self.calls = getattr(self, "calls", 0) + 1
    return predict(self, fused) * (1 + 1e-6 * self.calls)


def in_order_of_arrival(self: Any, features: Any, present: Any) -> Tensor:
    return combine(self, dict(zip(sorted(features), features.values(), strict=True)), present)


def viewed(self: Any, part: Any, embedded: Tensor) -> Tensor:
    return embedded + 0 * part.values.view(len(part), -1).sum(dim=1, keepdim=True)


def all_there(present: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.ones_like(of) for name, of in present.items()}


def mean_over_there(self: Any, features: Any, present: Any) -> Tensor:
    return combine(self, features, present) * 4 / torch.stack(list(present.values())).sum(dim=0)[:, None]


MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "scores of half of the classes": ("works", {"predict": lambda self, fused: predict(self, fused)[:, :2]}),
    "a lost modality": ("each-matters", encoded("lab", lambda self, part, e: e * 0)),
    "a share of the batch": (
        "batch-independence",
        {"predict": lambda self, fused: (s := predict(self, fused)) + 1e-3 * s.mean(dim=0)},
    ),
    "no gradient of a sequence": ("gradient", encoded("audio", lambda self, part, e: e.detach())),
    "half of a gradient": ("gradient", encoded("rgb", lambda self, part, e: e / 2 + e.detach() / 2)),
    "what is missing counts": ("missing", {"combine": lambda self, f, present: combine(self, f, all_there(present))}),
    "divided by nothing": ("nothing", {"combine": mean_over_there}),
    "a cut text": ("texts", {"tokenize": lambda self, name, texts: byte_tokens(list(texts), 40)}),
    "samples unchecked": ("refuses", {"collate": lambda self, x, only=None: self.parts(x)}),
    "a logarithm of zero": (
        "borders",
        encoded("rgb", lambda self, part, e: e + part.values.flatten(1).amax(dim=1, keepdim=True).log()),
    ),
    "float32 whatever the weights": ("dtypes", {"predict": lambda self, fused: predict(self, fused).float()}),
    "noise in evaluation": (
        "repeatable",
        {"predict": lambda self, fused: (s := predict(self, fused)) + 1e-4 * torch.randn(s.shape, dtype=s.dtype)},
    ),
    "written in place": ("leaves-no-trace", {"encode": writing_into_samples}),
    "scores of one modality only": (
        "unimodal-scores",
        {"unimodal_scores": lambda self, features: {"rgb": features["rgb"][:, :3]}},
    ),
    "texts unread": ("each-matters", encoded("note", lambda self, part, e: e[:1].expand_as(e) * 0)),
    "as long as the longest": (
        "batch-independence",
        encoded("audio", lambda self, part, e: e + 1e-3 * part.lengths.max()),
    ),
    "in order of arrival": ("modality-order", {"combine": in_order_of_arrival}),
    "pixels viewed as a row": ("memory-layout", encoded("rgb", viewed)),
    "a running number": ("repeatable", {"predict": counting_calls}),
    "a tower left in training": ("leaves-no-trace", {"predict": in_training}),
    "gradients turned off": ("leaves-no-trace", {"predict": without_gradients}),
    "weighing, it says": ("unimodal-scores", {"weighs": True}),
    "float64 whatever the weights": ("dtypes", {"predict": lambda self, fused: predict(self, fused).double()}),
    "a score that is no part": (
        "parts",
        {"forward": lambda self, inputs: ModularModel.forward(self, inputs) * 1.001},
    ),
}


def forgetting_the_fill() -> Any:
    model = make("concat")
    lab = model.modalities["lab"]
    model.modalities["lab"] = Forgetful(lab.name, lab.shape, lab.point_axes, lab.clip_values, fill=lab.fill)
    return model


def loaded_otherwise() -> None:
    with damaged_when_saved():
        check_multimodal_model(load_model("demo:views"))


def _planted(what: str) -> Fault:
    name, methods = MODELS[what]
    return Fault(MULTIMODAL_MODEL, name, what, lambda: check_multimodal_model(changed(make("concat"), **methods)))


FAULTS = [
    *map(_planted, MODELS),
    Fault(MULTIMODAL_MODEL, "removal", "zero for the fill", lambda: check_multimodal_model(forgetting_the_fill())),
    Fault(MULTIMODAL_MODEL, "copies", "a lambda on it", lambda: check_multimodal_model(with_a_lambda(make("concat")))),
    Fault(MULTIMODAL_MODEL, "saved", "weights that are not saved", loaded_otherwise),
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_faults_are_found(fault: Fault) -> None:
    fault.is_found()
