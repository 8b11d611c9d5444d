"""A fusion model with its texts bound: a classifier of images, which is what ART's image attacks take."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from art_multimodal.errors import InputError
from art_multimodal.estimators.image_classifier import ImageClassifier, default_loss, fresh_optimizer
from art_multimodal.estimators.modules import LearningModule, RememberedFeatures
from art_multimodal.models.fusion import FusionModel, move_tokens, take_rows


class RowMismatch(InputError):
    """Rows arrived that cannot be matched with the bound texts; nothing is guessed."""


class BoundFusion(RememberedFeatures):
    """Images to fused vectors, each with its own text.

    :param model: The fusion model.
    :param texts: One text for every image, or one text per row of every batch, in order.
    """

    def __init__(self, model: FusionModel, texts: Sequence[str]) -> None:
        super().__init__()
        self.fusion_model = model
        row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        self.tokens = model.tokenize(list(row_of))
        self.row_of_image = None if len(row_of) == 1 else torch.tensor([row_of[text] for text in texts])

    def rows(self, count: int, device: torch.device) -> Tensor:
        """For each of ``count`` images the row of its text among the distinct texts.

        :raises RowMismatch: If several texts are bound and the images are not as many.
        """
        if self.row_of_image is None:
            return torch.zeros(count, dtype=torch.long, device=device)
        if len(self.row_of_image) != count:
            raise RowMismatch(
                f"{count} images came for {len(self.row_of_image)} texts. A view on several texts takes exactly one "
                "image per text, in order, in every call; most attacks do not keep to that. Bind a single text, or "
                "use for_each_pair."
            )
        return self.row_of_image.to(device)

    def text_features(self, device: torch.device) -> Tensor:
        """Embeddings of the distinct texts, where the towers are separate."""
        model = self.fusion_model
        return self.remember(model.parameters(), lambda: model.encode_text(move_tokens(self.tokens, device)))

    def forward(self, images: Tensor) -> Tensor:
        model, rows = self.fusion_model, self.rows(len(images), images.device)
        if model.separate_towers:
            return model.join(model.encode_image(images), self.text_features(images.device)[rows])
        return model.fuse(images, take_rows(move_tokens(self.tokens, images.device), rows))


class FusionHead(nn.Module):
    """Fused vectors to scores, as a module that is called, so that ART's ``get_activations`` can hook it.

    :param model: Registered by :class:`BoundFusion`; only referred to here, so weights have one name.
    """

    def __init__(self, model: FusionModel) -> None:
        super().__init__()
        self._fusion_model = (model,)

    def forward(self, fused: Tensor) -> Tensor:
        scores = self._fusion_model[0].predict(fused)
        return scores.to(torch.promote_types(torch.float32, scores.dtype))


class TextBoundModule(LearningModule):
    """Images ``[N, C, H, W]`` in [0, 1] to scores ``[N, K]`` (or probabilities), with the texts inside."""

    def __init__(self, model: FusionModel, texts: Sequence[str], probabilities: bool = False) -> None:
        super().__init__()
        self.fusion = BoundFusion(model, texts)
        self.head = FusionHead(model)
        self.probabilities = probabilities

    def forward(self, images: Tensor) -> Tensor:
        with self.parameters_in_graph(images):
            scores = self.head(self.fusion(images))
        return scores.softmax(dim=1) if self.probabilities else scores


class TextBoundClassifier(ImageClassifier):
    """A :class:`FusionClassifier` seen as a classifier of images, because its texts are bound.

    With one text, any batch of images may come: every ART attack, defence and metric works. With several, row ``i`` of
    every batch belongs to text ``i``, and a batch of another length raises :class:`RowMismatch`. Made by
    :meth:`FusionClassifier.image_view`.
    """

    def __init__(
        self,
        model: FusionModel,
        texts: str | Sequence[str],
        *,
        input_shape: tuple[int, ...] | None = None,
        loss: nn.Module | None = None,
        probabilities: bool = False,
        **settings: Any,
    ) -> None:
        """
        :param model: The fusion model; shared, not copied.
        :param texts: A text, or one per row.
        :param input_shape: Shape of an image for ART; default ``(3, *model.image_size)``.
        :param loss: Default: cross-entropy.
        :param probabilities: Predict probabilities instead of scores.
        :param settings: Further ones of ``PyTorchClassifier``: optimizer, defences, device.
        :raises InputError: If there is no text, or one is too long for the model.
        """
        self._texts = (texts,) if isinstance(texts, str) else tuple(texts)
        if not self._texts:
            raise InputError("A view on images needs at least one text.")
        self._settings = settings
        super().__init__(
            model=TextBoundModule(model, self._texts, probabilities).train(model.training),
            loss=loss or default_loss(probabilities),
            input_shape=input_shape or (3, *model.image_size),
            nb_classes=len(model.class_names),
            channels_first=True,
            clip_values=(0.0, 1.0),
            preprocessing=None,
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

    def with_probabilities(self) -> TextBoundClassifier:
        """Return a view whose predictions are probabilities (SimBA, VirtualAdversarialMethod and STRIP want them)."""
        return type(self)(
            self.fusion_model, self._texts, input_shape=self._input_shape, probabilities=True, **self._settings
        )

    def predict(self, x: np.ndarray, batch_size: int = 128, training_mode: bool = False, **kwargs: Any) -> np.ndarray:
        """Return scores ``(N, K)`` of images ``(N, 3, H, W)``; several texts are never split over batches."""
        if self.model.fusion.row_of_image is not None:
            batch_size = max(batch_size, len(x))
        return super().predict(x, batch_size=batch_size, training_mode=training_mode, **kwargs)

    def clone_for_refitting(self) -> TextBoundClassifier:
        """Return a copy with freshly initialised weights and a new optimizer of the same kind and settings."""
        model = copy.deepcopy(self.fusion_model)
        settings = {**self._settings, "optimizer": fresh_optimizer(self._optimizer, model)}
        clone = type(self)(
            model,
            self._texts,
            input_shape=self._input_shape,
            loss=copy.deepcopy(self._loss),
            probabilities=self.model.probabilities,
            **settings,
        )
        clone.reset()
        return clone
