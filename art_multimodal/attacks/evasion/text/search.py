"""The search that text attacks share: words in the order of their importance, the best change of each round."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, zip_longest
from typing import Any

from art_multimodal.attacks.evasion.text.scoring import TextVictim
from art_multimodal.language.words import Word, words_of

#: What counts as higher: by more than this share, and more than the victim finds noticeable. Rounding, which depends on
#: how probes were batched, is smaller, and so does not decide between equals.
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

    :param text: The original.
    :param adversarial: What came of it; the original where no admissible change scores higher.
    :param changes: The changed words, in the order of the text.
    :param score_before: Of the original: 0 for ``embedding_kl``, the margin loss for ``margin``, minus the cosine for
        ``similarity``. With targeted margins for each image, the margin over the classes of this prompt alone (see
        :class:`PromptMarginVictim`).
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


@dataclass
class _State:
    """A subject on its way."""

    original: str
    text: str
    score_before: float
    score: float
    #: Indices of the words that may still change, most important first.
    order: list[int]
    queries: int = 1
    changes: int = 0
    #: What the next change of this round must score more than.
    to_beat: float = 0.0
    #: The best change of this round: score, index of the word, text.
    best: tuple[float, int, str] | None = None
    words: list[Word] = field(default_factory=list)


def attack_texts(
    victim: TextVictim, free: Sequence[Sequence[int]], plan: Plan, done: Callable[[int], object] = lambda count: None
) -> list[TextRecord]:
    """Attack all subjects of a victim side by side.

    In each round the most important ``candidate_words`` words of a text compete: of all their admissible replacements
    and the text as it is, the one with the highest score wins, the first among equals (to one in a million). Where the
    text as it is wins, these words are done with, and the next ones compete.

    :param free: For each subject the indices of the words that may change.
    :param done: Told how many subjects have come to an end, whenever some have.
    :return: One record per subject.
    :raises InputError: If the model refuses one of the texts.
    """
    scores = victim.start() if victim.texts else []
    words = {text: words_of(text) for text in dict.fromkeys(victim.texts)}
    states = [
        _State(text, text, score, score, list(indices), words=words[text])
        for text, score, indices in zip(victim.texts, scores, free, strict=True)
    ]
    if plan.max_changes and plan.candidate_words is not None:
        _order_by_importance(victim, states, plan.mask)
    active = [number for number, state in enumerate(states) if state.order and plan.max_changes]
    done(len(states) - len(active))
    while active:
        for number in active:
            states[number].to_beat = _to_beat(states[number].score, victim.noticeable)
        probes = _probes(states, active, plan)
        while part := list(islice(probes, _PROBES_AT_ONCE)):
            answers = victim.ask([(number, text) for number, _, text in part])
            for (number, index, text), score in zip(part, answers, strict=True):
                if score is not None:
                    state = states[number]
                    state.queries += 1
                    if score > state.to_beat:
                        state.to_beat = _to_beat(score, victim.noticeable)
                        state.best = (score, index, text)
        for number in active:
            _end_round(states[number], plan)
        going = [n for n in active if states[n].order and states[n].changes < plan.max_changes]
        done(len(active) - len(going))
        active = going
    return [_record(state) for state in states]


def _to_beat(score: float, noticeable: float) -> float:
    """A score must be more than this to be higher."""
    return score + noticeable + NOTICEABLE_SHARE * abs(score)


def _order_by_importance(victim: TextVictim, states: list[_State], mask: str) -> None:
    """Sort words by how far the text moves when the word is hidden, in the units of the score; stable."""
    probes = [
        (number, index, state.words[index].replaced(state.text, mask))
        for number, state in enumerate(states)
        # A single word is in order as it is.
        if len(state.order) > 1
        for index in state.order
    ]
    importance: list[dict[int, float]] = [{} for _ in states]
    for start in range(0, len(probes), _PROBES_AT_ONCE):
        part = probes[start : start + _PROBES_AT_ONCE]
        answers = victim.ask([(number, text) for number, _, text in part])
        for (number, index, _), score in zip(part, answers, strict=True):
            states[number].queries += score is not None
            # Where the model cannot read the mask as well, the word comes last.
            importance[number][index] = -score if score is not None else float("inf")
    for state, negative in zip(states, importance, strict=True):
        state.order.sort(key=lambda index: negative.get(index, 0.0))


def _probes(states: list[_State], active: list[int], plan: Plan) -> Iterator[tuple[int, int, str]]:
    """(Subject, word, text) of every change that is admissible in this round."""
    known: tuple[Any, list[tuple[int, str]]] = (None, [])
    for number in active:
        state = states[number]
        competing = state.order[: plan.candidate_words]
        # Subjects with one text often come one after the other: one prompt for many images.
        task = (state.original, state.text, competing)
        if task != known[0]:
            known = (task, _changes(state, competing, plan))
        for index, text in known[1]:
            yield number, index, text


def _changes(state: _State, competing: list[int], plan: Plan) -> list[tuple[int, str]]:
    """(Word, text) of the changes of these words, each text once."""
    found = {state.text: -1}
    for index in competing:
        word = state.words[index]
        for replacement in plan.propose(state.original, index, word.text):
            found.setdefault(word.replaced(state.text, replacement), index)
    return [(index, text) for text, index in found.items() if index >= 0]


def _end_round(state: _State, plan: Plan) -> None:
    if state.best is None:
        state.order = [] if plan.candidate_words is None else state.order[plan.candidate_words :]
        return
    state.score, index, state.text = state.best
    state.words = words_of(state.text)
    state.changes += 1
    state.best = None
    if plan.once:
        state.order.remove(index)


def _record(state: _State) -> TextRecord:
    changes = word_changes(state.original, state.text)
    return TextRecord(state.original, state.text, changes, state.score_before, state.score, state.queries)


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
