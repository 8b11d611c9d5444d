"""A fusion model as an ART classifier of samples: of image-text pairs, or of any other modalities."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from art.estimators.classification.classifier import ClassifierMixin
from torch import nn

from art_multimodal.errors import InputError
from art_multimodal.estimators.asking.fusion import FusionAsking
from art_multimodal.estimators.defences import defences_by_modality, defended_fields, with_text_defences
from art_multimodal.estimators.image_classifier import check_batch_size, default_loss, finite_labels
from art_multimodal.estimators.pair_estimator import PairEstimator
from art_multimodal.estimators.view_making import ViewMaking
from art_multimodal.estimators.views import ModalityView
from art_multimodal.images import image_array
from art_multimodal.labels import label_indices, label_rows
from art_multimodal.models.fusion import FusionModel
from art_multimodal.models.image_text import ImageText
from art_multimodal.models.multimodal import Inputs, MultimodalModel
from art_multimodal.sample_arrays import are_samples, check_samples, samples, with_field

if TYPE_CHECKING:
    from art.defences.postprocessor import Postprocessor
    from art.defences.preprocessor import Preprocessor


class FusionClassifier(ClassifierMixin, ViewMaking, PairEstimator):
    """A fusion model as a classifier of image-text pairs, made by :func:`image_text_pairs`, or of other samples.

    Attacks that know pairs (:class:`DecouplingAttack`) take it as it is, and so do ART's ``AdversarialTrainer`` and
    data generators. Attacks that know images only run through :meth:`image_view` or :func:`for_each_pair`.

    Images of pairs are float32 ``(3, H, W)`` in [0, 1] at any size. In evaluation mode no gradients are computed for
    the parameters.

    With a :class:`MultimodalModel` samples are those of its modalities, made by :func:`samples`; :meth:`modality_view`,
    :meth:`packed_view` and :func:`for_each_sample` bring ART's attacks to any of them.

    | Paper link: https://arxiv.org/abs/2112.12792 (MUROAN's unified view of multimodal models)

    >>> questions = FusionClassifier(load_model("demo:shapes"))
    >>> [questions.class_names[label] for label in questions.predict_labels(pairs[:3])]
    ['yes', 'no', 'no']
    >>> digits_in_views = FusionClassifier(load_model("demo:views"))
    >>> digits_in_views.predict(x).shape, list(digits_in_views.modalities)
    ((8, 10), ['pix', 'fou', 'kar'])
    """

    estimator_params = PairEstimator.estimator_params + ["nb_classes", "loss"]
    _hint_without_pairs = " For attacks that know images only, use for_each_pair or image_view(texts)."

    def __init__(
        self,
        model: FusionModel | MultimodalModel,
        *,
        loss: nn.Module | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        input_shape: tuple[int, ...] | None = None,
        preprocessing_defences: Preprocessor | list[Preprocessor] | Mapping[str, Any] | None = None,
        postprocessing_defences: Postprocessor | list[Postprocessor] | None = None,
        device_type: str = "gpu",
    ) -> None:
        """
        :param model: The fusion model; shared, not copied.
        :param loss: Default: cross-entropy.
        :param optimizer: Over ``model.parameters()``; only training needs it.
        :param input_shape: Shape of an image for ART; default ``(3, *model.image_size)``, or that of a sample of the
            first modality of numbers. Other sizes of images are accepted too.
        :param preprocessing_defences: ART preprocessors in front of the model, by the name of the modality. A bare list
            means those of images, and of texts (:class:`TextPreprocessor`).
        :param postprocessing_defences: ART postprocessors, applied to the predictions, which then are probabilities.
        :param device_type: ``"gpu"`` (where there is one) or ``"cpu"``.
        :raises InputError: For another model, or defences of a modality that it does not have.
        """
        if not isinstance(model, (FusionModel, MultimodalModel)):
            raise InputError(
                f"FusionClassifier takes a FusionModel, not {type(model).__name__}. A model of your own becomes one "
                "with CustomFusion; a dual encoder (CLIP) with LateFusion, or it is classified by ZeroShotClassifier. "
                "A model over other modalities is a MultimodalModel: ModularModel, for example."
            )
        self._defences = defences_by_modality(model, preprocessing_defences)
        if isinstance(model, FusionModel):
            listed = [defence for of in self._defences.values() for defence in of]
            model, preprocessing_defences = with_text_defences(model, listed or None)
            # Those of texts are inside the model now.
            self._defences.pop("text", None)
            shape: tuple[int, ...] = (3, *model.image_size)
            self._multimodal: MultimodalModel = ImageText(model)
        else:
            preprocessing_defences = None
            self._multimodal = model
            shape = tuple(size or 0 for size in model.modalities[self._first].shape)
        super().__init__(
            model=model,
            sample_shape=shape,
            optimizer=optimizer,
            input_shape=input_shape,
            preprocessing_defences=preprocessing_defences,
            postprocessing_defences=postprocessing_defences,
            device_type=device_type,
        )
        self.of_pairs = isinstance(model, FusionModel)
        self.nb_classes = len(model.class_names)
        self._loss = (loss or default_loss(probabilities=False)).to(self._device)

    def asking(self, batch_size: int = 128) -> FusionAsking:
        """Return how searches and attacks ask this classifier: see :class:`Asking`."""
        return FusionAsking(self, batch_size)

    @property
    def image_text_model(self) -> Any:
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

    def set_params(self, **kwargs: Any) -> None:
        """Change settings, as ART's estimators do; ``preprocessing_defences`` may be given by modality, too.

        :raises InputError: For defences of a modality that the model does not have.
        """
        if "preprocessing_defences" in kwargs:
            found = defences_by_modality(self._model, kwargs.pop("preprocessing_defences"))
            if isinstance(self._model, FusionModel):
                kwargs["preprocessing_defences"] = [defence for of in found.values() for defence in of] or None
            self._defences = found
        super().set_params(**kwargs)

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

    def loss_gradient(
        self,
        x: np.ndarray,
        y: np.ndarray,
        batch_size: int = 128,
        modality: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> np.ndarray:
        """Return the gradient of the mean loss with respect to the images, ``(N, 3, H, W)``, or to other modalities.

        :param x: Pairs ``(N,)``, or samples.
        :param y: Class indices ``(N,)``, one-hot rows, or rows of probabilities.
        :param modality: Name of the modality; ``None`` for the only one that holds numbers. Several names give samples
            of gradients. Behind the length of a sequence they are zero.
        """
        if modality is not None and not isinstance(modality, str):
            x = self.checked(x)
            found = {name: self.loss_gradient(x, y, batch_size, name, **kwargs) for name in modality}
            return samples(
                **{n: (g, x[n]["length"]) if self.numeric_modality(n).variable else g for n, g in found.items()}
            )
        name = self._only(modality)
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
            np.zeros((0, *self._shape_in(x, name)), dtype=np.float32),
            name,
        )

    def class_gradient(
        self,
        x: np.ndarray,
        label: int | Sequence[int] | np.ndarray | None = None,
        batch_size: int = 128,
        modality: str | None = None,
        **kwargs: Any,
    ) -> np.ndarray:
        """Return the gradients of class scores with respect to the images, ``(N, K or 1, 3, H, W)``, or to another.

        :param x: Pairs ``(N,)``, or samples.
        :param label: One class for all, one per pair, or ``None`` for every class.
        :param modality: Name of the modality; ``None`` for the only one that holds numbers.
        """
        name = self._only(modality)
        if label is not None and not isinstance(label, (int, np.integer)):
            label = label_indices(np.asarray(label), self.nb_classes, len(x))
        return self._by_batch(
            x,
            batch_size,
            lambda view, images, rows: view.class_gradient(
                images, label[rows] if isinstance(label, np.ndarray) else label, **kwargs
            ),
            np.zeros((0, self.nb_classes if label is None else 1, *self._shape_in(x, name)), dtype=np.float32),
            name,
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
        x = self._to_train_on(x)
        targets = self._targets(y, len(x))

        def batch_loss(rows: np.ndarray) -> torch.Tensor:
            fields, target = self._preprocessed(x[rows], targets[rows])
            scores = self._multimodal(self._batch(fields))
            return self._loss(scores, _hard_or_mixed(target, scores))

        self._train(x, batch_loss, batch_size, nb_epochs, training_mode, drop_last, scheduler, verbose)

    def _further_settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {"loss": copy.deepcopy(self._loss)}
        return (
            settings if isinstance(self._model, FusionModel) else {**settings, "preprocessing_defences": self._defences}
        )

    def _by_batch(
        self,
        x: np.ndarray,
        batch_size: int,
        work: Callable[[ModalityView, np.ndarray, slice], np.ndarray],
        nothing: np.ndarray,
        modality: str | None = None,
    ) -> np.ndarray:
        """Do something with one modality of each batch, on a view that has the others of its rows."""
        x = self.checked(x)
        check_batch_size(batch_size)
        name, parts = modality or self._first, []
        for start in range(0, len(x), batch_size):
            rows = slice(start, start + batch_size)
            if isinstance(self._model, FusionModel):
                view: ModalityView = self.image_view(x["text"][rows].tolist())
                values = image_array(x["image"][rows])
            else:
                view = self.modality_view(name, x[rows])
                values = np.ascontiguousarray(self.numeric_modality(name).values(x[name][rows]))
            parts.append(work(view, values, rows))
        return np.concatenate(parts) if parts else nothing

    def checked(self, x: np.ndarray) -> np.ndarray:
        """Return samples as the model takes them.

        :raises InputError: If they are none, or a modality is missing or unknown.
        """
        if isinstance(self._model, FusionModel):
            self._check_pairs(x)
            return x
        return check_samples(x, self.modalities.values())

    def _to_train_on(self, x: np.ndarray) -> np.ndarray:
        if isinstance(self._model, FusionModel):
            self._check_training_pairs(x)
            return x
        x = check_samples(x, self.modalities.values())
        if not len(x):
            raise InputError("There are no samples to train on.")
        return x

    def _preprocessed(self, x: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Samples behind the defences that act in training, and their targets."""
        if isinstance(self._model, FusionModel):
            images, targets = self._apply_preprocessing(image_array(x["image"]), targets, fit=True)
            return with_field(x, "image", images), targets
        return defended_fields(self.modalities, self._defences, x, fit=True), targets

    def _batch(self, x: np.ndarray) -> Inputs:
        return {name: part.to(self._device) for name, part in self._multimodal.parts(x).items()}

    def _targets(self, y: np.ndarray, count: int) -> np.ndarray:
        """One row of probabilities per pair: one-hot, unless mixed labels were given, which stay as they are."""
        return label_rows(y, self.nb_classes, count)

    def _shape_in(self, x: np.ndarray, name: str) -> tuple[int, ...]:
        return self.numeric_modality(name).values(x[name]).shape[1:] if are_samples(x) else self._input_shape


def _hard_or_mixed(targets: np.ndarray, scores: torch.Tensor) -> torch.Tensor:
    """Class indices, which every loss takes; rows of probabilities only where labels are mixed."""
    rows = torch.from_numpy(np.asarray(targets)).to(scores)
    return rows.argmax(dim=1) if bool((rows.max(dim=1).values == 1).all()) else rows
