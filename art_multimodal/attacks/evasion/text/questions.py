"""How a text attack asks a model: texts in, scores out, in full batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from art_multimodal.attacks.evasion.text.objectives import TextObjective
from art_multimodal.estimators.asking import Asking, TextCost, embedded_in_batches
from art_multimodal.estimators.asking.embedding import count_tokens
from art_multimodal.models.fusion import Tokens
from art_multimodal.models.multimodal import Part

#: A text to try in place of that of a subject: (number of the subject, text).
Probe = tuple[int, str]


class TextQuestions:
    """Answers how far probes move a model from where its subjects' own texts have it.

    A subject is what a text is attacked for: a text alone, or a text with its sample. Equal work is done once in a
    question, and a text that the model refuses (too long, empty) gets no answer.

    :param asking: How the estimator is asked.
    :param texts: One for each subject.
    :param objective: Scores the states of texts: embeddings, or where the model embeds no text alone, fused vectors.
    :param cost: Where work is counted.
    :param name: Of the modality that is attacked.
    :param others: What the model makes of all other modalities of the subjects; needed where it embeds no text alone.
    """

    def __init__(
        self,
        asking: Asking,
        texts: Sequence[str],
        objective: TextObjective,
        cost: TextCost,
        name: str = "text",
        others: Mapping[str, Any] | None = None,
    ) -> None:
        self.asking, self.objective, self.cost = asking, objective, cost
        self.texts = list(texts)
        self.name, self.others = name, others or {}

    @property
    def noticeable(self) -> float:
        """Scores that differ by less are equal."""
        return self.objective.noticeable

    def start(self) -> list[float]:
        """Embed the subjects' own texts and return their scores.

        :raises InputError: If the model refuses one.
        """
        distinct, size = list(dict.fromkeys(self.texts)), self.asking.batch_size
        if self.asking.separate:
            # What was embedded was read: all prompts of a classifier, say.
            distinct = [text for text in distinct if text not in self.asking.text_table.memory.row_of]
        for start in range(0, len(distinct), size):
            self.asking.tokenize(self.name, distinct[start : start + size])
        rows, states = self._states(list(enumerate(self.texts)))
        picks = torch.tensor(rows, device=states.device)
        self.objective.begin(states[picks])
        return self.objective.scores(torch.arange(len(rows), device=states.device), picks, states).tolist()

    def ask(self, probes: Sequence[Probe]) -> list[float | None]:
        """Return the score of each probe, larger where it moves the model further; ``None`` where it is refused."""
        if not probes:
            return []
        found, states = self._states(probes)
        answered = [number for number, row in enumerate(found) if row is not None]
        answers: list[float | None] = [None] * len(probes)
        if answered:
            subjects = torch.tensor([probes[number][0] for number in answered], device=states.device)
            picks = torch.tensor([found[number] for number in answered], device=states.device)
            scores = self.objective.scores(subjects, picks, states).tolist()
            for number, score in zip(answered, scores, strict=True):
                answers[number] = score
        return answers

    def _states(self, probes: Sequence[Probe]) -> tuple[list[int | None], Tensor]:
        """The row of each probe, unless it is refused, and the states ``[R, ...]``."""
        if self.asking.separate:
            rows, table = self.asking.text_table.rows([text for _, text in probes], self.cost)
            return [rows.get(text) for _, text in probes], table
        of_probe, states = embedded_in_batches(
            [(probe, probe[1]) for probe in probes],
            lambda texts: self.asking.tokenize(self.name, texts),
            self._fused,
            self.asking.batch_size,
            self.cost,
        )
        return [of_probe.get(probe) for probe in probes], torch.empty(0) if states is None else states

    def _fused(self, probes: list[Probe], tokens: Tokens) -> tuple[Tensor, int]:
        subjects = torch.tensor([subject for subject, _ in probes], device=self.asking.device)
        others = {name: part.take(subjects) for name, part in self.others.items()}
        text = Part(tokens, torch.ones(len(probes), dtype=torch.bool)).to(self.asking.device)
        return self.asking.fused({**others, self.name: text}), count_tokens(tokens)
