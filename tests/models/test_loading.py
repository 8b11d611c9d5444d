"""Models by name."""

from __future__ import annotations

import sys

import pytest
import torch

from art_multimodal.errors import InputError
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.loading import MODEL_SOURCES, ModelSource, load_model
from art_multimodal.registry import Registry, split_scheme


def refusal(spec: str) -> str:
    with pytest.raises(InputError) as caught:
        load_model(spec)
    return str(caught.value)


def test_the_sources_say_how_their_models_are_written():
    assert list(MODEL_SOURCES) == ["demo", "open_clip", "hf", "mmbt", "modular", "checkpoint", "python"]
    for scheme, source in MODEL_SOURCES.items():
        assert source.form.startswith(f"{scheme}:")
        assert source.summary
        assert "\n" not in source.summary


@pytest.mark.parametrize(
    ("scheme", "nearest"), [("openclip", "open_clip"), ("OPEN_CLIP", "open_clip"), ("dem", "demo"), ("hff", "hf")]
)
def test_an_unknown_source_suggests_the_nearest(scheme, nearest):
    message = refusal(f"{scheme}:ViT-B-32/openai")
    assert repr(scheme) in message
    assert nearest in message


def test_an_unknown_source_that_resembles_none_lists_all():
    message = refusal("https://example.org/model")
    assert "'https'" in message
    assert all(scheme in message for scheme in MODEL_SOURCES)


@pytest.mark.parametrize("spec", ["ViT-B-32/openai", "digits", "", "/some/folder"])
def test_a_missing_source_lists_all(spec):
    message = refusal(spec)
    assert repr(spec) in message
    assert all(scheme in message for scheme in MODEL_SOURCES)


def test_an_unknown_demo_model():
    assert "digits" in refusal("demo:digit")
    assert "digits" in refusal("demo:")


@torch.no_grad()
def test_the_demo_model_is_ready_to_use():
    model = load_model("demo:digits")
    assert isinstance(model, DualEncoder)
    assert not model.training
    assert model.device.type == "cpu"
    assert model(torch.rand(2, 3, 40, 50), model.tokenize(["a seven", "a two", "a photo"])).shape == (2, 3)


def test_what_follows_the_first_colon_goes_to_the_source(monkeypatch):
    given = []
    monkeypatch.setitem(MODEL_SOURCES._entries, "echo", ModelSource("echo:ANYTHING", "for this test", given.append))
    load_model("echo:C:/weights:final.pt")
    assert given == ["C:/weights:final.pt"]


@pytest.mark.parametrize(
    ("spec", "module", "package"),
    [
        ("open_clip:ViT-B-32/openai", "open_clip", "open_clip_torch"),
        ("hf:openai/clip-vit-base-patch32", "transformers", "transformers"),
        ("mmbt:folder", "transformers", "transformers"),
    ],
)
def test_a_library_that_is_not_installed_is_named(monkeypatch, spec, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    assert f"pip install {package}" in refusal(spec)


# --- the registry -----------------------------------------------------------------------------------------------------


@pytest.fixture
def fruits() -> Registry[int]:
    registry: Registry[int] = Registry("fruit")
    for number, name in enumerate(["pear", "apple", "plum"]):
        assert registry.add(name, number) == number
    return registry


def test_a_registry_keeps_its_order(fruits):
    assert list(fruits) == ["pear", "apple", "plum"]
    assert list(fruits.items()) == [("pear", 0), ("apple", 1), ("plum", 2)]
    assert len(fruits) == 3
    assert "apple" in fruits
    assert "appel" not in fruits
    assert fruits["plum"] == 2


def test_a_name_is_registered_once(fruits):
    with pytest.raises(ValueError, match="'pear' is registered already"):
        fruits.add("pear", 7)
    assert fruits["pear"] == 0


def test_an_unknown_name(fruits):
    with pytest.raises(InputError, match=r"Unknown fruit 'aple'\. Did you mean apple( or |\?)"):
        fruits["aple"]
    with pytest.raises(InputError, match=r"Unknown fruit 'xyz'\. Known: apple, pear, plum\."):
        fruits["xyz"]
    for number in range(30):
        fruits.add(f"berry{number}", number)
    with pytest.raises(InputError, match=r"There are 33 known names, for example apple, "):
        fruits["xyz"]


def test_a_scheme_is_split_off_at_the_first_colon(fruits):
    assert split_scheme("The fruit", "plum:a:b", fruits) == ("plum", "a:b")
    assert split_scheme("The fruit", "plum:", fruits) == ("plum", "")
    with pytest.raises(InputError, match=r"The fruit 'plum' has no source\. .* pear, apple, plum\."):
        split_scheme("The fruit", "plum", fruits)
