"""The open_clip adapter agrees with open_clip, and refuses what it cannot use.

Pictures: open_clip resizes 8-bit images and rounds after each of two passes, here nothing is rounded. So a pixel may
differ by up to 5 of 255 levels where an overshoot is clipped in between, and by 0.6 in the mean.
"""

from __future__ import annotations

import re
import shutil

import open_clip
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from open_clip.pretrained import _slpcfg
from open_clip.tokenizer import get_clean_fn
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from torchvision.transforms.functional import to_tensor

from art_multimodal.errors import InputError
from art_multimodal.models.families.open_clip.cleaning import clean_lower, with_quick_cleaning
from art_multimodal.models.families.open_clip.encoder import OpenCLIPEncoder
from art_multimodal.models.loading import load_model

ARCHITECTURES = [
    "tiny-test",
    "tiny-test-coca",
    "tiny-test-sigmoid",
    "tiny-test-rectangle",
    "tiny-test-stripped",
    "tiny-test-end-is-pad",
]
CONTEXT = 16


@pytest.fixture(params=ARCHITECTURES)
def pair(request, open_clip_checkpoint):
    """A model of open_clip, and what our loading makes of its checkpoint."""
    model, path = open_clip_checkpoint(request.param)
    return model, load_model(f"open_clip:{request.param}/{path}"), open_clip.get_tokenizer(request.param)


@pytest.fixture
def tiny_weights(open_clip_checkpoint):
    """Weights of ``tiny-test`` and their path."""
    model, path = open_clip_checkpoint("tiny-test")
    return model.state_dict(), path


def own_transform(model):
    config = open_clip.get_model_preprocess_cfg(model)
    names = {"size": "image_size"}
    return open_clip.image_transform(is_train=False, **{names.get(k, k): v for k, v in config.items() if k != "mode"})


def assert_same_picture(encoder, photo, expected):
    levels = ((encoder.preprocess(to_tensor(photo)[None])[0] - expected) * encoder.preprocess.std * 255).abs()
    assert levels.max() < 5, photo.size
    assert levels.mean() < 0.6, photo.size


def test_loaded_ready_to_use(pair):
    _, encoder, _ = pair
    assert not encoder.training
    assert encoder.device.type == "cpu"
    assert encoder.dtype == torch.float32


@torch.no_grad()
def test_images_are_embedded_as_by_open_clip(pair, photos):
    model, encoder, _ = pair
    transform = own_transform(model)
    embeddings = []
    for photo in photos:
        expected = transform(photo)
        assert_same_picture(encoder, photo, expected)
        ours, theirs = encoder.encode_image(to_tensor(photo)[None]), model.encode_image(expected[None], normalize=True)
        assert F.cosine_similarity(ours, theirs) > 0.9999
        embeddings.append(theirs)
    assert min(F.cosine_similarity(a, embeddings[0]) for a in embeddings) < 0.999, "the pictures must be told apart"


@torch.no_grad()
def test_pictures_of_the_models_size_are_embedded_exactly(pair, photos):
    model, encoder, _ = pair
    photo = photos[0].resize(encoder.image_size[::-1])
    expected = model.encode_image(own_transform(model)(photo)[None], normalize=False)
    torch.testing.assert_close(encoder.encode_image(to_tensor(photo)[None], normalize=False), expected)


@torch.no_grad()
def test_texts_are_tokenised_and_embedded_as_by_open_clip(pair, texts):
    model, encoder, tokenizer = pair
    tokens = encoder.tokenize(texts)
    assert torch.equal(tokens, tokenizer(texts))
    assert tokens.shape == (len(texts), CONTEXT)
    for normalize in (True, False):
        expected = model.encode_text(tokenizer(texts), normalize=normalize)
        torch.testing.assert_close(encoder.encode_text(tokens, normalize=normalize), expected)
    assert len(expected.unique(dim=0)) == len(texts), "the texts must be told apart"


PLAIN = st.text(st.characters(min_codepoint=32, max_codepoint=126))


@settings(max_examples=50)
@given(st.one_of(PLAIN, st.text(), st.tuples(PLAIN, st.text(max_size=3), PLAIN).map("".join)))
@example("A  &lt;Cat&gt; &amp;amp; don't\x1b[31m")
@example(" two\r\nlines\tand \x00 ")
@example("caf\u00c3\u00a9 \u2018quoted\u2019 \ufb01ne")
def test_texts_are_tidied_as_by_open_clip(text):
    assert clean_lower(text) == get_clean_fn("lower")(text)


def test_own_tokenizers_tidy_texts_quickly_and_others_as_they_do(tiny_weights, open_clip_architectures):
    assert load_model(f"open_clip:tiny-test/{tiny_weights[1]}").tokenizer.clean_fn is clean_lower
    other = open_clip.SimpleTokenizer(clean="whitespace")
    assert with_quick_cleaning(other).clean_fn is get_clean_fn("whitespace")
    assert open_clip.get_tokenizer("tiny-test").clean_fn is get_clean_fn("lower")


@torch.no_grad()
def test_logits_are_open_clips(pair, photos, texts):
    model, encoder, tokenizer = pair
    images = torch.stack([to_tensor(photo.resize((40, 50))) for photo in photos])
    features = model.encode_image(encoder.preprocess(images), normalize=True)
    expected = model.logit_scale.exp() * features @ model.encode_text(tokenizer(texts), normalize=True).T
    if model.logit_bias is not None:
        expected = expected + model.logit_bias
    torch.testing.assert_close(encoder(images, encoder.tokenize(texts)), expected)


def test_the_sigmoid_bias_takes_part(open_clip_checkpoint):
    _, path = open_clip_checkpoint("tiny-test-sigmoid")
    assert float(load_model(f"open_clip:tiny-test-sigmoid/{path}").logit_bias.detach()) == -3


def test_a_text_is_never_cut(pair):
    _, encoder, tokenizer = pair
    ends_as_padding = encoder.pad_id == getattr(getattr(tokenizer, "tokenizer", None), "eos_token_id", None)
    longest = CONTEXT - (1 if ends_as_padding else 2)  # a start token and an end token, or an end token alone
    fitting = " ".join(["cat"] * longest)
    assert torch.equal(encoder.tokenize([fitting]), tokenizer([fitting]))
    for more in range(1, 5):
        text = " ".join(["dog"] * (longest + more))
        with pytest.raises(InputError, match=re.escape(repr(text[:60]))):
            encoder.tokenize(["a cat", fitting, text, "a dog"])


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_an_empty_text_is_refused(pair, text):
    with pytest.raises(InputError, match="empty"):
        pair[1].tokenize(["a cat", text])


def test_text_parameters_are_all_that_texts_depend_on(pair, texts):
    _, encoder, _ = pair
    encoder.encode_text(encoder.tokenize(texts)).sum().backward()
    used = {name for name, p in encoder.named_parameters() if p.grad is not None}
    listed = {id(p) for p in encoder.text_parameters()}
    assert used
    assert {name for name, p in encoder.named_parameters() if id(p) in listed} >= used
    assert not any(id(p) in listed for p in encoder.model.visual.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.no_grad()
def test_half_precision(tiny_weights, photos, texts, dtype):
    encoder = load_model(f"open_clip:tiny-test/{tiny_weights[1]}")
    images = torch.stack([to_tensor(photo.resize((40, 50))) for photo in photos])
    tokens = encoder.tokenize(texts)
    expected = encoder.encode_image(images), encoder.encode_text(tokens)
    encoder.to(dtype)
    found = encoder.encode_image(images.double()), encoder.encode_text(tokens)
    for ours, full in zip(found, expected, strict=True):
        assert ours.dtype == dtype
        assert (F.cosine_similarity(ours.float(), full) > 0.99).all()


# --- where weights come from ------------------------------------------------------------------------------------------


@torch.no_grad()
def test_every_format_gives_the_same_weights(tiny_weights, tmp_path, photos, monkeypatch):
    weights, path = tiny_weights
    image = to_tensor(photos[0])[None]
    expected = load_model(f"open_clip:tiny-test/{path}").encode_image(image)
    torch.save(weights, tmp_path / "weights.pt")
    training = {"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in weights.items()}}
    torch.save(training, tmp_path / "training.pt")
    for name in ("weights.pt", "training.pt"):
        assert torch.equal(load_model(f"open_clip:tiny-test/{tmp_path / name}").encode_image(image), expected), name
    monkeypatch.chdir(tmp_path)
    assert torch.equal(load_model("open_clip:tiny-test/weights.pt").encode_image(image), expected)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert torch.equal(load_model("open_clip:tiny-test/~/weights.pt").encode_image(image), expected)


@torch.no_grad()
def test_a_tag_brings_its_preprocessing_and_activation(tiny_weights, photos, monkeypatch):
    weights, path = tiny_weights
    tags = {"published": _slpcfg(url="https://localhost/none", quick_gelu=True)}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny-test", tags)
    monkeypatch.setattr("open_clip.factory.download_pretrained", lambda *args, **kwargs: str(path))
    encoder = load_model("open_clip:tiny-test/published")
    reference = open_clip.create_model("tiny-test", force_quick_gelu=True).eval()
    reference.load_state_dict(weights)
    transform = open_clip.image_transform(32, False, (0.5,) * 3, (0.5,) * 3, "squash", "bicubic")
    for photo in photos:
        expected = transform(photo)
        assert_same_picture(encoder, photo, expected)
        torch.testing.assert_close(encoder.image_tower(expected[None]), reference.encode_image(expected[None]))


@pytest.mark.parametrize("grey", [0, 200])
def test_a_model_that_pads_its_pictures(open_clip_architectures, photos, grey):
    settings = {"resize_mode": "longest", "fill_color": grey, "interpolation": "bilinear"}
    model = open_clip.create_model("tiny-test", force_preprocess_cfg=settings)
    encoder = OpenCLIPEncoder(model, open_clip.get_tokenizer("tiny-test"))
    for photo in photos:
        assert_same_picture(encoder, photo, own_transform(model)(photo))


def test_a_file_is_prepared_as_all_published_weights_of_its_architecture(tiny_weights, photos, monkeypatch):
    tags = {name: _slpcfg(url=f"https://localhost/{name}") for name in ("first", "second")}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny-test", tags)
    transform = open_clip.image_transform(32, False, (0.5,) * 3, (0.5,) * 3, "squash", "bicubic")
    encoder = load_model(f"open_clip:tiny-test/{tiny_weights[1]}")
    for photo in photos:
        assert_same_picture(encoder, photo, transform(photo))
    # Where they do not agree, open_clip's own choice stays.
    tags["second"]["mean"] = (0.4, 0.4, 0.4)
    encoder = load_model(f"open_clip:tiny-test/{tiny_weights[1]}")
    for photo in photos:
        assert_same_picture(encoder, photo, own_transform(encoder.model)(photo))
    assert encoder.preprocess.resize_mode == "shortest"


@torch.no_grad()
def test_a_listed_architecture(tmp_path, photos):
    name, path = "ViT-S-32-alt", tmp_path / "weights.safetensors"
    model = open_clip.create_model(name).eval()
    save_file({key: tensor.half() for key, tensor in model.state_dict().items()}, path)
    model.load_state_dict({key: tensor.half() for key, tensor in model.state_dict().items()})
    encoder = load_model(f"open_clip:{name}/{path}")
    path.unlink()  # many megabytes
    assert encoder.image_size == (224, 224)
    assert encoder.context_length == 77
    pixels = own_transform(model)(photos[0])
    assert_same_picture(encoder, photos[0], pixels)
    torch.testing.assert_close(encoder.image_tower(pixels[None]), model.encode_image(pixels[None]))
    tokens = encoder.tokenize(["a photo of a cat"])
    torch.testing.assert_close(encoder.encode_text(tokens, normalize=False), model.encode_text(tokens))


# --- what cannot be used ----------------------------------------------------------------------------------------------


def refusal(rest: str) -> str:
    """The one-line message with which a model is refused."""
    with pytest.raises(InputError) as caught:
        load_model(f"open_clip:{rest}")
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_unknown_names_suggest_the_nearest():
    assert "ViT-B-32" in refusal("ViT-B-33/openai")
    assert "'ViT-B-33'" in refusal("ViT-B-33/openai")
    assert "laion2b_s34b_b79k" in refusal("ViT-B-32/laion2b_s34b_b97k")
    assert "openai" in refusal("ViT-B-32")
    assert "openai" in refusal("ViT-B-32/")


def test_an_architecture_without_tags_asks_for_a_path(open_clip_architectures):
    assert "checkpoint path" in refusal("tiny-test/openai")
    assert "names no weights" in refusal("tiny-test")


def test_a_missing_slash_is_pointed_out(tiny_weights):
    path = str(tiny_weights[1])
    assert f"open_clip:tiny-test/{path}" in refusal(f"tiny-test{path}")


def test_a_missing_file_is_named(open_clip_architectures, tmp_path):
    path = str(tmp_path / "nowhere.pt")
    assert path in refusal(f"tiny-test/{path}")
    assert str(tmp_path) in refusal(f"tiny-test/{tmp_path}")


@pytest.mark.parametrize("architecture", ["tiny-test-wider", "tiny-test-coca"])
def test_a_checkpoint_of_another_architecture(tiny_weights, architecture):
    message = refusal(f"{architecture}/{tiny_weights[1]}")
    assert f"is not a checkpoint of {architecture}" in message
    assert str(tiny_weights[1]) in message


def test_a_checkpoint_with_a_tensor_missing_or_too_many(tiny_weights, tmp_path):
    weights = load_file(tiny_weights[1])
    path = tmp_path / "weights.safetensors"
    save_file({name: tensor for name, tensor in weights.items() if name != "text_projection"}, path)
    assert "text_projection" in refusal(f"tiny-test/{path}")
    save_file({**weights, "second_head": torch.zeros(2)}, path)
    assert "second_head" in refusal(f"tiny-test/{path}")


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".safetensors", ""])
def test_a_pickle_that_wants_to_run_code_does_not(tiny_weights, tmp_path, hostile_pickle, suffix):
    path = tmp_path / f"weights{suffix}"
    hostile_pickle.save(path, tiny_weights[0])
    message = refusal(f"tiny-test/{path}")
    assert not hostile_pickle.witness.exists()
    if suffix != ".safetensors":
        assert "refused" in message
        assert "safetensors" in message


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("damage", ["truncated", "zero bytes", "not a checkpoint", "flipped header"])
def test_a_damaged_file(tiny_weights, tmp_path, suffix, damage):
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save(tiny_weights[0], path)
    else:
        shutil.copy(tiny_weights[1], path)
    content = path.read_bytes()
    changed = {
        "truncated": content[: len(content) // 2],
        "zero bytes": b"",
        "not a checkpoint": b"<html>Not found</html>",
        "flipped header": bytes(255 - byte for byte in content[:64]) + content[64:],
    }
    path.write_bytes(changed[damage])
    assert str(path) in refusal(f"tiny-test/{path}")


@pytest.mark.parametrize("content", [{}, [1, 2], torch.zeros(3), {"state_dict": {}}])
def test_a_file_of_something_else(open_clip_architectures, tmp_path, content):
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    assert str(path) in refusal(f"tiny-test/{path}")


def test_a_tokenizer_that_cannot_be_loaded(open_clip_checkpoint, monkeypatch):
    _, path = open_clip_checkpoint("tiny-test-stripped")
    monkeypatch.setitem(
        open_clip.factory._MODEL_CONFIGS["tiny-test-stripped"]["text_cfg"], "hf_tokenizer_name", "nobody/nothing"
    )
    assert "tokenizer" in refusal(f"tiny-test-stripped/{path}")
