"""What our classifiers of images share, on top of ART's ``PyTorchClassifier``."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from art.data_generators import DataGenerator, PyTorchDataGenerator
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from art_multimodal.errors import InputError
from art_multimodal.estimators.defences import ChainedPreprocessing, check_image_defences
from art_multimodal.images import image_array
from art_multimodal.labels import label_indices, label_rows


class NLLFromProbabilities(nn.NLLLoss):
    """Cross-entropy for a model that returns probabilities."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return super().forward(input.clamp_min(torch.finfo(input.dtype).tiny).log(), target)


def default_loss(probabilities: bool) -> nn.Module:
    """Cross-entropy of what a module returns."""
    return NLLFromProbabilities() if probabilities else nn.CrossEntropyLoss()


def fresh_optimizer(optimizer: torch.optim.Optimizer | None, model: nn.Module) -> torch.optim.Optimizer:
    """Return an optimizer of the same kind and settings over another model's parameters.

    :raises ValueError: If there is none to copy.
    """
    if optimizer is None:
        raise ValueError("An optimizer is needed to train the model, but none is provided.")
    settings = {name: value for name, value in optimizer.defaults.items() if name != "differentiable"}
    return type(optimizer)(model.parameters(), **settings)


def finite_labels(scores: np.ndarray) -> np.ndarray:
    """Return the predicted labels ``(N,)`` of scores ``(N, K)``.

    :raises InputError: If scores are not finite: their largest would be an arbitrary class.
    """
    if not np.isfinite(scores).all():
        raise InputError(
            "The model's scores are NaN or infinite: its weights are damaged, or they overflow. "
            "No number would mean anything."
        )
    return scores.argmax(axis=1)


def check_batch_size(batch_size: int) -> None:
    """Refuse batches without a row.

    :raises InputError: If ``batch_size`` is less than 1.
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, not {batch_size}.")


def shaped_images(x: Any, channels: int) -> np.ndarray:
    """Return images as :func:`image_array` does.

    :raises InputError: If the shape is not ``(N, channels, H, W)``.
    """
    x = image_array(x)
    if x.ndim != 4 or x.shape[1] != channels:
        hint = ""
        if x.ndim == 4 and x.shape[3] == channels:
            hint = " The channels seem to come last: use x.transpose(0, 3, 1, 2)."
        raise InputError(f"Images must have shape (N, {channels}, H, W), not {x.shape}.{hint}")
    return x


def checked_images(x: Any, channels: int) -> np.ndarray:
    """Return images as :func:`shaped_images` does; values that no image has are warned about."""
    x = shaped_images(x, channels)
    if x.size:
        low, high = float(x.min()), float(x.max())
        # A warning, not an error: ART's attacks and defences may pass through such values on their way.
        if not (np.isfinite(low) and np.isfinite(high)):
            warnings.warn("The images hold NaN or infinite values; predictions for them mean nothing.", stacklevel=4)
        elif low < -0.01 or high > 1.01:
            hint = " Divide 8-bit images by 255." if high > 2 else ""
            warnings.warn(f"The images lie in [{low:.4g}, {high:.4g}], not in [0, 1].{hint}", stacklevel=4)
    return x


class _CheckedLabels:
    """Batches of a loader, whose labels name one class each."""

    def __init__(self, batches: Iterable[tuple[Any, Any]], nb_classes: int) -> None:
        self._batches = batches
        self._nb_classes = nb_classes

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for images, labels in self._batches:
            label_indices(
                np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels), self._nb_classes, len(images)
            )
            yield images, labels


class ImageClassifier(ChainedPreprocessing, PyTorchClassifier):
    """A genuine ``PyTorchClassifier`` over float32 images ``(N, 3, H, W)`` in [0, 1] of any size.

    Its model is a :class:`LearningModule` that holds everything a forward pass needs.
    """

    def predict(self, x: np.ndarray, batch_size: int = 128, training_mode: bool = False, **kwargs: Any) -> np.ndarray:
        """Return logits of shape ``(N, K)``.

        :param x: Images ``(N, 3, H, W)`` in [0, 1]. Values outside are warned about, not changed.
        :param batch_size: Images per forward pass.
        :raises InputError: If the shape is not that of images with channels first, or a batch has no row.
        """
        check_batch_size(batch_size)
        x = self._checked(x)
        if len(x) == 0:
            return np.zeros((0, self.nb_classes), dtype=np.float32)
        # What ART does, without a loader that copies every image by itself.
        self._model.train(mode=training_mode)
        inputs, _ = self._apply_preprocessing(x, y=None, fit=False)
        scores = []
        with torch.no_grad():
            for start in range(0, len(inputs), batch_size):
                images = torch.tensor(inputs[start : start + batch_size], device=self._device)
                scores.append(self._model(images)[-1].cpu().numpy().astype(np.float32))
        return self._apply_postprocessing(preds=np.concatenate(scores), fit=False)

    def fit(self, x: np.ndarray, y: np.ndarray, *args: Any, **kwargs: Any) -> None:
        """Train on images and class labels; all weights move unless their parameters are frozen.

        Arguments are those of ``PyTorchClassifier.fit``.

        :raises InputError: For images that are not finite, labels out of range, or several labels for an image.
        """
        x = self._checked(x)
        if not np.isfinite(x).all():
            raise InputError("The images to train on hold NaN or infinite values.")
        y = label_rows(y, self.nb_classes, len(x))
        with self.model.trainable():
            super().fit(x, y, *args, **kwargs)

    def fit_generator(
        self, generator: DataGenerator, nb_epochs: int = 20, verbose: bool = False, **kwargs: Any
    ) -> None:
        """Train on batches; arguments are those of ``PyTorchClassifier.fit_generator``.

        :raises InputError: For several labels of an image, when its batch comes.
        """
        if isinstance(generator, PyTorchDataGenerator):
            # ART reduces its labels itself; of others it gives every batch to fit.
            generator = copy.copy(generator)
            generator._iterator = _CheckedLabels(generator.iterator, self.nb_classes)
        super().fit_generator(generator, nb_epochs=nb_epochs, verbose=verbose, **kwargs)

    def loss_gradient(
        self, x: np.ndarray | Tensor, y: np.ndarray | Tensor, training_mode: bool = False, **kwargs: Any
    ) -> np.ndarray | Tensor:
        """Return the gradient of the loss with respect to images; arguments are those of ``PyTorchClassifier``.

        :param y: Class indices ``(N,)``, one-hot rows, or rows of probabilities.
        :raises InputError: For arrays that are no images or labels.
        """
        # Tensors come from ART's attacks, in every step; what users give them has been an array before.
        if not isinstance(x, Tensor):
            x = self._shaped(x)
        if not isinstance(y, Tensor):
            y = label_rows(y, self.nb_classes, len(x))
        if len(x) == 0:
            return x
        return super().loss_gradient(x, y, training_mode=training_mode, **kwargs)

    def compute_loss(
        self, x: np.ndarray | Tensor, y: np.ndarray | Tensor, reduction: str = "none", **kwargs: Any
    ) -> np.ndarray | Tensor:
        """Return the loss of each image, ``(N,)``; arguments are those of ``PyTorchClassifier.compute_loss``.

        :raises InputError: For arrays that are no images or labels.
        """
        if not isinstance(x, Tensor):
            x = self._shaped(x)
            y = label_rows(y, self.nb_classes, len(x))
        return super().compute_loss(x, y, reduction=reduction, **kwargs)

    def class_gradient(
        self,
        x: np.ndarray,
        label: int | list[int] | np.ndarray | None = None,
        training_mode: bool = False,
        **kwargs: Any,
    ) -> np.ndarray:
        """Return the gradients of class scores with respect to the images, ``(N, K or 1, 3, H, W)``.

        :param label: One class for all, one per image, or ``None`` for every class.
        :raises InputError: For arrays that are no images, or labels out of range.
        """
        if not isinstance(x, Tensor):
            x = self._shaped(x)
        if label is not None and not isinstance(label, Tensor):
            each = np.full(len(x), label) if np.ndim(label) == 0 else label
            indices = label_indices(each, self.nb_classes, len(x))
            label = label if np.ndim(label) == 0 else indices
        if len(x) == 0:
            return np.zeros((0, self.nb_classes if label is None else 1, *x.shape[1:]), dtype=np.float32)
        return super().class_gradient(x, label, training_mode=training_mode, **kwargs)

    def get_activations(
        self, x: np.ndarray, layer: int | str | None = None, batch_size: int = 128, framework: bool = False
    ) -> np.ndarray | Tensor:
        """Return what a layer puts out; arguments are those of ``PyTorchClassifier.get_activations``.

        The hooks that ART leaves in the model would keep it from being pickled or copied; they are taken out again.
        """
        if not isinstance(x, Tensor):
            x = self._shaped(x)
            if len(x) == 0:
                # Of no images the activations have the right shape nevertheless.
                one = np.zeros((1, *x.shape[1:]), dtype=np.float32)
                return self.get_activations(one, layer, batch_size=1, framework=framework)[:0]
        before = {module: set(module._forward_hooks) for module in self.model.modules()}
        try:
            return super().get_activations(x, layer, batch_size=batch_size, framework=framework)
        finally:
            for module, hooks in before.items():
                for key in set(module._forward_hooks) - hooks:
                    del module._forward_hooks[key]
            self.__dict__.pop("_features", None)

    def predict_labels(self, x: np.ndarray, batch_size: int = 128) -> np.ndarray:
        """Return the predicted labels ``(N,)``.

        :raises InputError: If the model's scores are not finite.
        """
        return finite_labels(self.predict(x, batch_size=batch_size))

    def _update_preprocessing_operations(self) -> None:
        check_image_defences(self.preprocessing_defences)
        super()._update_preprocessing_operations()

    def _shaped(self, x: Any) -> np.ndarray:
        return shaped_images(x, self._input_shape[0])

    def _checked(self, x: Any) -> np.ndarray:
        return checked_images(x, self._input_shape[0])

    @property
    def _predicts_probabilities(self) -> bool:
        return self.model.probabilities
