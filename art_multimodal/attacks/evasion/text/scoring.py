"""How far a changed text moves a model: of every text, many probes at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.functional.losses import embedding_kl, margin_loss
from art_multimodal.models.fusion import Tokens, move_tokens

LOSSES = ("embedding_kl", "margin", "similarity")

#: A text to try in place of that of a victim's subject: (number of the subject, text).
Probe = tuple[int, str]


@dataclass
class TextCost:
    """What an attack has asked of the model under attack; does not depend on the machine.

    :param forwards: Texts that went through the text tower, or through the whole model where towers are not separate.
    :param positions: Tokens that went through it for them, special tokens included: a beginning that texts share is
        counted as often as it was computed (see :meth:`DualEncoder.encode_texts_sharing_prefixes`). Padding is not
        counted, except with a fusion model that does not tell it apart (whose tokens have no mask).
    """

    forwards: int = 0
    positions: int = 0


class TextVictim:
    """Answers how far probes move a model from where its subjects' own texts have it.

    A subject is what a text is attacked for: a text alone, or a text with its image. Equal work is done once in a
    question, and a text that the model refuses (too long, empty) gets no answer.

    :param texts: One for each subject.
    :param batch_size: Texts per forward pass.
    :param cost: Where work is counted.
    """

    device: torch.device
    #: Scores that differ by less are equal: rounding, which depends on how probes were batched, is smaller.
    noticeable = 1e-9

    def __init__(self, texts: Sequence[str], batch_size: int, cost: TextCost) -> None:
        self.texts = list(texts)
        self.batch_size = batch_size
        self.cost = cost
        self._clean: Tensor | None = None

    def start(self) -> list[float]:
        """Embed the subjects' own texts and return their scores.

        :raises InputError: If the model refuses one.
        """
        distinct = list(dict.fromkeys(self.texts))
        for start in range(0, len(distinct), self.batch_size):
            self.tokenize(distinct[start : start + self.batch_size])
        own = list(enumerate(self.texts))
        keys = [self.key(*probe) for probe in own]
        rows, states = self.embedded(own, keys)
        picks = torch.tensor([rows[key] for key in keys], device=states.device)
        self._clean = self.clean_of(picks, states)
        return self.scores(torch.arange(len(own), device=states.device), picks, states).tolist()

    def ask(self, probes: Sequence[Probe]) -> list[float | None]:
        """Return the score of each probe, larger where it moves the model further; ``None`` where it is refused."""
        if not probes:
            return []
        keys = [self.key(*probe) for probe in probes]
        rows, states = self.embedded(probes, keys)
        found = [rows.get(key) for key in keys]
        answered = [number for number, row in enumerate(found) if row is not None]
        answers: list[float | None] = [None] * len(probes)
        if answered:
            subjects = torch.tensor([probes[number][0] for number in answered], device=states.device)
            picks = torch.tensor([found[number] for number in answered], device=states.device)
            for number, score in zip(answered, self.scores(subjects, picks, states).tolist(), strict=True):
                answers[number] = score
        return answers

    @property
    def clean(self) -> Tensor:
        """The embeddings of the subjects' own texts, as :meth:`clean_of` picked them."""
        assert self._clean is not None
        return self._clean

    def embedded(self, probes: Sequence[Probe], keys: Sequence[Any]) -> tuple[dict[Any, int], Tensor]:
        """Embed probes; return embeddings ``[R, ...]``, and for each key its row, unless the model refused it."""
        distinct = list(dict(zip(reversed(keys), reversed(probes), strict=True)).items())
        # Probes of like length share a batch: less padding.
        distinct.sort(key=lambda item: (len(item[1][1]), item[1]))
        rows: dict[Any, int] = {}
        parts: list[Tensor] = []
        for start in range(0, len(distinct), self.at_once):
            fitting, tokens = self._fitting([probe for _, probe in distinct[start : start + self.at_once]])
            if tokens is not None:
                with torch.no_grad():
                    states, positions = self.encode(fitting, tokens)
                self.cost.forwards += len(fitting)
                self.cost.positions += positions
                parts.append(states)
                rows.update((self.key(*probe), row) for row, probe in enumerate(fitting, start=len(rows)))
        return rows, torch.cat(parts) if parts else torch.empty(0, device=self.device)

    def _fitting(self, probes: list[Probe]) -> tuple[list[Probe], Tokens | None]:
        """The probes that the model reads, with their tokens."""
        try:
            return probes, self.tokenize([text for _, text in probes])
        except InputError:
            half = len(probes) // 2
            parts = (probes[:half], probes[half:]) if half else ()
            fitting = [probe for part in parts for probe in self._fitting(part)[0]]
            return fitting, self.tokenize([text for _, text in fitting]) if fitting else None

    def key(self, subject: int, text: str) -> Any:
        """What is equal for probes whose embedding is the same."""
        return text

    def tokenize(self, texts: list[str]) -> Tokens:
        """Tokens of texts, on the CPU."""
        raise NotImplementedError

    @property
    def at_once(self) -> int:
        """How many probes are encoded at a time."""
        return self.batch_size

    def encode(self, probes: list[Probe], tokens: Tokens) -> tuple[Tensor, int]:
        """Embeddings of probes, ``[P, ...]``, and how many tokens went through the model for them."""
        raise NotImplementedError

    def clean_of(self, picks: Tensor, states: Tensor) -> Tensor:
        """What to keep of the embeddings ``states[picks]`` of the subjects' own texts."""
        return states[picks]

    def scores(self, subjects: Tensor, picks: Tensor, states: Tensor) -> Tensor:
        """Scores ``[P]`` of probes; here the KL divergence from the clean embeddings.

        :param subjects: Their subjects, ``[P]``.
        :param picks: The rows of their embeddings, ``[P]``.
        :param states: Embeddings ``[R, ...]``, at least these.
        """
        # In double precision what does not move the embedding scores 0, and not the rounding of a sum.
        clean, moved = (part.flatten(1).cpu().double() for part in (self.clean[subjects], states[picks]))
        return embedding_kl(clean, moved)


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

    def encode(self, probes: list[Probe], tokens: Tokens) -> tuple[Tensor, int]:
        moved = move_tokens(tokens, self.device)
        if self._separate:
            return self.model.encode_text(moved), _count(tokens)
        images = self._images[[subject for subject, _ in probes]].to(self.device)
        return self.model.fuse(images, moved), _count(tokens)

    def scores(self, subjects: Tensor, picks: Tensor, states: Tensor) -> Tensor:
        if self.labels is None:
            return super().scores(subjects, picks, states)
        fused = states[picks]
        with torch.no_grad():
            if self._separate:
                fused = self.model.join(self._image_features[subjects], fused)
            scores = self.model.predict(fused)
        # In the precision of the weights: half is too little for a difference, and a double model's answer is double.
        scores = scores.to(torch.promote_types(torch.float32, scores.dtype))
        return margin_loss(scores, self.labels[subjects], self.targeted)


def _count(tokens: Tokens) -> int:
    """The number of tokens in a batch of a fusion model."""
    if isinstance(tokens, Tensor):
        return tokens.numel()
    masks = [part for name, part in tokens.items() if "mask" in name]
    return int(masks[0].sum()) if masks else next(iter(tokens.values())).numel()
