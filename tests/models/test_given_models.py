"""Models of open_clip and transformers are taken as they are, and stay so."""

from __future__ import annotations

import copy

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from tiny import TinyEncoder, TinyFusion
from torch import nn
from transformers import CLIPProcessor

from art_multimodal import (
    FusionClassifier,
    ImageTextRetriever,
    InputError,
    ZeroShotClassifier,
    as_dual_encoder,
    image_text_pairs,
    load_model,
)
from art_multimodal.models.checks import check_dual_encoder
from art_multimodal.models.families.late_fusion.model import LateFusion
from art_multimodal.models.fast_gradients import with_fast_gradients, without_fast_gradients

NAMES = ["cat", "dog"]
IMAGES = np.random.default_rng(0).random((3, 3, 40, 50), dtype=np.float32)


def layers_of(model: nn.Module) -> list[tuple[str, type, bool]]:
    return [(name, type(part), part.training) for name, part in model.named_modules()]


@pytest.fixture
def clip(open_clip_checkpoint):
    """A model of open_clip of one's own, its tokenizer, and what our loading makes of its weights."""
    model, path = open_clip_checkpoint("tiny-test")
    return copy.deepcopy(model), open_clip.get_tokenizer("tiny-test"), load_model(f"open_clip:tiny-test/{path}")


def test_a_model_of_open_clip_works_as_if_loaded_and_stays_as_it_is(clip) -> None:
    model, tokenizer, loaded = clip
    before, weights = layers_of(model), copy.deepcopy(model.state_dict())
    transform = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    for processor in (None, transform):
        classifier = ZeroShotClassifier(model, NAMES, tokenizer=tokenizer, processor=processor, device_type="cpu")
        expected = ZeroShotClassifier(loaded, NAMES, device_type="cpu")
        np.testing.assert_allclose(classifier.predict(IMAGES), expected.predict(IMAGES), atol=1e-4)
        gradient = classifier.loss_gradient(IMAGES, np.array([0, 1, 0]))
        np.testing.assert_allclose(gradient, expected.loss_gradient(IMAGES, np.array([0, 1, 0])), atol=1e-4)
    pairs = image_text_pairs(IMAGES, ["a cat", "a dog", "a boat"])
    retriever = ImageTextRetriever(model, tokenizer=tokenizer, device_type="cpu")
    found = ImageTextRetriever(loaded, device_type="cpu").predict(pairs)
    np.testing.assert_allclose(retriever.predict(pairs), found, atol=1e-4)
    assert layers_of(model) == before
    assert all(parameter.requires_grad for parameter in model.parameters())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[name])
    # What is loaded here is made faster.
    assert layers_of(loaded.model) != before


def test_a_model_of_transformers_works_as_if_loaded_and_stays_as_it_is(saved) -> None:
    original = saved("clip")
    model = copy.deepcopy(original.model)
    before = layers_of(model)
    expected = ZeroShotClassifier(load_model(f"hf:{original.folder}"), NAMES, device_type="cpu").predict(IMAGES)
    whole = CLIPProcessor(original.processor, original.tokenizer)
    for parts in ({"processor": whole}, {"tokenizer": original.tokenizer, "processor": original.processor}):
        found = ZeroShotClassifier(model, NAMES, **parts, device_type="cpu").predict(IMAGES)
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert layers_of(model) == before
    check_dual_encoder(as_dual_encoder(model, processor=whole))


def test_modes_are_kept(clip) -> None:
    model, tokenizer, _ = clip
    assert not as_dual_encoder(model, tokenizer).training
    model.train()
    assert as_dual_encoder(model, tokenizer).training


def test_faster_layers_are_given_back(clip) -> None:
    model = clip[0]
    before = layers_of(model)
    with_fast_gradients(model)
    assert layers_of(model) != before
    without_fast_gradients(model)
    assert layers_of(model) == before


def test_a_dual_encoder_is_returned_as_it_is() -> None:
    encoder = TinyEncoder()
    assert as_dual_encoder(encoder) is encoder
    with pytest.raises(InputError, match="leave out tokenizer"):
        as_dual_encoder(encoder, tokenizer=len)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda clip, hf: (clip[0],), "open_clip .CLIP. needs its tokenizer, too"),
        (lambda clip, hf: (clip[0], 3), "not int"),
        (lambda clip, hf: (hf.model,), "needs its tokenizer and its processor"),
        (lambda clip, hf: (hf.model, hf.tokenizer), "needs its processor, too"),
        (lambda clip, hf: (hf.model, None, hf.processor), "needs its tokenizer, too"),
        (lambda clip, hf: (hf.model, len, hf.processor), "one of transformers"),
        (lambda clip, hf: (nn.Linear(2, 2),), "CustomDualEncoder"),
        (lambda clip, hf: (TinyFusion(),), "FusionClassifier"),
        (lambda clip, hf: ("open_clip:ViT-B-32/openai",), "load_model"),
        (lambda clip, hf: (None,), "not NoneType"),
    ],
)
def test_what_is_missing_is_said_in_one_line(clip, saved, given, message) -> None:
    parts = given(clip, saved("clip"))
    model, tokenizer, processor = (*parts, None, None)[:3]
    for call in (
        lambda: as_dual_encoder(*parts),
        lambda: ZeroShotClassifier(model, NAMES, tokenizer=tokenizer, processor=processor),
        lambda: ImageTextRetriever(model, tokenizer=tokenizer, processor=processor),
    ):
        with pytest.raises(InputError, match=message) as error:
            call()
        assert "\n" not in str(error.value)


def test_another_preparation_of_images_is_refused(clip) -> None:
    model, tokenizer, _ = clip
    settings = {**model.visual.preprocess_cfg, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    other = image_transform_v2(PreprocessCfg(**settings), is_train=False)
    with pytest.raises(InputError, match="in another way"):
        as_dual_encoder(model, tokenizer, other)
    with pytest.raises(InputError, match="does not prepare a picture: TypeError"):
        as_dual_encoder(model, tokenizer, lambda: None)


def test_other_doors_name_the_right_one(clip) -> None:
    with pytest.raises(InputError, match="needs its tokenizer"):
        LateFusion(clip[0], NAMES)
    for model in (TinyEncoder(), nn.Linear(2, 2)):
        with pytest.raises(InputError, match="FusionClassifier takes a FusionModel.*CustomFusion"):
            FusionClassifier(model)
