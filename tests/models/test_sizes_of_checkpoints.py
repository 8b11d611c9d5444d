"""What a checkpoint says of its sizes and settings is compared with its weights before anything is built."""

from __future__ import annotations

import json

import open_clip
import pytest
import torch
from models.refused import edit, refusal

from art_multimodal.errors import InputError
from art_multimodal.models.loading import load_model

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
def test_what_the_weights_cannot_be_is_refused_before_it_is_built(copied, monkeypatch, name, file, keys, value, named):
    folder = copied(name)
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
def test_files_that_are_no_settings(copied, name, file, content):
    folder = copied(name)
    (folder / file).write_bytes(content)
    assert file in refusal(f"{name.rpartition(':')[0]}:{folder}")


def test_a_tokenizer_of_another_model(copied):
    """Its ids reach beyond the embeddings: an error of one line, not one from inside torch."""
    folder = copied("hf:2")
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


def test_what_no_library_reads_is_not_looked_at(copied):
    folder = copied("hf:0")
    (folder / "trainer_state.json").write_text('{"loss": NaN, "quantization_config": {}}')
    assert load_model(f"hf:{folder}").notes == ()
