"""Pairs whose image and text disagree, as attacked ones often do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from art.defences.detector.evasion.evasion_detector import EvasionDetector
from art.defences.preprocessor import FeatureSqueezing, SpatialSmoothing
from art.defences.preprocessor.preprocessor import Preprocessor
from torch import Tensor
from torch.nn import functional as F

from art_multimodal.defences.preprocessor import TextPreprocessor
from art_multimodal.errors import InputError
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.pairs import is_pairs

#: What a pair is scored by.
SCORES = ("similarity", "margin", "consistency")


class ModalityDisagreementDetector(EvasionDetector):
    """Flag image-text pairs whose modalities disagree, by a dual encoder.

    A pair's score is larger where it is more suspicious:

    * ``"similarity"``: minus the cosine of image and text.
    * ``"margin"``: how much more similar the image is to another text than to its own, among the texts of the clean
      pairs that the detector was fitted on.
    * ``"consistency"``: by how much the cosine changes when the image is smoothed or squeezed, or the text repaired;
      the largest change of several transformations counts (the idea of feature squeezing, on a similarity).

    Fitting on clean pairs sets the threshold such that a new clean pair is flagged with a probability of at most
    ``false_positive_rate`` (a conformal quantile; on average over the pairs to fit on, drawn as new ones are). For
    ``"margin"`` that holds nearly: a pair to fit on has one text less to compete with.

    The first two scores see that an image was driven away from its text. They do not see an image that was driven
    towards a wrong text which comes with it. The third one may; an attacker who knows the transformations gets around
    it, too. See the documentation for how far each one carries.

    | Paper link: https://arxiv.org/abs/1704.01155 (feature squeezing)

    >>> detector = ModalityDisagreementDetector(retriever, false_positive_rate=0.2)
    >>> detector.fit(captioned)
    >>> swapped = image_text_pairs(captioned["image"], captioned["text"][::-1].tolist())
    >>> report, flagged = detector.detect(swapped)
    >>> bool(flagged.mean() > 0.5), bool((report["scores"] > detector.scores(captioned)).all())
    (True, True)
    """

    defence_params = ["score", "false_positive_rate", "transformations"]

    def __init__(
        self,
        estimator: ImageTextRetriever,
        score: str = "similarity",
        false_positive_rate: float = 0.05,
        transformations: Sequence[Preprocessor] | None = None,
    ) -> None:
        """
        :param estimator: The retriever whose pairs are watched.
        :param score: ``"similarity"``, ``"margin"`` or ``"consistency"``.
        :param false_positive_rate: Share of clean pairs that may be flagged, in (0, 1).
        :param transformations: For ``"consistency"``: ART preprocessors, of images or of texts; ``None`` for a median
            filter of three pixels and four bits for each colour.
        :raises InputError: For another estimator, or parameters that cannot be used.
        """
        super().__init__()
        self.estimator = estimator
        self.score = score
        self.false_positive_rate = false_positive_rate
        self.transformations = transformations
        self.threshold: float | None = None
        self._references: tuple[list[str], Tensor] | None = None
        self._check_params()

    def set_params(self, **kwargs: Any) -> None:
        """Change parameters; the detector has to be fitted again.

        :raises InputError: For parameters that cannot be used.
        """
        self.threshold, self._references = None, None
        super().set_params(**kwargs)

    def fit(
        self, x: np.ndarray, y: np.ndarray | None = None, batch_size: int = 128, nb_epochs: int = 20, **kwargs: Any
    ) -> None:
        """Set :attr:`threshold` by clean pairs, and take their texts for those that others are compared with.

        :param x: Clean pairs ``(N,)``, which the estimator was not trained on, of different images: further captions of
            an image would compete with its own for ``"margin"``.
        :param y: Not used.
        :param batch_size: Images, and texts, per forward pass.
        :param nb_epochs: Not used.
        :raises InputError: If there are too few pairs for the false positive rate, or scores are not finite.
        """
        self._check_pairs(x)
        least = math.ceil(1 / self.false_positive_rate) - 1
        if len(x) < least:
            raise InputError(
                f"A false positive rate of {self.false_positive_rate:g} needs at least {least} clean pairs to fit on; "
                f"there are {len(x)}. Give more, or a larger false_positive_rate."
            )
        texts = list(dict.fromkeys(x["text"].tolist()))
        if self.score == "margin" and len(texts) < 2:
            raise InputError("score='margin' compares with other texts, but all pairs to fit on have the same one.")
        self._references = texts, _unit(self.estimator.text_features(texts, batch_size))
        scores = np.sort(self.scores(x, batch_size))
        # So many of the fitted pairs and a new one may lie at or below: at most the given share of new ones lies above.
        self.threshold = float(scores[math.ceil((len(x) + 1) * (1 - self.false_positive_rate) - 1e-9) - 1])

    def scores(self, x: np.ndarray, batch_size: int = 128) -> np.ndarray:
        """Return how suspicious pairs are, ``(N,)``, float64; larger is more.

        :param x: Pairs ``(N,)``.
        :param batch_size: Images, and texts, per forward pass.
        :raises InputError: If ``x`` are not pairs, scores are not finite, or ``"margin"`` is asked for before fitting.
        """
        self._check_pairs(x)
        images = _unit(self.estimator.image_features(np.ascontiguousarray(x["image"]), batch_size))
        texts = _unit(self.estimator.text_features(x["text"].tolist(), batch_size))
        own = (images * texts).sum(dim=1)
        if self.score == "similarity":
            scores = -own
        elif self.score == "margin":
            scores = self._best_other(x["text"], images) - own
        else:
            scores = torch.zeros_like(own)
            for transformation in self._transformations:
                changed = self._transformed(transformation, x, images, texts, batch_size) - own
                scores = torch.maximum(scores, changed.abs())
        if not torch.isfinite(scores).all():
            raise InputError("Scores are NaN or infinite: the images hold such values, or the model's weights do.")
        return scores.cpu().numpy()

    def detect(self, x: np.ndarray, batch_size: int = 128, **kwargs: Any) -> tuple[dict, np.ndarray]:
        """Return ``({"scores": ..., "threshold": ...}, is_adversarial)`` of pairs; both arrays have shape ``(N,)``.

        :param x: Pairs ``(N,)``.
        :param batch_size: Images, and texts, per forward pass.
        :raises InputError: If the detector is not fitted, or ``x`` are not pairs.
        """
        if self.threshold is None:
            raise InputError("The detector has no threshold yet: call fit with clean pairs first.")
        scores = self.scores(x, batch_size)
        return {"scores": scores, "threshold": self.threshold}, scores > self.threshold

    def _best_other(self, texts: np.ndarray, images: Tensor) -> Tensor:
        """Of each image the highest cosine to a text of the fitted pairs that is not its own."""
        if self._references is None:
            raise InputError("score='margin' compares with the texts of clean pairs: call fit first.")
        others, features = self._references
        number_of = {text: number for number, text in enumerate(others)}
        cosines = images @ features.T
        for row, text in enumerate(texts):
            if text in number_of:
                cosines[row, number_of[text]] = -1
        return cosines.amax(dim=1)

    def _transformed(
        self, transformation: Preprocessor, x: np.ndarray, images: Tensor, texts: Tensor, batch_size: int
    ) -> Tensor:
        """Cosines of pairs with one modality transformed."""
        if isinstance(transformation, TextPreprocessor):
            repaired = transformation.repair(x["text"].tolist())
            texts = _unit(self.estimator.text_features(repaired, batch_size))
        elif len(x):
            # A copy: some preprocessors write into what they are given.
            moved, _ = transformation(x["image"].copy())
            if len(moved) != len(x):
                name = type(transformation).__name__
                raise InputError(
                    f"{name} makes {len(moved)} images of {len(x)}; a transformation must keep them row by row "
                    "(augmentation=False for those of ART that add images)."
                )
            images = _unit(self.estimator.image_features(np.asarray(moved, dtype=np.float32), batch_size))
        return (images * texts).sum(dim=1)

    @property
    def _transformations(self) -> Sequence[Preprocessor]:
        if self.transformations is not None:
            return self.transformations
        return (
            SpatialSmoothing(window_size=3, channels_first=True, clip_values=(0.0, 1.0)),
            FeatureSqueezing(clip_values=(0.0, 1.0), bit_depth=4),
        )

    @staticmethod
    def _check_pairs(x: np.ndarray) -> None:
        if not is_pairs(x) or x.ndim != 1:
            raise InputError("The detector takes an array (N,) of pairs, made by image_text_pairs(images, texts).")

    def _check_params(self) -> None:
        if not isinstance(self.estimator, ImageTextRetriever):
            raise InputError(f"The detector watches an ImageTextRetriever, not a {type(self.estimator).__name__}.")
        if self.score not in SCORES:
            raise InputError(f"score must be one of {', '.join(SCORES)}, not {self.score!r}.")
        if not isinstance(self.false_positive_rate, Real) or not 0 < self.false_positive_rate < 1:
            raise InputError(f"false_positive_rate is a share in (0, 1), not {self.false_positive_rate!r}.")
        if self.transformations is not None:
            if isinstance(self.transformations, Preprocessor):
                raise InputError("transformations is a list of ART preprocessors, not a single one.")
            self.transformations = tuple(self.transformations)
            if not self.transformations or not all(isinstance(one, Preprocessor) for one in self.transformations):
                raise InputError("transformations must be ART preprocessors, at least one.")


def _unit(features: Tensor) -> Tensor:
    return F.normalize(features.double(), dim=-1)
