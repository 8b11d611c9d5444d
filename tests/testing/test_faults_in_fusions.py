"""Faults planted in fusions: each is found by the property that is meant for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from testing.planted import Fault
from torch import Tensor

from art_multimodal.errors import InputError
from art_multimodal.models.fusions import Concat, ConcatWithHeads, Fusion, Late, MultiScale
from art_multimodal.models.fusions.fusion import mlp
from art_multimodal.testing import check_fusion
from art_multimodal.testing.fusion import FUSION


def all_there(present: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.ones_like(of) for name, of in present.items()}


class OverTheBatch(Concat):
    def forward(self, features: Any, present: Any) -> Tensor:
        return super().forward(features, present).softmax(dim=0)


class WithoutGradient(Concat):
    def forward(self, features: Any, present: Any) -> Tensor:
        return super().forward({**features, "b": features["b"].detach()}, present)


class LeavingOneOut(Concat):
    def forward(self, features: Any, present: Any) -> Tensor:
        return super().forward({**features, "b": torch.zeros_like(features["b"])}, present)


class InOrderOfArrival(Concat):
    def __init__(self, widths: Any, classes: int, hidden: int = 8) -> None:
        super().__init__(dict.fromkeys(widths, self._same(widths)), classes, hidden)

    @staticmethod
    def _same(widths: Any) -> int:
        if len(set(widths.values())) != 1:
            raise InputError("towers of one width")
        return next(iter(widths.values()))

    def forward(self, features: Any, present: Any) -> Tensor:
        return torch.cat([torch.where(present[name][:, None], of, 0.0) for name, of in features.items()], dim=1)


class Unmasked(Concat):
    def forward(self, features: Any, present: Any) -> Tensor:
        return super().forward(features, all_there(present))


class MeanOverNothing(Late):
    def weights(self, features: Any, present: Any) -> dict[str, Tensor]:
        counts = torch.stack([present[name] for name in self.widths]).sum(dim=0)
        return {name: present[name] / counts for name in self.widths}


class UnmaskedWeights(Late):
    def weights(self, features: Any, present: Any) -> dict[str, Tensor]:
        return {name: torch.ones_like(of[:, 0]) for name, of in features.items()}


class NotWeighing(Late):
    weighs = False


class SeeingOthers(ConcatWithHeads):
    def unimodal_scores(self, features: Any) -> dict[str, Tensor]:
        scores = super().unimodal_scores(features)
        return {name: of + 1e-3 * scores["a"] for name, of in scores.items()}


class Single(Concat):
    def predict(self, fused: Tensor) -> Tensor:
        return super().predict(fused).float()


class OptionLost(Concat):
    def __init__(self, widths: Any, classes: int, hidden: int = 8) -> None:
        super().__init__(widths, classes, hidden)
        del self.hidden


class UnregisteredWeight(Concat):
    def __init__(self, widths: Any, classes: int, hidden: int = 8) -> None:
        super().__init__(widths, classes, hidden)
        self.tilt = torch.randn(classes)

    def predict(self, fused: Tensor) -> Tensor:
        return super().predict(fused) + self.tilt


class OfThree(Concat):
    def forward(self, features: Any, present: Any) -> Tensor:
        return torch.cat([torch.where(present[n][:, None], features[n], 0.0) for n in ("a", "b", "c")], dim=1)


class Unchecked(Fusion):
    def __init__(self, widths: Any, classes: int) -> None:
        torch.nn.Module.__init__(self)
        self.widths, self.classes = dict(widths), classes
        self.head = mlp([max(1, sum(widths.values())), classes])

    forward, predict = Concat.forward, Concat.predict  # type: ignore[assignment]


class Overflowing(Concat):
    def predict(self, fused: Tensor) -> Tensor:
        return super().predict(fused).exp().log()


class InPlace(Concat):
    def forward(self, features: Any, present: Any) -> Tensor:
        for name in self.widths:
            features[name][~present[name]] = 0
        return super().forward(features, present)


class WithLambda(Concat):
    def __init__(self, widths: Any, classes: int, hidden: int = 8) -> None:
        super().__init__(widths, classes, hidden)
        self.act = lambda x: x


class Noisy(Concat):
    def predict(self, fused: Tensor) -> Tensor:
        return super().predict(fused + 1e-6 * torch.randn(fused.shape, dtype=fused.dtype))


class SeeingPadding(MultiScale):
    def forward(self, features: Any, present: Any) -> Tensor:
        return super().forward(features, all_there(present))


class OneScoreLess(Concat):
    def predict(self, fused: Tensor) -> Tensor:
        return super().predict(fused)[:, 1:]


class Squeezed(Concat):
    def forward(self, features: Any, present: Any) -> Tensor:
        return super().forward(features, present).squeeze()


class BySample(Concat):
    """Nothing cannot be stacked."""

    def forward(self, features: Any, present: Any) -> Tensor:
        fused = super().forward(features, present)
        return torch.stack([*fused])


class TimesPresence(Concat):
    """NaN times zero is NaN."""

    def forward(self, features: Any, present: Any) -> Tensor:
        return torch.cat([features[name] * present[name][:, None] for name in self.widths], dim=1)


class Viewing(Concat):
    def forward(self, features: Any, present: Any) -> Tensor:
        for name in self.widths:
            features[name].view(-1)
        return super().forward(features, present)


class RememberingTheFirst(Concat):
    def forward(self, features: Any, present: Any) -> Tensor:
        fused = super().forward(features, present)
        self.first = getattr(self, "first", fused[:1].detach())
        return fused + 1e-3 * self.first.to(fused)


class LeftInTraining(Concat):
    def predict(self, fused: Tensor) -> Tensor:
        return super().predict(fused + 0 * self.train().hidden)


class HardGates(Concat):
    """A choice by the sign has no gradient, and the check must not take that for one that is right."""

    def forward(self, features: Any, present: Any) -> Tensor:
        fused = super().forward(features, present)
        return fused * fused.detach().sigmoid()


FUSIONS: list[tuple[str, type[Fusion]]] = [
    ("batch-independence", OverTheBatch),
    ("gradient", WithoutGradient),
    ("each-matters", LeavingOneOut),
    ("modality-order", InOrderOfArrival),
    ("missing", Unmasked),
    ("nothing", MeanOverNothing),
    ("weights", UnmaskedWeights),
    ("weights", NotWeighing),
    ("unimodal-scores", SeeingOthers),
    ("dtypes", Single),
    ("saved", OptionLost),
    ("saved", UnregisteredWeight),
    ("any-number", OfThree),
    ("refuses", Unchecked),
    ("borders", Overflowing),
    ("leaves-no-trace", InPlace),
    ("copies", WithLambda),
    ("repeatable", Noisy),
    ("works", OneScoreLess),
    ("works", Squeezed),
    ("works", BySample),
    ("missing", TimesPresence),
    ("memory-layout", Viewing),
    ("saved", RememberingTheFirst),
    ("leaves-no-trace", LeftInTraining),
    ("gradient", HardGates),
]

#: Of a fusion of steps what a second needs.
SMALL: dict[type[Fusion], dict[str, Any]] = {SeeingPadding: {"hidden": 4, "layers": 1, "heads": 2, "self_layers": 0}}


def _planted(name: str, kind: type[Fusion]) -> Fault:
    return Fault(FUSION, name, kind.__name__, lambda: check_fusion(kind, **SMALL.get(kind, {})))


FAULTS = [_planted(name, kind) for name, kind in (*FUSIONS, ("steps", SeeingPadding))]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_faults_are_found(fault: Fault) -> None:
    fault.is_found()


def test_concat_has_no_fault() -> None:
    assert set(check_fusion(Concat).skipped) == {"unimodal-scores", "steps"}
