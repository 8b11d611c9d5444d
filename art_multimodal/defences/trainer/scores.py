"""From a batch of pairs to the scores that an objective asks for: attack it, then ask the fusion model once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from art_multimodal.defences.trainer.embeddings import Embedder, at_least_float32
from art_multimodal.defences.trainer.gathering import gathered_rows
from art_multimodal.defences.trainer.samples import Batch
from art_multimodal.models.fusion import move_tokens, take_rows


class Scorer(Embedder):
    """Attacks batches of image-text pairs, and scores them by a fusion model in training.

    It is made as an :class:`Embedder` is, around a :class:`FusionClassifier`; what it gives an objective are scores.
    """

    def frozen_scores(self, batch: Batch) -> Callable[[Tensor], Tensor]:
        """Scores ``[n, K]`` as a function of model inputs, each with its own text; parameters get no gradients."""
        texts = _own_texts(batch)
        if not texts:
            return lambda inputs: inputs
        module = self.estimator.image_view(texts).model

        def scores(inputs: Tensor) -> Tensor:
            with self._computing("bf16-attack", "bf16"):
                return at_least_float32(module(inputs))

        return scores

    def quantities(
        self, batch: Batch, adversarial_images: Tensor | None, adversarial_texts: tuple[str, ...] | None
    ) -> dict[str, Tensor]:
        every = {"clean_scores": batch.images, "adversarial_scores": adversarial_images}
        images = {name: part for name, part in every.items() if part is not None and name in self.method.needs}
        parts: Sequence[Tensor | None] = [None] * len(images)
        if len(batch.images):
            # Clean and attacked images in one pass, each with its text.
            seen = torch.cat([self.preprocessed(part).detach() for part in images.values()])
            tokens = self.model.tokenize(_own_texts(batch))
            tokens = take_rows(tokens, torch.arange(len(batch.images)).repeat(len(images)))
            with self._computing("bf16"):
                scores = self.model(seen, move_tokens(tokens, self.model.device))
            parts = at_least_float32(scores).split(len(batch.images))
        found = {
            name: gathered_rows(part, batch.size, self.model.device) for name, part in zip(images, parts, strict=True)
        }
        if batch.targets is not None:
            found["targets"] = batch.targets
        if self.method.image_attack is not None:
            found |= self.method.image_attack.further(self, batch)
        return {name: found[name] for name in self.method.needs}


def _own_texts(batch: Batch) -> list[str]:
    assert batch.texts is not None
    return list(batch.texts[batch.own])
