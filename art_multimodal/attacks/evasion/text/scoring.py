"""How far a changed text moves a model: of every text, many probes at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.functional.losses import embedding_kl, margin_loss
from art_multimodal.models.fusion import Tokens, move_tokens

LOSSES = ("embedding_kl", "margin")

#: A text to try in place of that of a victim's subject: (number of the subject, text).
Probe = tuple[int, str]


@dataclass
class TextCost:
    """What an attack has asked of the model under attack; does not depend on the machine.

    :param forwards: Texts that went through the text tower, or through the whole model where towers are not separate.
    :param positions: Their tokens up to the last one, special tokens included. Padding is not counted, except with a
        fusion model that does not tell it apart (whose tokens have no mask).
    """

    forwards: int = 0
    positions: int = 0


class TextVictim:
    """Answers how far probes move a model from where its subjects' own texts have it.

    A subject is what a text is attacked for: a text alone, or a text with its image. Equal work is done once in a
    call, and a text that the model refuses (too long, empty) gets no answer.

    :param texts: One for each subject.
    :param batch_size: Texts per forward pass.
    :param cost: Where work is counted.
    """

    device: torch.device

    def __init__(self, texts: Sequence[str], batch_size: int, cost: TextCost) -> None:
        self.texts = list(texts)
        self.batch_size = batch_size
        self.cost = cost
        self._clean: Tensor | None = None

    def start(self) -> list[float]:
        """Embed the subjects' own texts and return their scores.

        :raises InputError: If the model refuses one.
        """
        for start in range(0, len(self.texts), self.batch_size):
            self.tokenize(self.texts[start : start + self.batch_size])
        own = list(enumerate(self.texts))
        states = self._states_of(own)
        self._clean = torch.stack([states[self.key(*probe)] for probe in own])
        return self.scores(own, self._clean).tolist()

    def ask(self, probes: Sequence[Probe]) -> list[float | None]:
        """Return the score of each probe, larger where it moves the model further; ``None`` where it is refused."""
        states = self._states_of(probes)
        rows = [row for row, probe in enumerate(probes) if self.key(*probe) in states]
        answers: list[float | None] = [None] * len(probes)
        if rows:
            answered = [probes[row] for row in rows]
            scores = self.scores(answered, torch.stack([states[self.key(*probe)] for probe in answered]))
            for row, score in zip(rows, scores.tolist(), strict=True):
                answers[row] = score
        return answers

    @property
    def clean(self) -> Tensor:
        """The embeddings of the subjects' own texts, ``[S, ...]``."""
        assert self._clean is not None
        return self._clean

    def _states_of(self, probes: Sequence[Probe]) -> dict[Any, Tensor]:
        distinct = list({self.key(*probe): probe for probe in reversed(probes)}.values())
        # Probes of like length share a batch: less padding.
        distinct.sort(key=lambda probe: (len(probe[1]), probe))
        found: dict[Any, Tensor] = {}
        for start in range(0, len(distinct), self.batch_size):
            fitting, tokens = self._fitting(distinct[start : start + self.batch_size])
            if tokens is not None:
                self.cost.forwards += len(fitting)
                self.cost.positions += self.count(tokens)
                with torch.no_grad():
                    states = self.states(fitting, move_tokens(tokens, self.device))
                found.update(zip((self.key(*probe) for probe in fitting), states, strict=True))
        return found

    def _fitting(self, probes: list[Probe]) -> tuple[list[Probe], Tokens | None]:
        """The probes that the model reads, with their tokens."""
        try:
            return probes, self.tokenize([text for _, text in probes])
        except InputError:
            fitting = probes if len(probes) > 1 else []
            fitting = [probe for probe in fitting if self._fitting([probe])[0]]
            return fitting, self.tokenize([text for _, text in fitting]) if fitting else None

    def key(self, subject: int, text: str) -> Any:
        """What is equal for probes whose embedding is the same."""
        return text

    def tokenize(self, texts: list[str]) -> Tokens:
        """Tokens of texts, on the CPU."""
        raise NotImplementedError

    def count(self, tokens: Tokens) -> int:
        """The number of tokens in a batch, padding left out."""
        raise NotImplementedError

    def states(self, probes: list[Probe], tokens: Tokens) -> Tensor:
        """Embeddings of probes, ``[P, ...]``."""
        raise NotImplementedError

    def scores(self, probes: list[Probe], states: Tensor) -> Tensor:
        """Scores ``[P]`` of probes from their embeddings; here the KL divergence from the clean ones."""
        clean = self.clean[[subject for subject, _ in probes]]
        # In double precision what does not move the embedding scores 0, and not the rounding of a sum.
        return embedding_kl(clean.flatten(1).cpu().double(), states.flatten(1).cpu().double())


class PromptVictim(TextVictim):
    """Texts that the text tower of a dual encoder reads: prompts, captions. Scored by their unit embeddings."""

    def __init__(self, estimator: ZeroShotClassifier, texts: Sequence[str], batch_size: int, cost: TextCost) -> None:
        super().__init__(texts, batch_size, cost)
        self.estimator = estimator
        self.model = estimator.dual_encoder
        self.device = estimator.device
        estimator.model.eval()

    def tokenize(self, texts: list[str]) -> Tokens:
        return self.model.tokenize(texts)

    def count(self, tokens: Tokens) -> int:
        assert isinstance(tokens, Tensor)
        # A token that ends a text may be the padding token too, so one more than what differs from it.
        filled = (tokens != self.model.pad_id).long()
        lengths = filled.shape[1] - filled.flip(1).argmax(dim=1)
        ends_in_padding = tokens[:, -1] == self.model.pad_id
        shared = ends_in_padding & (tokens.gather(1, (lengths - 1)[:, None])[:, 0] == self.model.pad_id)
        return int((lengths + shared).sum())

    def states(self, probes: list[Probe], tokens: Tokens) -> Tensor:
        assert isinstance(tokens, Tensor)
        return self.model.encode_text(tokens)


class PromptMarginVictim(PromptVictim):
    """Prompts of a zero-shot classifier, scored by what a changed one does to the classification of images.

    The score is the mean margin loss over the images when this prompt alone is changed.

    :param images: ``(N, 3, H, W)``, at least one.
    :param labels: ``(N,)``: the true ones, or the wanted ones when targeted.
    """

    def __init__(
        self,
        estimator: ZeroShotClassifier,
        texts: Sequence[str],
        batch_size: int,
        cost: TextCost,
        images: np.ndarray,
        labels: np.ndarray,
        targeted: bool,
    ) -> None:
        super().__init__(estimator, texts, batch_size, cost)
        self.labels = torch.from_numpy(labels).to(self.device)
        self.targeted = targeted
        self._images = estimator.image_features(images, batch_size)
        self._times = torch.tensor(
            [[entry.count(text) for text in self.texts] for entry in estimator.prompts], device=self.device
        )

    def scores(self, probes: list[Probe], states: Tensor) -> Tensor:
        head = self.estimator.model.head
        times = self._times.to(states)
        sums = times @ self.clean
        scores = []
        with torch.no_grad():
            logits = head.similarity(self._images, F.normalize(sums, dim=-1))
            for (subject, _), state in zip(probes, states, strict=True):
                classes = times[:, subject].nonzero().flatten()
                # A class is the direction of the sum of its prompts.
                moved = sums[classes] + times[classes, subject, None] * (state - self.clean[subject])
                changed = logits.clone()
                changed[:, classes] = head.similarity(self._images, F.normalize(moved, dim=-1))
                scores.append(margin_loss(changed, self.labels, self.targeted).mean())
        return torch.stack(scores)


class PairVictim(TextVictim):
    """Texts of pairs on a fusion model.

    Where towers are separate, an embedding is that of the text alone; elsewhere it is the fused vector with the
    subject's own image.

    :param images: One for each subject, ``(N, 3, H, W)``; not needed for embeddings of texts alone.
    :param labels: ``(N,)``: score by the margin of the model's answer instead.
    """

    def __init__(
        self,
        estimator: FusionClassifier,
        texts: Sequence[str],
        batch_size: int,
        cost: TextCost,
        images: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        targeted: bool = False,
    ) -> None:
        super().__init__(texts, batch_size, cost)
        self.estimator = estimator
        self.model = estimator.model.eval()
        self.device = estimator.device
        self.labels = None if labels is None else torch.from_numpy(labels).to(self.device)
        self.targeted = targeted
        self._separate = self.model.separate_towers
        if images is not None:
            images, _ = estimator._apply_preprocessing(images, y=None, fit=False)
            self._images = torch.from_numpy(images)
            if self._separate and labels is not None:
                with torch.no_grad():
                    parts = [self.model.encode_image(part.to(self.device)) for part in self._images.split(batch_size)]
                self._image_features = torch.cat(parts)

    def key(self, subject: int, text: str) -> Any:
        return text if self._separate else (subject, text)

    def tokenize(self, texts: list[str]) -> Tokens:
        return self.model.tokenize(texts)

    def count(self, tokens: Tokens) -> int:
        if isinstance(tokens, Tensor):
            return tokens.numel()
        masks = [part for name, part in tokens.items() if "mask" in name]
        return int(masks[0].sum()) if masks else next(iter(tokens.values())).numel()

    def states(self, probes: list[Probe], tokens: Tokens) -> Tensor:
        if self._separate:
            return self.model.encode_text(tokens)
        images = self._images[[subject for subject, _ in probes]].to(self.device)
        return self.model.fuse(images, tokens)

    def scores(self, probes: list[Probe], states: Tensor) -> Tensor:
        if self.labels is None:
            return super().scores(probes, states)
        rows = [subject for subject, _ in probes]
        with torch.no_grad():
            fused = self.model.join(self._image_features[rows], states) if self._separate else states
            return margin_loss(self.model.predict(fused).float(), self.labels[rows], self.targeted)
