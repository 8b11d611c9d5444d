"""Hostile checkpoints: small saved models with one of their JSON files or weights changed, by a seed."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fuzz import neighbours
from models.families import FAMILIES, SIDE, bert_tokenizer
from models.language_models import save_bert, save_roberta


@dataclass(frozen=True)
class Hostile:
    """A checkpoint that somebody changed.

    :param spec: As ``load_model`` takes it; of a language model ``mlm:FOLDER``.
    :param change: What was done to it.
    """

    spec: str
    change: str


_NUMBERS = [0, -1, 1, 3, 10**4, 10**6, 10**8, 10**9, 2**31, 2**63, 2**64 + 1, 10**30, -(10**9), 0.5, 1e9, 1e308, 1e-9]
_TEXTS = ["", "x", "../x", "/dev/zero", "\x1b[2J", "a\nb", "\u202e", "NaN", "1e9", "y" * 5000, "\ud800", "None", "cpu"]
_OTHERS: list[Any] = [
    None,
    True,
    False,
    [],
    {},
    [1],
    [[]],
    {"a": 1},
    [None] * 3,
    ["x", "y", "z"],
    [0, 0, 0],
    [-1, 2, 3],
]
_RAW = ["NaN", "Infinity", "-Infinity", "1e999", "9" * 400, "[" * 500 + "]" * 500, "[" * 10**5 + "]" * 10**5, "{}{}"]


def make_checkpoints(folder: Path) -> dict[str, Path]:
    """Save small models of every format into a folder; what is loaded of each by ``load_model``, or as ``mlm``."""
    import open_clip
    from safetensors.torch import save_file
    from transformers import BertConfig, BertModel

    from art_multimodal.models.families.mmbt.model import MMBT
    from art_multimodal.models.families.mmbt.saving import save_mmbt
    from art_multimodal.models.loading import load_model
    from art_multimodal.models.preprocessing import ImagePreprocessing
    from art_multimodal.models.saving import save_model

    torch.manual_seed(0)
    made: dict[str, Path] = {}
    for number, family in enumerate(["clip", "siglip", "chinese_clip"]):
        made[f"hf:{number}"] = folder / f"hf-{family}"
        for part in FAMILIES[family]():
            part.save_pretrained(made[f"hf:{number}"])
    tokenizer = bert_tokenizer()
    text = {"context_length": 16, "vocab_size": len(tokenizer), "width": 16, "heads": 2, "layers": 1}
    config: dict[str, Any] = {
        "embed_dim": 12,
        "vision_cfg": {"image_size": SIDE, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {**text, "hf_tokenizer_name": "own/tokenizer", "tokenizer_kwargs": {"clean": "canonicalize"}},
        "custom_text": True,
    }
    preprocessing = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    made["open_clip:local-dir:0"] = folder / "open-clip"
    made["open_clip:local-dir:0"].mkdir(parents=True)
    tokenizer.save_pretrained(made["open_clip:local-dir:0"])
    settings = made["open_clip:local-dir:0"] / "open_clip_config.json"
    settings.write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocessing}))
    model = open_clip.create_model(f"local-dir:{settings.parent}", load_weights=False)
    save_file(model.state_dict(), settings.parent / "open_clip_model.safetensors")
    tower = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    bert = BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=16, **tower))
    preprocess = ImagePreprocessing((SIDE, SIDE), [0.5] * 3, [0.5] * 3)
    made["mmbt:0"] = folder / "mmbt"
    save_mmbt(MMBT(bert, tokenizer, "squeezenet1_1", preprocess, ["no", "yes"]), made["mmbt:0"])
    for number, save in enumerate([save_bert, save_roberta]):
        made[f"mlm:{number}"] = folder / f"mlm-{number}"
        save(made[f"mlm:{number}"])
    for number, spec in enumerate([f"hf:{made['hf:0']}", f"open_clip:local-dir:{settings.parent}"]):
        made[f"checkpoint:{number}"] = folder / f"saved-{number}"
        save_model(load_model(spec), made[f"checkpoint:{number}"])
    return made


def hostile_checkpoints(made: dict[str, Path], folder: Path, seed: int, count: int) -> Iterator[Hostile]:
    """Copy saved models and change each copy in one to three places.

    :param made: As :func:`make_checkpoints` returns it.
    :param folder: Holds one copy at a time.
    :param seed: The same seed gives the same changes.
    """
    for number in range(count):
        draw = random.Random(f"{seed}/{number}")
        name = draw.choice(sorted(made))
        target = folder / "hostile"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(made[name], target, copy_function=os.link)
        files = sorted(path for path in target.rglob("*") if path.suffix in (".json", ".safetensors"))
        weights = [
            0.3 if path.suffix == ".safetensors" else 3.0 if path.name == "config.json" else 1.0 for path in files
        ]
        changes = []
        # Half of them are as an owner might have them: what is behind the reader is to be met, too.
        how = neighbours.change if draw.random() < 0.55 else _change
        for _ in range(draw.choice([1, 1, 1, 2, 3])):
            path = draw.choices(files, weights)[0]
            if path.is_file():
                changes.append(f"{path.relative_to(target)}: {how(path, draw)}")
        vouch(target)
        yield Hostile(f"{name.rpartition(':')[0]}:{target}", "; ".join(changes))


def _change(path: Path, draw: random.Random) -> str:
    content = path.read_bytes()
    # The copy shares its bytes with the original until it is another file.
    path.unlink()
    if path.suffix == ".safetensors" or draw.random() < 0.12:
        return _damage(path, content, draw)
    try:
        settings = json.loads(content)
    except (ValueError, RecursionError):
        return _damage(path, content, draw)
    places = list(_places(settings))
    holder, key = draw.choice(places) if places else (settings, "x")
    kind = draw.choice(["drop", "number", "number", "text", "other", "raw", "copy", "add"])
    done = f"{kind} {key!r}"
    if kind == "drop":
        del holder[key]
    elif kind == "add":
        inner = holder if isinstance(holder, dict) else settings
        if isinstance(inner, dict):
            inner[
                draw.choice(["auto_map", "trust_remote_code", "quantization_config", "x", "num_labels", "backbone"])
            ] = draw.choice([*_OTHERS, *_TEXTS, *_NUMBERS, {"AutoModel": "evil.Model"}])
    elif kind == "raw":
        holder[key] = "@RAW@"
        raw = draw.choice(_RAW)
        path.write_text(json.dumps(settings).replace('"@RAW@"', raw))
        return f"{done} = {raw[:12]}"
    else:
        choices: list[Any] = {"number": _NUMBERS, "text": _TEXTS, "other": _OTHERS}.get(kind, [])
        value = copy.deepcopy(draw.choice(choices) if choices else settings)
        holder[key] = value
        done += f" = {value!r:.60}"
    path.write_text(json.dumps(settings))
    return done


def _damage(path: Path, content: bytes, draw: random.Random) -> str:
    damages: dict[str, Callable[[], bytes | None]] = {
        "gone": lambda: None,
        "empty": lambda: b"",
        "cut": lambda: content[: draw.randrange(len(content) + 1)],
        "noise": lambda: draw.randbytes(200),
        "broken UTF-8": lambda: content.replace(b"e", b"\xff", 3),
        "a list": lambda: b"[1, 2]",
        "a byte": lambda: bytes([*content[:40], draw.randrange(256), *content[41:]]),
        "UTF-16": lambda: content.decode(errors="replace").encode("utf-16") if len(content) < 10**6 else b"",
    }
    name = draw.choice(sorted(damages))
    damaged = damages[name]()
    if damaged is not None:
        path.write_bytes(damaged)
    return name


def _places(settings: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a JSON value, as its holder and key; of long lists and large objects the first fifty."""
    waiting = [settings]
    while waiting:
        holder = waiting.pop()
        keys = list(holder)[:50] if isinstance(holder, dict) else range(min(len(holder), 50))
        for key in keys:
            yield holder, key
            if isinstance(holder[key], dict | list):
                waiting.append(holder[key])


def vouch(folder: Path) -> None:
    """Whoever changes a saved model writes the digests anew."""
    index = folder / "saved_model.json"
    try:
        facts = json.loads(index.read_text())
        files = [path for path in folder.iterdir() if path.is_file() and path != index]
        facts["files"] = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        index.unlink()
        index.write_text(json.dumps(facts))
    except (OSError, ValueError, TypeError, RecursionError):
        return
