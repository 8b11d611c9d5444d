"""What a step of training a fusion model sees: samples of any modalities, with their classes."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from torch import Tensor

from art_multimodal.defences.trainer.methods import Method
from art_multimodal.defences.trainer.samples import TEXTS_AT_ONCE, Samples
from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.images import image_array
from art_multimodal.labels import label_indices
from art_multimodal.modalities.text import text_names
from art_multimodal.pairs import check_images, is_pairs
from art_multimodal.processes import process_count, share_of
from art_multimodal.sample_arrays import field_bytes, with_field
from art_multimodal.texts import check_strings


@dataclass(frozen=True)
class SampleBatch:
    """``N`` samples with their classes.

    :param x: Those that are this process's own, ``(n,)``.
    :param own: Which of the ``N`` these are.
    :param labels: Class indices of all, ``(N,)``.
    :param targets: Shape ``[N, K]``, the probability that each class should have.
    :param present: Which of all have a modality, booleans ``[N]`` by name.
    :param rows: Which samples of those that are trained on all are, ``(N,)``; ``None`` where that is not known.
    :param number: Of the batch, from 0 on, over all epochs.
    :param turn: The modality that is trained, where they take turns.
    :param begins_epoch: Whether it is the first of an epoch.
    :param views: The process's own samples with some elements hidden, each like ``x``.
    """

    x: np.ndarray
    own: slice
    labels: np.ndarray
    targets: Tensor
    present: dict[str, Tensor]
    rows: np.ndarray | None
    number: int
    turn: str | None = None
    begins_epoch: bool = False
    views: tuple[np.ndarray, ...] = ()

    @property
    def size(self) -> int:
        """``N``."""
        return len(self.labels)

    @property
    def share(self) -> float:
        """How much of the batch is this process's own."""
        return len(self.x) / self.size

    def teaches(self, method: Method) -> bool:
        """Whether a step can be taken on it: where samples are compared, each process needs two."""
        return not _compares(method) or self.size >= 2 * process_count()


class FusionSamples(Samples):
    """Samples with class labels: image-text pairs, or of any modalities.

    :param known: Whether rows mean the same samples in every epoch.
    """

    estimator: FusionClassifier
    labels: np.ndarray

    def __init__(self, *args: Any, known: bool = True) -> None:
        super().__init__(*args)
        self.known = known

    def digest(self) -> str:
        found = blake2b(repr((self.x.shape, self.x.dtype.names, self.labels.tolist())).encode(), digest_size=16)
        for name in self.x.dtype.names or ():
            for part in field_bytes(self.x[name]):
                found.update(part)
        return found.hexdigest()

    def check(self, batch_size: int) -> None:
        if not len(self):
            raise InputError("There are no samples to train on.")
        if _compares(self.method) and min(batch_size, len(self)) < 2 * process_count():
            raise InputError(
                "Without labels samples are compared with each other: batch_size must be at least 2, and so must the "
                "number of samples for each process."
            )
        for name in text_names(self.estimator.modalities):
            texts = list(dict.fromkeys(self.x[name].tolist()))
            for start in range(0, len(texts), TEXTS_AT_ONCE):
                self.estimator.multimodal.tokenize(name, texts[start : start + TEXTS_AT_ONCE])

    def batch(self, rows: np.ndarray, rng: np.random.Generator) -> SampleBatch:  # type: ignore[override]
        own, modalities = share_of(len(rows)), self.estimator.modalities
        x = self._with_some_missing(self.x[rows], rng)
        targets = np.eye(self.estimator.nb_classes, dtype=np.float32)[self.labels[rows]]
        return SampleBatch(
            x[own],
            own,
            self.labels[rows],
            self._on_device(targets),
            {name: self._on_device(~modality.missing(x[name])) for name, modality in modalities.items()},
            rows if self.known else None,
            0,
        )

    def _with_some_missing(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Samples of which some modalities are missing at random, but never all that a sample has."""
        share = self.settings.modality_dropout
        if not share:
            return x
        modalities = self.estimator.modalities
        there = np.stack([~modality.missing(x[name]) for name, modality in modalities.items()])
        stays = rng.random(there.shape) >= share
        # One that is there stays in any case.
        stays[np.where(there, rng.random(there.shape), -1.0).argmax(axis=0), np.arange(len(x))] = True
        for (name, modality), kept in zip(modalities.items(), stays, strict=True):
            field = x[name].copy()
            field[~kept] = modality.left_out(field[~kept])
            x = with_field(x, name, field)
        return x


def _compares(method: Method) -> bool:
    """Whether samples of a batch are compared with each other, so that one alone teaches nothing."""
    return "projected" in method.needs


def fusion_samples_of(
    estimator: FusionClassifier, x: np.ndarray, y: np.ndarray | None, method: Method, settings: Any, known: bool
) -> FusionSamples:
    """Return what to train a fusion model on.

    :param x: Samples ``(N,)`` as the model takes them; for a :class:`FusionModel` pairs.
    :param y: Labels as indices or one-hot rows.
    :param known: Whether rows mean the same samples in every epoch.
    :raises InputError: For samples or labels that cannot be used.
    """
    if estimator.of_pairs:
        if not is_pairs(x):
            raise InputError("A FusionClassifier is trained on pairs, made by image_text_pairs(images, texts).")
        check_strings(x["text"])
        x = with_field(x, "image", check_images(image_array(x["image"])))
        if settings.modality_dropout:
            raise InputError("A model of pairs takes no missing modality: leave modality_dropout at 0.")
    else:
        x = estimator.checked(x)
    labels = label_indices(y, estimator.nb_classes, len(x))
    if labels is None:
        raise InputError("A fusion model is trained on samples with their classes: give labels in `y`.")
    return FusionSamples(estimator, x, labels, method, settings, known=known)
