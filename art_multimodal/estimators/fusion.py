"""An image-text fusion model as an ART classifier of pairs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from art.estimators.classification.classifier import ClassifierMixin
from torch import nn

from art_multimodal.errors import InputError
from art_multimodal.estimators.defences import with_text_defences
from art_multimodal.estimators.image_classifier import check_batch_size, default_loss, finite_labels
from art_multimodal.estimators.pair_estimator import PairEstimator
from art_multimodal.estimators.text_bound import TextBoundClassifier
from art_multimodal.images import image_array
from art_multimodal.labels import label_indices, label_rows
from art_multimodal.models.fusion import FusionModel, move_tokens
from art_multimodal.pairs import is_pairs

if TYPE_CHECKING:
    from art.defences.postprocessor import Postprocessor
    from art.defences.preprocessor import Preprocessor


class FusionClassifier(ClassifierMixin, PairEstimator):
    """A fusion model as a classifier of image-text pairs, made by :func:`image_text_pairs`.

    Attacks that know pairs (:class:`DecouplingAttack`) take it as it is, and so do ART's ``AdversarialTrainer`` and
    data generators. Attacks that know images only run through :meth:`image_view` or :func:`for_each_pair`.

    Images are float32 ``(3, H, W)`` in [0, 1] at any size. In evaluation mode no gradients are computed for the
    parameters.

    | Paper link: https://arxiv.org/abs/2112.12792 (MUROAN's unified view of multimodal models)
    """

    estimator_params = PairEstimator.estimator_params + ["nb_classes", "loss"]
    _hint_without_pairs = " For attacks that know images only, use for_each_pair or image_view(texts)."

    def __init__(
        self,
        model: FusionModel,
        *,
        loss: nn.Module | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        input_shape: tuple[int, ...] | None = None,
        preprocessing_defences: Preprocessor | list[Preprocessor] | None = None,
        postprocessing_defences: Postprocessor | list[Postprocessor] | None = None,
        device_type: str = "gpu",
    ) -> None:
        """
        :param model: The fusion model; shared, not copied.
        :param loss: Default: cross-entropy.
        :param optimizer: Over ``model.parameters()``; only training needs it.
        :param input_shape: Shape of an image for ART; default ``(3, *model.image_size)``. Other sizes are accepted too.
        :param preprocessing_defences: ART preprocessors in front of the model: of images, or of texts
            (:class:`TextPreprocessor`).
        :param postprocessing_defences: ART postprocessors, applied to the predictions, which then are probabilities.
        :param device_type: ``"gpu"`` (where there is one) or ``"cpu"``.
        """
        if not isinstance(model, FusionModel):
            raise InputError(
                f"FusionClassifier takes a FusionModel, not {type(model).__name__}. A model of your own becomes one "
                "with CustomFusion; a dual encoder (CLIP) with LateFusion, or it is classified by ZeroShotClassifier."
            )
        model, preprocessing_defences = with_text_defences(model, preprocessing_defences)
        super().__init__(
            model=model,
            image_size=model.image_size,
            optimizer=optimizer,
            input_shape=input_shape,
            preprocessing_defences=preprocessing_defences,
            postprocessing_defences=postprocessing_defences,
            device_type=device_type,
        )
        self.nb_classes = len(model.class_names)
        self._loss = (loss or default_loss(probabilities=False)).to(self._device)

    @property
    def image_text_model(self) -> FusionModel:
        """The model inside, by the name that it has on a :class:`ZeroShotClassifier` too."""
        return self._model

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the answers, in the order of the scores."""
        return self._model.class_names

    @property
    def loss(self) -> nn.Module:
        """The loss function."""
        return self._loss

    @property
    def layer_names(self) -> list[str]:
        """What :meth:`get_activations` takes."""
        return ["fusion", "head"]

    def image_view(self, texts: str | Sequence[str], probabilities: bool = False) -> TextBoundClassifier:
        """Return a genuine ``PyTorchClassifier`` over images, with the texts bound inside its module.

        It shares weights, loss, optimizer and defences with this classifier.

        :param texts: One text for all images; or several, then every call takes one image per text, in order, and any
            other number of rows raises :class:`RowMismatch`.
        :param probabilities: Predict probabilities instead of scores.
        """
        return TextBoundClassifier(
            self._model,
            texts,
            input_shape=self._input_shape,
            loss=None if probabilities else self._loss,
            probabilities=probabilities,
            optimizer=self._optimizer,
            preprocessing_defences=self.preprocessing_defences,
            postprocessing_defences=self.postprocessing_defences,
            device_type="cpu" if self._device.type == "cpu" else "gpu",
        )

    def predict(self, x: np.ndarray, batch_size: int = 128, training_mode: bool = False, **kwargs: Any) -> np.ndarray:
        """Return scores ``(N, K)``.

        :param x: Pairs ``(N,)``.
        :param batch_size: Pairs per forward pass.
        :raises InputError: If ``x`` are not pairs.
        """
        return self._by_batch(
            x,
            batch_size,
            lambda view, images, rows: view.predict(images, training_mode=training_mode),
            np.zeros((0, self.nb_classes), dtype=np.float32),
        )

    def predict_labels(self, x: np.ndarray, batch_size: int = 128) -> np.ndarray:
        """Return the predicted labels ``(N,)`` of pairs.

        :raises InputError: If ``x`` are not pairs, or the model's scores are not finite.
        """
        return finite_labels(self.predict(x, batch_size=batch_size))

    def loss_gradient(self, x: np.ndarray, y: np.ndarray, batch_size: int = 128, **kwargs: Any) -> np.ndarray:
        """Return the gradient of the mean loss with respect to the images, ``(N, 3, H, W)``.

        :param x: Pairs ``(N,)``.
        :param y: Class indices ``(N,)``, one-hot rows, or rows of probabilities.
        """
        targets = self._targets(y, len(x))
        # A batch's gradients are those of its mean loss; ART's are those of the mean over all.
        mean = getattr(self._loss, "reduction", "mean") == "mean"
        return self._by_batch(
            x,
            batch_size,
            lambda view, images, rows: (
                np.asarray(view.loss_gradient(images, targets[rows], **kwargs))
                * (np.float32(len(images) / len(x)) if mean else 1)
            ),
            np.zeros((0, *self._image_shape(x)), dtype=np.float32),
        )

    def class_gradient(
        self,
        x: np.ndarray,
        label: int | Sequence[int] | np.ndarray | None = None,
        batch_size: int = 128,
        **kwargs: Any,
    ) -> np.ndarray:
        """Return the gradients of class scores with respect to the images, ``(N, K or 1, 3, H, W)``.

        :param x: Pairs ``(N,)``.
        :param label: One class for all, one per pair, or ``None`` for every class.
        """
        if label is not None and not isinstance(label, (int, np.integer)):
            label = label_indices(np.asarray(label), self.nb_classes, len(x))
        return self._by_batch(
            x,
            batch_size,
            lambda view, images, rows: view.class_gradient(
                images, label[rows] if isinstance(label, np.ndarray) else label, **kwargs
            ),
            np.zeros((0, self.nb_classes if label is None else 1, *self._image_shape(x)), dtype=np.float32),
        )

    def compute_loss(self, x: np.ndarray, y: np.ndarray, batch_size: int = 128, **kwargs: Any) -> np.ndarray:
        """Return the loss of each pair, ``(N,)``."""
        kwargs["reduction"] = "none"
        targets = self._targets(y, len(x))
        return self._by_batch(
            x,
            batch_size,
            lambda view, images, rows: np.asarray(view.compute_loss(images, targets[rows], **kwargs)),
            np.zeros(0, dtype=np.float32),
        )

    def get_activations(
        self, x: np.ndarray, layer: int | str, batch_size: int = 128, framework: bool = False
    ) -> np.ndarray:
        """Return the activations of a layer: ``"fusion"`` (the fused vectors) or ``"head"`` (the scores).

        :raises InputError: For ``framework=True``: the graph of one batch is not that of all.
        """
        if framework:
            raise InputError("get_activations on pairs returns arrays; use image_view(texts) for tensors.")
        return self._by_batch(
            x,
            batch_size,
            lambda view, images, rows: np.asarray(view.get_activations(images, layer, batch_size=len(images))),
            np.zeros((0, 0), dtype=np.float32),
        )

    def fit(
        self,
        x: np.ndarray,
        y: np.ndarray,
        batch_size: int = 128,
        nb_epochs: int = 10,
        training_mode: bool = True,
        drop_last: bool = False,
        scheduler: Any = None,
        verbose: bool = False,
        **kwargs: Any,
    ) -> None:
        """Train on pairs.

        :param x: Pairs ``(N,)``.
        :param y: Class indices ``(N,)``, one-hot rows, or rows of probabilities.
        :param batch_size: Pairs per step.
        :param nb_epochs: Passes over the pairs, in a new order each time (torch's global generator, as ART does).
        :param training_mode: Whether dropout and the like are active.
        :param drop_last: Leave out the last batch where it is smaller.
        :param scheduler: Of the learning rate; stepped after every epoch.
        :param verbose: Show a progress bar.
        :raises InputError: For what are not pairs, none at all, images that are not finite, or labels out of range.
        """
        self._check_training_pairs(x)
        targets = self._targets(y, len(x))

        def batch_loss(rows: np.ndarray) -> torch.Tensor:
            images, target = self._apply_preprocessing(image_array(x["image"][rows]), targets[rows], fit=True)
            tokens = move_tokens(self._model.tokenize(x["text"][rows].tolist()), self._device)
            scores = self._model(torch.from_numpy(images).to(self._device), tokens)
            return self._loss(scores, _hard_or_mixed(target, scores))

        self._train(x, batch_loss, batch_size, nb_epochs, training_mode, drop_last, scheduler, verbose)

    def _further_settings(self) -> dict[str, Any]:
        return {"loss": copy.deepcopy(self._loss)}

    def _by_batch(
        self,
        x: np.ndarray,
        batch_size: int,
        work: Callable[[TextBoundClassifier, np.ndarray, slice], np.ndarray],
        nothing: np.ndarray,
    ) -> np.ndarray:
        """Do something with the images of each batch on a view that has their texts."""
        self._check_pairs(x)
        check_batch_size(batch_size)
        parts = []
        for start in range(0, len(x), batch_size):
            rows = slice(start, start + batch_size)
            images = image_array(x["image"][rows])
            parts.append(work(self.image_view(x["text"][rows].tolist()), images, rows))
        return np.concatenate(parts) if parts else nothing

    def _targets(self, y: np.ndarray, count: int) -> np.ndarray:
        """One row of probabilities per pair: one-hot, unless mixed labels were given, which stay as they are."""
        return label_rows(y, self.nb_classes, count)

    def _image_shape(self, x: np.ndarray) -> tuple[int, ...]:
        return x["image"].shape[1:] if is_pairs(x) else self._input_shape


def _hard_or_mixed(targets: np.ndarray, scores: torch.Tensor) -> torch.Tensor:
    """Class indices, which every loss takes; rows of probabilities only where labels are mixed."""
    rows = torch.from_numpy(np.asarray(targets)).to(scores)
    return rows.argmax(dim=1) if bool((rows.max(dim=1).values == 1).all()) else rows
