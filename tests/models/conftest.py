"""Small randomly initialised models, saved in their libraries' own formats. Nothing is downloaded."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fuzz.checkpoints import make_checkpoints
from models.families import CONTEXT, FAMILIES, SIDE, bert_tokenizer, sentence_tokenizer
from models.fusion_families import FUSION_FAMILIES, REFUSED_FAMILIES
from PIL import Image
from torch import nn


def smooth_photo(width: int, height: int, seed: int) -> Image.Image:
    """A picture with soft gradients, texture and saturated spots, as photos have."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (5, 6, 3), dtype=np.uint8)).resize(
        (width, height), Image.BICUBIC
    )
    pixels = np.asarray(coarse, dtype=np.float64) * 1.3 - 30 + generator.normal(0, 4, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8))


@pytest.fixture(scope="session")
def photos() -> list[Image.Image]:
    """Wide, high, square, of the model's own size, smaller than it on one side and on both, and with odd margins."""
    sizes = [(48, 64), (97, 41), (64, 64), (SIDE, SIDE), (150, 20), (21, 17), (39, 32), (35, 70)]
    return [smooth_photo(*size, seed) for seed, size in enumerate(sizes)]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Texts of different lengths."""
    return ["a cat", "a photo of the very small red boat on the hill", "dog!", "the car on a hill.", "red"]


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Draw weights large enough that every token and patch matters, and set the logits' scale and bias apart."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name == "logit_scale":
                parameter.fill_(1.7)
            elif name == "logit_bias":
                parameter.fill_(-3.0)
            elif name == "temperature":
                parameter.fill_(0.3)
            elif parameter.ndim > 1:
                spread = 1.0 if "embed" in name else parameter[0].numel() ** -0.5
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
            else:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval()


class RunsCode:
    """Unpickling this creates a folder."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self):
        return os.mkdir, (str(self.witness),)


@dataclass
class HostilePickle:
    """Writes checkpoints whose unpickling would leave ``witness`` behind."""

    witness: Path

    def save(self, path: Path, tensors: dict[str, torch.Tensor]) -> None:
        torch.save({**tensors, "surprise": RunsCode(self.witness)}, path)


@pytest.fixture
def hostile_pickle(tmp_path) -> HostilePickle:
    hostile = HostilePickle(tmp_path / "the-code-ran")
    hostile.save(tmp_path / "probe.pt", {})
    torch.load(tmp_path / "probe.pt", weights_only=False)
    assert hostile.witness.exists(), "the pickle must be able to run code, or refusing it shows nothing"
    hostile.witness.rmdir()
    return hostile


#: What CLIP's tokenizer makes of "hill": stands for an end token that is not the largest one.
HILL = 2682

# --- open_clip --------------------------------------------------------------------------------------------------------


def _open_clip_config(**text: Any) -> dict[str, Any]:
    return {
        "embed_dim": 12,
        "vision_cfg": {"image_size": SIDE, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": CONTEXT, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1, **text},
    }


#: Tiny architectures. Of those that end a text at a word few texts have one.
OPEN_CLIP = (
    *("tiny-test", "tiny-test-wider", "tiny-test-coca", "tiny-test-sigmoid", "tiny-test-rectangle"),
    *("tiny-test-stripped", "tiny-test-end-is-pad", "tiny-test-eos", "tiny-test-eos-custom"),
)


@pytest.fixture(scope="module")
def open_clip_architectures(tmp_path_factory):
    """Registers tiny architectures with open_clip, and forgets them afterwards."""
    import open_clip

    folder = tmp_path_factory.mktemp("open_clip_architectures")
    wider = _open_clip_config()
    wider["vision_cfg"]["width"] = 48
    coca = _open_clip_config(embed_cls=True, output_tokens=True)
    coca["vision_cfg"].update(attentional_pool=True, attn_pooler_heads=2, output_tokens=True)
    coca["multimodal_cfg"] = {**coca["text_cfg"], "attn_pooler_heads": 2}
    coca["custom_text"] = True
    for key in ("embed_cls", "output_tokens"):
        del coca["multimodal_cfg"][key]
    sigmoid = _open_clip_config()
    sigmoid.update(init_logit_bias=-10, custom_text=True)
    wide_picture = _open_clip_config()
    wide_picture["vision_cfg"]["image_size"] = [SIDE, 48]
    tokenizer = folder / "tokenizer"
    bert_tokenizer().save_pretrained(tokenizer)
    stripped = _open_clip_config(
        hf_tokenizer_name=str(tokenizer), tokenizer_kwargs={"strip_sep_token": True}, pool_type="last"
    )
    end_is_pad = folder / "end-is-pad"
    sentence_tokenizer().save_pretrained(end_is_pad)
    padded = _open_clip_config(hf_tokenizer_name=str(end_is_pad), pool_type="last", no_causal_mask=True)
    padded["custom_text"] = True
    at_a_word = {"pool_type": "eos", "eos_id": HILL}
    at_a_word_custom = {**_open_clip_config(**at_a_word, proj_bias=True), "custom_text": True}
    architectures = {
        "tiny-test": _open_clip_config(),
        "tiny-test-eos": _open_clip_config(**at_a_word),
        "tiny-test-eos-custom": at_a_word_custom,
        "tiny-test-wider": wider,
        "tiny-test-coca": coca,
        "tiny-test-sigmoid": sigmoid,
        "tiny-test-rectangle": wide_picture,
        "tiny-test-stripped": stripped,
        "tiny-test-end-is-pad": padded,
    }
    assert set(architectures) == set(OPEN_CLIP)
    for name, config in architectures.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    yield
    open_clip.factory._MODEL_CONFIG_PATHS.remove(folder)
    for name in architectures:
        del open_clip.factory._MODEL_CONFIGS[name]


@pytest.fixture(scope="module")
def open_clip_checkpoint(open_clip_architectures, tmp_path_factory):
    """``make(architecture)``: the model and the path of its weights as safetensors."""
    import open_clip
    from safetensors.torch import save_file

    made = {}

    def make(architecture: str):
        if architecture not in made:
            model = randomise(open_clip.create_model(architecture))
            path = tmp_path_factory.mktemp(architecture) / "weights.safetensors"
            save_file(model.state_dict(), path)
            made[architecture] = model, path
        return made[architecture]

    return make


# --- transformers -----------------------------------------------------------------------------------------------------


@dataclass
class Saved:
    """A model in memory and the folder that holds it."""

    model: nn.Module
    tokenizer: Any
    processor: Any
    folder: Path


def _saved_by(families: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Saved]:
    made: dict[str, Saved] = {}

    def make(family: str) -> Saved:
        if family not in made:
            model, tokenizer, processor = families[family]()
            randomise(model)
            folder = tmp_path_factory.mktemp(family)
            for part in (model, tokenizer, processor):
                part.save_pretrained(folder)
            made[family] = Saved(model, tokenizer, processor, folder)
        return made[family]

    return make


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """``make(family)``: a tiny model of a family of transformers, saved with tokenizer and image processor."""
    return _saved_by(FAMILIES, tmp_path_factory)


@pytest.fixture(scope="session")
def saved_fusion(tmp_path_factory):
    """``make(family)``: a tiny fusion model, saved with tokenizer and image processor."""
    return _saved_by({**FUSION_FAMILIES, **REFUSED_FAMILIES}, tmp_path_factory)


# --- checkpoints of all kinds -----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny checkpoint of each kind, by its kind and a number; nobody may write to it."""
    return make_checkpoints(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture
def copied(checkpoints: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """``copied(name)``: a checkpoint of one's own, to change."""

    def make(name: str) -> Path:
        return Path(shutil.copytree(checkpoints[name], tmp_path / "model"))

    return make
