"""What a checkpoint says about itself is what is measured: taken as it is, or said in a note, or refused."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from models.families import FAMILIES, SIDE, roberta_tokenizer, sentence_tokenizer
from models.refused import edit, refusal
from packaging.version import Version
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision.transforms.functional import to_tensor

from art_multimodal.errors import InputError
from art_multimodal.models.families.hugging_face.encoder import preprocessing_of
from art_multimodal.models.loading import load_model

# --- padding and positions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["clip", "chinese_clip", "siglip"])
def test_a_tokenizer_that_pads_on_the_left(tmp_path, texts, family):
    for part in FAMILIES[family]():
        part.save_pretrained(tmp_path)
    right = load_model(f"hf:{tmp_path}")
    edit(tmp_path / "tokenizer_config.json", "padding_side", "left")
    left = load_model(f"hf:{tmp_path}")
    assert left.tokenizer.padding_side == "left"
    assert torch.equal(left.tokenize(texts), right.tokenize(texts))


def test_a_tokenizer_of_open_clip_that_pads_on_the_left(copied, texts):
    folder = copied("open_clip:local-dir:0")
    expected = load_model(f"open_clip:local-dir:{folder}").tokenize(texts)
    edit(folder / "tokenizer_config.json", "padding_side", "left")
    assert torch.equal(load_model(f"open_clip:local-dir:{folder}").tokenize(texts), expected)


def _tower(folder: Path, padding: int, positions: int) -> None:
    from transformers import XLMRobertaConfig, XLMRobertaModel

    tokenizer = roberta_tokenizer(None)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=positions, pad_token_id=padding, **sizes
    )
    XLMRobertaModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def test_positions_that_no_token_can_take_do_not_count(tmp_path):
    """XLM-R counts from behind its padding id; every text is embedded, or refused as too long."""
    tower, folder = tmp_path / "tower", tmp_path / "model"
    _tower(tower, padding=1, positions=20)
    shutil.copytree(tower, folder)
    vision = {"image_size": SIDE, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8}
    text = {"hf_model_name": str(tower), "hf_tokenizer_name": str(tower), "hf_pooler_type": "mean_pooler"}
    config = {"embed_dim": 12, "vision_cfg": vision, "text_cfg": {**text, "context_length": 20}, "custom_text": True}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    state = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False).state_dict()
    (folder / "model.safetensors").unlink()
    save_file(state, folder / "open_clip_model.safetensors")
    encoder = load_model(f"open_clip:local-dir:{folder}")
    assert encoder.context_length == 18
    for count in range(14, 20):
        words = " ".join(["cat"] * count)
        if count + 2 <= 18:
            assert encoder.encode_text(encoder.tokenize([words])).isfinite().all()
        else:
            with pytest.raises(InputError, match="more than the 18"):
                encoder.tokenize([words])


def test_texts_for_siglip_2_are_those_of_open_clip(tmp_path):
    """Its tokenizer does not bring texts to lower case in transformers where it has Gemma's class."""
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    from art_multimodal.models.families.hugging_face.encoder import HuggingFaceEncoder

    kind = type("GemmaTokenizerFast", (type(sentence_tokenizer()),), {})
    tokenizer = sentence_tokenizer()
    tokenizer.__class__ = kind
    tokenizer.backend_tokenizer.normalizer = None
    tower = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = SiglipConfig(
        text_config={**tower, "vocab_size": len(tokenizer), "max_position_embeddings": 16, "projection_size": 16},
        vision_config={**tower, "image_size": SIDE, "patch_size": 8},
    )
    processor = SiglipImageProcessor(size={"height": SIDE, "width": SIDE})
    encoder = HuggingFaceEncoder(SiglipModel(config), tokenizer, processor).eval()
    assert torch.equal(encoder.tokenize(["A Red_Cat!"]), encoder.tokenize(["a red cat"]))
    assert any("lower case" in note for note in encoder.notes)
    plain = HuggingFaceEncoder(SiglipModel(config), sentence_tokenizer(), processor)
    assert plain.notes == ()


# --- what stands beside weights ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", "open_clip_model.safetensors", "epoch_3.pt"])
@torch.no_grad()
def test_the_configuration_beside_weights_of_any_name(open_clip_checkpoint, tmp_path, photos, name):
    model, _ = open_clip_checkpoint("tiny-test")
    save = save_file if name.endswith(".safetensors") else torch.save
    save(model.state_dict(), tmp_path / name)
    config = {**open_clip.get_model_config("tiny-test"), "quick_gelu": True}
    preprocessing = {"mean": [0.1, 0.2, 0.3], "std": [0.5] * 3, "interpolation": "bilinear", "resize_mode": "squash"}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocessing}))
    expected, transform = (
        open_clip.create_model_from_pretrained(f"local-dir:{tmp_path}")
        if name != "epoch_3.pt"
        else (
            None,
            None,
        )
    )
    for spec in (f"open_clip:tiny-test/{tmp_path / name}", f"open_clip:local-dir:{tmp_path}"):
        if expected is None and "local-dir" in spec:
            assert "one file of weights" in refusal(spec)
            continue
        encoder = load_model(spec)
        np.testing.assert_allclose(encoder.preprocess.mean.flatten(), [0.1, 0.2, 0.3], rtol=1e-6)
        assert encoder.preprocess.resize_mode == "squash" and encoder.preprocess.interpolation == "bilinear"
        photo = photos[0].resize((SIDE, SIDE))
        if expected is not None:
            found = encoder.encode_image(to_tensor(photo)[None])
            torch.testing.assert_close(found, expected.eval().encode_image(transform(photo)[None], normalize=True))
        assert encoder.notes == ()


def test_settings_beside_weights_that_differ_from_the_architecture_are_used_and_said(open_clip_checkpoint, tmp_path):
    model, _ = open_clip_checkpoint("tiny-test")
    save_file(model.state_dict(), tmp_path / "open_clip_model.safetensors")
    config = open_clip.get_model_config("tiny-test")
    config["text_cfg"]["no_causal_mask"] = True
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    encoder = load_model(f"open_clip:tiny-test/{tmp_path}/open_clip_model.safetensors")
    assert encoder.model.attn_mask is None
    assert "no_causal_mask" in encoder.notes[0]


@pytest.mark.parametrize("name", ["hf:0", "mlm:0", "open_clip:local-dir:0"])
@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"])
def test_an_adapter_beside_the_base_is_not_left_out_without_a_word(copied, name, file):
    folder = copied(name)
    (folder / file).write_text("{}")
    assert file in refusal(f"{name.rpartition(':')[0]}:{folder}")


def test_weights_without_a_place_are_named(copied):
    folder = copied("hf:0")
    path = folder / "model.safetensors"
    save_file({**load_file(path), "classifier.weight": torch.ones(2, 2)}, path, metadata={"format": "pt"})
    assert "classifier.weight" in load_model(f"hf:{folder}").notes[0]


# --- resolution, context, towers --------------------------------------------------------------------------------------


def test_weights_of_another_resolution_are_resized_with_a_word(open_clip_checkpoint, tmp_path):
    model, _ = open_clip_checkpoint("tiny-test")
    state = model.state_dict()
    state["visual.positional_embedding"] = torch.randn(1 + 6 * 6, state["visual.positional_embedding"].shape[1])
    save_file(state, tmp_path / "larger.safetensors")
    assert "another resolution" in load_model(f"open_clip:tiny-test/{tmp_path}/larger.safetensors").notes[0]
    state = model.state_dict()
    state["positional_embedding"] = torch.randn(24, state["positional_embedding"].shape[1])
    save_file(state, tmp_path / "longer.safetensors")
    assert "another context length" in load_model(f"open_clip:tiny-test/{tmp_path}/longer.safetensors").notes[0]


@pytest.mark.parametrize("prefix", ["", "visual.", "module.model.", "model.visual."])
@torch.no_grad()
def test_an_image_tower_over_a_base(open_clip_checkpoint, tmp_path, photos, texts, prefix):
    model, base = open_clip_checkpoint("tiny-test")
    tower = {name: tensor * 1.1 for name, tensor in model.visual.state_dict().items()}
    path = tmp_path / "robust+eps4.pt"
    torch.save({prefix + name: tensor for name, tensor in tower.items()}, path)
    encoder, plain = load_model(f"open_clip:tiny-test/{base}+{path}"), load_model(f"open_clip:tiny-test/{base}")
    for name, tensor in encoder.model.visual.state_dict().items():
        assert torch.equal(tensor, tower[name]), name
    tokens = plain.tokenize(texts)
    assert torch.equal(encoder.encode_text(tokens), plain.encode_text(tokens))
    assert str(path) in encoder.notes[0]
    assert "TAG+" in refusal(f"open_clip:tiny-test/{path}")


def test_an_image_tower_that_does_not_fit(open_clip_checkpoint, tmp_path):
    model, base = open_clip_checkpoint("tiny-test")
    tower = model.visual.state_dict()
    missing = dict(list(tower.items())[1:])
    for name, state in {"missing": missing, "more": {**tower, "head.weight": torch.ones(2)}}.items():
        torch.save(state, tmp_path / f"{name}.pt")
        assert "image tower alone" in refusal(f"open_clip:tiny-test/{base}+{tmp_path / name}.pt")
    assert "no file" in refusal(f"open_clip:tiny-test/{base}+{tmp_path}/nowhere.pt")


# --- where open_clip's models come from -------------------------------------------------------------------------------


@torch.no_grad()
def test_the_hub_of_open_clip(checkpoints, tmp_path, monkeypatch, texts):
    """From a cache as the hub's library fills it, without a network."""
    snapshot = tmp_path / "models--nobody--tiny" / "snapshots" / "0123"
    shutil.copytree(checkpoints["open_clip:local-dir:0"], snapshot)
    (tmp_path / "models--nobody--tiny" / "refs").mkdir()
    (tmp_path / "models--nobody--tiny" / "refs" / "main").write_text("0123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    encoder = load_model("open_clip:hf-hub:nobody/tiny")
    local = load_model(f"open_clip:local-dir:{checkpoints['open_clip:local-dir:0']}")
    tokens = local.tokenize(texts)
    assert torch.equal(encoder.encode_text(encoder.tokenize(texts)), local.encode_text(tokens))
    assert "nobody/other" in refusal("open_clip:hf-hub:nobody/other")
    assert "ORG/NAME" in refusal("open_clip:hf-hub:../nobody")
    assert "no folder" in refusal("open_clip:local-dir:nowhere")


# --- resampling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resample", [1, 2, 3])
@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_filters_of_image_processors(family, resample):
    """Known filters give the processor's pixels; those that the processor itself does not keep are refused."""
    if resample == 1 and Version(version("torchvision")) < Version("0.27"):
        pytest.skip("transformers puts bicubic in the place of Lanczos before torchvision 0.27")
    _, _, processor = FAMILIES[family]()
    processor.resample = resample
    draw = np.random.default_rng(0)
    photo = Image.fromarray(draw.integers(0, 256, (60, 90, 3), dtype=np.uint8))
    expected = processor(images=photo, return_tensors="pt")["pixel_values"]
    preprocess = preprocessing_of(processor)
    off = ((preprocess(to_tensor(photo)[None]) - expected) * preprocess.std).abs().mean() * 255
    assert off < 0.6


def test_filters_that_are_not_known():
    _, _, processor = FAMILIES["clip"]()
    processor.resample = 9
    with pytest.raises(InputError):
        preprocessing_of(processor)
