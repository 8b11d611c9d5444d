"""How estimators around a dual encoder are asked: a zero-shot classifier, and a retriever."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from art_multimodal.estimators.asking.asking import Asking, Seen, all_present
from art_multimodal.estimators.asking.embedding import TextTable
from art_multimodal.estimators.asking.memory import memory_of
from art_multimodal.estimators.defences import preprocessed
from art_multimodal.estimators.test_time import check_embeds
from art_multimodal.groups import image_groups
from art_multimodal.modalities.modality import Modality
from art_multimodal.models.fusion import Tokens
from art_multimodal.models.multimodal import Part
from art_multimodal.prompts import removable_words, templates_without
from art_multimodal.sample_arrays import fields_of
from art_multimodal.texts import without_words

#: A model that computes what texts begin with once gets so many together; it takes as many at a time as it likes.
_TEXTS_TO_SHARE = 4096


class DualEncoderAsking(Asking):
    """What asking a zero-shot classifier and asking a retriever have in common.

    A text is embedded once for all attacks on the model, until its weights change.
    """

    def __init__(self, estimator: Any, batch_size: int = 128) -> None:
        self.model = estimator.dual_encoder
        # Before the mode is set: a model that was in training until now may have other weights.
        memory = memory_of(self.model)
        super().__init__(estimator, batch_size)
        at_once = max(batch_size, _TEXTS_TO_SHARE) if self.model.shares_prefixes else batch_size
        self._table = TextTable(memory, self.model.tokenize, self._encode_texts, at_once)

    @cached_property
    def modalities(self) -> Mapping[str, Modality]:
        return self.model.modalities

    def defended(self, name: str, values: np.ndarray) -> Tensor:
        values, _ = self.estimator._apply_preprocessing(values, y=None, fit=False)
        return torch.from_numpy(np.asarray(values)).to(self.device)

    def through_defences(self, name: str, values: Tensor) -> Tensor:
        return preprocessed(self.estimator, values)

    def see(self, name: str, values: Tensor, lengths: Tensor | None = None) -> Part:
        return all_present(self.estimator.model.image_features(values))

    def tokenize(self, name: str, texts: list[str]) -> Tokens:
        return self.model.tokenize(texts)

    @property
    def text_table(self) -> TextTable:
        return self._table

    def scores(self, fused: Tensor) -> Tensor:
        return fused

    def embedded(self, seen: Seen) -> Tensor:
        check_embeds(self.estimator)
        return seen["image"].values

    def _encode_texts(self, tokens: Tokens) -> tuple[Tensor, int]:
        assert isinstance(tokens, Tensor)
        return self.model.encode_texts_sharing_prefixes(tokens)


@dataclass(frozen=True)
class PromptSets:
    """Classes by several sets of prompts, and which of these each sample has.

    :param features: Unit embeddings ``(K, D)`` of the classes, by set.
    :param of: Number of each sample's set, ``(N,)``.
    """

    features: tuple[Tensor, ...]
    of: np.ndarray

    def take(self, rows: Any) -> PromptSets:
        """Select samples."""
        return PromptSets(self.features, self.of[rows.cpu().numpy() if isinstance(rows, Tensor) else rows])

    def put(self, rows: Any, other: PromptSets) -> PromptSets:
        """The same with some samples replaced."""
        of = self.of.copy()
        of[rows.cpu().numpy() if isinstance(rows, Tensor) else rows] = other.of + len(self.features)
        return PromptSets(self.features + other.features, of)


class PromptsAsking(DualEncoderAsking):
    """Ask a :class:`ZeroShotClassifier`: samples are images, and a sample's text is the tuple of prompt templates."""

    def __init__(self, estimator: Any, batch_size: int = 128) -> None:
        super().__init__(estimator, batch_size)
        #: Class features by templates: another asking begins anew, since weights may have changed in between.
        self._classes: dict[Hashable, Tensor] = {}

    @cached_property
    def text_table(self) -> TextTable:
        # What the classifier has embedded, nobody embeds again.
        self.estimator.model.head.lend(self._table.memory)
        return self._table

    def fields(self, x: np.ndarray) -> dict[str, np.ndarray]:
        texts = np.empty(len(x), dtype=object)
        for row in range(len(x)):
            texts[row] = self.estimator.templates or ()
        return {"image": x, "text": texts}

    def see_texts(self, name: str, texts: Sequence[Hashable]) -> PromptSets:
        number_of = {templates: number for number, templates in enumerate(dict.fromkeys(texts))}
        for templates in number_of:
            if templates not in self._classes:
                self._classes[templates] = class_features_of(self.estimator, templates)  # type: ignore[arg-type]
        features = tuple(self._classes[templates] for templates in number_of)
        return PromptSets(features, np.array([number_of[templates] for templates in texts], dtype=np.int64))

    def words_in(self, text: tuple[str, ...]) -> int:
        return len(removable_words(text))

    def without_words(self, text: tuple[str, ...], words: Sequence[int]) -> tuple[str, ...]:
        return templates_without(text, words)

    def fused(self, seen: Seen) -> Tensor:
        images, texts, head = seen["image"].values, seen["text"], self.estimator.model.head
        if isinstance(texts, Tensor):
            return head.similarity(images, texts)
        numbers = np.unique(texts.of)
        if len(numbers) == 1:
            return head.similarity(images, texts.features[numbers[0]])
        found, order = [], []
        for number in numbers:
            rows = np.flatnonzero(texts.of == number)
            found.append(head.similarity(images[torch.from_numpy(rows).to(images.device)], texts.features[number]))
            order.append(rows)
        places = torch.from_numpy(np.concatenate(order)).to(images.device)
        return torch.cat(found)[places.argsort()]

    def predicted(self, scores: Tensor) -> np.ndarray:
        return self.estimator.as_predicted(scores)

    def hold(self, texts: np.ndarray, groups: np.ndarray) -> Tensor:
        return self.estimator.prompt_features(texts)

    def rows(self, held: Tensor, rows: np.ndarray) -> Tensor:
        return held[torch.from_numpy(rows).to(self.device)] if held.ndim == 3 else held

    def towards(self, seen: Seen, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        assert labels is not None
        held = seen["text"]
        own = held[torch.arange(len(labels), device=held.device), labels] if held.ndim == 3 else held[labels]
        return own[:, None], own.new_ones(len(own), 1)


class CaptionsAsking(DualEncoderAsking):
    """Ask an :class:`ImageTextRetriever`: samples are pairs, and an image is attacked once, for all of its captions."""

    def fields(self, x: np.ndarray) -> dict[str, np.ndarray]:
        return fields_of(x)

    def see_texts(self, name: str, texts: Sequence[Hashable]) -> Part:
        return all_present(self._table.of([str(one) for one in texts]))

    def words_in(self, text: str) -> int:
        return len(text.split())

    def without_words(self, text: str, words: Sequence[int]) -> str:
        return without_words(text, words)

    def fused(self, seen: Seen) -> Tensor:
        """How like each image is to its own text: the logit of the pair, ``[N, 1]``."""
        images, texts = seen["image"].values, seen["text"].values
        return self.estimator.model.similarity(images, texts).diagonal()[:, None]

    def predicted(self, scores: Tensor) -> np.ndarray:
        return scores.detach().cpu().numpy().astype(np.float32)

    def groups(self, images: np.ndarray) -> np.ndarray:
        return image_groups(images)

    def hold(self, texts: np.ndarray, groups: np.ndarray) -> tuple[Tensor, Tensor]:
        captions = [np.flatnonzero(groups == number) for number in range(int(groups.max(initial=-1)) + 1)]
        most = max(map(len, captions), default=1)
        # Images with fewer captions have the first one again, which counts for nothing.
        places = np.array([[*rows, *[rows[0]] * (most - len(rows))] for rows in captions], dtype=int).reshape(-1, most)
        shares = np.array([[1 / len(rows)] * len(rows) + [0.0] * (most - len(rows)) for rows in captions])
        features = self.estimator.text_features(texts.tolist())
        weights = torch.from_numpy(shares.reshape(places.shape)).to(features)
        return features[torch.from_numpy(places).to(self.device)], weights

    def rows(self, held: tuple[Tensor, Tensor], rows: np.ndarray) -> tuple[Tensor, Tensor]:
        picked = torch.from_numpy(rows).to(self.device)
        return held[0][picked], held[1][picked]

    def towards(self, seen: Seen, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        return seen["text"]


#: Class features by templates that lost words, kept from batch to batch for as long as those of the intact templates,
#: which come first, are still what the classifier has: they are computed again when weights change.
_KEPT: WeakKeyDictionary[Any, tuple[Tensor, dict[tuple[str, ...], Tensor]]] = WeakKeyDictionary()


def class_features_of(estimator: Any, templates: tuple[str, ...]) -> Tensor:
    """Return the unit embeddings ``(K, D)`` of the classes of a zero-shot classifier by other templates.

    :param templates: Those of the classifier, some without words; none where it has prompts as they stand.
    """
    intact = estimator.class_features()
    if templates == (estimator.templates or ()):
        return intact
    if estimator not in _KEPT or _KEPT[estimator][0] is not intact:
        _KEPT[estimator] = (intact, {})
    kept = _KEPT[estimator][1]
    if templates not in kept:
        kept[templates] = estimator.with_templates(templates).class_features()
    return kept[templates]
