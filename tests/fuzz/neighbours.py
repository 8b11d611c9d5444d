"""Checkpoints that somebody may well have: saved models with a setting or weights that are a little different.

They are read, most of them, so that what stands behind the reader meets something that it was not made with.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

_ACTIVATIONS = ["gelu", "relu", "quick_gelu", "gelu_new", "silu", "tanh", "mish", "gelu_pytorch_tanh", "linear"]
_BOOLEANS = [True, False]
_COLOURS = [[0.5] * 3, [0.1, 0.2, 0.3], [1.0] * 3, [0.25, 0.5, 1e-3], [2.0, 1.0, 0.5]]
#: Other values of a setting that leave the shapes of weights as they are.
_VALUES: dict[str, list[Any]] = {
    "hidden_act": _ACTIVATIONS,
    "layer_norm_eps": [1e-12, 1e-6, 1e-3, 0.1, 1.0, 0],
    "attention_dropout": [0.0, 0.1, 0.5, 1.0],
    "attention_probs_dropout_prob": [0.0, 0.1, 0.9],
    "hidden_dropout_prob": [0.0, 0.1, 0.9],
    "initializer_range": [0.0, 0.02, 5.0],
    "initializer_factor": [0.0, 1.0, 100.0],
    "logit_scale_init_value": [0.0, 2.6592, 4.6052, 10],
    "num_attention_heads": [1, 2, 4, 8],
    "dtype": ["float16", "bfloat16", "float64", "float32", "torch.float32"],
    "torch_dtype": ["float16", "bfloat16", "float32"],
    "transformers_version": ["4.30.0", "99.0", None],
    "architectures": [["CLIPModel"], ["Other"], [], None],
    "use_cache": _BOOLEANS,
    "tie_word_embeddings": _BOOLEANS,
    "vision_use_head": _BOOLEANS,
    "is_decoder": _BOOLEANS,
    "pad_token_id": [0, 1, 2, None],
    "eos_token_id": [0, 1, 2, 216, None],
    "bos_token_id": [0, 1, 2, None],
    "image_mean": _COLOURS,
    "image_std": _COLOURS,
    "mean": _COLOURS,
    "std": _COLOURS,
    "rescale_factor": [1 / 255, 1 / 256, 1.0, 1 / 127.5],
    "resample": [0, 1, 2, 3, 4, 5],
    "do_center_crop": _BOOLEANS,
    "do_convert_rgb": _BOOLEANS,
    "do_normalize": _BOOLEANS,
    "do_rescale": _BOOLEANS,
    "do_resize": _BOOLEANS,
    "size": [{"height": 32, "width": 32}, {"shortest_edge": 32}, {"shortest_edge": 40}, 32],
    "crop_size": [{"height": 32, "width": 32}, 32],
    "interpolation": ["bicubic", "bilinear", "nearest", "random"],
    "resize_mode": ["squash", "shortest", "longest"],
    "fill_color": [0, 127, 255],
    "clean": ["canonicalize", "lower", "whitespace"],
    "model_max_length": [16, 20, 77, 1000, 10**6, int(1e30)],
    "padding_side": ["left", "right"],
    "truncation_side": ["left", "right"],
    "do_lower_case": _BOOLEANS,
    "strip_accents": [True, False, None],
    "tokenize_chinese_chars": _BOOLEANS,
    "clean_up_tokenization_spaces": _BOOLEANS,
    "class_names": [["yes", "no"], ["\x1b[31m", "b"], ["a" * 70, "b"], ["<b>", "|"]],
    "trained_from": [None, "ViT-B-32", "\x1b[2J", "a\nb", "<script>"],
    "normalization": [None, {"type": "NFC"}, {"type": "Lowercase"}],
}
_HARMLESS: list[tuple[str, Any]] = [
    *(("_name_or_path", "some/where"), ("_name_or_path", "\x1b[31m"), ("_commit_hash", None), ("do_pad", True)),
    *(("note", "a\u202eb"), ("padding_side", "left"), ("truncation_side", "left"), ("return_dict", True)),
    *(("_attn_implementation_autoset", True), ("attn_implementation", "eager"), ("x", {"y": [1]})),
    *(("output_hidden_states", True), ("output_attentions", True), ("problem_type", None), ("pruned_heads", {})),
    *(("clean_up_tokenization_spaces", True), ("torchscript", False), ("id2label", {"0": "\x07", "1": "b"})),
]
_OF_WEIGHTS = ("type", "type", "scale", "constant", "not finite", "one type", "more", "less", "bin", "metadata")


def change(path: Path, draw: random.Random) -> str:
    """Change a file of a saved model as its owner might; what was done, in words."""
    content = path.read_bytes()
    # The copy shares its bytes with the original until it is another file.
    path.unlink()
    if path.suffix == ".safetensors":
        return _weights(path, content, draw)
    settings = json.loads(content)
    places = list(_known(settings))
    # A library in Rust reads this one, and takes neither other keys nor another order.
    strict = path.name == "tokenizer.json"
    done = "written anew"
    if places and (strict or draw.random() < 0.8):
        holder, key = draw.choice(places)
        holder[key] = draw.choice(_VALUES[key])
        done = f"{key} = {holder[key]!r}"
    elif not strict:
        key, value = draw.choice(_HARMLESS)
        settings[key] = value
        done = f"{key} = {value!r} more"
    form: dict[str, Any] = {"indent": draw.choice([None, 2]), "ensure_ascii": draw.random() < 0.5}
    written = json.dumps(settings, sort_keys=draw.random() < 0.2 and not strict, **form)
    path.write_text(written + draw.choice(["", "\n"]), encoding="utf-8")
    return done


def _known(settings: Any) -> Iterator[tuple[Any, str]]:
    for key, value in settings.items() if isinstance(settings, dict) else ():
        if key in _VALUES:
            yield settings, key
        elif isinstance(value, dict):
            yield from _known(value)


def _weights(path: Path, content: bytes, draw: random.Random) -> str:
    """Other weights under the same names: of another type, scaled, constant, not finite, or with one more or less."""
    from safetensors.torch import load, save

    state = {name: tensor.clone() for name, tensor in load(content).items()}
    floats = sorted(name for name, tensor in state.items() if tensor.is_floating_point())
    what = draw.choice(
        ["type", "type", "scale", "constant", "not finite", "one type", "more", "less", "bin", "metadata"]
    )
    dtype = draw.choice([torch.float16, torch.bfloat16, torch.float64])
    name = draw.choice(floats)
    metadata = {"format": "pt"}
    if what == "type":
        state |= {key: state[key].to(dtype) for key in floats}
    elif what == "scale":
        factor = draw.choice([0.0, -1.0, 1e-6, 1e3, 1e6, 1e30])
        chosen = floats if draw.random() < 0.5 else [name]
        state |= {key: state[key] * factor for key in chosen}
    elif what == "constant":
        state[name] = torch.full_like(state[name], draw.choice([0.0, 1.0, -5.0]))
    elif what == "not finite":
        state[name].view(-1)[draw.randrange(max(1, state[name].numel()))] = draw.choice([math.nan, math.inf, -math.inf])
    elif what == "one type":
        state[name] = state[name].to(dtype)
    elif what == "more":
        state[draw.choice(["extra.weight", "text_model.embeddings.position_ids", "\x1b[31m"])] = torch.zeros(2)
    elif what == "less":
        del state[name]
    elif what == "metadata":
        metadata |= {"note": "\x1b[2J", "a\nb": "x" * 300}
    elif what == "bin" and path.name == "model.safetensors":
        torch.save(state, path.with_name("pytorch_model.bin"))
        return what
    path.write_bytes(save(state, metadata))
    return f"{what} of {name}"
