"""Faults planted in dual encoders, models over several modalities, and fusions: each is found by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from several import make
from testing.planted import assert_found, changed
from tiny import TinyEncoder
from torch import Tensor

from art_multimodal.demo.towers import byte_tokens
from art_multimodal.errors import InputError
from art_multimodal.modalities.kinds import Table
from art_multimodal.models.families.modular.model import ModularModel
from art_multimodal.models.fusions import Concat, ConcatWithHeads, Fusion, Late, MultiScale
from art_multimodal.models.fusions.fusion import mlp
from art_multimodal.testing import asked, check_dual_encoder, check_fusion, check_multimodal_model

# --- dual encoders

image, text, tower = TinyEncoder.encode_image, TinyEncoder.encode_text, TinyEncoder.image_tower


def freezing(self: Any, pixels: Tensor) -> Tensor:
    for parameter in self.parameters():
        parameter.requires_grad_(False)
    return tower(self, pixels)


def refusing_other_sizes(self: Any, images: Tensor, normalize: bool = True) -> Tensor:
    if tuple(images.shape[2:]) != self.image_size:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    return image(self, images, normalize)


def slope_of_one_percent_less(self: Any, pixels: Tensor) -> Tensor:
    found = tower(self, pixels)
    return found - 0.01 * found + (0.01 * found).detach()


def standing_on_noise(self: Any, pixels: Tensor) -> Tensor:
    found = tower(self, pixels)
    return found + 1e-4 * torch.randn(found.shape, dtype=found.dtype)


def writing_into_images(self: Any, images: Tensor, normalize: bool = True) -> Tensor:
    if not images.requires_grad:
        images.add_(1e-3)
    return image(self, images, normalize)


ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "squeezed": ("works", {"encode_image": lambda self, x, normalize=True: image(self, x, normalize).squeeze()}),
    "no gradient": ("works", {"encode_image": lambda self, x, normalize=True: image(self, x, normalize).detach()}),
    "logits transposed": ("shapes", {"forward": lambda self, x, t: TinyEncoder.forward(self, x, t).T}),
    "longer by a thousandth": (
        "unit-length",
        {"encode_image": lambda self, x, normalize=True: image(self, x, normalize) * (1.001 if normalize else 1)},
    ),
    "another direction unless normalised": (
        "normalize-only-scales",
        {"encode_text": lambda self, t, normalize=True: text(self, t, normalize) + (0 if normalize else 0.01)},
    ),
    "a share of the batch": (
        "batch-independence",
        {"image_tower": lambda self, pixels: (f := tower(self, pixels)) + 1e-3 * f.mean(dim=0)},
    ),
    "tokens as long as the longest text": (
        "tokens",
        {"tokenize": lambda self, texts, **more: (t := TinyEncoder.tokenize(self, texts, **more))[:, : t.any(0).sum()]},
    ),
    "a cut text": ("long-texts", {"tokenize": lambda self, texts, allow_empty=False: byte_tokens(list(texts), 64)}),
    "an empty text taken": (
        "strange-texts",
        {"tokenize": lambda self, texts, allow_empty=False: TinyEncoder.tokenize(self, texts, allow_empty=True)},
    ),
    "a slope of 99 %": ("image-gradient", {"image_tower": slope_of_one_percent_less}),
    "its own size only": ("other-sizes", {"encode_image": refusing_other_sizes}),
    "float32 whatever the weights": (
        "dtypes",
        {"encode_image": lambda self, x, normalize=True: image(self, x, normalize).float()},
    ),
    "noise in evaluation": ("repeatable", {"image_tower": standing_on_noise}),
    "drawing from the global generator": ("leaves-no-trace", {"image_tower": standing_on_noise}),
    "divided by the deviation": (
        "borders",
        {"image_tower": lambda self, p: tower(self, p / p.flatten(1).std(dim=1).view(-1, 1, 1, 1))},
    ),
    "another scale": ("logits", {"forward": lambda self, x, t: 20.1 * self.encode_image(x) @ self.encode_text(t).T}),
    "beginnings shared wrongly": (
        "shortcuts",
        {
            "shares_prefixes": property(lambda self: True),
            "encode_texts_sharing_prefixes": lambda self, t: (text(self, t).roll(1, dims=1), 3),
        },
    ),
    "freezing": ("leaves-no-trace", {"image_tower": freezing}),
    "left in training": ("leaves-no-trace", {"image_tower": lambda self, p: self.train() and tower(self, p)}),
    "written in place": ("leaves-no-trace", {"encode_image": writing_into_images}),
    "facts that are no JSON": ("facts", {"facts": lambda self: {"mean": self.preprocess.mean}}),
}


@pytest.mark.parametrize("fault", ENCODERS)
def test_faults_of_dual_encoders(fault: str) -> None:
    name, methods = ENCODERS[fault]
    assert_found(name, lambda: check_dual_encoder(changed(TinyEncoder(), **methods)))


def test_what_cannot_be_copied() -> None:
    model = TinyEncoder()
    model.hook = lambda x: x  # type: ignore[assignment]
    assert_found("copies", lambda: check_dual_encoder(model))


def test_weights_that_are_not_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    from art_multimodal import load_model

    load = asked.load_saved_model

    def damaged(folder: Any) -> Any:
        model = load(folder)
        next(model.parameters()).data.mul_(1.01)
        return model

    monkeypatch.setattr(asked, "load_saved_model", damaged)
    assert_found("saved", lambda: check_multimodal_model(load_model("demo:views")))


def test_all_faults_stand_in_one_message() -> None:
    methods = {**ENCODERS["another scale"][1], **ENCODERS["facts that are no JSON"][1]}
    with pytest.raises(AssertionError, match=r"breaks 2 of 1\d properties of a dual encoder") as caught:
        check_dual_encoder(changed(TinyEncoder(), **methods), but={"copies": "a class that is made here"})
    assert "- logits: " in str(caught.value) and "- facts: TypeError" in str(caught.value)


# --- models over several modalities

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
    "a score that is no part": (
        "parts",
        {"forward": lambda self, inputs: ModularModel.forward(self, inputs) * 1.001},
    ),
}


@pytest.mark.parametrize("fault", MODELS)
def test_faults_of_models_over_several_modalities(fault: str) -> None:
    name, methods = MODELS[fault]
    assert_found(name, lambda: check_multimodal_model(changed(make("concat"), **methods)))


def test_a_removal_that_is_no_fill() -> None:
    model = make("concat")
    lab = model.modalities["lab"]
    model.modalities["lab"] = Forgetful(lab.name, lab.shape, lab.point_axes, lab.clip_values, fill=lab.fill)
    assert_found("removal", lambda: check_multimodal_model(model))


# --- fusions


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
]


@pytest.mark.parametrize(("name", "kind"), FUSIONS, ids=[kind.__name__ for _, kind in FUSIONS])
def test_faults_of_fusions(name: str, kind: type[Fusion]) -> None:
    assert_found(name, lambda: check_fusion(kind))


def test_padding_that_is_seen() -> None:
    assert_found("steps", lambda: check_fusion(SeeingPadding, hidden=4, layers=1, heads=2, self_layers=0))
