"""Certificates of each pixel of a segmentation, from votes about parts of its input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from art_multimodal.ablation import Elements
from art_multimodal.errors import InputError
from art_multimodal.estimators.certification.deciding import EditKind, overlaps
from art_multimodal.estimators.certification.ensemble import AblatedEnsemble
from art_multimodal.estimators.certification.masks import Masks, Sampled
from art_multimodal.functional.certificates.bound import holds
from art_multimodal.functional.certificates.confidence import holm, pixel_p_value
from art_multimodal.functional.certificates.overlap import Overlap
from art_multimodal.modalities.modality import Modality


@dataclass(frozen=True)
class PixelCertificate:
    """What no attack within some numbers of edits can change about the classes of the pixels of one sample.

    :param prediction: Class of each pixel, an integer array of any shape.
    :param own: Votes for it, of the same shape.
    :param other: Votes for the best other class.
    :param votes: Number of votes.
    :param counts: Elements that the sample has in each modality.
    :param alpha: With what chance any certificate of this sample may be wrong, over all pixels and for each budget by
        itself; ``None`` where all votes were counted.
    """

    prediction: np.ndarray
    own: np.ndarray
    other: np.ndarray
    votes: int
    counts: Mapping[str, int]
    alpha: float | None
    masks: Masks
    edits: EditKind

    def covers(self, budget: Mapping[str, int]) -> np.ndarray:
        """Which pixels keep their class whatever an attack with so many edits does, booleans.

        Where votes were drawn at random, by Holm's procedure over all pixels.

        :param budget: Number of edits by the name of the modality; 0 for those that are not named.
        :raises InputError: For a modality without elements.
        """
        if strange := [name for name in budget if name not in self.counts]:
            raise InputError(f"No elements are counted in {strange[0]!r}; they are in {', '.join(self.counts)}.")
        edits = [budget.get(name, 0) for name in self.counts]
        if self.alpha is None and not any(edits):
            return np.ones(self.prediction.shape, dtype=bool)
        found = [self._covers(one) for one in overlaps(self.masks, self.counts, edits, self.edits)]
        return np.logical_and.reduce(found)

    def lower_bounds(self, truth: np.ndarray, budget: Mapping[str, int], positive: int = 1) -> dict[str, float]:
        """The least that measures of a binary segmentation can be under any attack with so many edits.

        Pixels that are not certified to be right count as wrong.

        :param truth: Class of each pixel.
        :param positive: The class that recall, F and IoU are about.
        :return: ``accuracy``, ``recall``, ``f`` and ``iou``.
        """
        truth = np.asarray(truth)
        right = self.covers(budget) & (self.prediction == truth)
        found, missed = (int((right & (truth == positive)).sum()), int((~right & (truth == positive)).sum()))
        false = int((~right & (truth != positive)).sum())
        return {
            "accuracy": float(right.mean()),
            "recall": found / max(1, found + missed),
            "f": 2 * found / max(1, 2 * found + missed + false),
            "iou": found / max(1, found + missed + false),
        }

    def _covers(self, overlap: Overlap) -> np.ndarray:
        if self.alpha is not None:
            table = np.array([pixel_p_value(count, self.votes, overlap) for count in range(self.votes + 1)])
            return holm(table[self.own].ravel(), self.alpha).reshape(self.own.shape)
        # So few different pairs of numbers that each is decided exactly.
        pairs, which = np.unique(np.stack([self.own.ravel(), self.other.ravel()]), axis=1, return_inverse=True)
        stays = [
            holds(Fraction(int(own), self.votes), Fraction(int(other), self.votes), overlap) for own, other in pairs.T
        ]
        return np.array(stays, dtype=bool)[which.ravel()].reshape(self.own.shape)


class AblatedSegmenter:
    """A segmentation by the votes of a base function about parts of its input.

    | Paper link: https://arxiv.org/abs/2403.19080 (MMCert), with Holm's procedure that stops at the first failure

    >>> from art_multimodal.ablation import elements_of
    >>> from art_multimodal.estimators.certification import Partition
    >>> from art_multimodal.modalities import image
    >>> rgb = image("rgb", 3, 8, 8)
    >>> def brighter(x):
    ...     return (x["rgb"].mean(axis=1) > 0.5).astype(int)
    ...
    >>> elements = {"rgb": elements_of(rgb, "blocks:4")}
    >>> segmenter = AblatedSegmenter(brighter, elements, Partition({"rgb": 2}), {"rgb": rgb}, nb_classes=2)
    >>> from art_multimodal import samples
    >>> found = segmenter.certify(samples(rgb=np.ones((1, 3, 8, 8))))[0]
    >>> isinstance(found, PixelCertificate), found.prediction.shape
    (True, (8, 8))
    """

    def __init__(
        self,
        function: Callable[[np.ndarray], np.ndarray],
        elements: Mapping[str, Elements],
        masks: Masks,
        modalities: Mapping[str, Modality],
        nb_classes: int,
        *,
        edits: EditKind = "modify",
        alpha: float = 0.001,
        batch_size: int = 128,
    ) -> None:
        """
        :param function: Takes samples and returns the class of each pixel, integers ``(N, ...)``.
        :param elements: As for :class:`AblatedEnsemble`, and so are the others.
        :param alpha: With what chance any certificate of a sample may be wrong where votes are drawn at random.
        """
        self.ensemble = AblatedEnsemble(
            function,
            elements,
            masks,
            modalities=modalities,
            nb_classes=nb_classes,
            edits=edits,
            location_aware=False,
            alpha=alpha,
            batch_size=batch_size,
        )

    def certify(self, x: np.ndarray, truth: np.ndarray | None = None) -> list[PixelCertificate]:
        """Certify the pixels of samples.

        :param x: Samples ``(N,)``.
        :param truth: Class of each pixel, ``(N, ...)``. Where votes are drawn at random, it is then what is tested;
            without it other draws choose the class.
        :raises InputError: If these cannot be used, or answers depend on the batch.
        """
        return [
            self._certificate(x, row, *voted, None if truth is None else np.asarray(truth[row]))
            for row, voted in enumerate(self.ensemble.voted(x, twice=True))
        ]

    def _certificate(
        self, x: np.ndarray, row: int, counts: dict[str, int], ballot: Any, votes: np.ndarray, truth: np.ndarray | None
    ) -> PixelCertificate:
        masks, tally = self.ensemble.masks, self._tally(votes)
        prediction = tally.argmax(axis=0)
        if isinstance(masks, Sampled):
            choosers = self.ensemble.ask(x, row, masks.choosers(counts))
            prediction = self._tally(choosers).argmax(axis=0) if truth is None else truth
        if prediction.shape != tally.shape[1:] or not ((prediction >= 0) & (prediction < len(tally))).all():
            raise InputError(
                f"truth must give a class from 0 to {len(tally) - 1} for each pixel, {tally.shape[1:]} of them for "
                "each sample."
            )
        own = np.take_along_axis(tally, prediction[None], axis=0)[0]
        rest = tally.copy()
        np.put_along_axis(rest, prediction[None], -1, axis=0)
        alpha = self.ensemble.alpha if isinstance(masks, Sampled) else None
        return PixelCertificate(
            prediction, own, np.maximum(rest.max(axis=0), 0), len(votes), counts, alpha, masks, self.ensemble.edits
        )

    def _tally(self, votes: np.ndarray) -> np.ndarray:
        """Votes for each class of each pixel, ``(K, ...)``."""
        if votes.ndim < 2 or votes.dtype.kind not in "iu":
            raise InputError(
                f"A segmentation returns the class of each pixel, integers (N, ...), not {votes.dtype} of shape "
                f"{votes.shape}."
            )
        return np.stack([(votes == of).sum(axis=0) for of in range(self.ensemble.nb_classes)])
