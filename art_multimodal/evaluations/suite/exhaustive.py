"""Every word and every edit of a text, all competing: the attack on texts that is exact where that is affordable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from art_multimodal.attacks.budget import Budget
from art_multimodal.attacks.evasion.text import BertAttack
from art_multimodal.attacks.evasion.text.exhaustive import ExhaustiveTextAttack
from art_multimodal.attacks.evasion.text.text_attack import TextAttack
from art_multimodal.evaluations.suite import costs
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
from art_multimodal.evaluations.suite.text import (
    bert_attack,
    character_attack,
    is_the_text,
    labels_for,
    on_prompts,
    on_texts,
    settings_of,
)
from art_multimodal.language.proposing import language_model

#: Most texts that are embedded: for all class prompts of an audit together, and elsewhere for the text of a sample.
MOST_TEXTS, MOST_TEXTS_OF_A_SAMPLE = 100_000, 4_000
#: Proposals of the language model for each word at which the curve is read, before its whole vocabulary.
CURVE = (10, 100)
#: A flag: samples that are still right, and not all of whose texts were tried.
CUT = "texts_left_out"

#: Numbers of proposals for each word, ascending, within a budget.
Points = Callable[[Budget], tuple[int, ...]]


def every(budget: Budget, texts: costs.Texts) -> costs.Cost:
    """The cost of words and edits together, up to the most that are embedded."""
    found = costs.words(budget, texts) + costs.edits(budget, texts)
    most = every_word(budget, texts)
    # A limit of those that all samples share holds for what single ones need beyond, too.
    own = min(found.texts, most.texts) if texts.own else found.texts
    return replace(found, texts=own, shared_texts=min(found.shared_texts, most.shared_texts))


def every_word(budget: Budget, texts: costs.Texts) -> costs.Cost:
    """The cost with the whole vocabulary of a language model, whose size only its loading tells."""
    return costs.Cost(4, 0, texts.own * MOST_TEXTS_OF_A_SAMPLE, MOST_TEXTS if texts.shared else 0)


def budget_alone(budget: Budget) -> tuple[int, ...]:
    """What the budget says."""
    return (budget.text.top_k,)


def word_curve(budget: Budget) -> tuple[int, ...]:
    """Points from few proposals of the language model to its whole vocabulary; the budget's own is among them."""
    every = language_model(budget.text.language_model).vocabulary_size
    return (*(point for point in sorted({*CURVE, budget.text.top_k}) if point < every), every)


def every_text_attack(estimator: Any, budget: Budget, points: Points) -> ExhaustiveTextAttack:
    """Words and edits together; with each further point more words."""
    few, *more = points(budget)

    def words(top_k: int) -> TextAttack:
        return bert_attack(estimator, replace(budget, text=replace(budget.text, top_k=top_k)), "margin")

    attacks = [words(few), character_attack(estimator, budget, "margin"), *map(words, more)]
    return ExhaustiveTextAttack(
        estimator,
        attacks,
        loss=settings_of(estimator, budget, "margin")["loss"],
        most_texts=MOST_TEXTS if estimator.texts_are_prompts else MOST_TEXTS_OF_A_SAMPLE,
        stop=True,
        verbose=False,
    )


class EveryText(PreparedAttack):
    """The attack at some points.

    Details have ``fell_at``, the smallest number of proposals for each word with which the model is misled (``None``
    where it is not), and ``word_candidates``, how many were tried at the last point.

    :param points: Numbers of proposals for each word.
    :param modality: Of samples of several, the name of the text.
    """

    def __init__(self, estimator: Any, budget: Budget, points: Points, modality: str = "text") -> None:
        super().__init__(estimator, budget)
        self.modality = modality
        self.searching = every_text_attack(estimator, budget, points)
        assert isinstance(self.searching.attacks[0], BertAttack)
        # The first point has words and edits, which are the first two attacks.
        sizes = points(budget)
        self.size_of = [sizes[max(0, number - 1)] for number in range(len(self.searching.attacks))]

    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        searching, estimator = self.searching, self.estimator
        found = searching.generate(x, labels_for(estimator, y))
        if estimator.texts_are_prompts:
            attacked = on_prompts(estimator, searching.records, x, y, found, self.budget)
        else:
            attacked = on_texts(estimator, searching, x, found, self.budget, self.modality)
        rows = zip(attacked.details, searching.fell_to, searching.words_tried, strict=True)
        details = [
            replace(said, fell_at=None if fell is None else self.size_of[fell], word_candidates=tried)
            for said, fell, tried in rows
        ]
        flags = {CUT: sum(searching.cut)} if any(searching.cut) else {}
        return replace(attacked, details=details, flags=flags)


#: Not in the registry by itself: with the language model's whole vocabulary.
EVERY_WORD = AttackEntry(
    "text_exhaustive",
    "text",
    "black box",
    "every word that the language model knows and every typing error, all competing, for each image by itself",
    partial(EveryText, points=word_curve),
    tasks=(ZERO_SHOT, PAIRS, RETRIEVAL),
)

register(
    AttackEntry(
        f"text_exhaustive{EACH}",
        EACH,
        "black box",
        "every replacement and every typing error of the budget, all words of a text competing; exact up to "
        f"{MOST_TEXTS_OF_A_SAMPLE:,} texts (ours)",
        partial(EveryText, points=budget_alone),
        tasks=(SAMPLES,),
        words=True,
        fits=is_the_text,
        cost=every,
    )
)
register(
    AttackEntry(
        "text_exhaustive",
        "text",
        "black box",
        "every replacement and every typing error of the budget, all words competing, for each image by itself; exact "
        f"up to {MOST_TEXTS:,} texts for all class prompts, or {MOST_TEXTS_OF_A_SAMPLE:,} for a sample's text (ours)",
        partial(EveryText, points=budget_alone),
        tasks=(ZERO_SHOT, PAIRS, RETRIEVAL),
        words=True,
        cost=every,
    )
)
