"""How the typographic attack asks a model: labels in, answers out, in full batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from art_multimodal.attacks.evasion.typographic.search import Catalogue, Label
from art_multimodal.attacks.searching import Answer
from art_multimodal.estimators.image_classifier import finite_labels
from art_multimodal.functional.losses import margin_loss
from art_multimodal.pairs import image_text_pairs

#: Differences of scores that are smaller than this part of the largest score may come from rounding: the same image
#: gets slightly other scores in a batch of another size.
_ROUNDING = 2.0**-15
#: Pixels of images that are in memory at once: batches of large images are smaller.
_PIXELS_AT_ONCE = 128 * 256 * 256


class Labelling:
    """Answers labels on a batch of samples of one ART classifier, which knows scores only.

    :param estimator: The classifier.
    :param images: Shape ``(N, C, H, W)``.
    :param texts: One for each image, on a classifier of pairs; ``None`` on one of images.
    :param targets: Wanted labels ``(N,)``, or ``None`` for any other than the clean one.
    :param catalogue: What can be written.
    :param batch_size: Images per forward pass.
    """

    def __init__(
        self,
        estimator: Any,
        images: np.ndarray,
        texts: np.ndarray | None,
        targets: np.ndarray | None,
        catalogue: Catalogue,
        batch_size: int,
    ) -> None:
        self.estimator = estimator
        self.images = images
        self.texts = texts
        self.targets = targets
        self.catalogue = catalogue
        height, width = images.shape[2:]
        self.batch_size = max(1, min(batch_size, _PIXELS_AT_ONCE // (height * width)))
        #: Of the intact images: scores ``(N, K)``, labels ``(N,)``, and answers.
        self.scores = self._scores([(row, None) for row in range(len(images))])
        self.labels = finite_labels(self.scores)
        largest = np.maximum(np.abs(self.scores).max(axis=1), np.finfo(np.float32).tiny)
        self._step = _ROUNDING * 2.0 ** np.ceil(np.log2(largest.astype(np.float64)))
        self.clean = self._answers(self.scores, np.arange(len(images)))

    def ask(self, asked: list[tuple[int, Label]]) -> list[Answer]:
        """Answer labels ``(index of the sample, label)``."""
        return self._answers(self._scores([*asked]), np.array([row for row, _ in asked]))

    def _scores(self, asked: list[tuple[int, Label | None]]) -> np.ndarray:
        parts = []
        for start in range(0, len(asked), self.batch_size):
            batch = asked[start : start + self.batch_size]
            rows = [row for row, _ in batch]
            images = self.images[rows]
            for image, (_, label) in zip(images, batch, strict=True):
                if label is not None:
                    self.catalogue.write(image, label)
            x = images if self.texts is None else image_text_pairs(images, self.texts[rows].tolist(), allow_empty=True)
            parts.append(np.asarray(self.estimator.predict(x, batch_size=self.batch_size)))
        return np.concatenate(parts)

    def _answers(self, scores: np.ndarray, rows: np.ndarray) -> list[Answer]:
        wanted = (self.labels if self.targets is None else self.targets)[rows]
        losses = margin_loss(
            torch.from_numpy(scores.astype(np.float64)), torch.from_numpy(wanted), self.targets is not None
        )
        margins = -losses.numpy()
        margins = np.round(margins / self._step[rows]) * self._step[rows]
        return [Answer(int(label), float(margin)) for label, margin in zip(finite_labels(scores), margins, strict=True)]
