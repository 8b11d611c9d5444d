"""A model behind defences: texts are repaired before it reads them, images are preprocessed before it sees them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from art_multimodal.models.base import ImageTextModel
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.fusion import FusionModel, Tokens, take_rows
from art_multimodal.texts import as_texts

#: Maps texts to as many texts.
TextDefence = Callable[[Sequence[str]], list[str]]
#: Maps images ``[N, C, H, W]`` in [0, 1] to images of that shape; gradients pass through it.
ImageDefence = Callable[[Tensor], Tensor]

Model = TypeVar("Model", bound=ImageTextModel)


def defended(
    model: Model, texts: Sequence[TextDefence] = (), images: Sequence[ImageDefence] = (), draws: int = 1
) -> Model:
    """Return a view of a model that has defences in front of it, and shares its weights.

    Whatever reads a text with the view, an attack included, gets it repaired first, since all texts pass
    :meth:`tokenize`; likewise images and :meth:`pixels`. The model itself stays as it is.

    :param model: A dual encoder or a fusion model. Of a view, the defences are replaced.
    :param texts: Applied in this order.
    :param images: Applied in this order.
    :param draws: Of random image defences: embeddings are means over so many draws for each image, and gradients are
        those of the expectation. Of a dual encoder the unit embeddings are averaged, so that the logits are those of
        the mean over draws up to a factor for each image; of a fusion model, what is fused.
    """
    kind: Any = type(model)
    view: Any = copy.copy(model)
    view.__class__ = _defended_class(kind.undefended if isinstance(model, _Defended) else kind)
    view.text_defences, view.image_defences, view.draws = tuple(texts), tuple(images), draws
    return view


def text_defences_of(model: ImageTextModel) -> tuple[TextDefence, ...]:
    """What repairs the texts that a model reads, in the order of application."""
    return model.text_defences if isinstance(model, _Defended) else ()


class _Defended(ImageTextModel):
    """What a view has beyond the class of its model; it comes before that class in the order of resolution."""

    #: The class of the model itself.
    undefended: Any
    text_defences: tuple[TextDefence, ...]
    image_defences: tuple[ImageDefence, ...]
    draws: int

    def pixels(self, images: Tensor) -> Tensor:
        for defence in self.image_defences:
            images = defence(images)
        return super().pixels(images)

    def _repaired(self, texts: Sequence[str]) -> Sequence[str]:
        texts = as_texts(texts)
        for defence in self.text_defences:
            texts = defence(texts)
        return texts

    def _mean(self, of_draws: Tensor) -> Tensor:
        """The mean over draws of ``[draws * N, ...]``."""
        return of_draws.unflatten(0, (self.draws, -1)).mean(dim=0)

    def _drawn(self, images: Tensor) -> Tensor:
        return images.repeat(self.draws, 1, 1, 1)

    def __reduce_ex__(self, protocol: Any) -> tuple:
        # The class is made at run time, so that pickle could not find it by its name.
        return _restored, (self.undefended,), self.__dict__


class _DefendedDualEncoder(_Defended, DualEncoder):
    def tokenize(self, texts: Sequence[str], allow_empty: bool = False) -> Tensor:
        return super().tokenize(self._repaired(texts), allow_empty=allow_empty)

    def encode_image(self, images: Tensor, normalize: bool = True) -> Tensor:
        if self.draws == 1:
            return super().encode_image(images, normalize=normalize)
        features = self._mean(super().encode_image(self._drawn(images), normalize=True))
        return F.normalize(features, dim=-1) if normalize else features

    @property
    def drops_tokens(self) -> bool:
        # Defences stand in front of the pixels; a mean over draws is not taken of views.
        return self.draws == 1 and self.undefended.encode_image is DualEncoder.encode_image and self._knows_patches


class _DefendedFusion(_Defended, FusionModel):
    def tokenize(self, texts: Sequence[str]) -> Tokens:
        return super().tokenize(self._repaired(texts))

    def encode_image(self, images: Tensor) -> Tensor:
        if self.draws == 1:
            return super().encode_image(images)
        return self._mean(super().encode_image(self._drawn(images)))

    def fuse(self, images: Tensor, tokens: Tokens) -> Tensor:
        if self.draws == 1:
            return super().fuse(images, tokens)
        if self.separate_towers:
            return self.join(self.encode_image(images), self.encode_text(tokens))
        rows = torch.arange(len(images)).repeat(self.draws)
        return self._mean(super().fuse(self._drawn(images), take_rows(tokens, rows)))


@cache
def _defended_class(kind: Any) -> Any:
    view = _DefendedDualEncoder if issubclass(kind, DualEncoder) else _DefendedFusion
    return type(f"Defended{kind.__name__}", (view, kind), {"undefended": kind, "__module__": kind.__module__})


def _restored(kind: Any) -> ImageTextModel:
    view = _defended_class(kind)
    return view.__new__(view)
