"""Late fusion over dual encoders of both libraries."""

from __future__ import annotations

import pytest
import torch
from models.gradients import assert_gradient_is_true
from torch import nn
from torchvision.transforms.functional import to_tensor

from art_multimodal.errors import InputError
from art_multimodal.models.families.late_fusion.model import LateFusion
from art_multimodal.models.loading import load_model

CLASSES = ["yes", "no", "maybe"]
WIDTH = 3 * 12


@pytest.fixture(params=["clip", "altclip", "open_clip"])
def encoder(request, saved, open_clip_checkpoint):
    """Dual encoders that end a text by CLIP's end token, by a mask, and in open_clip."""
    if request.param != "open_clip":
        return load_model(f"hf:{saved(request.param).folder}")
    return load_model(f"open_clip:tiny-test/{open_clip_checkpoint('tiny-test')[1]}")


@pytest.fixture
def clip(saved):
    return load_model(f"hf:{saved('clip').folder}")


@torch.no_grad()
def test_fused_are_the_unit_embeddings_and_their_product(encoder, photos, texts):
    model = LateFusion(encoder, CLASSES).eval()
    assert model.separate_towers
    assert model.class_names == tuple(CLASSES)
    assert model.image_size == encoder.image_size
    tokens = model.tokenize(texts)
    for photo in photos:
        images = to_tensor(photo)[None].expand(len(texts), -1, -1, -1)
        image, text = encoder.encode_image(images), encoder.encode_text(encoder.tokenize(texts))
        torch.testing.assert_close(image.norm(dim=1), torch.ones(len(texts)))
        fused = model.fuse(images, tokens)
        torch.testing.assert_close(fused, torch.cat([image, text, image * text], dim=1))
        parts = model.join(model.encode_image(images), model.encode_text(tokens))
        assert torch.equal(parts, fused)
        torch.testing.assert_close(model(images, tokens), model.predictor(fused))


@torch.no_grad()
def test_a_text_is_read_the_same_in_any_company(encoder, texts):
    model = LateFusion(encoder, CLASSES).eval()
    texts = [*texts, ""]
    together = model.encode_text(model.tokenize(texts))
    for text, features in zip(texts, together, strict=True):
        torch.testing.assert_close(model.encode_text(model.tokenize([text]))[0], features)
    assert len(together.unique(dim=0)) == len(texts), "the texts must be told apart"
    with pytest.raises(InputError, match="more than the 16 tokens"):
        model.tokenize(["a cat", "dog " * 40])


@pytest.mark.parametrize("size", [(40, 36), (32, 32), (70, 90)])
def test_gradient_to_the_pixels(encoder, size):
    # Of so many hidden units some are always active: of seven, once in 128 draws of the weights none is.
    assert_gradient_is_true(LateFusion(encoder, CLASSES, hidden=64).eval(), *size)


@torch.no_grad()
def test_predictors(clip):
    fused = torch.rand(4, WIDTH)
    linear = LateFusion(clip, CLASSES).predictor
    assert [tuple(p.shape) for p in linear.parameters()] == [(3, WIDTH), (3,)]
    deep = LateFusion(clip, CLASSES, hidden=7).predictor
    assert [tuple(p.shape) for p in deep.parameters()] == [(7, WIDTH), (7,), (3, 7), (3,)]
    own = nn.Sequential(nn.Linear(WIDTH, 3), nn.Tanh())
    model = LateFusion(clip, CLASSES, predictor=own)
    assert model.predictor is own
    assert torch.equal(model.predict(fused), own(fused))


def test_a_predictor_of_another_shape(clip):
    model = LateFusion(clip, CLASSES, predictor=nn.Linear(WIDTH, 2))
    with pytest.raises(InputError, match=r"\(1, 3\): one column per class name; it returned .*\(1, 2\)"):
        model(torch.rand(1, 3, 32, 32), model.tokenize(["a cat"]))


def test_settings_that_contradict(clip):
    with pytest.raises(InputError, match="hidden"):
        LateFusion(clip, CLASSES, hidden=0)
    with pytest.raises(InputError, match="of your own"):
        LateFusion(clip, CLASSES, hidden=3, predictor=nn.Linear(WIDTH, 3))
    with pytest.raises(InputError, match="not a dict"):
        LateFusion(clip, CLASSES).encode_text({"input_ids": torch.ones(1, 16)})


def test_the_predictor_is_trained_on_frozen_towers(clip, texts):
    model = LateFusion(clip, CLASSES)
    clip.requires_grad_(False)
    model(torch.rand(len(texts), 3, 32, 32), model.tokenize(texts)).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is not None] == [
        "predictor.0.weight",
        "predictor.0.bias",
    ]


@torch.no_grad()
def test_the_predictor_follows_the_encoders_dtype(clip):
    model = LateFusion(clip.double(), CLASSES, hidden=5)
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert model(torch.rand(1, 3, 32, 32), model.tokenize(["a cat"])).dtype == torch.float64


@torch.no_grad()
def test_state_is_saved_like_any_modules(saved, texts):
    first, second = (LateFusion(load_model(f"hf:{saved('clip').folder}"), CLASSES, hidden=5).eval() for _ in range(2))
    images, tokens = torch.rand(len(texts), 3, 32, 32), first.tokenize(texts)
    assert not torch.equal(first(images, tokens), second(images, tokens))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(images, tokens), second(images, tokens))
