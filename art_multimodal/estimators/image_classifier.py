"""What our classifiers of images share, on top of ART's ``PyTorchClassifier``."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from art_multimodal.errors import InputError
from art_multimodal.estimators.defences import ChainedPreprocessing, check_image_defences
from art_multimodal.labels import label_indices


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


def check_input(x: np.ndarray, channels: int) -> None:
    """Check images before they reach a model.

    :raises InputError: If the shape is not ``(N, channels, H, W)``. Values that no image has are warned about.
    """
    if x.ndim != 4 or x.shape[1] != channels:
        hint = ""
        if x.ndim == 4 and x.shape[3] == channels:
            hint = " The channels seem to come last: use x.transpose(0, 3, 1, 2)."
        raise InputError(f"Images must have shape (N, {channels}, H, W), not {x.shape}.{hint}")
    if len(x):
        low, high = float(x.min()), float(x.max())
        # A warning, not an error: ART's attacks and defences may pass through such values on their way.
        if not (np.isfinite(low) and np.isfinite(high)):
            warnings.warn("The images hold NaN or infinite values; predictions for them mean nothing.", stacklevel=4)
        elif low < -0.01 or high > 1.01:
            hint = " Divide 8-bit images by 255." if high > 2 else ""
            warnings.warn(f"The images lie in [{low:.4g}, {high:.4g}], not in [0, 1].{hint}", stacklevel=4)


class ImageClassifier(ChainedPreprocessing, PyTorchClassifier):
    """A genuine ``PyTorchClassifier`` over float32 images ``(N, 3, H, W)`` in [0, 1] of any size.

    Its model is a :class:`LearningModule` that holds everything a forward pass needs.
    """

    def predict(self, x: np.ndarray, batch_size: int = 128, training_mode: bool = False, **kwargs: Any) -> np.ndarray:
        """Return logits of shape ``(N, K)``.

        :param x: Images ``(N, 3, H, W)`` in [0, 1]. Values outside are warned about, not changed.
        :param batch_size: Images per forward pass.
        :raises InputError: If the shape is not that of images with channels first.
        """
        self._check_input(x)
        if len(x) == 0:
            return np.zeros((0, self.nb_classes), dtype=np.float32)
        return super().predict(x, batch_size=batch_size, training_mode=training_mode, **kwargs)

    def fit(self, x: np.ndarray, y: np.ndarray, *args: Any, **kwargs: Any) -> None:
        """Train on images and class labels; all weights move unless their parameters are frozen.

        Arguments are those of ``PyTorchClassifier.fit``.

        :raises InputError: For images that are not finite, or labels out of range.
        """
        self._check_input(x)
        if not np.isfinite(x).all():
            raise InputError("The images to train on hold NaN or infinite values.")
        if np.ndim(y) == 1 or np.shape(y)[-1] == 1:
            label_indices(y, self.nb_classes, len(x))
        with self.model.trainable():
            super().fit(x, y, *args, **kwargs)

    def get_activations(
        self, x: np.ndarray, layer: int | str | None = None, batch_size: int = 128, framework: bool = False
    ) -> np.ndarray | Tensor:
        """Return what a layer puts out; arguments are those of ``PyTorchClassifier.get_activations``.

        The hooks that ART leaves in the model would keep it from being pickled or copied; they are taken out again.
        """
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

    def _check_input(self, x: np.ndarray) -> None:
        check_input(x, self._input_shape[0])
