"""A fusion model with its texts bound: a classifier of images, which is what ART's image attacks take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from art_multimodal.errors import InputError
from art_multimodal.estimators.bound import RowMismatch
from art_multimodal.estimators.views import ModalityView
from art_multimodal.models.fusion import FusionModel
from art_multimodal.models.image_text import ImageText
from art_multimodal.models.multimodal import MultimodalModel
from art_multimodal.sample_arrays import samples
from art_multimodal.texts import as_texts

if TYPE_CHECKING:
    from typing import Self

__all__ = ["RowMismatch", "TextBoundClassifier"]


class TextBoundClassifier(ModalityView):
    """A :class:`FusionClassifier` seen as a classifier of images, because its texts are bound.

    With one text, any batch of images may come: every ART attack, defence and metric works. With several, row ``i`` of
    every batch belongs to text ``i``, and a batch of another length raises :class:`RowMismatch`. Made by
    :meth:`FusionClassifier.image_view`.

    >>> view = fusion.image_view(pairs["text"].tolist())
    >>> isinstance(view, TextBoundClassifier), view.predict(pairs["image"]).shape
    (True, (8, 2))
    """

    def __init__(
        self,
        model: FusionModel | ImageText,
        texts: str | Sequence[str],
        *,
        input_shape: tuple[int, ...] | None = None,
        loss: nn.Module | None = None,
        probabilities: bool = False,
        **settings: Any,
    ) -> None:
        """
        :param model: The fusion model, or what presents it as one over modalities; shared, not copied.
        :param texts: A text, or one per row.
        :param input_shape: Shape of an image for ART; default ``(3, *model.image_size)``.
        :param loss: Default: cross-entropy.
        :param probabilities: Predict probabilities instead of scores.
        :param settings: Further ones of ``PyTorchClassifier``: optimizer, defences, device.
        :raises InputError: If there is no text, or one is too long for the model.
        """
        self._texts = tuple(as_texts(texts))
        if not self._texts:
            raise InputError("A view on images needs at least one text.")
        over_modalities = model if isinstance(model, ImageText) else ImageText(model)
        super().__init__(
            over_modalities,
            "image",
            samples(text=list(self._texts)),
            input_shape=input_shape or (3, *over_modalities.model.image_size),
            loss=loss,
            probabilities=probabilities,
            **settings,
        )

    @property
    def texts(self) -> tuple[str, ...]:
        """The bound texts."""
        return self._texts

    @property
    def fusion_model(self) -> FusionModel:
        """The model inside."""
        return self.model.fusion.fusion_model

    def _again(self, model: MultimodalModel, **settings: Any) -> Self:
        assert isinstance(model, ImageText)
        return type(self)(model, self._texts, input_shape=self._input_shape, **settings)
