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


def load_demo(name: str) -> DualEncoder | FusionModel | MultimodalModel:
    """Load the model ``demo:NAME``.

    :raises InputError: If there is no such model.
    """
    from art_multimodal.demo.digits import ROBUST_WEIGHTS, load_digits
    from art_multimodal.demo.night import NIGHT
    from art_multimodal.demo.rgbd import RGBD
    from art_multimodal.demo.scene_encoder import load_scenes
    from art_multimodal.demo.shapes import FUSIONS, load_shapes
    from art_multimodal.demo.spoken import FUSIONS as OF_SPOKEN
    from art_multimodal.demo.spoken import TASKS, load_spoken
    from art_multimodal.demo.views import FUSIONS as OF_VIEWS
    from art_multimodal.demo.views import load_views

    if name == "digits":
        return load_digits()
    if name == "digits/robust":
        return load_digits(ROBUST_WEIGHTS)
    if name == "scenes":
        return load_scenes()
    shapes = {"shapes": FUSIONS[0], **{f"shapes/{fusion}": fusion for fusion in FUSIONS}}
    views = {"views": OF_VIEWS[0], **{f"views/{fusion}": fusion for fusion in OF_VIEWS}}
    first = next(iter(TASKS))
    spoken = {"spoken": (first, OF_SPOKEN[0]), **{f"spoken/{task}": (task, OF_SPOKEN[0]) for task in TASKS}}
    spoken |= {f"spoken/{task}/{fusion}": (task, fusion) for task in TASKS for fusion in OF_SPOKEN}
    of_images = {f"{demo.name}/{fusion}": (demo, fusion) for demo in (NIGHT, RGBD) for fusion in demo.fusions}
    of_images |= {demo.name: (demo, demo.fusions[0]) for demo in (NIGHT, RGBD)}
    if name in of_images:
        demo, fusion = of_images[name]
        return demo.load(fusion)
    if name in ("motions", "skeleton"):
        raise InputError(f"demo:{name} is data without a model: open it with open_data, and give a model of your own.")
    if name in views:
        return load_views(views[name])
    if name in spoken:
        return load_spoken(*spoken[name])
    if name not in shapes:
        known = ["digits", "digits/robust", "scenes", *shapes, *views, *spoken, *sorted(of_images)]
        raise unknown_name("demo model", name, known)
    return load_shapes(shapes[name])


def open_demo(name: str, classes: Sequence[str] | None) -> LabelledImages | LabelledSamples:
    """Open the data set ``demo:NAME``.

    :param classes: Class names instead of its own.
    :raises InputError: If there is no such data set, or it has another number of classes.
    """
    from art_multimodal.datasets.naming import notes_on
    from art_multimodal.demo.digits_data import DigitsData
    from art_multimodal.demo.motions_data import MotionsData
    from art_multimodal.demo.night_data import NightData
    from art_multimodal.demo.rgbd_data import RgbdData
    from art_multimodal.demo.shapes_data import ShapesData
    from art_multimodal.demo.skeleton_data import SkeletonData
    from art_multimodal.demo.spoken import TASKS
    from art_multimodal.demo.spoken_data import SpokenData
    from art_multimodal.demo.views_data import ViewsData
    from art_multimodal.prompts import check_class_names

    known: dict[str, tuple[Callable[[], LabelledImages | LabelledSamples], str]] = {
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
