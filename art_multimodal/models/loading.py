"""Models by name: ``load_model("open_clip:ViT-B-32/laion2b_s34b_b79k")``, ``"hf:openai/clip-vit-base-patch32"``, ..."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from art_multimodal.errors import InputError
from art_multimodal.models import families
from art_multimodal.models.source import ModelSource
from art_multimodal.registry import Registry, imported, split_scheme

if TYPE_CHECKING:
    from art_multimodal.models.dual_encoder import DualEncoder
    from art_multimodal.models.families.custom.answers import AnsweringModel
    from art_multimodal.models.fusion import FusionModel
    from art_multimodal.models.multimodal import MultimodalModel


#: Every way of naming a model, by what stands before the colon.
MODEL_SOURCES: Registry[ModelSource] = Registry("model source", ModelSource)
#: Families in the order of listings; others come after these.
_FIRST = ("open_clip", "hugging_face", "mmbt")


def load_model(spec: str) -> DualEncoder | FusionModel | MultimodalModel | AnsweringModel:
    """Load a dual encoder, a fusion model or a model over other modalities by name, in evaluation mode, on the CPU.

    >>> model = load_model("demo:digits")
    >>> type(model).__name__, model.image_size, model.training
    ('DigitsEncoder', (32, 32), False)

    :param spec: ``demo:NAME``, ``open_clip:ARCHITECTURE/TAG_OR_PATH``, ``open_clip:ARCHITECTURE/BASE+PATH`` (an image
        tower alone over a base), ``open_clip:hf-hub:ORG/NAME``, ``open_clip:local-dir:FOLDER``, ``hf:NAME_OR_FOLDER``,
        ``mmbt:FOLDER``, ``checkpoint:FOLDER``, ``python:FILE:FUNCTION``, which runs that file, or
        ``python:MODULE:FUNCTION``, which imports that module; see :func:`load_python`. Its ``notes`` say what was left
        out, resized or changed.
    :raises InputError: If the name is unknown or its weights cannot be used.
    """
    scheme, rest = split_scheme("The model", spec, MODEL_SOURCES)
    source = MODEL_SOURCES[scheme]
    if not source.foreign:
        return source.load(rest)
    from art_multimodal.models.dual_encoder import DualEncoder
    from art_multimodal.models.fusion import FusionModel
    from art_multimodal.models.trial import check_answers, refusing

    with refusing(spec):
        model = source.load(rest)
        if isinstance(model, (DualEncoder, FusionModel)):
            check_answers(model, spec)
    return model


def _load_demo(name: str) -> DualEncoder | FusionModel | MultimodalModel:
    return imported("art_multimodal.demo.loading:load_demo")(name)


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


_DEMO = ModelSource(
    "demo:digits, demo:digits/robust, demo:scenes, demo:shapes/FUSION, demo:views/FUSION, demo:spoken/TASK/FUSION, "
    "demo:night/FUSION, demo:rgbd/FUSION",
    "embedded in the package: a small CLIP on handwritten digits (robust: trained by MMCoA) or on captioned "
    "scenes, a fusion model on questions about shapes (concat, gated, bilinear, late, cross_attention), or "
    "one on digits in three views (concat, late, gated), on a written and a spoken digit (TASK: complementary, "
    "redundant), on shapes by colours and heat (concat, late) or on patches of colours and depth (concat, gated)",
    _load_demo,
)
_CHECKPOINT = ModelSource(
    "checkpoint:FOLDER",
    "the best model of a training run, or FOLDER/last: what train wrote",
    _load_checkpoint,
    foreign=True,
)


def _sources() -> Iterator[ModelSource]:
    """Those of the demos, of every family that has a ``source.py`` in its folder, and of what was trained."""
    folders = {path.parent.name for path in Path(families.__file__).parent.glob("*/source.py")}
    own = "custom"
    others = sorted(folders - {*_FIRST, own})
    yield _DEMO
    for folder in (*_FIRST, *others):
        yield imported(f"{families.__name__}.{folder}.source:SOURCE")
    yield _CHECKPOINT
    yield imported(f"{families.__name__}.{own}.source:SOURCE")


for _source in _sources():
    MODEL_SOURCES.add(_source.scheme, _source)
