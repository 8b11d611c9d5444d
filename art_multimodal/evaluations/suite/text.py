"""Attacks on texts: the prompts of a zero-shot classifier, the texts of pairs, captions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from art_multimodal.attacks.budget import Budget
from art_multimodal.attacks.evasion.text import BertAttack, CharacterAttack, TextRecord
from art_multimodal.attacks.evasion.text.text_attack import TextAttack
from art_multimodal.estimators.image_classifier import finite_labels
from art_multimodal.evaluations.suite import costs
from art_multimodal.evaluations.suite.detail import Detail
from art_multimodal.evaluations.suite.entry import (
    EACH,
    PAIRS,
    RETRIEVAL,
    SAMPLES,
    ZERO_SHOT,
    Attacked,
    AttackEntry,
    PreparedAttack,
    register,
)
from art_multimodal.language.proposing import language_model
from art_multimodal.modalities.text import text_names

#: Makes a text attack on an estimator within a budget.
Build = Callable[[Any, Budget], TextAttack]


def settings_of(estimator: Any, budget: Budget, loss: str) -> dict[str, Any]:
    """What all text attacks of an audit have in common.

    :param loss: ``"embedding_kl"``, or ``"margin"``, which in retrieval is the similarity to a text's own image. Of a
        zero-shot classifier's prompts, the margin is each image's own.
    """
    if loss == "margin" and not estimator.classifies:
        loss = "similarity"
    return {
        "loss": loss,
        "per_image": loss == "margin" and estimator.texts_are_prompts,
        "protect_class_names": budget.text.protect_class_names,
        "protected_words": budget.text.protected_words,
        "verbose": False,
    }


def labels_for(estimator: Any, y: np.ndarray) -> np.ndarray | None:
    """Labels for attacks; in retrieval there are none."""
    return y if estimator.classifies else None


def bert_attack(estimator: Any, budget: Budget, loss: str) -> TextAttack:
    """Word substitution."""
    text = budget.text
    return BertAttack(
        estimator,
        language_model(text.language_model),
        max_words=text.max_words,
        # All words compete: the published order attacks a single one, often one that matters to nobody.
        candidate_words=None,
        top_k=text.top_k,
        **settings_of(estimator, budget, loss),
    )


def character_attack(estimator: Any, budget: Budget, loss: str) -> TextAttack:
    """Typing errors."""
    # A word has hundreds of edits, so only those of the most important one are tried.
    max_edits, settings = budget.text.max_edits, settings_of(estimator, budget, loss)
    return CharacterAttack(estimator, max_edits=max_edits, candidate_words=1, **settings)


class OnTexts(PreparedAttack):
    """An attack on texts alone: on each sample's own, or on the prompts of a zero-shot classifier.

    :param build: Makes the attack.
    :param modality: Of samples of several, the name of the text.
    """

    def __init__(self, estimator: Any, budget: Budget, build: Build, modality: str = "text") -> None:
        super().__init__(estimator, budget)
        self.modality = modality
        self.searching = build(estimator, budget)
        #: Prompts that all images share.
        self._shared: np.ndarray | None = None

    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        searching = self.searching
        if not self.estimator.texts_are_prompts:
            adversarial = searching.generate(x, labels_for(self.estimator, y))
            return on_texts(self.estimator, searching, x, adversarial, self.budget, self.modality)
        if searching.per_image:
            prompts = searching.generate(x, y)
        else:
            # Such prompts do not depend on images: found for the first batch, they are those of all.
            if self._shared is None:
                self._shared = searching.generate()
            prompts = self._shared
        return on_prompts(self.estimator, searching.records, x, y, prompts, self.budget)


def one_text(estimator: Any) -> str:
    """The name of the only modality that is a text; empty where there is none, or several."""
    names = text_names(estimator.modalities)
    return names[0] if len(names) == 1 else ""


def on_prompts(
    estimator: Any,
    records: Sequence[TextRecord],
    x: np.ndarray,
    y: np.ndarray,
    prompts: np.ndarray,
    budget: Budget,
) -> Attacked:
    """What a zero-shot classifier says of images ``x`` with adversarial prompts, ``(K,)`` or ``(N, K)``."""
    labels = finite_labels(estimator.predict_on(x, prompts, budget.batch_size))
    sets = prompts if prompts.ndim == 2 else np.broadcast_to(prompts, (len(x), len(prompts)))
    # Records are those of one image after the other, or of prompts that all images share.
    counts = np.array([record.queries for record in records], dtype=np.int64)
    own = prompts.ndim == 2 and len(x)
    queries = np.broadcast_to(counts.reshape(len(x) if own else 1, -1).sum(axis=1), len(x))
    details = [
        Detail(
            texts=tuple(
                (before, after)
                for index in dict.fromkeys((int(label), int(answer)))
                for before, after in zip(estimator.prompts[index], mine[index], strict=True)
            ),
            text_queries=int(count),
        )
        for label, answer, mine, count in zip(y, labels, sets, queries, strict=True)
    ]
    return Attacked(x, labels, details, prompts=sets)


def on_texts(
    estimator: Any, searching: Any, x: np.ndarray, adversarial: np.ndarray, budget: Budget, name: str = "text"
) -> Attacked:
    """What a model says of pairs, or of other samples, whose text was attacked; in retrieval nothing.

    :param searching: The attack, which has a record of each text.
    :param name: Of the text.
    """
    details = [
        Detail(texts=((before, after),), text_queries=record.queries)
        for before, after, record in zip(x[name], adversarial[name], searching.records, strict=True)
    ]
    labels = None
    if estimator.classifies:
        labels = estimator.predict_labels(adversarial, batch_size=budget.batch_size)
    return Attacked(adversarial, labels, details)


def is_the_text(estimator: Any, modality: str, budget: Budget) -> bool:
    """Whether a modality is the one text of a model, which text attacks change."""
    return modality == one_text(estimator)


for _name, _build, _what, _cost in (
    ("bert_attack", bert_attack, "one word replaced by what a language model proposes", costs.words),
    ("character_attack", character_attack, "a typing error", costs.edits),
):
    register(
        AttackEntry(
            _name,
            "text",
            "black box",
            f"{_what}, to move the text's embedding; prompts are shared by all images (ours)",
            partial(OnTexts, build=partial(_build, loss="embedding_kl")),
            tasks=(ZERO_SHOT, PAIRS, RETRIEVAL),
            words=_build is bert_attack,
            cost=_cost,
            calls=costs.asks(0, 0, 1),
        )
    )
    register(
        AttackEntry(
            f"{_name}_margin",
            "text",
            "black box",
            f"{_what}, to mislead the model about each image by itself (ours)",
            partial(OnTexts, build=partial(_build, loss="margin")),
            tasks=(ZERO_SHOT, PAIRS, RETRIEVAL),
            words=_build is bert_attack,
            cost=_cost,
            calls=costs.asks(0, 0, 2),
        )
    )
    register(
        AttackEntry(
            f"{_name}{EACH}",
            EACH,
            "black box",
            f"{_what}, to mislead the model about each sample by itself (ours)",
            partial(OnTexts, build=partial(_build, loss="margin")),
            tasks=(SAMPLES,),
            words=_build is bert_attack,
            fits=is_the_text,
            cost=_cost,
        )
    )
