"""The transformers adapter agrees with transformers, and refuses what it cannot use.

Pictures: image processors resize 8-bit images and round after each of two passes, here nothing is rounded. So a pixel
may differ by up to 5 of 255 levels where an overshoot is clipped in between, and by 0.6 in the mean.
"""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from torchvision.transforms.functional import to_tensor

from art_multimodal.errors import InputError
from art_multimodal.models.loading import load_model

DUAL_ENCODERS = [
    "align",
    "altclip",
    "blip",
    "chinese_clip",
    "clip",
    "clip_other_pad",
    "clipseg",
    "metaclip_2",
    "siglip",
]
CROPPED = ["align", "chinese_clip"]  # from a larger resize
CONTEXT = 16
FILES = ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"]


@pytest.fixture(params=DUAL_ENCODERS)
def pair(request, saved):
    """A model of transformers with its tokenizer and processor, and what our loading makes of its folder."""
    original = saved(request.param)
    return original, load_model(f"hf:{original.folder}")


@pytest.fixture
def clip(saved):
    original = saved("clip")
    return original, load_model(f"hf:{original.folder}")


def own_tokens(original, texts):
    """What the model's documentation says to give it: the longest text decides, or all 16 columns for SigLIP."""
    padding = "max_length" if "siglip" in original.model.config.model_type else "longest"
    inputs = original.tokenizer(list(texts), padding=padding, max_length=CONTEXT, return_tensors="pt")
    return {name: inputs[name] for name in ("input_ids", "attention_mask") if name in inputs}


def most_words(original):
    """How many short words fit into the context, beside the special tokens."""
    return CONTEXT - (len(original.tokenizer("cat")["input_ids"]) - 1)


def own_pixels(original, photos):
    return original.processor(images=photos, return_tensors="pt")["pixel_values"]


def test_loaded_ready_to_use(pair):
    _, encoder = pair
    assert not encoder.training
    assert encoder.device.type == "cpu"
    assert encoder.dtype == torch.float32
    assert encoder.context_length == CONTEXT
    assert encoder.image_size == (32, 32)


@torch.no_grad()
def test_images_are_embedded_as_by_the_model(pair, photos, texts):
    original, encoder = pair
    pixels = own_pixels(original, photos)
    expected = original.model(pixel_values=pixels, **own_tokens(original, texts)).image_embeds
    torch.testing.assert_close(F.normalize(encoder.image_tower(pixels), dim=-1), expected)
    for photo, theirs, embedding in zip(photos, pixels, expected, strict=True):
        image = to_tensor(photo)[None]
        if image.shape[-2:] == encoder.image_size:
            continue  # passes untouched, which a processor that resizes before it crops does not do
        levels = ((encoder.preprocess(image)[0] - theirs) * encoder.preprocess.std * 255).abs()
        assert levels.max() < 5, photo.size
        assert levels.mean() < 0.6, photo.size
        assert encoder.encode_image(image)[0] @ embedding > 0.9995, photo.size
    assert len(expected.unique(dim=0)) == len(photos), "the pictures must be told apart"


@torch.no_grad()
@pytest.mark.parametrize("pair", [name for name in DUAL_ENCODERS if name not in CROPPED], indirect=True)
def test_pictures_of_the_models_size_are_embedded_exactly(pair, photos, texts):
    original, encoder = pair
    photo = photos[0].resize((32, 32))
    expected = original.model(pixel_values=own_pixels(original, [photo]), **own_tokens(original, texts)).image_embeds
    torch.testing.assert_close(encoder.encode_image(to_tensor(photo)[None]), expected)


@torch.no_grad()
def test_texts_of_any_length_are_embedded_as_by_the_model(pair, photos, texts):
    original, encoder = pair
    # Ours are padded to the full context, theirs to the longest text: the mask must make this not matter.
    expected = original.model(pixel_values=own_pixels(original, photos), **own_tokens(original, texts)).text_embeds
    torch.testing.assert_close(encoder.encode_text(encoder.tokenize(texts)), expected)
    for text, embedding in zip(texts, expected, strict=True):
        torch.testing.assert_close(encoder.encode_text(encoder.tokenize([text]))[0], embedding)
    assert len(expected.unique(dim=0)) == len(texts), "the texts must be told apart"


@torch.no_grad()
def test_tokens_and_mask_are_the_tokenizers(pair, texts, monkeypatch):
    original, encoder = pair
    texts = [*texts, " ".join(["cat"] * most_words(original))]  # the last one fills every column
    expected = original.tokenizer(texts, padding="max_length", max_length=CONTEXT, return_tensors="pt")
    tokens = encoder.tokenize(texts)
    assert torch.equal(tokens, expected["input_ids"])
    given = {}
    embed = encoder.model.get_text_features
    monkeypatch.setattr(encoder.model, "get_text_features", lambda **inputs: given.update(inputs) or embed(**inputs))
    encoder.encode_text(tokens)
    assert given.keys() == own_tokens(original, texts).keys()
    if "attention_mask" in given:
        assert torch.equal(given["attention_mask"], expected["attention_mask"])


@torch.no_grad()
def test_logits_are_the_models(pair, photos, texts):
    original, encoder = pair
    images = torch.stack([to_tensor(photo.resize((40, 50))) for photo in photos])
    inputs = own_tokens(original, texts)
    expected = original.model(pixel_values=encoder.preprocess(images), **inputs).logits_per_image
    torch.testing.assert_close(encoder(images, encoder.tokenize(texts)), expected)
    assert expected.shape == (len(photos), len(texts))


def test_scale_and_bias_follow_the_weights(saved):
    clip, siglip, align = (load_model(f"hf:{saved(family).folder}") for family in ("clip", "siglip", "align"))
    assert float(clip.logit_scale.detach()) == pytest.approx(1.7)
    assert clip.logit_bias is None
    assert float(siglip.logit_bias.detach()) == pytest.approx(-3)
    # ALIGN divides by a temperature, which is trained like any weight.
    assert float(align.logit_scale.detach().exp()) == pytest.approx(1 / 0.3)
    with torch.no_grad():
        align.model.temperature.fill_(0.5)
    assert float(align.logit_scale.detach().exp()) == pytest.approx(2)
    align.logit_scale.backward()
    assert align.model.temperature.grad is not None


def test_text_parameters_are_all_that_texts_depend_on(pair, texts):
    _, encoder = pair
    encoder.encode_text(encoder.tokenize(texts)).sum().backward()
    used = {name for name, p in encoder.named_parameters() if p.grad is not None}
    listed = {id(p) for p in encoder.text_parameters()}
    assert used
    assert {name for name, p in encoder.named_parameters() if id(p) in listed} >= used
    assert not any(id(p) in listed for p in encoder.model.vision_model.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.no_grad()
def test_half_precision_is_loaded_as_float32(saved, tmp_path, photos, texts, dtype):
    original = saved("clip")
    shutil.copytree(original.folder, tmp_path / "half")
    weights = {name: tensor.to(dtype) for name, tensor in load_file(original.folder / "model.safetensors").items()}
    save_file(weights, tmp_path / "half" / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((tmp_path / "half" / "config.json").read_text())
    config["dtype"] = str(dtype).removeprefix("torch.")
    (tmp_path / "half" / "config.json").write_text(json.dumps(config))
    encoder, full = load_model(f"hf:{tmp_path / 'half'}"), load_model(f"hf:{original.folder}")
    images = torch.stack([to_tensor(photo.resize((40, 50))) for photo in photos])
    tokens = encoder.tokenize(texts)
    for ours, expected in (
        (encoder.encode_image(images.double()), full.encode_image(images)),
        (encoder.encode_text(tokens), full.encode_text(tokens)),
    ):
        # In half precision the gradients of an attack underflow, so it is not attacked there.
        assert ours.dtype == torch.float32
        assert (F.cosine_similarity(ours.float(), expected) > 0.99).all()


# --- texts ------------------------------------------------------------------------------------------------------------


def test_a_text_is_never_cut(pair):
    original, encoder = pair
    longest = most_words(original)
    fitting = " ".join(["cat"] * longest)
    assert encoder.tokenize([fitting]).tolist() == [original.tokenizer(fitting)["input_ids"]]
    for more in range(1, 5):
        text = " ".join(["dog"] * (longest + more))
        with pytest.raises(InputError, match=re.escape(repr(text[:60]))) as caught:
            encoder.tokenize(["a cat", fitting, text, "a dog"])
        assert str(CONTEXT) in str(caught.value)


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_an_empty_text_is_refused(clip, text):
    with pytest.raises(InputError, match="empty"):
        clip[1].tokenize(["a cat", text])


def test_what_is_not_a_text_is_refused(clip):
    with pytest.raises(InputError, match="float"):
        clip[1].tokenize(["a cat", float("nan")])


# --- what cannot be used ----------------------------------------------------------------------------------------------


@pytest.fixture
def copy(saved, tmp_path):
    """``make(family, *without)``: a copy of a saved folder, less some files."""

    def make(family, *without):
        folder = tmp_path / "model"
        shutil.copytree(saved(family).folder, folder)
        assert {path.name for path in folder.iterdir()} >= set(FILES)
        for name in without:
            (folder / name).unlink()
        return folder

    return make


def refusal(name_or_path) -> str:
    """The one-line message with which a model is refused."""
    with pytest.raises(InputError) as caught:
        load_model(f"hf:{name_or_path}")
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("family", ["vit", "x_clip"])
def test_a_model_without_image_and_text_features(saved, family):
    assert "not a dual encoder" in refusal(saved(family).folder)


@pytest.mark.parametrize("family", ["owlv2", "siglip2_any_resolution"])
def test_an_image_processor_that_does_something_else(saved, family):
    """OWLv2 pads to a square, SigLIP 2 cuts pictures of any shape into patches: neither may be measured as a resize."""
    original = saved(family)
    assert type(original.processor).__name__ in refusal(original.folder)


@pytest.mark.parametrize(
    "settings",
    [
        {"do_resize": False},
        {"size": {"longest_edge": 32}},
        {"size": {"shortest_edge": 20}},  # smaller than the crop: padded with black
    ],
)
def test_settings_of_an_image_processor_that_mean_something_else(copy, settings):
    folder = copy("clip")
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    assert "CLIPImageProcessor" in refusal(folder)


def test_features_that_are_not_one_vector_per_sample(clip, photos, monkeypatch):
    _, encoder = clip
    monkeypatch.setattr(encoder.model, "get_image_features", lambda **inputs: torch.zeros(1, 17, 12))
    with pytest.raises(InputError, match=re.escape("(1, 17, 12)")):
        encoder.encode_image(to_tensor(photos[0])[None])


def test_missing_weights_are_named(copy):
    folder = copy("clip")
    weights = load_file(folder / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "text_projection.weight" in refusal(folder)


def test_weights_of_another_shape_are_named(copy):
    folder = copy("clip")
    config = json.loads((folder / "config.json").read_text())
    config["projection_dim"] = 24
    (folder / "config.json").write_text(json.dumps(config))
    message = refusal(folder)
    assert "text_projection.weight" in message
    assert "visual_projection.weight" in message


@pytest.mark.parametrize(
    ("family", "without"),
    [
        ("clip", ["model.safetensors"]),
        ("clip", ["config.json"]),
        ("clip", ["preprocessor_config.json"]),
        ("clip", ["tokenizer.json"]),
        ("clip", ["tokenizer.json", "tokenizer_config.json"]),
        ("chinese_clip", ["tokenizer.json", "tokenizer_config.json"]),
        ("siglip", ["tokenizer.json", "tokenizer_config.json"]),
    ],
)
def test_a_folder_with_a_part_missing(copy, family, without):
    folder = copy(family, *without)
    message = refusal(folder)
    assert str(folder) in message
    if without[0].startswith("tokenizer"):
        assert "tokenizer" in message.removeprefix(str(folder))
    if without[0].startswith("preprocessor"):
        assert "image processor" in message


@pytest.mark.parametrize("damage", ["truncated", "zero bytes", "flipped header"])
def test_a_damaged_file(copy, damage):
    folder = copy("clip")
    path = folder / "model.safetensors"
    content = path.read_bytes()
    changed = {
        "truncated": content[: len(content) // 2],
        "zero bytes": b"",
        "flipped header": bytes(255 - byte for byte in content[:64]) + content[64:],
    }
    path.write_bytes(changed[damage])
    assert str(folder) in refusal(folder)


@torch.no_grad()
def test_a_pickle_of_plain_tensors_is_read(clip, copy, texts):
    original, encoder = clip
    folder = copy("clip", "model.safetensors")
    torch.save(original.model.state_dict(), folder / "pytorch_model.bin")
    tokens = encoder.tokenize(texts)
    assert torch.equal(load_model(f"hf:{folder}").encode_text(tokens), encoder.encode_text(tokens))


def test_a_pickle_that_wants_to_run_code_does_not(copy, saved, hostile_pickle):
    folder = copy("clip", "model.safetensors")
    hostile_pickle.save(folder / "pytorch_model.bin", saved("clip").model.state_dict())
    message = refusal(folder)
    assert not hostile_pickle.witness.exists()
    assert "refused" in message
    assert "save_pretrained" in message


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("config.json", {"model_type": "theirs", "auto_map": {"AutoConfig": "code.Own", "AutoModel": "code.Own"}}),
        ("preprocessor_config.json", {"image_processor_type": "Own", "auto_map": {"AutoImageProcessor": "code.Own"}}),
    ],
)
def test_code_in_the_folder_is_not_run(copy, tmp_path, name, settings):
    folder = copy("clip")
    witness = tmp_path / "the-code-ran"
    (folder / "code.py").write_text(f"import os\nos.mkdir({str(witness)!r})\nclass Own: pass\n")
    (folder / name).write_text(json.dumps({**json.loads((folder / name).read_text()), **settings}))
    assert str(folder) in refusal(folder)
    assert not witness.exists()


def test_names_that_lead_nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "nowhere", "./nowhere", "~/nowhere/at/all", "some/folder/nowhere"):
        assert "no folder" in refusal(path)
    for name in ("nobody/nothing", "nothing"):
        assert repr(name) in refusal(name)
    assert "ID_OR_PATH" in refusal("")
    assert str(tmp_path) in refusal(tmp_path)


@torch.no_grad()
def test_a_relative_folder(clip, copy, texts, monkeypatch):
    _, encoder = clip
    monkeypatch.chdir(copy("clip").parent)
    tokens = encoder.tokenize(texts)
    for path in ("model", "./model"):
        assert torch.equal(load_model(f"hf:{path}").encode_text(tokens), encoder.encode_text(tokens))
