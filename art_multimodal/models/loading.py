"""Models by name: ``load_model("open_clip:ViT-B-32/laion2b_s34b_b79k")``, ``"hf:openai/clip-vit-base-patch32"``, ..."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from art_multimodal.errors import InputError
from art_multimodal.registry import Registry, imported, split_scheme

if TYPE_CHECKING:
    from art_multimodal.models.dual_encoder import DualEncoder
    from art_multimodal.models.fusion import FusionModel
    from art_multimodal.models.multimodal import MultimodalModel


@dataclass(frozen=True)
class ModelSource:
    """Where models come from.

    :param form: How a model of this source is written.
    :param summary: One line for listings.
    :param load: Maps what follows the colon to a model in evaluation mode.
    """

    form: str
    summary: str
    load: Callable[[str], DualEncoder | FusionModel | MultimodalModel]


MODEL_SOURCES: Registry[ModelSource] = Registry("model source")
#: Sources of files that others made.
_FOREIGN = {"open_clip", "hf", "mmbt", "checkpoint"}


def load_model(spec: str) -> DualEncoder | FusionModel | MultimodalModel:
    """Load a dual encoder, a fusion model or a model over other modalities by name, in evaluation mode, on the CPU.

    :param spec: ``demo:NAME``, ``open_clip:ARCHITECTURE/TAG_OR_PATH``, ``open_clip:ARCHITECTURE/BASE+PATH`` (an image
        tower alone over a base), ``open_clip:hf-hub:ORG/NAME``, ``open_clip:local-dir:FOLDER``, ``hf:NAME_OR_FOLDER``,
        ``mmbt:FOLDER``, ``checkpoint:FOLDER``, or ``python:FILE:FUNCTION``, which runs that file. Its ``notes`` say
        what was left out, resized or changed.
    :raises InputError: If the name is unknown or its weights cannot be used.
    """
    scheme, rest = split_scheme("The model", spec, MODEL_SOURCES)
    if scheme not in _FOREIGN:
        return MODEL_SOURCES[scheme].load(rest)
    from art_multimodal.models.multimodal import MultimodalModel
    from art_multimodal.models.trial import check_answers, refusing

    with refusing(spec):
        model = MODEL_SOURCES[scheme].load(rest)
        if not isinstance(model, MultimodalModel):
            check_answers(model, spec)
    return model


def _load_demo(name: str) -> DualEncoder | FusionModel | MultimodalModel:
    return imported("art_multimodal.demo.loading:load_demo")(name)


def _require(module: str, package: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"{module} cannot be imported ({error}). Run: pip install {package}") from error


def _load_open_clip(rest: str) -> DualEncoder:
    _require("open_clip", "open_clip_torch")
    from art_multimodal.models.families.open_clip.loading import (
        HUB,
        LOCAL,
        load_open_clip,
        load_open_clip_folder,
        load_open_clip_hub,
    )

    if rest.startswith(LOCAL):
        return load_open_clip_folder(rest.removeprefix(LOCAL))
    if rest.startswith(HUB):
        return load_open_clip_hub(rest.removeprefix(HUB))
    architecture, _, pretrained = rest.partition("/")
    return load_open_clip(architecture, pretrained)


def _load_hugging_face(rest: str) -> DualEncoder | FusionModel:
    _require("transformers", "transformers")
    from art_multimodal.models.families.hugging_face.loading import load_hugging_face

    return load_hugging_face(rest)


def _load_mmbt(rest: str) -> FusionModel:
    _require("transformers", "transformers")
    from art_multimodal.models.families.mmbt.saving import load_mmbt

    if not rest:
        raise InputError("mmbt: names no folder. Give mmbt:FOLDER, a folder made by save_mmbt.")
    return load_mmbt(rest)


def _load_python(rest: str) -> DualEncoder | FusionModel | MultimodalModel:
    from art_multimodal.models.families.custom.python_file import load_python

    return load_python(rest)


def _load_checkpoint(rest: str) -> DualEncoder:
    from art_multimodal.models.saving import INDEX, load_saved_model, saved_folder

    if not rest:
        raise InputError("checkpoint: names no folder. Give checkpoint:FOLDER, what train wrote to its --out.")
    folder = Path(rest).expanduser()
    # What a training run wrote: its best model, unless another is named.
    found = next((path for path in (folder, folder / "best") if saved_folder(path)), None)
    if found is None:
        raise InputError(
            f"{folder} holds no saved model: there is no {INDEX}, nor one in best/. Give the folder that train wrote "
            "to, or its best/ or last/."
        )
    return load_saved_model(found)


MODEL_SOURCES.add(
    "demo",
    ModelSource(
        "demo:digits, demo:digits/robust, demo:scenes, demo:shapes/FUSION, demo:views/FUSION, demo:spoken/TASK/FUSION",
        "embedded in the package: a small CLIP on handwritten digits (robust: trained by MMCoA) or on captioned "
        "scenes, a fusion model on questions about shapes (concat, gated, bilinear, late, cross_attention), or "
        "one on digits in three views (concat, late, gated) or on a written and a spoken digit (TASK: complementary, "
        "redundant)",
        _load_demo,
    ),
)
MODEL_SOURCES.add(
    "open_clip",
    ModelSource(
        "open_clip:ARCH/TAG_OR_PATH",
        "an open_clip architecture with a pretrained tag or a checkpoint (BASE+PATH: an image tower over a base), or "
        "open_clip:hf-hub:ORG/NAME, open_clip:local-dir:FOLDER",
        _load_open_clip,
    ),
)
MODEL_SOURCES.add(
    "hf",
    ModelSource(
        "hf:ID_OR_PATH",
        "a transformers dual encoder (CLIP, SigLIP, ...) or fusion classifier (ViLT, FLAVA, BridgeTower), by hub name "
        "or local folder",
        _load_hugging_face,
    ),
)
MODEL_SOURCES.add("mmbt", ModelSource("mmbt:FOLDER", "an MMBT (image tokens in a BERT) saved by save_mmbt", _load_mmbt))
MODEL_SOURCES.add(
    "checkpoint",
    ModelSource(
        "checkpoint:FOLDER", "the best model of a training run, or FOLDER/last: what train wrote", _load_checkpoint
    ),
)
MODEL_SOURCES.add(
    "python",
    ModelSource(
        "python:FILE:FUNCTION",
        "a model of your own: FILE is run, with your rights, and FUNCTION() returns the model",
        _load_python,
    ),
)
