"""Attacks on texts: the prompts of a zero-shot classifier, the texts of pairs, captions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from art_multimodal.attacks.evasion.text import BertAttack, CharacterAttack, TextRecord
from art_multimodal.attacks.evasion.text.text_attack import TextAttack
from art_multimodal.attacks.registry.entry import (
    ATTACKS,
    PAIRS,
    RETRIEVAL,
    ZERO_SHOT,
    Attacked,
    AttackEntry,
    Budget,
    Estimator,
    Prepare,
    Run,
)
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.image_classifier import finite_labels
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.language.masked_language_model import MaskedLanguageModel, load_masked_language_model
from art_multimodal.shown import shown

#: Makes a text attack on an estimator within a budget.
Build = Callable[[Estimator, Budget], TextAttack]


@lru_cache(maxsize=2)
def language_model(name: str) -> MaskedLanguageModel:
    """A masked language model, loaded once: what it proposes for a text is kept with it."""
    return load_masked_language_model(name)


def notes_on_words(name: str) -> tuple[str, ...]:
    """What a reader of results must know about how the language model that proposes words was loaded."""
    return tuple(f"the language model {shown(name)}: {note}" for note in language_model(name).notes)


def settings_of(estimator: Estimator, budget: Budget, loss: str) -> dict[str, Any]:
    """What all text attacks of an audit have in common.

    :param loss: ``"embedding_kl"``, or ``"margin"``, which in retrieval is the similarity to a text's own image. Of a
        zero-shot classifier's prompts, the margin is each image's own.
    """
    if loss == "margin" and not isinstance(estimator, (FusionClassifier, ZeroShotClassifier)):
        loss = "similarity"
    return {
        "loss": loss,
        "per_image": loss == "margin" and isinstance(estimator, ZeroShotClassifier),
        "protect_class_names": budget.text.protect_class_names,
        "protected_words": budget.text.protected_words,
        "verbose": False,
    }


def labels_for(estimator: Estimator, y: np.ndarray) -> np.ndarray | None:
    """Labels for attacks; in retrieval there are none."""
    return y if isinstance(estimator, (FusionClassifier, ZeroShotClassifier)) else None


def bert_attack(loss: str) -> Build:
    """Word substitution."""

    def build(estimator: Estimator, budget: Budget) -> TextAttack:
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

    return build


def character_attack(loss: str) -> Build:
    """Typing errors."""

    def build(estimator: Estimator, budget: Budget) -> TextAttack:
        # A word has hundreds of edits, so only those of the most important one are tried.
        max_edits, settings = budget.text.max_edits, settings_of(estimator, budget, loss)
        return CharacterAttack(estimator, max_edits=max_edits, candidate_words=1, **settings)

    return build


def text_attack(build: Build) -> Prepare:
    """An attack on texts alone."""

    def prepare(estimator: Estimator, budget: Budget) -> Run:
        attack = build(estimator, budget)
        if not isinstance(estimator, ZeroShotClassifier):

            def run_on_pairs(x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
                adversarial = attack.generate(x, labels_for(estimator, y))
                return on_texts(estimator, attack.records, x, adversarial, budget)

            return run_on_pairs
        shared: list[np.ndarray] = []

        def run(x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
            if attack.per_image:
                prompts = attack.generate(x, y)
                return on_prompts(estimator, attack.records, x, y, prompts, budget)
            # Such prompts do not depend on images: found for the first batch, they are those of all.
            if not shared:
                shared.append(attack.generate())
            return on_prompts(estimator, attack.records, x, y, shared[0], budget)

        return run

    return prepare


def on_prompts(
    estimator: ZeroShotClassifier,
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
    queries = np.array([record.queries for record in records]).reshape(len(x) if prompts.ndim == 2 else 1, -1)
    queries = np.broadcast_to(queries.sum(axis=1), len(x))
    details = [
        {
            "texts": [
                [before, after]
                for index in dict.fromkeys((int(label), int(answer)))
                for before, after in zip(estimator.prompts[index], mine[index], strict=True)
            ],
            "text_queries": int(count),
        }
        for label, answer, mine, count in zip(y, labels, sets, queries, strict=True)
    ]
    return Attacked(x, labels, details, prompts=sets)


def on_texts(
    estimator: Estimator, records: Sequence[TextRecord], x: np.ndarray, adversarial: np.ndarray, budget: Budget
) -> Attacked:
    """What a model says of adversarial pairs; in retrieval nothing."""
    details = [
        {"texts": [[before, after]], "text_queries": record.queries}
        for before, after, record in zip(x["text"], adversarial["text"], records, strict=True)
    ]
    labels = None
    if isinstance(estimator, FusionClassifier):
        labels = estimator.predict_labels(adversarial, batch_size=budget.batch_size)
    return Attacked(adversarial, labels, details)


for _name, _build, _what in (
    ("bert_attack", bert_attack, "one word replaced by what a language model proposes"),
    ("character_attack", character_attack, "a typing error"),
):
    ATTACKS.add(
        _name,
        AttackEntry(
            "text",
            "black box",
            f"{_what}, to move the text's embedding; prompts are shared by all images (ours)",
            text_attack(_build("embedding_kl")),
            tasks=(ZERO_SHOT, PAIRS, RETRIEVAL),
            words=_build is bert_attack,
        ),
    )
    ATTACKS.add(
        f"{_name}_margin",
        AttackEntry(
            "text",
            "black box",
            f"{_what}, to mislead the model about each image by itself (ours)",
            text_attack(_build("margin")),
            tasks=(ZERO_SHOT, PAIRS, RETRIEVAL),
            words=_build is bert_attack,
        ),
    )
