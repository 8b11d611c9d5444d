"""A model whose pictures are resized in another way than it was published with: as it was deployed."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

from art_multimodal.errors import InputError
from art_multimodal.models.base import ImageTextModel, Model

Kind = TypeVar("Kind", bound=Model)


def with_resize(model: Kind, name: str) -> Kind:
    """Return a view of a model that resizes pictures in another way, and shares its weights; the model stays as it is.

    Sides, crop and normalisation are those of the model; pictures that have its size already are not resized at all.

    >>> deployed = with_resize(load_model("demo:digits"), "opencv_linear")
    >>> large = torch.rand(1, 3, 100, 100, generator=torch.Generator().manual_seed(0))
    >>> bool((deployed.encode_image(large) != load_model("demo:digits").encode_image(large)).any())
    True

    :param model: A dual encoder or a fusion model.
    :param name: A name of :data:`~art_multimodal.functional.resizing.RESIZERS`, such as ``"opencv_linear"``.
    :raises InputError: If there is none of that name, or the model takes no pictures.
    """
    if not isinstance(model, ImageTextModel):
        raise InputError(f"A {model.kind} takes arrays and resizes no pictures: leave out --resize.")
    return _resized(model, name)  # type: ignore[return-value]


def _resized(model: ImageTextModel, name: str) -> ImageTextModel:
    view = copy.copy(model)
    # copy.copy shares the dictionary of parts, in which the preprocessing is to be another one.
    parts: dict[str, nn.Module | None] = dict(model._modules)
    parts["preprocess"] = model.preprocess.resized_by(name)
    # One model inside another resizes alike.
    parts |= {key: _resized(part, name) for key, part in parts.items() if isinstance(part, ImageTextModel)}
    view._modules = parts
    return view
