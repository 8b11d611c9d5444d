"""All combinations of the images and the texts that a joint attack has found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from art_multimodal.attacks.evasion.text.search import TextRecord
from art_multimodal.estimators.asking import Asking
from art_multimodal.functional.losses import margin_loss
from art_multimodal.models.multimodal import Part

#: Margins above this are no work of rounding, which depends on how samples are batched.
BEYOND_ROUNDING = 1e-3


class Combinations:
    """Versions of images and versions of texts, and the margin of each image with each text of its sample.

    The first version of both is the clean one. So what is best is never weaker on a sample than an attack on one
    modality whose result is among the versions; with texts that all samples share, never on fewer samples.

    :param asking: How the estimator is asked.
    :param images: The clean ones, ``(N, C, H, W)``.
    :param texts: The clean texts: ``(N,)`` of pairs, or prompts ``(K,)``.
    :param shared: Whether samples share their texts after the attack, too.
    :param labels: ``(N,)``: the true ones, or the wanted ones when targeted.
    :param targeted: Whether labels are wanted.
    """

    def __init__(
        self,
        asking: Asking,
        images: np.ndarray,
        texts: np.ndarray,
        shared: bool,
        labels: np.ndarray,
        targeted: bool,
    ) -> None:
        self.asking = asking
        self.shared = shared
        self.targeted = targeted
        self.labels = torch.from_numpy(labels).to(asking.device)
        self.images: list[np.ndarray] = []
        self.texts: list[np.ndarray] = []
        #: Of each version but the clean one: the records of each sample, or one list where texts are shared.
        self.records: list[list[list[TextRecord]]] = [[]]
        self.held: list[Any] = []
        self._seen: list[Part] = []
        self._groups = asking.groups(images)
        #: Of the images ``i`` with the texts ``t``: ``[t][i]``, ``(N,)``.
        self._margins: list[list[np.ndarray]] = []
        self._add_texts(texts)
        self.add_images(images)

    def add_images(self, images: np.ndarray) -> None:
        """Add a version of the images ``(N, 3, H, W)``."""
        self.images.append(images)
        self._seen.append(self.asking.see_field("image", images))
        for margins, held in zip(self._margins, self.held, strict=True):
            margins.append(self._margins_of(self._seen[-1], held))

    def add_texts(self, texts: np.ndarray, records: list[list[TextRecord]]) -> None:
        """Add a version of the texts, ``(N,)``, ``(N, K)`` or shared ``(K,)``, with what was done to them."""
        self.records.append(records)
        self._add_texts(texts)

    def images_for(self, version: int) -> np.ndarray:
        """The images ``(N, 3, H, W)`` that are, of all versions, the worst with a version of the texts."""
        return self._pick(self.images, np.argmax(self._margins[version], axis=0))

    @property
    def undecided(self) -> np.ndarray:
        """The samples ``(M,)`` that do not fail clearly with any combination."""
        return np.flatnonzero(np.max(self._margins, axis=(0, 1)) <= BEYOND_ROUNDING)

    def best(self) -> tuple[np.ndarray, np.ndarray, list[TextRecord]]:
        """The worst combination for each sample: images, texts, and the records of the texts, the first among equals.

        Shared texts are those with which most samples fail, and of these those with the largest mean margin.
        """
        margins = np.array(self._margins)
        versions, _, count = margins.shape
        if self.shared:
            worst = margins.max(axis=1)
            version = max(range(versions), key=lambda t: ((worst[t] > 0).sum(), worst[t].mean()))
            return self.images_for(version), self.texts[version], self._records_of([version])
        texts, images = np.divmod(margins.transpose(2, 0, 1).reshape(count, -1).argmax(axis=1), margins.shape[1])
        return self._pick(self.images, images), self._pick(self.texts, texts), self._records_of(texts)

    def _add_texts(self, texts: np.ndarray) -> None:
        self.texts.append(texts)
        self.held.append(self.asking.hold(texts, self._groups))
        self._margins.append([self._margins_of(seen, self.held[-1]) for seen in self._seen])

    def _margins_of(self, seen: Part, held: Any) -> np.ndarray:
        margins, size = [], self.asking.batch_size
        with torch.no_grad():
            for rows in np.split(np.arange(len(seen)), range(size, len(seen), size)):
                images = seen.take(torch.from_numpy(rows).to(self.asking.device))
                fused = self.asking.fused({"image": images, "text": self.asking.rows(held, rows)})
                logits = self.asking.scores(fused)
                margins.append(margin_loss(logits, self.labels[rows], self.targeted).cpu().numpy())
        # Broken scores are no success: they come behind everything.
        return np.nan_to_num(np.concatenate(margins), nan=-np.inf, posinf=np.inf, neginf=-np.inf)

    @staticmethod
    def _pick(versions: Sequence[np.ndarray], numbers: np.ndarray) -> np.ndarray:
        # Clean prompts are the same for all samples.
        picked = np.broadcast_to(versions[0], versions[-1].shape).copy()
        for number in range(1, len(versions)):
            picked[numbers == number] = versions[number][numbers == number]
        return picked

    def _records_of(self, numbers: Sequence[int] | np.ndarray) -> list[TextRecord]:
        """The records of the version ``numbers[i]`` of each sample, which have the queries of all versions."""
        found = []
        for row, number in enumerate(numbers):
            history = list(zip(*(records[row] for records in self.records[1:]), strict=True))
            for of_text in history:
                first = of_text[0]
                untouched = replace(first, adversarial=first.text, changes=(), score=first.score_before)
                record = untouched if number == 0 else of_text[number - 1]
                found.append(replace(record, queries=sum(entry.queries for entry in of_text)))
        return found
