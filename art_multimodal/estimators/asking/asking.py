"""The interface through which searches and attacks ask an estimator about its samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_multimodal.estimators.asking.embedding import TextTable
from art_multimodal.modalities.modality import Modality
from art_multimodal.models.fusion import Tokens
from art_multimodal.models.multimodal import Part

#: What a model makes of each modality of some samples by itself, by name. Each entry has ``take(rows)``.
Seen = Mapping[str, Any]


@dataclass(frozen=True)
class Weighed:
    """What each modality says alone, and how much that counts.

    :param scores: ``[N, K]`` by name.
    :param weights: ``[N]`` by name; zero for what a sample lacks.
    """

    scores: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]


class Asking(ABC):
    """Ask an estimator about samples, one modality at a time.

    What is attacked is *seen*: it passes the part of the model that needs nothing else, and gradients come back to it.
    What is not attacked is *held*: seen once, each distinct text once. Both *meet* in the fused vector, which is
    *scored*. The model is in evaluation mode, weights take no part in a graph, and numbers come out in the precision of
    the weights and at least in single precision.

    :param estimator: What is asked.
    :param batch_size: Samples, or texts, per forward pass.
    """

    #: Whether each modality is embedded by itself before they meet.
    separate = True

    def __init__(self, estimator: Any, batch_size: int = 128) -> None:
        self.estimator = estimator
        self.batch_size = batch_size
        self.device: torch.device = estimator.device
        estimator.model.eval()

    @property
    @abstractmethod
    def modalities(self) -> Mapping[str, Modality]:
        """What samples consist of, by name."""

    @abstractmethod
    def fields(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """The fields of samples by name. A field of texts holds what :meth:`see_texts` takes."""

    # Numbers

    @abstractmethod
    def defended(self, name: str, values: np.ndarray) -> Tensor:
        """Numbers ``[N, *shape]`` behind the defences of a modality, on the device."""

    @abstractmethod
    def through_defences(self, name: str, values: Tensor) -> Tensor:
        """The same as a function of tensors that gradients pass through."""

    @abstractmethod
    def see(self, name: str, values: Tensor, lengths: Tensor | None = None) -> Part:
        """What the model makes of numbers by themselves.

        :param name: Of the modality.
        :param values: Shape ``[N, *shape]``, behind the defences.
        :param lengths: Of sequences, ``[N]``.
        """

    def see_field(self, name: str, field: np.ndarray) -> Part:
        """What the model makes of a field of numbers, behind the defences, in batches and without gradients."""
        modality, parts = self.modalities[name], []
        for start in range(0, max(1, len(field)), self.batch_size):
            part = field[start : start + self.batch_size]
            lengths = torch.from_numpy(np.array(modality.lengths(part))).to(self.device) if modality.variable else None
            with torch.no_grad():
                parts.append(self.see(name, self.defended(name, modality.values(part)), lengths))
        return joined(parts)

    # Texts

    @abstractmethod
    def see_texts(self, name: str, texts: Sequence[Hashable]) -> Any:
        """What the model makes of texts by themselves, each distinct one once, without gradients.

        :param name: Of the modality.
        :param texts: As :meth:`fields` gives them.
        """

    @abstractmethod
    def words_in(self, text: Any) -> int:
        """How many words of a text may be removed."""

    @abstractmethod
    def without_words(self, text: Any, words: Sequence[int]) -> Any:
        """A text without some of its words."""

    @abstractmethod
    def tokenize(self, name: str, texts: list[str]) -> Tokens:
        """Tokens of texts, on the CPU.

        :raises InputError: If the model refuses one.
        """

    @property
    @abstractmethod
    def text_table(self) -> TextTable:
        """Embeddings of texts by themselves; only where the model has such."""

    # Meeting

    @abstractmethod
    def fused(self, seen: Seen) -> Tensor:
        """Fused vectors ``[N, D]`` of what was seen of all modalities."""

    @abstractmethod
    def scores(self, fused: Tensor) -> Tensor:
        """Scores ``[N, K]`` of fused vectors, before any postprocessing."""

    def weighed(self, seen: Seen) -> Weighed | None:
        """Scores of each modality alone and their weights, of what was seen of all; ``None`` where a model has none."""
        return None

    @abstractmethod
    def predicted(self, scores: Tensor) -> np.ndarray:
        """What the estimator's ``predict`` makes of scores, ``(N, K)``."""

    @abstractmethod
    def embedded(self, seen: Seen) -> Tensor:
        """The embeddings ``[N, D]`` that an attack on embeddings moves."""

    # Texts that are held while images are attacked

    def groups(self, images: np.ndarray) -> np.ndarray:
        """Which samples are attacked as one: for each the number of its image, ``(N,)``."""
        return np.arange(len(images))

    @abstractmethod
    def hold(self, texts: np.ndarray, groups: np.ndarray) -> Any:
        """Embed the texts of all samples, each distinct one once.

        :param texts: ``(N,)``; or prompts of classes, ``(K,)`` or ``(N, K)``.
        :param groups: As :meth:`groups` gives them. :meth:`rows` then picks by the number of the image.
        """

    @abstractmethod
    def rows(self, held: Any, rows: np.ndarray) -> Any:
        """Select what is held for some of the images."""

    @abstractmethod
    def towards(self, seen: Seen, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """What the texts pull the embeddings towards: ``[N, C, D]``, and the weight of each, ``[N, C]``.

        :param seen: Of the clean images, with their texts.
        :param labels: Say which of the classes' texts are a sample's own.
        """


def joined(parts: Sequence[Part]) -> Part:
    """Parts one after the other, as one."""
    if len(parts) == 1:
        return parts[0]
    lengths = [part.lengths for part in parts if part.lengths is not None]
    return Part(
        torch.cat([part.values for part in parts if isinstance(part.values, Tensor)]),
        torch.cat([part.present for part in parts]),
        torch.cat(lengths) if lengths else None,
    )


def all_present(values: Tensor) -> Part:
    """Embeddings of samples all of which have the modality."""
    return Part(values, torch.ones(len(values), dtype=torch.bool, device=values.device))
