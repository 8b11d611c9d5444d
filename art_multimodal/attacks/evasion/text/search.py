"""The search that text attacks share: words in the order of their importance, the best change of each round."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, zip_longest
from typing import Any

import numpy as np

from art_multimodal.attacks.evasion.text.questions import TextQuestions
from art_multimodal.attacks.searching import Search, run_searches
from art_multimodal.language.words import words_of

#: What counts as higher: by more than this share, and more than the objective finds noticeable. Rounding, which
#: depends on how probes were batched, is smaller, and so does not decide between equals.
NOTICEABLE_SHARE = 1e-6
_PROBES_AT_ONCE = 4096


@dataclass(frozen=True)
class WordChange:
    """A word that was changed.

    :param index: Which word of the original text, counted by :func:`words_of`.
    :param before: The word in the original text.
    :param after: The word in the adversarial text.
    """

    index: int
    before: str
    after: str


@dataclass(frozen=True)
class TextRecord:
    """What was done to a text.

    >>> from art_multimodal.attacks.evasion import BertAttack
    >>> attack = BertAttack(retriever, verbose=False)
    >>> adversarial = attack.perturb(["a red triangle and a green circle"])[0]
    >>> record = attack.records[0]
    >>> isinstance(record, TextRecord), record.adversarial == adversarial, isinstance(record.changes[0], WordChange)
    (True, True, True)

    :param text: The original.
    :param adversarial: What came of it; the original where no admissible change scores higher.
    :param changes: The changed words, in the order of the text.
    :param score_before: Of the original: 0 for ``embedding_kl``, the margin loss for ``margin``, minus the cosine for
        ``similarity``. With targeted margins for each image, the margin over the classes of this prompt alone (see
        :class:`PromptMargin`).
    :param score: Of the adversarial text; at least ``score_before``.
    :param queries: Texts that the model was asked about on behalf of this one, the original included; one that other
        texts needed too, or that was known already, counts for each.
    """

    text: str
    adversarial: str
    changes: tuple[WordChange, ...]
    score_before: float
    score: float
    queries: int


@dataclass(frozen=True)
class Plan:
    """How to search.

    :param propose: Maps (original text, index of the word, word as it is now) to what may stand in its place, best
        guess first.
    :param mask: Stands in for a word to tell how important it is.
    :param max_changes: Most changes of a text.
    :param candidate_words: So many words, the most important first, compete in each round; ``None`` for all.
    :param once: Whether a word can change only once.
    :param ranked: Whether what may stand in the place of one word compares with what may in that of another: first
        guesses before second ones.
    """

    propose: Callable[[str, int, str], Sequence[str]]
    mask: str
    max_changes: int
    candidate_words: int | None
    once: bool
    ranked: bool = False


def attack_texts(
    questions: TextQuestions,
    free: Sequence[Sequence[int]],
    plan: Plan,
    done: Callable[[int], object] = lambda count: None,
) -> list[TextRecord]:
    """Attack the texts of all subjects side by side.

    In each round the most important ``candidate_words`` words of a text compete: of all their admissible replacements
    and the text as it is, the one with the highest score wins, the first among equals (to one in a million). Where the
    text as it is wins, these words are done with, and the next ones compete.

    :param free: For each subject the indices of the words that may change.
    :param done: Told how many subjects have come to an end, whenever some have.
    :return: One record per subject.
    :raises InputError: If the model refuses one of the texts.
    """
    scores = questions.start() if questions.texts else []
    # Subjects with one text often come one after the other, one prompt for many images: what may stand in its place is
    # listed once.
    changes = lru_cache(maxsize=1)(_changes)
    searches = [
        _search(text, score, tuple(indices), plan, questions.noticeable, changes)
        for text, score, indices in zip(questions.texts, scores, free, strict=True)
    ]
    return run_searches(searches, questions.ask, _PROBES_AT_ONCE, done)


def _search(
    original: str,
    score_before: float,
    order: tuple[int, ...],
    plan: Plan,
    noticeable: float,
    changes: Callable[[str, str, tuple[int, ...], Plan], tuple[list[int], list[str]]],
) -> Search[str, float | None, TextRecord]:
    """Change one text, round by round.

    :param order: Indices of the words that may change.
    :param changes: Lists what may stand in the place of a text.
    """
    text, score, queries, changed = original, score_before, 1, 0
    if plan.max_changes and plan.candidate_words is not None and len(order) > 1:
        answers = yield [words_of(text)[index].replaced(text, plan.mask) for index in order]
        queries += sum(answer is not None for answer in answers)
        # By how far the text moves when a word is hidden. Where the model cannot read the mask as well, it comes last.
        moved = {index: -np.inf if answer is None else answer for index, answer in zip(order, answers, strict=True)}
        order = tuple(sorted(order, key=lambda index: -moved[index]))
    while order and changed < plan.max_changes:
        indices, texts = changes(original, text, order[: plan.candidate_words], plan)
        answers = (yield texts) if texts else []
        queries += sum(answer is not None for answer in answers)
        best = _best(answers, _to_beat(score, noticeable), noticeable)
        if best is None:
            order = () if plan.candidate_words is None else order[plan.candidate_words :]
            continue
        score, text = answers[best], texts[best]  # type: ignore[assignment]
        changed += 1
        if plan.once:
            order = tuple(index for index in order if index != indices[best])
    return TextRecord(original, text, word_changes(original, text), score_before, score, queries)


def _best(answers: Sequence[float | None], to_beat: float, noticeable: float) -> int | None:
    """The place of the highest score, the first among equals; ``None`` where none is high enough."""
    best = None
    for place, score in enumerate(answers):
        if score is not None and score > to_beat:
            best, to_beat = place, _to_beat(score, noticeable)
    return best


def _to_beat(score: float, noticeable: float) -> float:
    """A score must be more than this to be higher."""
    return score + noticeable + NOTICEABLE_SHARE * abs(score)


def _changes(original: str, text: str, competing: tuple[int, ...], plan: Plan) -> tuple[list[int], list[str]]:
    """The changes of some words of a text, each once: the index of the word, and the text."""
    found, words = {text: -1}, words_of(text)
    for index in competing:
        word = words[index]
        for replacement in plan.propose(original, index, word.text):
            found.setdefault(word.replaced(text, replacement), index)
    del found[text]
    return list(found.values()), list(found)


def word_changes(text: str, adversarial: str) -> tuple[WordChange, ...]:
    """Which words of a text were changed; both have equally many."""
    if text == adversarial:
        return ()
    return tuple(
        WordChange(index, before.text, after.text)
        for index, (before, after) in enumerate(zip(words_of(text), words_of(adversarial), strict=True))
        if before.text != after.text
    )


def every_text(text: str, free: Sequence[int], plan: Plan) -> Iterator[str]:
    """Every other text that a plan admits in place of one, each once; those with the fewest changes first.

    :param free: Indices of the words that may change.
    """
    seen = {text}
    #: Texts that may change further, with the words that may.
    going = [(text, tuple(free))]
    for number in range(plan.max_changes):
        after: list[tuple[str, tuple[int, ...]]] = []
        for current, indices in going:
            words = words_of(current)
            options = [
                [
                    (index, words[index].replaced(current, other))
                    for other in plan.propose(text, index, words[index].text)
                ]
                for index in indices
            ]
            for index, changed in _by_rank(options) if plan.ranked else chain(*options):
                if changed not in seen:
                    seen.add(changed)
                    if number + 1 < plan.max_changes:
                        rest = tuple(other for other in indices if other != index) if plan.once else indices
                        after.append((changed, rest))
                    yield changed
        going = after


def _by_rank(options: Sequence[Sequence[Any]]) -> Iterator[Any]:
    """The first of each list, then the second of each, and so on."""
    return (option for rank in zip_longest(*options) for option in rank if option is not None)
