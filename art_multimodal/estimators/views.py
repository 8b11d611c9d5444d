"""Genuine ART classifiers over one modality of a model, with the others bound inside."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from art_multimodal.errors import InputError
from art_multimodal.estimators.bound import BoundFusion, BoundModule, RowMismatch, Split, bound_samples
from art_multimodal.estimators.image_classifier import ImageClassifier, default_loss, fresh_optimizer
from art_multimodal.modalities.modality import Modality
from art_multimodal.models.image_text import ImageText
from art_multimodal.models.multimodal import MultimodalModel

if TYPE_CHECKING:
    from typing import Self

    from art.data_generators import DataGenerator


class View(ImageClassifier):
    """What the views share: a module with everything else bound inside, and rows that are never mixed up.

    With one row bound any batch may come. With several, row ``i`` of every batch belongs to row ``i`` of what is bound,
    and a batch of another length raises :class:`RowMismatch`.
    """

    def __init__(
        self,
        model: MultimodalModel,
        fusion: BoundFusion,
        split: Split,
        *,
        input_shape: tuple[int, ...],
        clip_values: Any,
        loss: nn.Module | None,
        probabilities: bool,
        **settings: Any,
    ) -> None:
        self._settings = settings
        super().__init__(
            # In the mode that the model is in: that of pairs is inside of what presents it.
            model=BoundModule(fusion, split, probabilities).train(fusion.fusion_model.training),
            loss=loss or default_loss(probabilities),
            input_shape=input_shape,
            nb_classes=len(model.class_names),
            channels_first=True,
            clip_values=clip_values,
            preprocessing=None,
            **settings,
        )

    @property
    def multimodal(self) -> MultimodalModel:
        """The model inside, as a model over modalities."""
        return self.model.fusion.multimodal

    def predict(self, x: np.ndarray, batch_size: int = 128, training_mode: bool = False, **kwargs: Any) -> np.ndarray:
        """Return scores ``(N, K)``; several bound rows are never split over batches."""
        return super().predict(x, batch_size=self._whole(batch_size, x), training_mode=training_mode, **kwargs)

    def get_activations(
        self, x: np.ndarray, layer: int | str | None = None, batch_size: int = 128, framework: bool = False
    ) -> np.ndarray | Tensor:
        """Return what the layer ``"fusion"`` or ``"head"`` puts out; several bound rows are never split."""
        return super().get_activations(x, layer, batch_size=self._whole(batch_size, x), framework=framework)

    def fit(self, x: np.ndarray, y: np.ndarray, *args: Any, **kwargs: Any) -> None:
        """Train on samples that all have the one bound row.

        :raises RowMismatch: If several are bound: training shuffles its rows.
        """
        self._one_row_to_train_on()
        super().fit(x, y, *args, **kwargs)

    def fit_generator(
        self, generator: DataGenerator, nb_epochs: int = 20, verbose: bool = False, **kwargs: Any
    ) -> None:
        """Train on batches of samples that all have the one bound row.

        :raises RowMismatch: If several are bound: a generator may shuffle its rows.
        """
        self._one_row_to_train_on()
        with self.model.trainable():
            super().fit_generator(generator, nb_epochs=nb_epochs, verbose=verbose, **kwargs)

    def with_probabilities(self) -> Self:
        """Return a view whose predictions are probabilities (SimBA, VirtualAdversarialMethod and STRIP want them)."""
        return self._again(self.multimodal, loss=None, probabilities=True, **self._current())

    def clone_for_refitting(self) -> Self:
        """Return a copy with a new optimizer of the same kind and settings, and freshly initialised layers.

        As in ART, a layer is initialised by its ``reset_parameters``; parameters outside of such layers (position
        embeddings, class tokens) keep their values.
        """
        model = copy.deepcopy(self.multimodal)
        settings = {**self._current(), "optimizer": fresh_optimizer(self._optimizer, model)}
        loss = copy.deepcopy(self._loss)
        clone = self._again(model, loss=loss, probabilities=self.model.probabilities, **settings)
        clone.reset()
        return clone

    def _again(self, model: MultimodalModel, **settings: Any) -> Self:
        """Return such a view over a model, with the same bound inside."""
        raise NotImplementedError

    def _current(self) -> dict[str, Any]:
        """The settings as they are now; ``set_params`` may have changed them."""
        return {
            **self._settings,
            "optimizer": self._optimizer,
            "preprocessing_defences": self.preprocessing_defences,
            "postprocessing_defences": self.postprocessing_defences,
            "device_type": "cpu" if self._device.type == "cpu" else "gpu",
        }

    def _whole(self, batch_size: int, x: np.ndarray) -> int:
        return batch_size if self.model.fusion.row_of_sample is None else max(batch_size, len(x))

    def _one_row_to_train_on(self) -> None:
        if self.model.fusion.row_of_sample is not None:
            raise RowMismatch(
                "A view with several bound rows cannot be trained: training shuffles the samples and would pair them "
                "with other rows. Train the FusionClassifier on samples."
            )

    def _shaped(self, x: Any) -> np.ndarray:
        with np.errstate(over="ignore"):
            x = np.require(x, dtype=np.float32, requirements=["C", "W", "E"])
        if x.shape[1:] != self._input_shape or x.ndim == 0:
            raise InputError(
                f"This view takes arrays of shape (N, {', '.join(map(str, self._input_shape))}), not {x.shape}."
            )
        return x

    def _checked(self, x: Any) -> np.ndarray:
        x = self._shaped(x)
        for name, values in self.model.split(torch.from_numpy(x)).items():
            modality, own = self.multimodal.modalities[name], values.numpy()
            there = self._there(modality, own)
            low, high = (np.asarray(bound, dtype=np.float32) for bound in modality.clip_values)
            slack = 0.01 * (high - low)
            # A warning, not an error: ART's attacks and defences may pass through such values on their way.
            if not np.isfinite(own[there]).all():
                warnings.warn(
                    f"{name}: there are NaN or infinite values; predictions for them mean nothing.", stacklevel=4
                )
            elif (there & ((own < low - slack) | (own > high + slack))).any():
                said = f"{own[there].min():.4g} to {own[there].max():.4g}"
                warnings.warn(f"{name}: there are values outside of its clip_values: {said}.", stacklevel=4)
        return x

    def _there(self, modality: Modality, values: np.ndarray) -> np.ndarray:
        """Which numbers count, booleans ``(N, *shape)``: not those of a missing sample, nor behind a length."""
        count, axes = len(values), [1] * (values.ndim - 1)
        there = ~np.isnan(values).reshape(count, -1).all(axis=1) if values.size else np.ones(count, dtype=bool)
        there = there.reshape(count, *axes)
        if modality.variable and count:
            rows = self.model.fusion.rows(count, torch.device("cpu"))
            lengths = self.model.fusion.lengths_of(modality.name, rows).numpy().reshape(count, *axes)
            there = there & (np.arange(values.shape[1]).reshape(-1, *axes[1:]) < lengths)
        return np.broadcast_to(there, values.shape)


class ModalityView(View):
    """A model over several modalities seen as a classifier of one: the others, and its lengths, are bound inside.

    Made by :meth:`FusionClassifier.modality_view`.

    >>> from art.attacks.evasion import ProjectedGradientDescent
    >>> view = sensors.modality_view("fou", others=x)
    >>> isinstance(view, ModalityView), view.input_shape
    (True, (76,))
    >>> attack = ProjectedGradientDescent(view, eps=0.1, eps_step=0.05, max_iter=2, verbose=False)
    >>> bool(np.abs(attack.generate(x["fou"], y) - x["fou"]).max() <= 0.1 + 1e-6)
    True
    """

    def __init__(
        self,
        model: MultimodalModel,
        name: str,
        others: np.ndarray | None = None,
        lengths: np.ndarray | None = None,
        *,
        input_shape: tuple[int, ...] | None = None,
        loss: nn.Module | None = None,
        probabilities: bool = False,
        **settings: Any,
    ) -> None:
        """
        :param model: The model; shared, not copied.
        :param name: Of the modality that comes in.
        :param others: Samples of all others: one, or one per row.
        :param lengths: Of a sequence, ``(N,)`` as many as others; default: the largest for all. One of length 0 is
            missing, whatever comes in.
        :param input_shape: Of a sample, where the modality leaves it open.
        :param loss: Default: cross-entropy.
        :param probabilities: Predict probabilities instead of scores.
        :param settings: Further ones of ``PyTorchClassifier``: optimizer, defences, device.
        :raises InputError: If modalities are unknown, missing or too many, or a shape or lengths do not fit.
        """
        bound = bound_samples(model, [name], others)
        modality = model.modalities[name]
        known = {} if lengths is None else {name: checked_lengths(modality, lengths, bound)}
        super().__init__(
            model,
            BoundFusion(model, [name], bound, known),
            _One(name),
            input_shape=known_shape(modality, input_shape),
            clip_values=modality.clip_values,
            loss=loss,
            probabilities=probabilities,
            **settings,
        )
        self.modality = modality
        self._bound, self._lengths = bound, lengths

    def _again(self, model: MultimodalModel, **settings: Any) -> Self:
        shape = self._input_shape
        return type(self)(model, self.modality.name, self._bound, self._lengths, input_shape=shape, **settings)

    def _shaped(self, x: Any) -> np.ndarray:
        # Where the model takes images of any size, so does the view; what is no image is told apart.
        if self.modality.kind != "image":
            return super()._shaped(x)
        x = ImageClassifier._shaped(self, x)
        return x if None in self.modality.shape else super()._shaped(x)

    def _checked(self, x: Any) -> np.ndarray:
        return ImageClassifier._checked(self, x) if isinstance(self.multimodal, ImageText) else super()._checked(x)


class _One:
    """The numbers of one modality are what comes in."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, values: Tensor) -> dict[str, Tensor]:
        return {self.name: values}


def known_shape(modality: Modality, given: tuple[int, ...] | None) -> tuple[int, ...]:
    shape = tuple(given) if given is not None else modality.shape
    if None in shape or 0 in shape:
        raise InputError(f"{modality.name}: the model leaves the size open; say which one with input_shape.")
    fits = len(shape) == len(modality.shape) and all(
        own is None or own == size for own, size in zip(modality.shape, shape, strict=True)
    )
    if not fits:
        raise InputError(f"{modality.name}: a sample has shape {modality.shape}, which {shape} does not fit.")
    return tuple(int(size) for size in shape if size is not None)


def checked_lengths(modality: Modality, lengths: np.ndarray, bound: np.ndarray | None) -> np.ndarray:
    lengths = np.asarray(lengths)
    if not modality.variable:
        raise InputError(f"{modality.name} has no lengths.")
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or (bound is not None and len(lengths) != len(bound)):
        raise InputError(f"{modality.name}: lengths must be whole numbers, one for each bound row.")
    most = modality.shape[0] or 0
    if not len(lengths) or lengths.min() < 0 or lengths.max() > most:
        raise InputError(f"{modality.name}: lengths must lie in [0, {most}], one for each bound row.")
    return lengths
