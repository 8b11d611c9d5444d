"""Checkpoints of open_clip: found, checked, and filled into a model that open_clip builds from checked settings."""

from __future__ import annotations

import copy
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from art_multimodal.errors import InputError, one_line, unknown_name
from art_multimodal.models.checked_json import check_folder, check_link, read_json
from art_multimodal.models.families.open_clip.cleaning import with_quick_cleaning
from art_multimodal.models.families.open_clip.config import (
    check_model_config,
    check_preprocessing,
    transformers_folder,
    without_extras,
)
from art_multimodal.models.families.open_clip.encoder import OpenCLIPEncoder
from art_multimodal.models.families.open_clip.weights import fill, image_tower_of
from art_multimodal.models.fast_gradients import with_fast_gradients
from art_multimodal.models.hub import hub_folder, is_hub_name
from art_multimodal.models.weight_files import WithoutDraws, check_build, check_numbers, read_weights, sizes_of
from art_multimodal.shown import quoted, shown

#: What open_clip itself calls them in a folder.
WEIGHTS_FILE, CONFIG_FILE = "open_clip_model.safetensors", "open_clip_config.json"
LOCAL, HUB = "local-dir:", "hf-hub:"
#: Names of files of weights that open_clip writes, the first that is there is read.
_WEIGHTS: tuple[str, ...] = (WEIGHTS_FILE, "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
_WEIGHTS += ("open_clip_pytorch_model.pth", "model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")


@dataclass
class _Plan:
    """What is to be loaded.

    :param source: Of the weights, for messages.
    :param weights: Their file.
    :param config: A checked ``model_cfg``.
    :param preprocessing: A checked ``preprocess_cfg``, or as much of it as is known.
    :param settings: Where the configuration stands, for messages.
    :param folder: That holds the tokenizer, where it is not a named one.
    :param notes: What a reader of results must know.
    """

    source: str
    weights: Path
    config: dict[str, Any]
    preprocessing: dict[str, Any]
    settings: str
    folder: Path | None = None
    notes: tuple[str, ...] = ()


def load_open_clip(architecture: str, pretrained: str) -> OpenCLIPEncoder:
    """Load an open_clip model.

    :param architecture: A name of ``open_clip.list_models()`` ("ViT-B-32").
    :param pretrained: A pretrained tag of that architecture (downloaded by open_clip), or the path of a local
        checkpoint (``.safetensors``, or a ``.pt`` of plain tensors: pickles that run code are refused); or
        ``BASE+PATH``: the weights of the image tower alone from ``PATH``, all others from ``BASE``, a tag or path.
    :raises InputError: For an unknown architecture or tag, or a checkpoint that cannot be used.
    """
    import open_clip

    architecture = architecture.replace("/", "-")
    if architecture not in open_clip.list_models():
        raise unknown_name("open_clip architecture", architecture, open_clip.list_models())
    base, tower = _split_tower(pretrained)
    plan = _plan_of(architecture, base)
    return _loaded(plan, tower)


def load_open_clip_folder(folder: str | Path) -> OpenCLIPEncoder:
    """Load a folder with ``open_clip_config.json`` and weights, as open_clip's ``local-dir:`` does.

    :raises InputError: If it cannot be used.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(f"There is no folder {quoted(folder)}. Give one with {CONFIG_FILE} and weights.")
    check_folder(folder)
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise InputError(f"Cannot load {shown(folder)}: it holds no {CONFIG_FILE}. Is the folder complete?")
    settings = without_extras(read_json(path))
    weights = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        found = [part for end in ("safetensors", "bin", "pth") for part in sorted(folder.glob(f"*.{end}"))]
        if len(found) != 1:
            many = f"several: {', '.join(shown(part.name) for part in found[:3])}" if found else "none"
            raise InputError(f"Cannot load {shown(folder)}: one file of weights is needed, there are {many}.")
        weights = found[0]
    return _loaded(
        _Plan(
            shown(folder),
            weights,
            check_model_config(settings["model_cfg"], path),
            check_preprocessing(settings["preprocess_cfg"], path),
            shown(path),
            folder,
        )
    )


def load_open_clip_hub(name: str) -> OpenCLIPEncoder:
    """Load a model of the Hugging Face hub that open_clip can read (``hf-hub:``), downloaded or from the cache.

    :param name: ``ORG/NAME``.
    :raises InputError: If it cannot be had or used.
    """
    if not is_hub_name(name):
        raise InputError(f"{shown(name)[:80]!r} is no name of the Hugging Face hub. Give open_clip:{HUB}ORG/NAME.")
    # Tokenizers of text towers that are named elsewhere are in the repository, too.
    folder = hub_folder(name, ("*.json", "*.txt", "*.model"))
    if not (folder / CONFIG_FILE).is_file():
        raise InputError(
            f"{name} on the Hugging Face hub has no {CONFIG_FILE}. Is it a model of transformers: hf:{name}?"
        )
    return load_open_clip_folder(hub_folder(name, *((weights,) for weights in _WEIGHTS[:4])))


def _split_tower(pretrained: str) -> tuple[str, Path | None]:
    """Take ``BASE+PATH`` apart; a file may have a plus in its name."""
    if "+" not in pretrained or Path(pretrained).expanduser().is_file():
        return pretrained, None
    places = [place for place, letter in enumerate(pretrained) if letter == "+"]
    for place in places:
        path = Path(pretrained[place + 1 :]).expanduser()
        if path.is_file():
            return pretrained[:place], path
    path = Path(pretrained[places[0] + 1 :]).expanduser()
    raise InputError(f"There is no file {quoted(path)} with the weights of an image tower (BASE+PATH). Check the path.")


def _plan_of(architecture: str, pretrained: str) -> _Plan:
    from open_clip import factory

    path = Path(pretrained).expanduser()
    tags = factory.list_pretrained_tags_by_model(architecture)
    tag = factory.get_pretrained_cfg(architecture, pretrained)
    config = check_model_config(factory.get_model_config(architecture), architecture)
    if tag:
        try:
            weights = Path(factory.download_pretrained(tag))
        except Exception as error:
            raise InputError(
                f"Cannot load {pretrained} into {architecture}: {type(error).__name__}: {one_line(error)} Are you "
                "online? The path of a checkpoint file works offline."
            ) from error
        # A tag knows whether its weights were trained with QuickGELU; the plain architecture name does not.
        config["quick_gelu"] = bool(tag.get("quick_gelu", False) or config.get("quick_gelu", False))
        known = {key: tag[key] for key in ("mean", "std", "interpolation", "resize_mode") if tag.get(key) is not None}
        return _Plan(f"{architecture}/{pretrained}", weights, config, known, architecture)
    if not path.is_file():
        raise _no_such_weights(architecture, pretrained, path, tags)
    beside = path.with_name(CONFIG_FILE)
    # A file under a link has its configuration where the link is.
    if not beside.is_file():
        known = _published_preprocessing(architecture, tags) or {}
        return _Plan(shown(path), path, config, known, architecture)
    check_link(beside)
    settings = without_extras(read_json(beside))
    own = check_model_config(settings["model_cfg"], beside)
    known = check_preprocessing(settings["preprocess_cfg"], beside)
    own, notes = _with_own_settings(config, own, architecture)
    return _Plan(shown(path), path, own, known, architecture, notes=notes)


def _with_own_settings(
    named: dict[str, Any], own: dict[str, Any], architecture: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The settings beside weights, the tokenizer of the named architecture; and a note where they differ.

    What open_clip wrote beside weights knows what they were trained with: QuickGELU, pooling, masks.
    """
    tokenizer = ("hf_tokenizer_name", "tokenizer_kwargs", "tokenizer_mode", "hf_model_name", "hf_model_pretrained")
    merged = copy.deepcopy(own)
    for key in tokenizer:
        merged["text_cfg"].pop(key, None)
        if key in named["text_cfg"]:
            merged["text_cfg"][key] = copy.deepcopy(named["text_cfg"][key])
    merged["quick_gelu"] = own.get("quick_gelu", False) or named.get("quick_gelu", False)
    unlike = [
        f"{part}.{key}"
        for part in ("vision_cfg", "text_cfg")
        for key in sorted({*merged[part], *named[part]})
        if _plain(merged[part].get(key)) != _plain(named[part].get(key))
    ]
    if not unlike:
        return merged, ()
    return merged, (f"{CONFIG_FILE} beside the weights differs from {architecture} and is used: {', '.join(unlike)}",)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _published_preprocessing(architecture: str, tags: list[str]) -> dict[str, Any] | None:
    """What all published weights of an architecture expect, where they agree; a file says nothing about it.

    open_clip would prepare pictures for a SigLIP checkpoint as for OpenAI's CLIP.
    """
    import open_clip

    keys = ("mean", "std", "interpolation", "resize_mode")
    published = [{key: open_clip.get_pretrained_cfg(architecture, tag)[key] for key in keys} for tag in tags]
    return published[0] if published and all(config == published[0] for config in published) else None


def _loaded(plan: _Plan, tower: Path | None = None) -> OpenCLIPEncoder:
    sizes = sizes_of([plan.weights])
    for part in ("embed_dim", "vision_cfg", "text_cfg", "multimodal_cfg"):
        check_numbers({part: plan.config.get(part)}, plan.settings, sizes)
    check_build(lambda: _built(plan), plan.settings, sizes)
    try:
        # Files of JAX are filled in by open_clip, which does not say what they lack.
        with nullcontext() if plan.weights.suffix in (".npz", ".npy") else WithoutDraws():
            model = _built(plan)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"Cannot load {plan.source}: open_clip cannot build the model of {plan.settings} ({type(error).__name__}: "
            f"{one_line(error)})."
        ) from error
    notes = plan.notes
    if tower is None:
        notes += fill(model, plan.weights, plan.source, plan.settings)
    else:
        notes += fill(model, plan.weights, plan.source, plan.settings)
        own = image_tower_of(read_weights(tower), model.visual, shown(tower))
        model.visual.load_state_dict(own)
        notes += (f"the image tower is that of {shown(tower)}, the text tower and all else that of {plan.source}",)
    with_fast_gradients(model)
    encoder = OpenCLIPEncoder(model, _tokenizer(plan), plan.config).eval()
    encoder.notes += notes
    return encoder


def _built(plan: _Plan) -> Any:
    """Let open_clip build the model from a folder that holds checked settings and nothing else."""
    import open_clip

    config = copy.deepcopy(plan.config)
    with tempfile.TemporaryDirectory() as written, _quietly():
        folder = Path(written)
        name = config["text_cfg"].get("hf_model_name")
        if name:
            tower = read_json(transformers_folder(name, plan.settings) / "config.json")
            (folder / "text").mkdir()
            (folder / "text" / "config.json").write_text(json.dumps(tower), encoding="utf-8")
            config["text_cfg"] |= {"hf_model_name": str(folder / "text"), "hf_model_pretrained": False}
        content = {"model_cfg": config, "preprocess_cfg": {k: v for k, v in plan.preprocessing.items() if k != "size"}}
        (folder / CONFIG_FILE).write_text(json.dumps(content), encoding="utf-8")
        model = open_clip.create_model(f"{LOCAL}{folder}", load_weights=False, pretrained_text=False)
    if "size" in plan.preprocessing and not hasattr(model.visual, "image_size"):
        open_clip.model.set_model_preprocess_cfg(model, {"size": plan.preprocessing["size"]})
    return model


@contextmanager
def _quietly() -> Iterator[None]:
    """open_clip logs that the model has no weights yet."""

    def told(record: logging.LogRecord) -> bool:
        return "weights" not in record.getMessage() or record.levelno >= logging.ERROR

    root = logging.getLogger()
    root.addFilter(told)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="QuickGELU mismatch")
            yield
    finally:
        root.removeFilter(told)


def _tokenizer(plan: _Plan) -> Any:
    """The tokenizer that open_clip would take, told nothing but what is known."""
    import open_clip
    from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer

    text = plan.config["text_cfg"]
    context = text.get("context_length", DEFAULT_CONTEXT_LENGTH)
    settings = dict(text.get("tokenizer_kwargs") or {})
    try:
        if text.get("hf_tokenizer_name"):
            folder = plan.folder or transformers_folder(text["hf_tokenizer_name"], plan.settings)
            tokenizer = HFTokenizer(
                str(folder),
                context_length=context,
                tokenizer_mode=text.get("tokenizer_mode"),
                trust_remote_code=False,
                local_files_only=True,
                **settings,
            )
            # Towers pool and mask as if padding followed the text.
            tokenizer.tokenizer.padding_side = "right"
            return tokenizer
        if plan.folder is None:
            return with_quick_cleaning(open_clip.get_tokenizer(plan.settings))
        return with_quick_cleaning(open_clip.SimpleTokenizer(context_length=context, **settings))
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"The tokenizer of {plan.settings} cannot be loaded ({type(error).__name__}: {one_line(error)}). It comes "
            "from its folder, or from the Hugging Face hub: go online once, or set HF_HOME to a cache that has it."
        ) from error


def _no_such_weights(architecture: str, pretrained: str, path: Path, tags: list[str]) -> InputError:
    if not pretrained:
        return InputError(
            f"open_clip:{architecture} names no weights. Give open_clip:{architecture}/TAG_OR_PATH"
            + (f"; tags: {', '.join(tags)}." if tags else ".")
        )
    rooted = Path("/") / path
    if not path.is_absolute() and rooted.is_file():
        return InputError(
            f"There is no file {quoted(pretrained)} here. For the absolute path write two slashes: "
            f"open_clip:{architecture}/{shown(rooted)}"
        )
    if "/" in pretrained or path.suffix:
        return InputError(f"There is no checkpoint file {quoted(path)} for {architecture}. Check the path.")
    return unknown_name(f"pretrained tag of {architecture}", pretrained, tags or ["(none: give a checkpoint path)"])
