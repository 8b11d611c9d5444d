"""What a step of training sees: batches of images with the texts that belong to them.

Of several processes each has its own part of a batch's images, and all of what is small: texts and targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_multimodal.defences.trainer.methods import Method
from art_multimodal.defences.trainer.settings import TrainingSettings
from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.groups import image_groups, numbered, text_groups
from art_multimodal.labels import label_indices
from art_multimodal.pairs import check_images, is_pairs
from art_multimodal.processes import share_of
from art_multimodal.texts import check_strings

#: How many texts are tokenised in one call.
TEXTS_AT_ONCE = 4096

Estimator = ZeroShotClassifier | ImageTextRetriever | FusionClassifier


def generator_of(seed: int, *place: int) -> np.random.Generator:
    """A source of random numbers that belongs to a place in training: they do not depend on what came before."""
    return np.random.default_rng((seed, *place))


@dataclass(frozen=True)
class Batch:
    """``N`` samples. What a method does not need is ``None``.

    :param images: Shape ``[n, C, H, W]`` in [0, 1]: of the samples that are this process's own.
    :param own: Which of the ``N`` these are.
    :param size: ``N``.
    :param texts: Of each sample its caption, or a prompt of its class.
    :param classes: The texts of each class, ``K``; for pairs every distinct caption of the batch is one.
    :param targets: Shape ``[N, K]``, the probability that each class should have.
    :param positives: Boolean, shape ``[N, N]``, which text belongs to which image.
    :param references: ``N`` texts about anything.
    :param views: The process's own images with some elements hidden, each like ``images``.
    """

    images: Tensor
    own: slice
    size: int
    texts: tuple[str, ...] | None = None
    classes: tuple[tuple[str, ...], ...] | None = None
    targets: Tensor | None = None
    positives: Tensor | None = None
    references: tuple[str, ...] | None = None
    views: tuple[Tensor, ...] = ()

    @property
    def share(self) -> float:
        """How much of the batch is this process's own."""
        return len(self.images) / self.size

    def teaches(self, method: Method) -> bool:
        """Whether there is anything to tell apart, where the method tells things apart."""
        if "positives" in method.needs and self.positives is not None and bool(self.positives.all()):
            return False
        return not (method.needs_class_texts and self.classes is not None and len(self.classes) < 2)


class Samples:
    """Samples to train on.

    :param x: Images or pairs, checked.
    :param labels: Class indices ``(N,)``, where there are any.
    """

    def __init__(
        self, estimator: Estimator, x: np.ndarray, labels: np.ndarray | None, method: Method, settings: TrainingSettings
    ) -> None:
        self.estimator = estimator
        self.x = x
        self.labels = labels
        self.method = method
        self.settings = settings

    def __len__(self) -> int:
        return len(self.x)

    def all_texts(self) -> tuple[str, ...]:
        """Every clean text that training may meet, each once."""
        raise NotImplementedError

    def is_one(self) -> bool:
        """Whether all samples belong together, so that nothing can be told apart."""
        raise NotImplementedError

    def batch(self, rows: np.ndarray, rng: np.random.Generator) -> Batch:
        """Return some of the samples.

        :param rows: Their rows, in all processes together.
        :param rng: Where the prompts drawn come from.
        """
        raise NotImplementedError

    def digest(self) -> str:
        """What is equal for equal samples in equal order."""
        found = blake2b(repr((self.x.shape, self.x.dtype.str)).encode(), digest_size=16)
        for image in self.x["image"] if is_pairs(self.x) else self.x:
            found.update(np.ascontiguousarray(image).data)
        if is_pairs(self.x):
            found.update(repr(self.x["text"].tolist()).encode("utf-8", "surrogatepass"))
        found.update(repr(None if self.labels is None else self.labels.tolist()).encode())
        return found.hexdigest()

    def check(self, batch_size: int) -> None:
        """Refuse, before anything is trained, what cannot be trained on.

        :raises InputError: If there is no sample, a text is longer than the model reads, or there is nothing to tell
            apart.
        """
        if not len(self):
            raise InputError("There are no samples to train on.")
        if self.method.needs_own_texts or self.method.needs_class_texts:
            texts = self.all_texts()
            for start in range(0, len(texts), TEXTS_AT_ONCE):
                self.estimator.image_text_model.tokenize(texts[start : start + TEXTS_AT_ONCE])
        contrasts = "positives" in self.method.needs or (self.method.needs_class_texts and is_pairs(self.x))
        if contrasts and (len(self) == 1 or self.is_one()):
            raise InputError(
                f"All {len(self)} samples belong to one class, or there is only one. The samples of a batch are "
                "contrasted with each other, so give at least two classes (of pairs, two images with texts of their "
                "own)."
            )
        if contrasts and batch_size == 1:
            raise InputError("A batch of one sample has nothing to contrast it with: batch_size must be at least 2.")

    def _on_device(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.estimator.device)

    def _own_only(self, together: np.ndarray) -> np.ndarray:
        return np.eye(len(together), dtype=bool) if self.settings.positives == "index" else together


class LabelledSamples(Samples):
    """Images with class labels; texts are the classes' prompts, of which each sample draws one of its class."""

    estimator: ZeroShotClassifier

    def all_texts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(text for prompts in self.estimator.prompts for text in prompts))

    def is_one(self) -> bool:
        return self.labels is not None and len(np.unique(self.labels)) == 1

    def batch(self, rows: np.ndarray, rng: np.random.Generator) -> Batch:
        own = share_of(len(rows))
        images = self._on_device(self.x[rows[own]])
        if self.labels is None:
            return Batch(images, own, len(rows))
        labels, prompts = self.labels[rows], self.estimator.prompts
        # Drawn for all, whether needed or not: a run does not depend on what else the method asks for.
        places = rng.random(len(rows))
        texts = tuple(
            prompts[label][int(place * len(prompts[label]))] for label, place in zip(labels, places, strict=True)
        )
        together = self._own_only(labels[:, None] == labels)
        targets = self._on_device(np.eye(len(prompts), dtype=np.float32)[labels])
        return Batch(images, own, len(rows), texts, prompts, targets, self._on_device(together))


class CaptionedSamples(Samples):
    """Pairs; a caption belongs to every image of the batch that has it, and to those with the same label, if any."""

    estimator: ImageTextRetriever

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._images, self._texts = image_groups(self.x["image"]), text_groups(self.x["text"])

    def all_texts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.x["text"].tolist()))

    def is_one(self) -> bool:
        kinds = [self._images, self._texts, *([] if self.labels is None else [self.labels])]
        return any(len(np.unique(kind)) == 1 for kind in kinds)

    def batch(self, rows: np.ndarray, rng: np.random.Generator) -> Batch:
        images, texts = self._images[rows], self._texts[rows]
        same_image, same_text = images[:, None] == images, texts[:, None] == texts
        # A text belongs to an image if some row says so.
        together = same_image @ same_text
        if self.labels is not None:
            together = together | (self.labels[rows][:, None] == self.labels[rows])
        together = self._own_only(together)
        class_of = numbered(texts.tolist())
        classes = tuple(dict.fromkeys(self.x["text"][rows].tolist()))
        wanted = together @ (class_of[:, None] == np.arange(len(classes)))
        targets = (wanted / wanted.sum(axis=1, keepdims=True)).astype(np.float32)
        own = share_of(len(rows))
        return Batch(
            self._on_device(self.x["image"][rows[own]]),
            own,
            len(rows),
            tuple(self.x["text"][rows].tolist()),
            tuple((text,) for text in classes),
            self._on_device(targets),
            self._on_device(together),
        )


def samples_of(
    estimator: ZeroShotClassifier | ImageTextRetriever,
    x: np.ndarray,
    y: np.ndarray | None,
    method: Method,
    settings: TrainingSettings,
) -> Samples:
    """Return what to train on.

    :param x: Images ``(N, 3, H, W)`` in [0, 1] for a :class:`ZeroShotClassifier`, pairs ``(N,)`` for an
        :class:`ImageTextRetriever`.
    :param y: Labels as indices or one-hot rows; may be missing for pairs, and where the method needs none.
    :raises InputError: For samples or labels that cannot be used.
    """
    if isinstance(estimator, ImageTextRetriever):
        if not is_pairs(x):
            raise InputError("An ImageTextRetriever is trained on pairs, made by image_text_pairs(images, texts).")
        check_strings(x["text"])
        check_images(x["image"])
        return CaptionedSamples(estimator, x, label_indices(y, _classes_in(y), len(x)), method, settings)
    if is_pairs(x):
        raise InputError(
            "A ZeroShotClassifier is trained on images with class labels. For pairs use ImageTextRetriever."
        )
    labels = label_indices(y, estimator.nb_classes, len(x))
    if labels is None and method.needs_labels:
        raise InputError("This method needs to know the class of each image: give labels in `y`.")
    return LabelledSamples(estimator, check_images(x, estimator.input_shape[0]), labels, method, settings)


def _classes_in(y: np.ndarray | None) -> int:
    """How many classes there are by labels of pairs; none where these are no labels."""
    y = np.asarray([] if y is None else y)
    if y.ndim == 2 and y.shape[1] > 1:
        return y.shape[1]
    return int(y.max(initial=0)) + 1 if y.dtype.kind in "biuf" and np.isfinite(y).all() else 0


def shuffled_rows(count: int, batch_size: int, seed: int, epoch: int) -> Iterator[np.ndarray]:
    """The rows of each batch of an epoch, in an order of its own; the last batch may be smaller."""
    order = generator_of(seed, 0, epoch).permutation(count)
    for start in range(0, count, batch_size):
        yield order[start : start + batch_size]
