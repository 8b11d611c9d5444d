"""What our estimators over image-text pairs share, on top of ART's ``PyTorchEstimator``."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from art.estimators.pytorch import PyTorchEstimator
from torch import Tensor, nn
from tqdm.auto import tqdm

from art_multimodal.errors import InputError
from art_multimodal.estimators.defences import ChainedPreprocessing, check_image_defences
from art_multimodal.estimators.image_classifier import check_batch_size, fresh_optimizer
from art_multimodal.models.base import ImageTextModel
from art_multimodal.pairs import is_pairs
from art_multimodal.texts import check_strings

if TYPE_CHECKING:
    from typing import Self

    from art.defences.postprocessor import Postprocessor
    from art.defences.preprocessor import Preprocessor


class PairEstimator(ChainedPreprocessing):
    """Base of :class:`FusionClassifier` and :class:`ImageTextRetriever`.

    Images are float32 ``(3, H, W)`` in [0, 1] at any size.
    """

    estimator_params = PyTorchEstimator.estimator_params + ["input_shape", "optimizer"]
    #: Whether the texts are the prompts of the classes, which samples share; elsewhere each sample has its own.
    texts_are_prompts = False
    #: Whether samples are image-text pairs, and not of other modalities.
    of_pairs = True
    #: Whether it answers with classes, so that samples have labels.
    classifies = True
    #: What to do with something else than pairs.
    _hint_without_pairs = ""
    _model: Any

    def __init__(
        self,
        model: nn.Module,
        sample_shape: tuple[int, ...],
        optimizer: torch.optim.Optimizer | None,
        input_shape: tuple[int, ...] | None,
        preprocessing_defences: Preprocessor | list[Preprocessor] | None,
        postprocessing_defences: Postprocessor | list[Postprocessor] | None,
        device_type: str,
    ) -> None:
        super().__init__(
            model=model,
            clip_values=(0.0, 1.0),
            channels_first=True,
            preprocessing_defences=preprocessing_defences,
            postprocessing_defences=postprocessing_defences,
            preprocessing=None,
            device_type=device_type,
        )
        self._input_shape = tuple(input_shape or sample_shape)
        self._optimizer = optimizer
        self._model = model.to(self._device)

    @property
    def image_text_model(self) -> ImageTextModel:
        """The model inside."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self._device

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one image."""
        return self._input_shape

    @property
    def optimizer(self) -> torch.optim.Optimizer | None:
        """The optimizer, if there is one."""
        return self._optimizer

    def clone_for_refitting(self) -> Self:
        """Return a copy with a new optimizer of the same kind and settings, and freshly initialised layers.

        As in ART, a layer is initialised by its ``reset_parameters``; parameters outside of such layers (position
        embeddings, class tokens) keep their values.
        """
        model = copy.deepcopy(self.image_text_model)
        clone = type(self)(
            model,
            **{
                "optimizer": fresh_optimizer(self._optimizer, model),
                "input_shape": self._input_shape,
                "preprocessing_defences": self.preprocessing_defences,
                "postprocessing_defences": self.postprocessing_defences,
                "device_type": self._device_type,
                **self._further_settings(),
            },
        )
        clone.reset()
        return clone

    def reset(self) -> None:
        """Initialise the weights afresh, where modules know how."""
        for module in self.image_text_model.modules():
            if callable(initialise := getattr(module, "reset_parameters", None)):
                initialise()

    def save(self, filename: str, path: str | None = None) -> None:
        """Write the weights to ``path/filename.safetensors``.

        :param path: A folder, made if need be; ART's data folder when ``None``.
        """
        from art import config
        from safetensors.torch import save_model

        folder = Path(path or config.ART_DATA_PATH)
        folder.mkdir(parents=True, exist_ok=True)
        save_model(self.image_text_model, str(folder / f"{filename}.safetensors"))

    def _update_preprocessing_operations(self) -> None:
        check_image_defences(self.preprocessing_defences)
        super()._update_preprocessing_operations()

    def _further_settings(self) -> dict[str, Any]:
        """What a subclass's constructor takes beyond this one's, for a copy of its own."""
        return {}

    def _train(
        self,
        x: np.ndarray,
        batch_loss: Callable[[np.ndarray], Tensor],
        batch_size: int,
        nb_epochs: int,
        training_mode: bool,
        drop_last: bool,
        scheduler: Any,
        verbose: bool,
    ) -> None:
        """Step along the loss of each batch of rows, in a new order each time, from torch's global generator."""
        if self._optimizer is None:
            raise ValueError("An optimizer is needed to train the model, but none is provided.")
        check_batch_size(batch_size)
        self._model.train(training_mode)
        for _ in tqdm(range(nb_epochs), disable=not verbose, desc="Epochs"):
            for rows in torch.randperm(len(x)).split(batch_size):
                if drop_last and len(rows) < batch_size:
                    continue
                self._optimizer.zero_grad()
                batch_loss(rows.numpy()).backward()
                self._optimizer.step()
            if scheduler is not None:
                scheduler.step()

    def _check_training_pairs(self, x: np.ndarray) -> None:
        self._check_pairs(x)
        if not len(x):
            raise InputError("There are no pairs to train on.")
        if not np.isfinite(x["image"]).all():
            raise InputError("The images to train on hold NaN or infinite values.")

    @classmethod
    def _check_pairs(cls, x: np.ndarray) -> None:
        if not is_pairs(x):
            given = f"an array of dtype {x.dtype}" if isinstance(x, np.ndarray) else type(x).__name__
            raise InputError(
                f"{cls.__name__} takes pairs, made by image_text_pairs(images, texts), not {given}."
                f"{cls._hint_without_pairs}"
            )
        check_strings(x["text"])
