"""A fusion model with its texts bound: a classifier of images, which is what ART's image attacks take."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from art_multimodal.errors import InputError
from art_multimodal.estimators.image_classifier import ImageClassifier, default_loss, fresh_optimizer
from art_multimodal.estimators.modules import LearningModule, RememberedFeatures
from art_multimodal.models.fusion import FusionModel, move_tokens, take_rows
from art_multimodal.texts import as_texts

if TYPE_CHECKING:
    from art.data_generators import DataGenerator


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
        self.texts = tuple(texts)
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
        weights = (*model.parameters(), *model.buffers())
        return self.remember(model, weights, lambda: model.encode_text(move_tokens(self.tokens, device)))

    def forward(self, images: Tensor, rows: Tensor | None = None) -> Tensor:
        """Fuse images with their texts.

        :param rows: Of their texts, for a part of a batch; see :meth:`rows`.
        """
        model, rows = self.fusion_model, self.rows(len(images), images.device) if rows is None else rows
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
        texts = self.fusion.rows(len(images), images.device)

        def scores_of(part: Tensor, rows: slice) -> Tensor:
            with self.parameters_in_graph(part):
                return self._scores(self.head(self.fusion(part, texts[rows])))

        return self.in_parts(scores_of, images)

    def _scores(self, scores: Tensor) -> Tensor:
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
        self._texts = tuple(as_texts(texts))
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
            self.fusion_model, self._texts, input_shape=self._input_shape, probabilities=True, **self._current()
        )

    def predict(self, x: np.ndarray, batch_size: int = 128, training_mode: bool = False, **kwargs: Any) -> np.ndarray:
        """Return scores ``(N, K)`` of images ``(N, 3, H, W)``; several texts are never split over batches."""
        return super().predict(x, batch_size=self._whole(batch_size, x), training_mode=training_mode, **kwargs)

    def get_activations(
        self, x: np.ndarray, layer: int | str | None = None, batch_size: int = 128, framework: bool = False
    ) -> np.ndarray | Tensor:
        """Return what the layer ``"fusion"`` or ``"head"`` puts out; several texts are never split over batches."""
        return super().get_activations(x, layer, batch_size=self._whole(batch_size, x), framework=framework)

    def fit(self, x: np.ndarray, y: np.ndarray, *args: Any, **kwargs: Any) -> None:
        """Train on images that all have the one text.

        :raises RowMismatch: If several texts are bound: training shuffles its rows.
        """
        self._one_text_to_train_on()
        super().fit(x, y, *args, **kwargs)

    def fit_generator(
        self, generator: DataGenerator, nb_epochs: int = 20, verbose: bool = False, **kwargs: Any
    ) -> None:
        """Train on batches of images that all have the one text.

        :raises RowMismatch: If several texts are bound: a generator may shuffle its rows.
        """
        self._one_text_to_train_on()
        with self.model.trainable():
            super().fit_generator(generator, nb_epochs=nb_epochs, verbose=verbose, **kwargs)

    def clone_for_refitting(self) -> TextBoundClassifier:
        """Return a copy with a new optimizer of the same kind and settings, and freshly initialised layers.

        As in ART, a layer is initialised by its ``reset_parameters``; parameters outside of such layers (position
        embeddings, class tokens) keep their values.
        """
        model = copy.deepcopy(self.fusion_model)
        settings = {**self._current(), "optimizer": fresh_optimizer(self._optimizer, model)}
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

    def _whole(self, batch_size: int, x: np.ndarray) -> int:
        return batch_size if self.model.fusion.row_of_image is None else max(batch_size, len(x))

    def _one_text_to_train_on(self) -> None:
        if self.model.fusion.row_of_image is not None:
            raise RowMismatch(
                "A view on several texts cannot be trained: training shuffles the images and would pair them with "
                "other texts. Train the FusionClassifier on pairs."
            )

    def _current(self) -> dict[str, Any]:
        """The settings as they are now; ``set_params`` may have changed them."""
        return {
            **self._settings,
            "optimizer": self._optimizer,
            "preprocessing_defences": self.preprocessing_defences,
            "postprocessing_defences": self.postprocessing_defences,
            "device_type": "cpu" if self._device.type == "cpu" else "gpu",
        }
