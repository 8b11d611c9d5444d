"""What a classifier of samples has in common with its views, and how it makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from art.estimators.pytorch import PyTorchEstimator
from torch import nn

from art_multimodal.errors import InputError
from art_multimodal.estimators.bound import bound_samples
from art_multimodal.estimators.defences import defended_fields
from art_multimodal.estimators.packing import PackedView
from art_multimodal.estimators.text_bound import TextBoundClassifier
from art_multimodal.estimators.views import ModalityView
from art_multimodal.modalities.modality import Modality
from art_multimodal.models.fusion import FusionModel
from art_multimodal.models.image_text import ImageText
from art_multimodal.models.multimodal import MultimodalModel
from art_multimodal.sample_arrays import are_samples, check_samples

if TYPE_CHECKING:
    from art.defences.preprocessor import Preprocessor


class ViewMaking(PyTorchEstimator):
    """Views of a classifier of samples; they share its weights, loss, optimizer and defences.

    >>> isinstance(sensors, ViewMaking)
    True
    >>> pixels = sensors.modality_view("pix", others=x)
    >>> pixels.predict(x["pix"]).argmax(axis=1).tolist() == sensors.predict_labels(x).tolist()
    True
    """

    _multimodal: MultimodalModel
    _defences: dict[str, list[Preprocessor]]
    _loss: nn.Module
    _optimizer: torch.optim.Optimizer | None

    @property
    def multimodal(self) -> MultimodalModel:
        """The model inside, as a model over modalities; of pairs, over ``image`` and ``text``."""
        return self._multimodal

    @property
    def modalities(self) -> dict[str, Modality]:
        """What the samples consist of, by name."""
        return self._multimodal.modalities

    @property
    def defences(self) -> dict[str, list[Preprocessor]]:
        """Preprocessing defences by the name of the modality that they stand before; of pairs, those of images."""
        if isinstance(self._model, FusionModel):
            return {"image": list(self.preprocessing_defences or ())}
        return self._defences

    def image_view(self, texts: str | Sequence[str], probabilities: bool = False) -> TextBoundClassifier:
        """Return a genuine ``PyTorchClassifier`` over images, with the texts bound inside its module.

        It shares weights, loss, optimizer and defences with this classifier.

        :param texts: One text for all images; or several, then every call takes one image per text, in order, and any
            other number of rows raises :class:`RowMismatch`.
        :param probabilities: Predict probabilities instead of scores.
        :raises InputError: On a model over other modalities, which has :meth:`modality_view`.
        """
        if not isinstance(self._model, FusionModel):
            raise InputError("image_view(texts) is for image-text pairs; use modality_view(name, others).")
        assert isinstance(self._multimodal, ImageText)
        return TextBoundClassifier(
            self._multimodal,
            texts,
            input_shape=self._input_shape,
            preprocessing_defences=self.preprocessing_defences,
            **self._of_views(probabilities),
        )

    def modality_view(
        self,
        name: str,
        others: np.ndarray | None = None,
        lengths: np.ndarray | None = None,
        input_shape: tuple[int, ...] | None = None,
        probabilities: bool = False,
    ) -> ModalityView:
        """Return a genuine ``PyTorchClassifier`` over one modality, with the others bound inside its module.

        It shares weights, loss, optimizer and the modality's defences with this classifier.

        :param name: Of the modality, which holds numbers.
        :param others: Samples: one for all rows, or one per row, and then every call takes as many, in order. A field
            of the modality itself is allowed; it gives the lengths of sequences.
        :param lengths: Of sequences, ``(N,)``; default: those of ``others``, or the largest.
        :param input_shape: Of a sample, where the modality leaves it open; default: that of ``others``.
        :param probabilities: Predict probabilities instead of scores.
        :raises InputError: If modalities are unknown, missing or too many, or a shape or lengths do not fit.
        """
        modality = self.numeric_modality(name)
        bound, own, found = self._split(others, [name])
        if isinstance(self._model, FusionModel):
            pairs = bound_samples(self._multimodal, [name], bound)
            assert pairs is not None
            view = self.image_view(pairs["text"].tolist(), probabilities)
            if shape := input_shape or own.get(name):
                view.set_params(input_shape=shape)
            return view
        shape = input_shape or own.get(name) or (self._input_shape if name == self._first else None)
        return ModalityView(
            self._multimodal,
            name,
            bound,
            found.get(name) if lengths is None else lengths,
            input_shape=shape if None in modality.shape else input_shape,
            preprocessing_defences=self._defences.get(name) or None,
            **self._of_views(probabilities),
        )

    def packed_view(
        self,
        names: Sequence[str],
        eps: Mapping[str, float],
        others: np.ndarray | None = None,
        box: str = "clip_values",
        probabilities: bool = False,
    ) -> PackedView:
        """Return a genuine ``PyTorchClassifier`` over several modalities as one vector, in units of each one's eps.

        With ``eps=1`` ART's attacks run over the product of the modalities' balls. ``view.pack(x)`` makes the vectors,
        and ``view.unpack(vectors, x)`` samples of them. Where all modalities of numbers are packed and there is no
        text, nothing is bound: any rows may come.

        :param names: Of the modalities, which hold numbers.
        :param eps: Radius of the ball of each, by name, in its own units.
        :param others: Samples as in :meth:`modality_view`, where something is left to bind.
        :param box: ``"clip_values"``, or ``"inside"`` for attacks that want bounds that are numbers (JSMA, ZOO).
        :param probabilities: Predict probabilities instead of scores.
        :raises InputError: As :class:`PackedView`, or if defences stand before one of the modalities.
        """
        if not isinstance(eps, Mapping):
            raise InputError(f"eps must be given by name, such as {{'rgb': 2/255}}, not {type(eps).__name__}.")
        if isinstance(names, str) or sorted(names) != sorted(eps):
            raise InputError(
                f"eps must name the packed modalities, {list(names)}, and no others; it names {sorted(eps)}."
            )
        if defended := [name for name in names if self._defences.get(name)]:
            raise InputError(
                f"Preprocessing defences stand before {defended[0]}; a packed view has none. Use modality_view."
            )
        bound, shapes, lengths = self._split(others, list(names))
        open_shapes = {name: shape for name, shape in shapes.items() if None in self.numeric_modality(name).shape}
        for name in names:
            if None in self.numeric_modality(name).shape and name not in open_shapes and name == self._first:
                open_shapes[name] = self._input_shape
        return PackedView(
            self._multimodal,
            eps,
            bound,
            lengths,
            shapes=open_shapes,
            box=box,
            **self._of_views(probabilities),
        )

    @property
    def _first(self) -> str:
        """The first modality that holds numbers."""
        for name, modality in self._multimodal.modalities.items():
            if modality.numeric:
                return name
        raise InputError("A FusionClassifier needs a modality that holds numbers; this model takes texts only.")

    def _only(self, modality: str | None) -> str:
        """The modality that gradients are wanted of.

        :raises InputError: If none is named and there are several, or it is unknown or holds texts.
        """
        if modality is not None:
            return self.numeric_modality(modality).name
        numeric = [one.name for one in self.modalities.values() if one.numeric]
        if len(numeric) > 1:
            raise InputError(f"Name the modality that gradients are wanted of: modality= one of {', '.join(numeric)}.")
        return numeric[0]

    def numeric_modality(self, name: str) -> Modality:
        """Return a modality that holds numbers.

        :raises InputError: If it is unknown or holds texts.
        """
        if name not in self.modalities:
            raise InputError(f"The model knows no modality {name!r}; it takes {', '.join(self.modalities)}.")
        if not self.modalities[name].numeric:
            raise InputError(f"{name} holds texts, which have no gradient.")
        return self.modalities[name]

    def _split(
        self, x: np.ndarray | None, names: Sequence[str]
    ) -> tuple[np.ndarray | None, dict[str, tuple[int, ...]], dict[str, np.ndarray]]:
        """What of samples is bound, behind its defences; the shapes of the named modalities there, and lengths."""
        if not are_samples(x):
            return x, {}, {}
        given = [name for name in names if name in (x.dtype.names or ())]
        own = {name: self.numeric_modality(name) for name in given}
        fields = {name: own[name].laid_out(x[name]) for name in given}
        lengths = {name: own[name].lengths(fields[name]) for name in given if own[name].variable}
        shapes = {name: own[name].values(fields[name]).shape[1:] for name in given}
        left = [name for name in x.dtype.names or () if name not in names]
        if not left:
            return None, shapes, lengths
        rest = check_samples(x[left], [one for name, one in self.modalities.items() if name not in names])
        return defended_fields(self.modalities, self._defences, rest, fit=False), shapes, lengths

    def _of_views(self, probabilities: bool) -> dict[str, Any]:
        """What all views share with this classifier."""
        return {
            "loss": None if probabilities else self._loss,
            "probabilities": probabilities,
            "optimizer": self._optimizer,
            "postprocessing_defences": self.postprocessing_defences,
            "device_type": "cpu" if self._device.type == "cpu" else "gpu",
        }
