"""How a classifier of samples is asked: a fusion model over any modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_multimodal.estimators.asking.asking import Asking, Seen, Weighed
from art_multimodal.estimators.asking.embedding import TextTable, count_tokens
from art_multimodal.estimators.asking.memory import TextMemory
from art_multimodal.estimators.defences import defended_numbers, preprocessed
from art_multimodal.estimators.modules import frozen
from art_multimodal.estimators.straight_through import straight_through
from art_multimodal.modalities.modality import Modality
from art_multimodal.modalities.text import text_names
from art_multimodal.models.fusion import Tokens, move_tokens
from art_multimodal.models.multimodal import Features, Inputs, Part
from art_multimodal.sample_arrays import fields_of
from art_multimodal.texts import without_words


@dataclass(frozen=True)
class Strings:
    """Texts of a model that does not look at them by themselves: they meet the rest as they are."""

    texts: np.ndarray

    def take(self, rows: Any) -> Strings:
        """Select samples."""
        return Strings(self.texts[rows.cpu().numpy() if isinstance(rows, Tensor) else rows])

    def put(self, rows: Any, other: Strings) -> Strings:
        """The same with some samples replaced."""
        texts = self.texts.copy()
        texts[rows.cpu().numpy() if isinstance(rows, Tensor) else rows] = other.texts
        return Strings(texts)


class FusionAsking(Asking):
    """Ask a :class:`FusionClassifier`; what is attacked may be any of its modalities."""

    def __init__(self, estimator: Any, batch_size: int = 128) -> None:
        super().__init__(estimator, batch_size)
        self.model = estimator.multimodal
        self.separate = self.model.separate_towers
        self._tables: dict[str, TextTable] = {}

    @property
    def modalities(self) -> Mapping[str, Modality]:
        return self.model.modalities

    @cached_property
    def text_names(self) -> list[str]:
        """Names of the modalities that are texts."""
        return text_names(self.modalities)

    def fields(self, x: np.ndarray) -> dict[str, np.ndarray]:
        return fields_of(x)

    def defended(self, name: str, values: np.ndarray) -> Tensor:
        if self.estimator.preprocessing_operations:
            values, _ = self.estimator._apply_preprocessing(values, y=None, fit=False)
        else:
            for defence in self._acting(name):
                values = defended_numbers(defence, values, self.modalities[name].fill)
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    def through_defences(self, name: str, values: Tensor) -> Tensor:
        if self.estimator.preprocessing_operations:
            return preprocessed(self.estimator, values)
        if not (acting := self._acting(name)):
            return values
        modality = self.modalities[name]
        # What is missing stays so, whatever a defence makes of NaN.
        gone = torch.isnan(values).flatten(1).all(dim=1).reshape(-1, *[1] * (values.ndim - 1))
        behind = torch.where(gone, torch.as_tensor(modality.fill).to(values), values)
        for defence in acting:
            behind = straight_through(defence, modality.clip_values)(behind)
        return torch.where(gone, values, behind)

    def see(self, name: str, values: Tensor, lengths: Tensor | None = None) -> Part:
        with self._frozen(values):
            return self.model.see(name, self.model.numbers(name, values, lengths))

    def see_texts(self, name: str, texts: Sequence[Any]) -> Part | Strings:
        field = np.empty(len(texts), dtype=object)
        field[:] = list(texts)
        if not self.separate:
            return Strings(field)
        present = torch.from_numpy(~self.modalities[name].missing(field)).to(self.device)
        return Part(self._table(name).of(field.tolist()), present)

    def all_seen(self, x: np.ndarray) -> dict[str, Part | Strings]:
        """What the model sees of all modalities of samples ``(N,)``."""
        return {
            name: self.see_field(name, field) if self.modalities[name].numeric else self.see_texts(name, field.tolist())
            for name, field in self.fields(x).items()
        }

    def words_in(self, text: str) -> int:
        return len(text.split())

    def without_words(self, text: str, words: Sequence[int]) -> str:
        return without_words(text, words)

    def tokenize(self, name: str, texts: list[str]) -> Tokens:
        # Defences of pairs' texts are inside the model.
        for defence in self._acting(name):
            texts = defence.repair(texts)
        return self.model.tokenize(name, texts)

    @property
    def text_table(self) -> TextTable:
        return self._table(self.text_names[0])

    def fused(self, seen: Seen) -> Tensor:
        parts: Inputs = {}
        for name in self.modalities:
            part = seen[name]
            if isinstance(part, Strings):
                tokens = move_tokens(self.tokenize(name, part.texts.tolist()), self.device)
                present = torch.from_numpy(~self.modalities[name].missing(part.texts)).to(self.device)
                part = Part(tokens, present)
            parts[name] = part
        with self._frozen(*(part.values for part in parts.values())):
            return self.model.meet(parts)

    def scores(self, fused: Tensor) -> Tensor:
        with self._frozen(fused):
            scores = self.model.predict(fused)
        return scores.to(torch.promote_types(torch.float32, scores.dtype))

    def weighed(self, seen: Seen) -> Weighed | None:
        if not (self.separate and self.model.weighs):
            return None
        features, present = self.features(seen)
        with self._frozen(*features.values()):
            scores, weights = self.model.unimodal_scores(features), self.model.weights(features, present)
        return None if scores is None or weights is None else Weighed(scores, weights)

    def features(self, seen: Seen) -> tuple[Features, dict[str, Tensor]]:
        """What was seen of all modalities as a fusion takes it: embeddings, and which samples have one.

        Only where each modality is embedded by itself.
        """
        return {name: seen[name].values for name in self.modalities}, {
            name: seen[name].present for name in self.modalities
        }

    def predicted(self, scores: Tensor) -> np.ndarray:
        return self.estimator._apply_postprocessing(preds=scores.detach().cpu().numpy().astype(np.float32), fit=False)

    def embedded(self, seen: Seen) -> Tensor:
        return self.fused(seen)

    def hold(self, texts: np.ndarray, groups: np.ndarray) -> Part | Strings:
        return self.see_texts(self.text_names[0], texts.tolist())

    def rows(self, held: Part | Strings, rows: np.ndarray) -> Part | Strings:
        return held.take(torch.from_numpy(rows).to(self.device))

    def towards(self, seen: Seen, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        fused = self.fused(seen)
        return fused[:, None], fused.new_ones(len(fused), 1)

    def _acting(self, name: str) -> list[Any]:
        return [defence for defence in self.estimator.defences.get(name, ()) if defence.apply_predict]

    def _table(self, name: str) -> TextTable:
        """The texts of this asking: another one begins anew, since weights may have changed in between."""
        if name not in self._tables:
            self._tables[name] = TextTable(
                TextMemory(),
                lambda texts: self.tokenize(name, texts),
                lambda tokens: self._encode_texts(name, tokens),
                self.batch_size,
            )
        return self._tables[name]

    def _encode_texts(self, name: str, tokens: Tokens) -> tuple[Tensor, int]:
        moved = move_tokens(tokens, self.device)
        count = len(moved) if isinstance(moved, Tensor) else len(next(iter(moved.values())))
        present = torch.ones(count, dtype=torch.bool, device=self.device)
        values = self.model.see(name, Part(moved, present)).values
        assert isinstance(values, Tensor)
        return values, count_tokens(tokens)

    def _frozen(self, *given: Any) -> AbstractContextManager[None]:
        wanted = any(isinstance(part, Tensor) and part.requires_grad for part in given)
        return frozen(self.estimator.model) if wanted else nullcontext()
