"""What ``demo:NAME`` is: models, data and a language model by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from art_multimodal.errors import InputError, unknown_name

if TYPE_CHECKING:
    from art_multimodal.datasets.captioned import CaptionedImages
    from art_multimodal.datasets.source import LabelledImages, LabelledSamples
    from art_multimodal.models.dual_encoder import DualEncoder
    from art_multimodal.models.fusion import FusionModel
    from art_multimodal.models.multimodal import MultimodalModel

#: Data sets that have no captions.
_UNCAPTIONED = ("digits", "shapes", "spoken", "views", "night", "rgbd", "motions", "skeleton")
#: Of the language model ``demo:mlm``.
MLM_FOLDER = Path(__file__).parent / "weights" / "mlm"


def demo_models() -> dict[str, Callable[[], DualEncoder | FusionModel | MultimodalModel]]:
    """What loads each embedded model, by what stands behind ``demo:``; the short names first of their kind."""
    from art_multimodal.demo.digits import ROBUST_WEIGHTS, load_digits
    from art_multimodal.demo.night import NIGHT
    from art_multimodal.demo.rgbd import RGBD
    from art_multimodal.demo.scene_encoder import load_scenes
    from art_multimodal.demo.shapes import FUSIONS, load_shapes
    from art_multimodal.demo.spoken import FUSIONS as OF_SPOKEN
    from art_multimodal.demo.spoken import TASKS, load_spoken
    from art_multimodal.demo.views import FUSIONS as OF_VIEWS
    from art_multimodal.demo.views import load_views

    found: dict[str, Callable[[], DualEncoder | FusionModel | MultimodalModel]] = {
        "digits": load_digits,
        "digits/robust": partial(load_digits, ROBUST_WEIGHTS),
        "scenes": load_scenes,
    }
    for name, load, fusions in (("shapes", load_shapes, FUSIONS), ("views", load_views, OF_VIEWS)):
        found[name] = partial(load, fusions[0])
        found |= {f"{name}/{fusion}": partial(load, fusion) for fusion in fusions}
    first = next(iter(TASKS))
    found["spoken"] = partial(load_spoken, first, OF_SPOKEN[0])
    found |= {f"spoken/{task}": partial(load_spoken, task, OF_SPOKEN[0]) for task in TASKS}
    found |= {f"spoken/{task}/{fusion}": partial(load_spoken, task, fusion) for task in TASKS for fusion in OF_SPOKEN}
    for demo in (NIGHT, RGBD):
        found[demo.name] = partial(demo.load, demo.fusions[0])
        found |= {f"{demo.name}/{fusion}": partial(demo.load, fusion) for fusion in demo.fusions}
    return found


def load_demo(name: str) -> DualEncoder | FusionModel | MultimodalModel:
    """Load the model ``demo:NAME``.

    :raises InputError: If there is no such model.
    """
    if name in ("motions", "skeleton"):
        raise InputError(f"demo:{name} is data without a model: open it with open_data, and give a model of your own.")
    known = demo_models()
    if name not in known:
        raise unknown_name("demo model", name, known)
    return known[name]()


def demo_data() -> dict[str, tuple[Callable[[], LabelledImages | LabelledSamples], str]]:
    """What opens each embedded data set with labels, by what stands behind ``demo:``, and what its classes are."""
    from art_multimodal.demo.digits_data import DigitsData
    from art_multimodal.demo.motions_data import MotionsData
    from art_multimodal.demo.night_data import NightData
    from art_multimodal.demo.rgbd_data import RgbdData
    from art_multimodal.demo.shapes_data import ShapesData
    from art_multimodal.demo.skeleton_data import SkeletonData
    from art_multimodal.demo.spoken import TASKS
    from art_multimodal.demo.spoken_data import SpokenData
    from art_multimodal.demo.views_data import ViewsData

    return {
        "digits": (DigitsData, "digits"),
        "shapes": (ShapesData, "answers"),
        "views": (ViewsData, "digits"),
        "spoken": (SpokenData, "classes"),
        "night": (NightData, "shapes"),
        "rgbd": (RgbdData, "classes"),
        "motions": (MotionsData, "activities"),
        "skeleton": (SkeletonData, "actions"),
        **{f"spoken/{task}": (partial(SpokenData, task), "classes") for task in TASKS},
    }


def open_demo(name: str, classes: Sequence[str] | None) -> LabelledImages | LabelledSamples:
    """Open the data set ``demo:NAME``.

    :param classes: Class names instead of its own.
    :raises InputError: If there is no such data set, or it has another number of classes.
    """
    from art_multimodal.datasets.naming import notes_on
    from art_multimodal.prompts import check_class_names

    known = demo_data()
    if name == "scenes":
        raise InputError("demo:scenes has captions and no labels: it is for retrieval. Use demo:digits or demo:shapes.")
    if name not in known:
        raise unknown_name("demo data set", name, known)
    make, what = known[name]
    data = make()
    if classes is not None:
        if len(classes) != len(data.class_names):
            raise InputError(f"--classes gives {len(classes)} names for the {len(data.class_names)} {what}.")
        data.class_names = check_class_names(classes)
        data.notes = (*data.notes, *notes_on(data.class_names))
    return data


def open_captioned_demo(name: str) -> CaptionedImages:
    """Open the captioned data set ``demo:NAME``.

    :raises InputError: If there is no such data set, or it has no captions.
    """
    from art_multimodal.demo.scenes_data import ScenesData

    if name.split("/")[0] in _UNCAPTIONED:
        raise InputError(f"demo:{name} has no captions, which retrieval needs. Use demo:scenes or csv:PATH.")
    if name != "scenes":
        raise unknown_name("captioned demo data set", name, ["scenes"])
    return ScenesData()
