"""ART's preprocessing defences: those of texts stand inside the model, gradients pass through those of images."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from art.estimators.pytorch import PyTorchEstimator
from scipy.special import softmax
from torch import Tensor

from art_multimodal.errors import InputError
from art_multimodal.models.base import ImageTextModel
from art_multimodal.models.defended import defended

if TYPE_CHECKING:
    from art.defences.preprocessor import Preprocessor

Model = TypeVar("Model", bound=ImageTextModel)


def with_text_defences(
    model: Model, defences: Preprocessor | list[Preprocessor] | None
) -> tuple[Model, list[Preprocessor] | None]:
    """Put preprocessors of texts, which are those with a method ``repair``, in front of a model.

    ART hands preprocessors images only. Inside the model every text meets them, also those of an attack.

    :return: A view of the model that reads repaired texts (the model itself without any such preprocessor), and the
        other preprocessors, for ART.
    """
    if defences is None:
        return model, None
    given = list(defences) if isinstance(defences, (list, tuple)) else [defences]
    texts = tuple(defence.repair for defence in given if _is_for_texts(defence))
    images = [defence for defence in given if not _is_for_texts(defence)]
    return (defended(model, texts) if texts else model), images or None


def check_image_defences(defences: list[Preprocessor] | None) -> None:
    """Refuse preprocessors of texts where it is too late for them.

    :raises InputError: If there is one.
    """
    for defence in defences or ():
        if _is_for_texts(defence):
            raise InputError(
                f"{type(defence).__name__} repairs texts, and the estimator has read its texts already. Give it to the "
                "estimator's constructor."
            )


def _is_for_texts(defence: Preprocessor) -> bool:
    return callable(getattr(defence, "repair", None))


def preprocessed(estimator: PyTorchEstimator, images: Tensor) -> Tensor:
    """Apply ART's preprocessing defences; differentiable where all of them are torch modules."""
    if estimator.all_framework_preprocessing:
        return estimator._apply_preprocessing(images, y=None, fit=False, no_grad=False)[0]
    inputs, _ = estimator._apply_preprocessing(images.detach().cpu().numpy(), y=None, fit=False)
    return torch.from_numpy(inputs).to(images)


def score_and_gradient(
    estimator: PyTorchEstimator, images: Tensor, objective: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Return scores of images, and the gradient with respect to them of the sum of what is raised.

    :param images: Shape ``[N, C, H, W]``, in front of the defences.
    :param objective: Maps what the model sees, behind the defences, to what is raised and to scores.
    :return: The scores, detached, and a gradient of the images' shape.
    """
    if estimator.all_framework_preprocessing:
        images = images.detach().requires_grad_(True)
        raised, score = objective(preprocessed(estimator, images))
        return score.detach(), torch.autograd.grad(raised.sum(), images)[0]
    inputs = preprocessed(estimator, images).detach().requires_grad_(True)
    raised, score = objective(inputs)
    gradient = torch.autograd.grad(raised.sum(), inputs)[0]
    # numpy defences answer with the gradient that they define for themselves (straight-through, mostly).
    through = estimator._apply_preprocessing_gradient(images.detach().cpu().numpy(), gradient.cpu().numpy())
    return score.detach(), torch.from_numpy(np.ascontiguousarray(through)).to(images)


class ChainedPreprocessing(PyTorchEstimator):
    """What our estimators do with defences.

    Chains of any preprocessors, in the order given: ART chains them only if all are torch modules. And postprocessors
    are given probabilities, which is what ART's work on: with one, what is predicted are probabilities, too.
    """

    @property
    def _predicts_probabilities(self) -> bool:
        """Whether the model returns probabilities, and not scores."""
        return False

    def _apply_postprocessing(self, preds: np.ndarray, fit: bool) -> np.ndarray:
        acting = [d for d in self.postprocessing_defences or () if (d.apply_fit if fit else d.apply_predict)]
        if acting and len(preds) and not self._predicts_probabilities:
            preds = softmax(preds, axis=1)
        return super()._apply_postprocessing(preds, fit=fit)

    @property
    def _chains(self) -> bool:
        return len(self.preprocessing_operations) > 1 and not self.all_framework_preprocessing

    def _apply_preprocessing(self, x: Any, y: Any, fit: bool = False, no_grad: bool = True) -> tuple[Any, Any]:
        if not self._chains:
            return super()._apply_preprocessing(x, y, fit=fit, no_grad=no_grad)
        for defence in self._active(fit):
            x, y = defence(x, y)
        return x, y

    def _apply_preprocessing_gradient(self, x: Any, gradients: Any, fit: bool = False) -> Any:
        if not self._chains:
            return super()._apply_preprocessing_gradient(x, gradients, fit=fit)
        passed = []
        for defence in self._active(fit):
            passed.append((defence, x))
            x, _ = defence(x, None)
        for defence, seen in reversed(passed):
            gradients = defence.estimate_gradient(seen, gradients)
        return gradients

    def _active(self, fit: bool) -> list[Any]:
        return [d for d in self.preprocessing_operations if (d.apply_fit if fit else d.apply_predict)]
