"""Typing errors that move a text's embedding the most."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

from art_multimodal.attacks.checks import check_whole_number
from art_multimodal.attacks.evasion.text.search import Plan
from art_multimodal.attacks.evasion.text.text_attack import TextAttack
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.language.words import (
    LONGEST_WORD,
    ProtectedWords,
    english_words,
    is_word,
    words_of,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz"
#: Words whose edits, some hundreds each, are kept during an attack.
_WORDS_AT_HAND = 256


class CharacterAttack(TextAttack):
    """Change single characters within words: insert, delete, substitute, or swap two neighbours.

    In each of up to ``max_edits`` rounds every edit of the most important words is tried, and the one that moves the
    text the furthest is kept (greedy; exact for one edit). No edit creates another word of ``dictionary``, so the text
    keeps its meaning to a reader.

    A word has some ``2 a n`` edits, with ``n`` letters and ``a`` characters in the alphabet; ``candidate_words`` bounds
    how many words are tried.

    On a :class:`ZeroShotClassifier` the prompts are attacked, on a :class:`FusionClassifier` or an
    :class:`ImageTextRetriever` the texts of pairs; any texts with :meth:`perturb`. See :meth:`generate` for what comes
    back, :attr:`records` for what was done to each text, :attr:`cost` for what the model was asked over all calls. The
    embedding of a text is kept for later calls and other attacks until the model's weights change.

    Guarantees: a text differs by at most ``max_edits`` edits, all within words; the number of words and everything
    between them stay; protected words stay and none comes in; a changed word is not in the dictionary; a text without
    an admissible edit, or where none scores higher, comes back unchanged; an edit that the model would refuse is not
    admissible; equal calls give equal results, and no random numbers are drawn.

    | Paper link: https://arxiv.org/abs/2506.03355 (LEAF: the constraint and the greedy search)

    >>> attack = CharacterAttack(classifier, max_edits=1, candidate_words=1, verbose=False)
    >>> text = "a photo of the handwritten digit zero."
    >>> adversarial = attack.perturb([text])[0]
    >>> adversarial != text, "zero" in adversarial, len(attack.records[0].changes)
    (True, True, 1)
    """

    attack_params = TextAttack.attack_params + ["max_edits", "alphabet", "dictionary"]

    def __init__(
        self,
        estimator: FusionClassifier | ImageTextRetriever | ZeroShotClassifier,
        max_edits: int = 1,
        alphabet: str = LETTERS,
        dictionary: Iterable[str] | None = None,
        loss: str = "embedding_kl",
        targeted: bool = False,
        per_image: bool = False,
        candidate_words: int | None = 5,
        protect_class_names: bool = True,
        protected_words: Sequence[str] = (),
        batch_size: int = 128,
        verbose: bool = True,
    ) -> None:
        """
        :param estimator: The classifier, or the retriever, to attack.
        :param max_edits: Most edits of a text.
        :param alphabet: Letters and digits that are inserted and substituted; lower-case ones are written in capitals
            within a word in capitals.
        :param dictionary: Words that must not come about, in any case; default: some 30,000 English ones that
            open_clip's vocabulary holds. The words of the texts under attack and of the class names always count as
            well. For texts in another language give its words: ``language_model.whole_words()``, for example.
        :param loss: What is raised: ``"embedding_kl"`` (labels are not used); on a classifier ``"margin"``, the best
            other score minus the label's, on a zero-shot one its mean over the images given; on a retriever
            ``"similarity"``, minus the cosine of the text and its own image.
        :param targeted: Lower the margin of the given labels instead; with ``"margin"`` only.
        :param per_image: Choose the prompts of a zero-shot classifier for each image alone; with ``"margin"`` only.
            Each prompt is attacked by itself, with the others as they are. With one prompt per class, no two alike,
            ``candidate_words=None`` and ``max_edits=1`` the prompts that come back are the worst of all combinations of
            admissible changes for that image, to a millionth of the logits' scale. With several prompts per class, or
            one for several classes, there may be worse combinations.
        :param candidate_words: So many words, the most important first, compete for each edit; ``None`` for all.
        :param protect_class_names: Whether the words of all class names are left as they are; see
            :class:`ProtectedWords`.
        :param protected_words: Further words or names to protect.
        :param batch_size: Texts or images per forward pass of the model under attack. A text tower that computes what
            texts begin with once has its own measure.
        :param verbose: Show a progress bar.
        """
        super().__init__(
            estimator,
            loss,
            targeted,
            per_image,
            candidate_words,
            protect_class_names,
            protected_words,
            batch_size,
            verbose,
        )
        self.max_edits = max_edits
        self.alphabet = alphabet
        self.dictionary = dictionary
        self._check_params()

    def _plan(self, texts: list[str], free: list[list[int]], protected: ProtectedWords) -> tuple[Plan, list[list[int]]]:
        known = english_words() if self.dictionary is None else frozenset(word.casefold() for word in self.dictionary)
        sources = (*texts, *self.estimator.class_names, *self.protected_words)
        taken = known | {word.text.casefold() for source in sources for word in words_of(source)}
        plan = Plan(
            propose=self._proposals(taken, protected),
            # Stands for a hidden word to models that have seen such texts and to those that have not.
            mask="[MASK]",
            max_changes=self.max_edits,
            candidate_words=self.candidate_words,
            once=False,
        )
        return plan, free

    def _proposals(self, taken: frozenset[str], protected: ProtectedWords) -> Callable[[str, int, str], list[str]]:
        # Prompts of different classes share most of their words.
        @lru_cache(_WORDS_AT_HAND)
        def edited(word: str) -> list[str]:
            if len(word) > LONGEST_WORD:
                return []
            return [
                edit
                for edit in dict.fromkeys(edits_of(word, self.alphabet))
                if edit.casefold() not in taken and is_word(edit) and protected.allows(word, edit)
            ]

        return lambda text, index, word: edited(word)

    def _check_params(self) -> None:
        super()._check_params()
        check_whole_number(self, "max_edits", 0)
        wrong = [letter for letter in self.alphabet if not is_word(letter)]
        if wrong or not isinstance(self.alphabet, str):
            raise ValueError(f"alphabet must hold letters and digits only, which these are not: {wrong!r:.80}.")
        if isinstance(self.dictionary, str):
            raise ValueError(f"dictionary must be a set of words, not {self.dictionary!r:.80}.")
        if self.dictionary is not None:
            self.dictionary = frozenset(self.dictionary)


def edits_of(word: str, alphabet: str) -> Iterator[str]:
    """Every word that one edit makes of a word, some of them more than once, in a fixed order.

    Deletions and swaps come first, then for each place substitutions and insertions.
    """
    letters = alphabet.upper() if len(word) > 1 and word == word.upper() != word.lower() else alphabet
    for place in range(len(word)):
        yield word[:place] + word[place + 1 :]
    for place in range(len(word) - 1):
        yield word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    for place in range(len(word) + 1):
        for letter in letters:
            if place < len(word):
                yield word[:place] + letter + word[place + 1 :]
            yield word[:place] + letter + word[place:]
