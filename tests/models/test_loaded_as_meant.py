"""What a checkpoint says about itself is what is measured: taken as it is, or said in a note, or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from fuzz.checkpoints import make_checkpoints
from models.families import FAMILIES, SIDE, roberta_tokenizer, sentence_tokenizer
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision.transforms.functional import to_tensor

from art_multimodal.errors import InputError
from art_multimodal.language.masked_language_model import load_masked_language_model
from art_multimodal.models.families.hugging_face.encoder import preprocessing_of
from art_multimodal.models.loading import load_model


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Path]:
    return make_checkpoints(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture
def copy(made, tmp_path):
    def make(name: str) -> Path:
        return Path(shutil.copytree(made[name], tmp_path / "model"))

    return make


def refusal(spec: str) -> str:
    with pytest.raises(InputError) as caught:
        load_masked_language_model(spec[4:]) if spec.startswith("mlm:") else load_model(spec)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit(path: Path, keys: str, value) -> None:
    settings = json.loads(path.read_text())
    inner = settings
    *outer, last = keys.split(".")
    for key in outer:
        inner = inner[key]
    inner[last] = value
    path.write_text(json.dumps(settings))


# --- sizes that the weights do not have -------------------------------------------------------------------------------

OPEN_CLIP = ("open_clip:local-dir:0", "open_clip_config.json")


@pytest.mark.parametrize(
    ("name", "file", "keys", "value", "named"),
    [
        ("hf:0", "config.json", "text_config.vocab_size", 10**8, "vocab_size"),
        ("hf:0", "config.json", "text_config.num_hidden_layers", 10**6, "num_hidden_layers"),
        ("hf:0", "config.json", "num_labels", 10**9, "num_labels"),
        ("hf:0", "config.json", "vision_config.hidden_size", 2**14, "larger model"),
        ("hf:0", "config.json", "vision_config.intermediate_size", 10**6, "larger model"),
        ("mlm:0", "config.json", "vocab_size", 10**8, "vocab_size"),
        ("mlm:1", "config.json", "num_hidden_layers", 10**6, "num_hidden_layers"),
        ("mmbt:0", "bert/config.json", "vocab_size", 10**8, "vocab_size"),
        ("mmbt:0", "mmbt.json", "backbone", "vgg19", "larger model"),
        ("mmbt:0", "mmbt.json", "preprocess.size", [10**9, 10**9], "2048"),
        (*OPEN_CLIP, "model_cfg.text_cfg.vocab_size", 10**8, "vocab_size"),
        (*OPEN_CLIP, "model_cfg.text_cfg.layers", 10**6, "layers"),
        (*OPEN_CLIP, "model_cfg.vision_cfg.width", 2**15, "larger model"),
        (*OPEN_CLIP, "model_cfg.vision_cfg.mlp_ratio", 1e9, "larger model"),
        (*OPEN_CLIP, "model_cfg.vision_cfg.image_size", 10**9, "image_size"),
        (*OPEN_CLIP, "model_cfg.text_cfg.context_length", 10**9, "32768"),
        (*OPEN_CLIP, "preprocess_cfg.std", [0.5, 0.5, 0], "std"),
        (*OPEN_CLIP, "preprocess_cfg.interpolation", "lanczos", "interpolation"),
        ("hf:0", "preprocessor_config.json", "size", {"shortest_edge": 10**9}, "2048"),
        ("hf:0", "preprocessor_config.json", "image_std", [-1, 1, 1], "image_std"),
        ("hf:0", "preprocessor_config.json", "image_mean", [1e308] * 3, "image_mean"),
        ("hf:0", "preprocessor_config.json", "do_normalize", "x", "do_normalize"),
        ("hf:0", "tokenizer_config.json", "model_max_length", -5, "model_max_length"),
        ("hf:0", "tokenizer_config.json", "model_max_length", "x", "whole number"),
    ],
)
def test_what_the_weights_cannot_be_is_refused_before_it_is_built(copy, monkeypatch, name, file, keys, value, named):
    folder = copy(name)
    edit(folder / file, keys, value)
    linear = torch.nn.Linear.__init__

    def small(self, *arguments, **others):
        linear(self, *arguments, **others)
        assert self.weight.is_meta or self.weight.numel() < 10**7, "a large layer was built"

    monkeypatch.setattr(torch.nn.Linear, "__init__", small)
    assert named in refusal(f"{name.rpartition(':')[0]}:{folder}")


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b'{"a": NaN}', b'{"a": "\xff"}', b"[" * 10**5, b'{"a":' * 200 + b"1" + b"}" * 200],
    ids=["empty", "list", "cut", "NaN", "UTF-8", "endless", "deep"],
)
@pytest.mark.parametrize(
    ("name", "file"), [("hf:0", "config.json"), ("mmbt:0", "mmbt.json"), OPEN_CLIP, ("mlm:0", "tokenizer_config.json")]
)
def test_files_that_are_no_settings(copy, name, file, content):
    folder = copy(name)
    (folder / file).write_bytes(content)
    assert file in refusal(f"{name.rpartition(':')[0]}:{folder}")


def test_a_tokenizer_of_another_model(copy):
    """Its ids reach beyond the embeddings: an error of one line, not one from inside torch."""
    folder = copy("hf:2")
    path = folder / "tokenizer.json"
    tokens = json.loads(path.read_text())
    tokens["model"]["vocab"] = {word: (n + 500 if n > 3 else n) for word, n in tokens["model"]["vocab"].items()}
    path.write_text(json.dumps(tokens))
    assert "do not belong together" in refusal(f"hf:{folder}")


def test_all_published_configurations_of_open_clip_are_known():
    from art_multimodal.models.families.open_clip.config import check_model_config, check_preprocessing

    for name in open_clip.list_models():
        check_model_config(open_clip.get_model_config(name), name)
    for name, tag in open_clip.list_pretrained():
        settings = open_clip.get_pretrained_cfg(name, tag)
        check_preprocessing({k: settings[k] for k in ("mean", "std", "interpolation", "resize_mode")}, name)


@pytest.mark.parametrize("name", ["RN50", "ViT-B-32", "ViT-B-16-SigLIP2", "MobileCLIP-S1", "coca_ViT-B-32"])
def test_a_published_architecture_is_no_larger_than_its_own_weights(name):
    """What compares a configuration with its weights takes both of one model: no memory is needed for it."""
    from art_multimodal.models.weight_files import WeightSizes, check_build, check_numbers

    with torch.device("meta"):
        model = open_clip.create_model(name, load_weights=False, device="meta")
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    sizes = WeightSizes("weights", shapes)
    check_numbers(open_clip.get_model_config(name), name, sizes)
    check_build(lambda: open_clip.create_model(name, load_weights=False), name, sizes)
    with pytest.raises(InputError, match="larger model"):
        small = WeightSizes("weights", dict(list(shapes.items())[:3]))
        check_build(lambda: open_clip.create_model(name, load_weights=False), name, small)


def test_nothing_is_drawn_into_weights_that_a_file_fills():
    from art_multimodal.models.weight_files import WithoutDraws

    before = torch.get_rng_state()
    with WithoutDraws():
        parts = (torch.nn.Linear(4, 4), torch.nn.Embedding(4, 4), torch.nn.Conv2d(4, 4, 3))
        torch.nn.MultiheadAttention(4, 2)
        torch.nn.init.trunc_normal_(parts[0].weight, std=0.02)
        torch.nn.init.xavier_normal_(parts[1].weight)
        scales = torch.nn.LayerNorm(4).weight
    assert torch.equal(torch.get_rng_state(), before)
    # What is no draw is as ever.
    assert torch.equal(scales, torch.ones(4))
    parts[0].weight.data.normal_()
    assert not torch.equal(torch.get_rng_state(), before)


def test_a_link_to_weights_that_somebody_names_is_theirs(open_clip_checkpoint, tmp_path):
    _, path = open_clip_checkpoint("tiny-test")
    (tmp_path / "mine.safetensors").symlink_to(path)
    assert load_model(f"open_clip:tiny-test/{tmp_path}/mine.safetensors").notes == ()


def test_what_no_library_reads_is_not_looked_at(copy):
    folder = copy("hf:0")
    (folder / "trainer_state.json").write_text('{"loss": NaN, "quantization_config": {}}')
    assert load_model(f"hf:{folder}").notes == ()


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


def test_a_tokenizer_of_open_clip_that_pads_on_the_left(copy, texts):
    folder = copy("open_clip:local-dir:0")
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


def test_positions_that_no_token_can_take_do_not_count(tmp_path, made):
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
def test_an_adapter_beside_the_base_is_not_left_out_without_a_word(copy, name, file):
    folder = copy(name)
    (folder / file).write_text("{}")
    assert file in refusal(f"{name.rpartition(':')[0]}:{folder}")


def test_weights_without_a_place_are_named(copy):
    folder = copy("hf:0")
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
def test_the_hub_of_open_clip(made, tmp_path, monkeypatch, texts):
    """From a cache as the hub's library fills it, without a network."""
    snapshot = tmp_path / "models--nobody--tiny" / "snapshots" / "0123"
    shutil.copytree(made["open_clip:local-dir:0"], snapshot)
    (tmp_path / "models--nobody--tiny" / "refs").mkdir()
    (tmp_path / "models--nobody--tiny" / "refs" / "main").write_text("0123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    encoder = load_model("open_clip:hf-hub:nobody/tiny")
    local = load_model(f"open_clip:local-dir:{made['open_clip:local-dir:0']}")
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
