"""Faults planted in dual encoders: each is found by the property that is meant for it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from testing.planted import Fault, changed, damaged_when_saved, with_a_lambda
from tiny import TinyEncoder
from torch import Tensor

from art_multimodal import load_model
from art_multimodal.demo.towers import byte_tokens
from art_multimodal.testing import check_dual_encoder
from art_multimodal.testing.dual_encoder import DUAL_ENCODER

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


def remembering_a_shape(self: Any, pixels: Tensor) -> Tensor:
    if torch.is_grad_enabled():
        return tower(self, pixels)
    kept = vars(self).setdefault("kept", {})
    return kept.setdefault((pixels.shape, pixels.dtype), tower(self, pixels))


def seeding(self: Any, pixels: Tensor) -> Tensor:
    torch.manual_seed(0)
    return tower(self, pixels)


def in_another_default(self: Any, pixels: Tensor) -> Tensor:
    torch.set_default_dtype(torch.float64)
    return tower(self, pixels)


def leaving_gradients_on_weights(self: Any, pixels: Tensor) -> Tensor:
    for parameter in self.visual.parameters():
        parameter.grad = torch.ones_like(parameter)
    return tower(self, pixels)


def on_the_left(self: Any, texts: Any, allow_empty: bool = False) -> Tensor:
    tokens = TinyEncoder.tokenize(self, texts, allow_empty=allow_empty)
    return torch.stack([row.roll(int((row == self.pad_id).sum())) for row in tokens])


def of_ascii(self: Any, texts: list[str], length: int) -> Tensor:
    return byte_tokens([one.encode("ascii").decode() for one in texts], length)


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
    "a text squeezed": (
        "works",
        {"encode_text": lambda self, t, normalize=True: text(self, t, normalize).squeeze(0)},
    ),
    "an embedding of the last batch": ("batch-independence", {"image_tower": remembering_a_shape}),
    "pixels viewed as a row": (
        "memory-layout",
        {"image_tower": lambda self, p: self.visual[1:](p.view(len(p), -1))},
    ),
    "padded on the left": ("tokens", {"tokenize": on_the_left}),
    "ASCII alone": ("strange-texts", {"token_ids": of_ascii}),
    "float64 whatever the weights": (
        "dtypes",
        {"encode_text": lambda self, t, normalize=True: text(self, t, normalize).double()},
    ),
    "texts that no graph can use": (
        "works",
        {"encode_text": torch.inference_mode()(lambda self, t, normalize=True: text(self, t, normalize))},
    ),
    "a bias left out": (
        "logits",
        {
            "logit_bias": property(lambda self: torch.tensor(0.1)),
            "forward": lambda self, x, t: TinyEncoder.forward(self, x, t) - 0.1,
        },
    ),
    "seeding everybody": ("leaves-no-trace", {"image_tower": seeding}),
    "another default dtype": ("leaves-no-trace", {"image_tower": in_another_default}),
    "gradients left behind": ("leaves-no-trace", {"image_tower": leaving_gradients_on_weights}),
    "a copy that is none": ("copies", {"__deepcopy__": lambda self, memo: self}),
    "facts that are no JSON": ("facts", {"facts": lambda self: {"mean": self.preprocess.mean}}),
}


def loaded_otherwise() -> None:
    with damaged_when_saved():
        check_dual_encoder(load_model("demo:digits"))


def _planted(what: str) -> Fault:
    name, methods = ENCODERS[what]
    return Fault(DUAL_ENCODER, name, what, lambda: check_dual_encoder(changed(TinyEncoder(), **methods)))


FAULTS = [
    *map(_planted, ENCODERS),
    Fault(DUAL_ENCODER, "copies", "a lambda on it", lambda: check_dual_encoder(with_a_lambda(TinyEncoder()))),
    Fault(DUAL_ENCODER, "saved", "weights that are not saved", loaded_otherwise),
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_faults_are_found(fault: Fault) -> None:
    fault.is_found()


def test_all_faults_stand_in_one_message() -> None:
    methods = {**ENCODERS["another scale"][1], **ENCODERS["facts that are no JSON"][1]}
    with pytest.raises(AssertionError, match=r"breaks 2 of 1\d properties of a dual encoder") as caught:
        check_dual_encoder(changed(TinyEncoder(), **methods), but={"copies": "a class that is made here"})
    assert "- logits: " in str(caught.value) and "- facts: TypeError" in str(caught.value)
