"""ART's preprocessing defences: those of texts stand inside the model, gradients pass through those of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from art.estimators.pytorch import PyTorchEstimator
from scipy.special import softmax
from torch import Tensor

from art_multimodal.errors import InputError
from art_multimodal.models.base import ImageTextModel
from art_multimodal.models.defended import defended
from art_multimodal.models.fusion import FusionModel
from art_multimodal.models.multimodal import MultimodalModel
from art_multimodal.sample_arrays import fields_of, samples

if TYPE_CHECKING:
    from art.defences.preprocessor import Preprocessor

    from art_multimodal.modalities.modality import Modality

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


def defences_by_modality(
    model: FusionModel | MultimodalModel, given: Preprocessor | Sequence[Preprocessor] | Mapping[str, Any] | None
) -> dict[str, list[Preprocessor]]:
    """Sort preprocessors by the modality that they stand before.

    :param given: By name of the modality, one or several; a bare list means those of images and of texts.
    :raises InputError: For a modality that the model does not have, or where it is not clear which one is meant.
    """
    known = ["image", "text"] if isinstance(model, FusionModel) else list(model.modalities)
    if given is None:
        return {}
    if isinstance(given, Mapping):
        if strange := [name for name in given if name not in known]:
            raise InputError(
                f"Defences are given for {strange[0]!r}, which the model does not have: {', '.join(known)}."
            )
        return {name: _listed(of) for name, of in given.items() if of is not None}
    found: dict[str, list[Preprocessor]] = {}
    for defence in _listed(given):
        kind = "text" if _is_for_texts(defence) else "image"
        names = [kind] if isinstance(model, FusionModel) else [n for n in known if model.modalities[n].kind == kind]
        if len(names) != 1:
            raise InputError(
                f"{type(defence).__name__} is for a modality of kind {kind!r}, and the model has {len(names)} of it. "
                "Name it: preprocessing_defences={'rgb': ...}."
            )
        found.setdefault(names[0], []).append(defence)
    return found


def defended_fields(
    modalities: Mapping[str, Modality], defences: Mapping[str, list[Preprocessor]], x: np.ndarray, fit: bool
) -> np.ndarray:
    """Return samples behind the defences of each modality.

    :param fit: Whether the model is trained on them: some defences act only then, or only otherwise.
    """
    changed = {}
    for name in x.dtype.names or ():
        acting = [d for d in defences.get(name, ()) if (d.apply_fit if fit else d.apply_predict)]
        if acting:
            values = modalities[name].values(x[name])
            for defence in acting:
                if _is_for_texts(defence):
                    values = defence.repair(values.tolist())
                else:
                    values = defended_numbers(defence, values, modalities[name].fill)
                if len(values) != len(x):
                    raise InputError(
                        f"{type(defence).__name__} before {name} returns {len(values)} samples for {len(x)}; the other "
                        "modalities would not match. Turn its augmentation off."
                    )
            changed[name] = modalities[name].with_values(x[name], values)
    return samples(**{**fields_of(x), **changed}) if changed else x


def defended_numbers(defence: Preprocessor, values: np.ndarray, fill: Any) -> np.ndarray:
    """What a defence makes of numbers; a sample that is missing stays so, and the defence is shown the fill.

    :param values: Shape ``(N, *shape)``.
    :param fill: Of the modality.
    """
    gone = _missing_rows(values)
    if gone is None:
        return defence(np.array(values))[0]
    return _still_missing(defence(np.where(gone, np.asarray(fill, dtype=values.dtype), values))[0], gone)


def _missing_rows(values: np.ndarray) -> np.ndarray | None:
    """Which samples are NaN throughout, shaped to broadcast; ``None`` if none is."""
    gone = np.isnan(values).reshape(len(values), -1).all(axis=1) if values.size else np.zeros(0, dtype=bool)
    return gone.reshape(-1, *[1] * (values.ndim - 1)) if gone.any() else None


def _still_missing(found: np.ndarray, gone: np.ndarray) -> np.ndarray:
    # Of an augmentation there are more, which is refused elsewhere.
    return np.where(gone, np.asarray(np.nan, dtype=found.dtype), found) if len(found) == len(gone) else found


def _listed(given: Preprocessor | Sequence[Preprocessor]) -> list[Preprocessor]:
    return list(given) if isinstance(given, (list, tuple)) else [given]


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


class _ThroughNumpy(torch.autograd.Function):
    """Preprocessing defences in numpy; backward is the gradient that they define for themselves, mostly unchanged."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, estimator: PyTorchEstimator) -> Tensor:
        ctx.save_for_backward(images)
        ctx.estimator = estimator
        inputs, _ = estimator._apply_preprocessing(images.detach().cpu().numpy(), y=None, fit=False)
        return torch.from_numpy(np.ascontiguousarray(inputs)).to(images)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (images,), behind = ctx.saved_tensors, gradients[0]
        through = ctx.estimator._apply_preprocessing_gradient(images.detach().cpu().numpy(), behind.cpu().numpy())
        return torch.from_numpy(np.ascontiguousarray(through)).to(images), None


def preprocessed(estimator: PyTorchEstimator, images: Tensor) -> Tensor:
    """Apply ART's preprocessing defences; gradients pass through those in numpy as these define it (BPDA)."""
    if estimator.all_framework_preprocessing:
        return estimator._apply_preprocessing(images, y=None, fit=False, no_grad=False)[0]
    return _ThroughNumpy.apply(images, estimator)


def score_and_gradient(
    estimator: PyTorchEstimator, images: Tensor, objective: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Return scores of images, and the gradient with respect to them of the sum of what is raised.

    :param images: Shape ``[N, C, H, W]``, in front of the defences.
    :param objective: Maps what the model sees, behind the defences, to what is raised and to scores.
    :return: The scores, detached, and a gradient of the images' shape.
    """
    images = images.detach().requires_grad_(True)
    raised, score = objective(preprocessed(estimator, images))
    return score.detach(), torch.autograd.grad(raised.sum(), images)[0]


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
        numbers = bool(self.preprocessing_operations) and isinstance(x, np.ndarray) and x.dtype.kind == "f"
        # A view of one modality is asked about samples that lack it, too.
        gone = _missing_rows(x) if numbers else None
        if gone is None:
            return self._preprocessed_as_it_is(x, y, fit, no_grad)
        low = 0.0 if self.clip_values is None else self.clip_values[0]
        found, y = self._preprocessed_as_it_is(np.where(gone, np.asarray(low, dtype=x.dtype), x), y, fit, no_grad)
        return _still_missing(found, gone), y

    def _preprocessed_as_it_is(self, x: Any, y: Any, fit: bool, no_grad: bool) -> tuple[Any, Any]:
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
