"""Every text that text attacks may make of another, and of these the worst for each sample."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from math import ceil
from typing import Any

import numpy as np
from art.attacks.attack import EvasionAttack

from art_multimodal.attacks.checks import check_whole_number
from art_multimodal.attacks.evasion.text.bert_attack import BertAttack
from art_multimodal.attacks.evasion.text.objectives import Divergence
from art_multimodal.attacks.evasion.text.prompt_search import PromptSearch
from art_multimodal.attacks.evasion.text.questions import TextQuestions
from art_multimodal.attacks.evasion.text.search import TextRecord, every_text, word_changes
from art_multimodal.attacks.evasion.text.text_attack import TextAttack
from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.language.words import words_of
from art_multimodal.pairs import check_images, is_pairs

#: Texts of one original that are asked about at a time, before those that are misled already drop out.
_AT_ONCE = 256
#: Margins above this are no work of rounding, which depends on how samples are batched.
_BEYOND_ROUNDING = 1e-3
#: Of a language model's proposals so many may fall to filters.
_FILTERED = 300
_KEPT_TEXTS = 4096


@dataclass(frozen=True)
class Options:
    """What may stand in place of a text.

    :param texts: New texts of each attack, those of the ones before it left out.
    :param complete: Of each attack whether all of its texts are among these and those of the ones before.
    :param words: Of each attack how many proposals for a word are among them at least; ``None`` where there are none.
    """

    texts: tuple[tuple[str, ...], ...]
    complete: tuple[bool, ...]
    words: tuple[int | None, ...]


class ExhaustiveTextAttack(TextAttack):
    """Try every text that any of several text attacks may make, and keep the worst for each sample.

    Where the attacks themselves follow an order and give up early, this one does not: all words, all edits and all
    kinds of change compete. On a :class:`ZeroShotClassifier` every image gets prompts of its own, and each prompt its
    own kind of change. On pairs the text of each sample is attacked by the margin, on a retriever by the similarity to
    its own image.

    Attacks are in an order: :attr:`fell_to` says of each sample with which of them (and those before) it is misled
    first. A longer list of attacks never misleads fewer samples.

    With one prompt per class what comes back is the worst of all combinations of texts, or, with ``stop``, one that
    misleads; on pairs likewise. With several prompts per class see :class:`PromptSearch`.

    How many texts there are is counted before any is embedded. Above ``most_texts`` the first ones of each attack are
    tried, best guesses of a language model first, and :attr:`cut` says where.

    >>> from art_multimodal.attacks.evasion import BertAttack
    >>> attack = ExhaustiveTextAttack(fusion, [BertAttack(fusion, verbose=False)], verbose=False)
    >>> attacked = attack.generate(pairs[:2], answers[:2])
    >>> bool((attacked["image"] == pairs["image"][:2]).all()), len(attack.fell_to)
    (True, 2)
    """

    attack_params = EvasionAttack.attack_params + [
        "attacks",
        "loss",
        "targeted",
        "most_texts",
        "stop",
        "batch_size",
        "verbose",
    ]

    def __init__(
        self,
        estimator: FusionClassifier | ImageTextRetriever | ZeroShotClassifier,
        attacks: Sequence[TextAttack],
        loss: str = "margin",
        targeted: bool = False,
        most_texts: int = 100_000,
        stop: bool = False,
        batch_size: int = 128,
        verbose: bool = True,
    ) -> None:
        """
        :param estimator: The classifier, or the retriever, to attack.
        :param attacks: What may be done to a text: their words, budgets and protected words count, their losses and
            orders do not.
        :param loss: ``"margin"`` on classifiers, ``"similarity"`` on a retriever.
        :param targeted: Lower the margin of the given labels instead.
        :param most_texts: Most texts that are embedded: of a zero-shot classifier for all prompts together, elsewhere
            for each text.
        :param stop: Whether a sample that is misled clearly is done with.
        :param batch_size: Texts or images per forward pass.
        :param verbose: Show a progress bar.
        """
        per_image = estimator.texts_are_prompts
        super().__init__(estimator, loss, targeted, per_image, None, True, (), batch_size, verbose)
        self.attacks = tuple(attacks)
        self.most_texts = most_texts
        self.stop = stop
        #: Of each sample the number of the attack with whose texts it is misled first; ``None`` where it is not.
        self.fell_to: list[int | None] = []
        #: Of each sample whether not all of its texts were tried.
        self.cut: list[bool] = []
        #: Of each sample how many proposals of a language model for each word were tried at least; ``None`` without.
        self.words_tried: list[int | None] = []
        self._options: dict[tuple[str, int], Options] = {}
        self._check_params()

    def options(self, texts: Sequence[str], most: int) -> dict[str, Options]:
        """What may stand in place of texts, at most so many for each."""
        missing = [text for text in dict.fromkeys(texts) if (text, most) not in self._options]
        if len(self._options) + len(missing) > _KEPT_TEXTS:
            self._options.clear()
            missing = list(dict.fromkeys(texts))
        found: dict[str, tuple[dict[str, int], list[bool], list[int | None]]] = {text: ({}, [], []) for text in missing}
        for number, attack in enumerate(self.attacks):
            plan, free = _within(attack, most).planned(missing)
            for text in missing:
                taken, complete, words = found[text]
                new = (other for other in every_text(text, free[text], plan) if other not in taken)
                room = most - len(taken)
                tried = list(islice(new, room + 1))
                complete.append(len(tried) <= room)
                taken.update((other, number) for other in tried[:room])
                if isinstance(attack, BertAttack):
                    language_model = attack.language_model
                    assert not isinstance(language_model, str)
                    every = language_model.vocabulary_size if attack.top_k is None else int(attack.top_k)
                    # First guesses for all words came before second ones.
                    some = len(taken) // max(1, len(free[text]))
                    words.append(every if complete[-1] else min(every, some))
                else:
                    words.append(None)
        for text, (taken, complete, words) in found.items():
            parts: list[list[str]] = [[] for _ in self.attacks]
            for other, number in taken.items():
                parts[number].append(other)
            self._options[text, most] = Options(tuple(map(tuple, parts)), tuple(complete), tuple(words))
        return {text: self._options[text, most] for text in texts}

    def _attack_prompts_on_images(self, texts: list[str], x: np.ndarray | None, y: np.ndarray | None) -> np.ndarray:
        if x is None or is_pairs(x):
            raise InputError("The attack chooses prompts for images: generate(images, labels).")
        images = check_images(x)
        labels = self._labels(images, y)
        count = len(images)
        self.records, self.fell_to, self.cut, self.words_tried = [], [None] * count, [False] * count, [None] * count
        if not count:
            return np.empty((0, self.estimator.nb_classes), dtype=object)
        options = self.options(texts, max(1, self.most_texts // len(texts)))
        questions = self._questions(texts, Divergence())
        # Here a prompt that the model refuses is found.
        questions.start()
        search = PromptSearch(questions.asking, self.cost, images, labels, self.targeted)
        before = search.margins()
        queries = {text: np.ones(count, dtype=np.int64) for text in texts}
        several = any(len(entry) > 1 for entry in self.estimator.prompts)
        exact = True
        active = np.flatnonzero(self._going_on(before, 0))
        for number in range(len(self.attacks)):
            longest = max(len(options[text].texts[number]) for text in texts)
            for start in range(0, longest, _AT_ONCE):
                if not len(active):
                    break
                offered = {text: list(options[text].texts[number][start : start + _AT_ONCE]) for text in texts}
                search.offer(offered, active)
                for text, others in offered.items():
                    queries[text][active] += len(others)
                active = active[self._going_on(search.margins(), number)[active]]
            if several and len(active):
                exact = search.settle(active)
                active = active[self._going_on(search.margins(), number)[active]]
        complete = exact and all(all(options[text].complete) for text in texts)
        self.cut = [not complete and fell is None for fell in self.fell_to]
        self.words_tried = [_fewest(options[text] for text in texts)] * count
        prompts = search.worst()
        self.records = self._records(texts, prompts, before, search.margins(), queries)
        return prompts

    def _going_on(self, margins: np.ndarray, number: int) -> np.ndarray:
        """Which samples are not done with; those that are misled now, and were not before, fell to an attack."""
        for row in np.flatnonzero(margins > _BEYOND_ROUNDING):
            self.fell_to[row] = number if self.fell_to[row] is None else self.fell_to[row]
        return np.array([not self.stop or fell is None for fell in self.fell_to])

    def _records(
        self,
        texts: list[str],
        prompts: np.ndarray,
        before: np.ndarray,
        after: np.ndarray,
        queries: dict[str, np.ndarray],
    ) -> list[TextRecord]:
        """Of each image and distinct prompt; scores are those of the image with all of its prompts."""
        place_of = {
            text: (index, place)
            for index, entry in reversed(list(enumerate(self.estimator.prompts)))
            for place, text in reversed(list(enumerate(entry)))
        }
        changes: dict[tuple[str, str], tuple] = {}
        records = []
        for row, entry in enumerate(prompts):
            for text in texts:
                index, place = place_of[text]
                result = entry[index][place]
                if (text, result) not in changes:
                    changes[text, result] = word_changes(text, result)
                scores = float(before[row]), max(float(before[row]), float(after[row]))
                records.append(TextRecord(text, result, changes[text, result], *scores, int(queries[text][row])))
        return records

    def _attack_samples(self, x: np.ndarray | None, y: np.ndarray | None) -> np.ndarray:
        self.fell_to, self.cut, self.words_tried = [], [], []
        adversarial = super()._attack_samples(x, y)
        assert x is not None
        # Texts without a word were not attacked, and have nothing to try.
        rows = [row for row, text in enumerate(x[self.text_name]) if words_of(text)]
        for name, nothing in (("fell_to", None), ("cut", False), ("words_tried", None)):
            spread = [nothing] * len(x)
            for row, value in zip(rows, getattr(self, name), strict=True):
                spread[row] = value
            setattr(self, name, spread)
        return adversarial

    def _attack(self, questions: TextQuestions) -> list[TextRecord]:
        texts = questions.texts
        options = self.options(texts, self.most_texts)
        before = questions.start()
        self.fell_to = [None] * len(texts)
        best, found, queries = np.array(before), list(texts), [1] * len(texts)
        active = np.flatnonzero(self._going_on_pairs(best, 0))
        for number in range(len(self.attacks)):
            longest = max(len(options[text].texts[number]) for text in texts)
            for start in range(0, ceil(longest / _AT_ONCE) * _AT_ONCE, _AT_ONCE):
                probes = [
                    (row, other)
                    for row in active.tolist()
                    for other in options[texts[row]].texts[number][start : start + _AT_ONCE]
                ]
                for (row, other), score in zip(probes, questions.ask(probes), strict=True):
                    queries[row] += score is not None
                    if score is not None and score > best[row] + questions.noticeable:
                        best[row], found[row] = score, other
                active = active[self._going_on_pairs(best, number)[active]]
        self.cut = [
            fell is None and not all(options[text].complete) for fell, text in zip(self.fell_to, texts, strict=True)
        ]
        self.words_tried = [_fewest([options[text]]) for text in texts]
        rows = zip(texts, found, before, best.tolist(), queries, strict=True)
        return [TextRecord(text, new, word_changes(text, new), *rest) for text, new, *rest in rows]

    def _going_on_pairs(self, scores: np.ndarray, number: int) -> np.ndarray:
        # A similarity does not tell who is misled.
        return self._going_on(scores if self.loss == "margin" else np.full(len(scores), -np.inf), number)

    def _plan(self, *arguments: Any) -> Any:
        raise NotImplementedError("The plans are those of the attacks.")

    def _check_params(self) -> None:
        super()._check_params()
        if not hasattr(self, "attacks"):
            return
        if self.loss == "embedding_kl":
            raise ValueError(
                "loss must be 'margin', or on a retriever 'similarity': what is worst is worst for a sample."
            )
        if not self.attacks or not all(isinstance(attack, TextAttack) for attack in self.attacks):
            raise ValueError(f"attacks must be text attacks, at least one, not {self.attacks!r:.80}.")
        if any(attack.estimator is not self.estimator for attack in self.attacks):
            raise ValueError(
                "One of the attacks attacks another estimator. Make it with the one that is attacked here."
            )
        check_whole_number(self, "most_texts", 1)


def _within(attack: TextAttack, most: int) -> TextAttack:
    """An attack that does not ask a language model for many more proposals than can be tried."""
    if not isinstance(attack, BertAttack) or (attack.top_k is not None and attack.top_k <= most + _FILTERED):
        return attack
    language_model = attack.language_model
    assert not isinstance(language_model, str)
    if language_model.vocabulary_size <= most + _FILTERED:
        return attack
    smaller = copy.copy(attack)
    smaller.top_k = most + _FILTERED
    return smaller


def _fewest(options: Any) -> int | None:
    """How many proposals for a word were tried: by the attack that tried most, for the text with the fewest."""
    tried = [max((number for number in entry.words if number is not None), default=None) for entry in options]
    numbers = [number for number in tried if number is not None]
    return min(numbers, default=None)
