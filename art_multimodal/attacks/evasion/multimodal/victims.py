"""What the image side of a joint attack asks of an estimator, with texts that are held fixed meanwhile."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_multimodal.attacks.evasion.multimodal.base import Estimator
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.modules import frozen
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.groups import first_rows, image_groups
from art_multimodal.models.fusion import move_tokens


class ImageVictim:
    """An estimator with fixed texts, as a function of images.

    Images pass :meth:`see` first, the part of the model that does not need the texts; what it returns meets the texts
    in :meth:`embed` and :meth:`logits`. Texts are embedded once, by :meth:`hold`; :meth:`rows` picks those of a batch.

    :attr:`images` are what is attacked, and row ``i`` of the samples has the image ``group[i]``.

    :param images: Of the samples, ``(N, 3, H, W)``.
    :param batch_size: Texts and images per forward pass.
    """

    def __init__(self, estimator: Any, images: np.ndarray, batch_size: int) -> None:
        self.estimator = estimator
        self.device = estimator.device
        self.batch_size = batch_size
        self.images = images
        self.group = np.arange(len(images))
        estimator.model.eval()

    def hold(self, texts: np.ndarray) -> Any:
        """Embed the texts of all samples, each distinct one once."""
        raise NotImplementedError

    def rows(self, held: Any, rows: np.ndarray) -> Any:
        """Select what belongs to some of the images."""
        return held[torch.from_numpy(rows).to(self.device)]

    def see(self, inputs: Tensor) -> Tensor:
        """What becomes of images ``[N, C, H, W]``, behind the defences, by themselves: ``[N, ...]``."""
        raise NotImplementedError

    def embed(self, seen: Tensor, held: Any) -> Tensor:
        """The embeddings ``[N, D]`` that an attack on embeddings moves."""
        return seen

    def logits(self, seen: Tensor, held: Any) -> Tensor:
        """Class scores ``[N, K]``, in at least float32."""
        raise NotImplementedError

    def text_side(self, seen: Tensor, held: Any, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """What the texts pull the embeddings towards: ``[N, C, D]``, and the weight of each, ``[N, C]``.

        :param seen: Of the clean images.
        :param labels: Say which of the classes' texts are a sample's own.
        """
        raise NotImplementedError


class PromptedVictim(ImageVictim):
    """A zero-shot classifier: the texts are the prompts of the classes."""

    estimator: ZeroShotClassifier

    def hold(self, texts: np.ndarray) -> Tensor:
        return self.estimator.prompt_features(texts)

    def rows(self, held: Tensor, rows: np.ndarray) -> Tensor:
        return super().rows(held, rows) if held.ndim == 3 else held

    def see(self, inputs: Tensor) -> Tensor:
        return self.estimator.model.image_features(inputs)

    def logits(self, seen: Tensor, held: Tensor) -> Tensor:
        return self.estimator.model.head.similarity(seen, held)

    def text_side(self, seen: Tensor, held: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        assert labels is not None
        own = held[torch.arange(len(seen), device=seen.device), labels] if held.ndim == 3 else held[labels]
        return own[:, None], own.new_ones(len(own), 1)


class CaptionedVictim(ImageVictim):
    """A retriever: an image is attacked once, for all of its captions."""

    estimator: ImageTextRetriever

    def __init__(self, estimator: ImageTextRetriever, images: np.ndarray, batch_size: int) -> None:
        super().__init__(estimator, images, batch_size)
        self.group = image_groups(images)
        self.images = images[first_rows(self.group)]
        captions = [np.flatnonzero(self.group == number) for number in range(len(self.images))]
        most = max(map(len, captions), default=1)
        # Images with fewer captions have the first one again, which counts for nothing.
        self._captions = np.array([[*rows, *[rows[0]] * (most - len(rows))] for rows in captions]).reshape(-1, most)
        self._weights = np.array([[1 / len(rows)] * len(rows) + [0.0] * (most - len(rows)) for rows in captions])

    def hold(self, texts: np.ndarray) -> tuple[Tensor, Tensor]:
        features = self.estimator.text_features(texts.tolist())
        weights = torch.from_numpy(self._weights.reshape(self._captions.shape)).to(features)
        return features[torch.from_numpy(self._captions).to(self.device)], weights

    def rows(self, held: tuple[Tensor, Tensor], rows: np.ndarray) -> tuple[Tensor, Tensor]:
        return super().rows(held[0], rows), super().rows(held[1], rows)

    def see(self, inputs: Tensor) -> Tensor:
        return self.estimator.model.image_features(inputs)

    def text_side(self, seen: Tensor, held: tuple[Tensor, Tensor], labels: Tensor | None) -> tuple[Tensor, Tensor]:
        return held


class FusedVictim(ImageVictim):
    """A fusion classifier: the texts are those of the pairs, and the embedding is the fused vector.

    Where the towers are separate, the text tower is asked once, and not in every step.
    """

    estimator: FusionClassifier

    def __init__(self, estimator: FusionClassifier, images: np.ndarray, batch_size: int) -> None:
        super().__init__(estimator, images, batch_size)
        self.model = estimator.model

    def hold(self, texts: np.ndarray) -> Tensor | np.ndarray:
        if not self.model.separate_towers:
            return texts
        number_of = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        distinct = list(number_of)
        with torch.no_grad():
            parts = [
                self.model.encode_text(
                    move_tokens(self.model.tokenize(distinct[start : start + self.batch_size]), self.device)
                )
                for start in range(0, len(distinct), self.batch_size)
            ]
        return torch.cat(parts)[torch.tensor([number_of[text] for text in texts], device=self.device)]

    def rows(self, held: Tensor | np.ndarray, rows: np.ndarray) -> Any:
        if isinstance(held, Tensor):
            return super().rows(held, rows)
        return move_tokens(self.model.tokenize(held[rows].tolist()), self.device)

    def see(self, inputs: Tensor) -> Tensor:
        with self._without_parameters(inputs):
            return self.model.encode_image(inputs) if self.model.separate_towers else inputs

    def embed(self, seen: Tensor, held: Any) -> Tensor:
        with self._without_parameters(seen):
            return self.model.join(seen, held) if self.model.separate_towers else self.model.fuse(seen, held)

    def logits(self, seen: Tensor, held: Any) -> Tensor:
        with self._without_parameters(seen):
            scores = self.model.predict(self.embed(seen, held))
        return scores.to(torch.promote_types(torch.float32, scores.dtype))

    def text_side(self, seen: Tensor, held: Any, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        fused = self.embed(seen, held)
        return fused[:, None], fused.new_ones(len(fused), 1)

    def _without_parameters(self, images: Tensor) -> AbstractContextManager[None]:
        return frozen(self.model) if images.requires_grad else nullcontext()


def victim_of(estimator: Estimator, images: np.ndarray, batch_size: int) -> ImageVictim:
    """Return the victim that an estimator makes."""
    if isinstance(estimator, ZeroShotClassifier):
        return PromptedVictim(estimator, images, batch_size)
    kind = CaptionedVictim if isinstance(estimator, ImageTextRetriever) else FusedVictim
    return kind(estimator, images, batch_size)
