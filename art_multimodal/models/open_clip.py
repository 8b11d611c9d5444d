"""Adapter for every contrastive model of open_clip."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from art_multimodal.errors import InputError, unknown_name
from art_multimodal.models.causal_text import CausalText, encode_trimmed
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.fast_gradients import with_fast_gradients
from art_multimodal.models.open_clip_text import causal_text_of
from art_multimodal.models.preprocessing import ImagePreprocessing

#: What open_clip itself calls them in a folder.
WEIGHTS_FILE, CONFIG_FILE = "open_clip_model.safetensors", "open_clip_config.json"


class OpenCLIPEncoder(DualEncoder):
    """An open_clip model behind the :class:`DualEncoder` contract.

    :param model: What ``open_clip.create_model`` returns; it stays as it is.
    :param tokenizer: What ``open_clip.get_tokenizer`` returns for the same architecture.
    :param architecture: What ``open_clip.get_model_config`` returns; only saving needs it.
    """

    def __init__(self, model: Any, tokenizer: Any, architecture: dict[str, Any] | None = None) -> None:
        from open_clip import get_model_preprocess_cfg

        config = get_model_preprocess_cfg(model)
        size = config["size"]
        preprocess = ImagePreprocessing(
            size=(size, size) if isinstance(size, int) else tuple(size),
            mean=config["mean"],
            std=config["std"],
            interpolation=config.get("interpolation", "bicubic"),
            resize_mode=config.get("resize_mode", "shortest"),
            fill=config.get("fill_color", 0) / 255,
        )
        inner = getattr(tokenizer, "tokenizer", None)  # HFTokenizer wraps a transformers tokenizer
        pad_id = getattr(inner, "pad_token_id", None) or 0
        super().__init__(preprocess, context_length=int(model.context_length), pad_id=int(pad_id))
        self.model = model
        self.tokenizer = tokenizer
        self.architecture = architecture

    @property
    def logit_scale(self) -> Tensor:  # type: ignore[override]
        return self.model.logit_scale

    @property
    def logit_bias(self) -> Tensor | None:  # type: ignore[override]
        return getattr(self.model, "logit_bias", None)

    def image_tower(self, pixels: Tensor) -> Tensor:
        return self.model.encode_image(pixels, normalize=False)

    @property
    def causal_text(self) -> CausalText | None:
        return causal_text_of(self.model)

    def text_tower(self, tokens: Tensor) -> Tensor:
        tower = self.causal_text
        if tower is None or not len(tokens):
            return self.model.encode_text(tokens, normalize=False)
        return encode_trimmed(tower, tokens)

    def token_ids(self, texts: list[str], length: int) -> Tensor:
        return self.tokenizer(texts, context_length=length)

    def text_parameters(self) -> list[nn.Parameter]:
        visual = {id(p) for p in self.model.visual.parameters()}
        return [p for p in self.parameters() if id(p) not in visual]


def load_open_clip(architecture: str, pretrained: str) -> OpenCLIPEncoder:
    """Load an open_clip model.

    :param architecture: A name of ``open_clip.list_models()`` ("ViT-B-32").
    :param pretrained: A pretrained tag of that architecture (downloaded by open_clip), or the path of a local
        checkpoint (``.safetensors``, or a ``.pt`` of plain tensors: pickles that run code are refused).
    :raises InputError: For an unknown architecture or tag, or a checkpoint that cannot be used.
    """
    import open_clip

    architecture = architecture.replace("/", "-")
    if architecture not in open_clip.list_models():
        raise unknown_name("open_clip architecture", architecture, open_clip.list_models())
    path = Path(pretrained).expanduser()
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    tag = open_clip.get_pretrained_cfg(architecture, pretrained)
    if not tag and not path.is_file():
        raise _no_such_weights(architecture, pretrained, path, tags)
    source = pretrained if tag else str(path)
    config = open_clip.get_model_config(architecture)
    beside = {} if tag else _config_beside(path)
    # A tag, or what open_clip writes beside weights, knows whether they were trained with QuickGELU; the plain
    # architecture name does not.
    if (tag or beside.get("model_cfg", {})).get("quick_gelu", False):
        config["quick_gelu"] = True
    preprocessing = None if tag else beside.get("preprocess_cfg") or _published_preprocessing(architecture, tags)
    model = _created(
        source,
        architecture,
        "Are you online? The path of a checkpoint file works offline." if tag else "Is the file a complete checkpoint?",
        model_name=architecture,
        pretrained=source,
        force_quick_gelu=config.get("quick_gelu", False),
        force_preprocess_cfg=preprocessing,
    )
    with_fast_gradients(model)
    return OpenCLIPEncoder(model, _load_tokenizer(architecture), config).eval()


def save_open_clip(encoder: OpenCLIPEncoder, folder: Path) -> None:
    """Write weights, configuration and tokenizer into an empty folder, from which open_clip makes the model again.

    ``open_clip.create_model_from_pretrained("local-dir:FOLDER")`` reads it, and :func:`load_open_clip_folder`.

    :raises InputError: If the encoder does not know its architecture.
    :raises OSError: If something cannot be written; safetensors raises an error of its own.
    """
    from open_clip import get_model_preprocess_cfg
    from safetensors.torch import save_file

    if encoder.architecture is None:
        raise InputError(
            "This OpenCLIPEncoder cannot be saved: it does not know its architecture. Load the model with load_model, "
            "or give OpenCLIPEncoder(model, tokenizer, open_clip.get_model_config(NAME))."
        )
    state = encoder.model.state_dict()
    # Copies: safetensors refuses tensors that share memory or are not contiguous.
    tensors = {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in state.items()}
    save_file(tensors, folder / WEIGHTS_FILE)
    config = {"model_cfg": encoder.architecture, "preprocess_cfg": dict(get_model_preprocess_cfg(encoder.model))}
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if hasattr(encoder.tokenizer, "save_pretrained"):
        encoder.tokenizer.save_pretrained(str(folder))


def load_open_clip_folder(folder: Path) -> OpenCLIPEncoder:
    """Load what :func:`save_open_clip` wrote.

    :raises InputError: If it cannot be used.
    """
    import open_clip

    name = f"local-dir:{folder}"
    _config_beside(folder / WEIGHTS_FILE)
    model = _created(str(folder), "its configuration", "Is the folder complete?", model_name=name)
    with_fast_gradients(model)
    return OpenCLIPEncoder(model, _load_tokenizer(name), open_clip.get_model_config(name)).eval()


def _created(source: str, architecture: str, hint: str, **arguments: Any) -> Any:
    """Let open_clip create a model with all of its weights, and say what is wrong where it cannot.

    :param source: Of the weights, for messages.
    """
    import open_clip

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="QuickGELU mismatch")
            return open_clip.create_model(
                weights_only=True,
                require_pretrained=True,
                # The checkpoint holds both towers: base weights of a tower would be fetched from a hub for nothing.
                pretrained_text=False,
                **arguments,
            )
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{source} is not a checkpoint of plain tensors; loading it could run code, so it was refused. "
            "Save the weights as safetensors (safetensors.torch.save_file) and give that file."
        ) from error
    except Exception as error:
        message = " ".join(str(error).split())
        if any(
            sign in message
            for sign in ("Missing key", "size mismatch", "Unexpected key", "missing keys", "width changed")
        ):
            raise InputError(f"{source} is not a checkpoint of {architecture}: {message[:300]}") from error
        raise InputError(
            f"Cannot load {source} into {architecture}: {type(error).__name__}: {message[:200]} {hint}"
        ) from error


def _config_beside(weights: Path) -> dict[str, Any]:
    """What open_clip wrote beside a file of weights; nothing if it did not write that file.

    :raises InputError: If it cannot be read.
    """
    path = weights.with_name(CONFIG_FILE)
    if weights.name != WEIGHTS_FILE or not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        return {"model_cfg": dict(config["model_cfg"]), "preprocess_cfg": dict(config.get("preprocess_cfg", {}))}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a configuration of open_clip ({type(error).__name__}: {error}).") from error


def _published_preprocessing(architecture: str, tags: list[str]) -> dict | None:
    """What all published weights of an architecture expect, where they agree; a file says nothing about it.

    open_clip would prepare pictures for a SigLIP checkpoint as for OpenAI's CLIP.
    """
    import open_clip

    keys = ("mean", "std", "interpolation", "resize_mode")
    published = [{key: open_clip.get_pretrained_cfg(architecture, tag)[key] for key in keys} for tag in tags]
    return published[0] if published and all(config == published[0] for config in published) else None


def _load_tokenizer(architecture: str):
    import open_clip

    try:
        return open_clip.get_tokenizer(architecture)
    except Exception as error:
        raise InputError(
            f"The tokenizer of {architecture} cannot be loaded ({type(error).__name__}). It comes from the Hugging "
            "Face hub: go online once, or set HF_HOME to a cache that has it."
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
            f"There is no file {pretrained!r} here. For the absolute path write two slashes: "
            f"open_clip:{architecture}/{rooted}"
        )
    if "/" in pretrained or path.suffix:
        return InputError(f"There is no checkpoint file {str(path)!r} for {architecture}. Check the path.")
    return unknown_name(f"pretrained tag of {architecture}", pretrained, tags or ["(none: give a checkpoint path)"])
