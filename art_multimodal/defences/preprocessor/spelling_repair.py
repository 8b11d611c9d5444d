"""Typing errors undone against a vocabulary."""

from __future__ import annotations

import importlib.resources
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from art_multimodal.defences.preprocessor.text_preprocessor import TextPreprocessor
from art_multimodal.errors import InputError
from art_multimodal.language.words import LONGEST_WORD, in_case_of, words_of
from art_multimodal.pairs import is_pairs

#: A word with digits is repaired if it has so many letters: "phot0", not "mp3".
_LETTERS_BESIDE_DIGITS = 4


class SpellingRepair(TextPreprocessor):
    """Replace every word that a vocabulary does not hold by the most frequent one of it that is one edit away.

    An edit is an insertion, a deletion, a substitution, or a swap of two neighbours, as :class:`CharacterAttack` makes
    them. A word that has no neighbour in the vocabulary stays, and so does everything between words; capitals are
    kept. Words are compared without regard to case.

    It undoes one typing error in a word, unless the error makes a word of the vocabulary, or a word that is nearer to a
    more frequent one. It does not undo the replacement of a word by another (:class:`BertAttack`), and it "repairs"
    names that it does not know: give these as ``known_words``, or :meth:`fit` it on clean texts.

    >>> repair = SpellingRepair({"a": 9, "of": 8, "photo": 5}, known_words=["iPod"])
    >>> repair.repair(["a phtoo of a ipod"]), repair.is_known("phtoo")
    (['a photo of a ipod'], False)
    """

    params = ["vocabulary", "known_words"]

    def __init__(
        self, vocabulary: Iterable[str] | Mapping[str, int] | None = None, known_words: Sequence[str] = ()
    ) -> None:
        """
        :param vocabulary: Words, or words with how frequent they are; ``None`` for some 83,000 English ones, and an
            empty one to be fitted.
        :param known_words: Words or names that are right as well (class names, for example), and come before all others
            of the vocabulary.
        :raises InputError: For what are no words, or a negative frequency.
        """
        super().__init__()
        self.vocabulary = vocabulary
        self.known_words = known_words
        self._check_params()

    def fit(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs: Any) -> None:
        """Take the words of clean texts for known ones, the more frequent first; what was fitted before is forgotten.

        With ``vocabulary=()`` they alone are right.

        :param x: Pairs ``(N,)``, or an array or list of texts.
        :param y: Not used.
        """
        texts = (x["text"] if is_pairs(x) else np.asarray(x, dtype=object)).ravel().tolist()
        counts = Counter(word.text.casefold() for text in texts for word in words_of(text))
        if not counts:
            raise InputError("There is no word in the texts to fit on.")
        self._build(counts)

    def is_known(self, word: str) -> bool:
        """Whether a word is in the vocabulary, in whatever case, a possessive 's aside."""
        word = word.casefold().replace("\u2019", "'")
        return word in self._counts or word.removesuffix("'s") in self._counts

    def _repaired(self, text: str) -> str:
        parts, end = [], 0
        for word in words_of(text):
            parts += [text[end : word.start], self._nearest(word.text)]
            end = word.end
        return "".join([*parts, text[end:]])

    def _nearest(self, word: str) -> str:
        """The word, or the one of the vocabulary that it was meant to be."""
        if self._index is None or len(word) > LONGEST_WORD or self.is_known(word):
            return word
        if any(letter.isdigit() for letter in word) and sum(map(str.isalpha, word)) < _LETTERS_BESIDE_DIGITS:
            return word
        from symspellpy import Verbosity

        found = self._index.lookup(word.casefold(), Verbosity.TOP, max_edit_distance=1)
        return in_case_of(found[0].term, word) if found else word

    def _build(self, fitted: Mapping[str, int]) -> None:
        if self.vocabulary is None:
            counts = dict(_english())
        elif isinstance(self.vocabulary, Mapping):
            counts = {str(word).casefold(): int(count) for word, count in self.vocabulary.items()}
        else:
            counts = dict.fromkeys((word.casefold() for word in self.vocabulary), 1)
        # What is known here is meant before what is known elsewhere, however frequent that is.
        most = max(counts.values(), default=0)
        counts |= {word: most + count for word, count in fitted.items()}
        most = max(counts.values(), default=0)
        counts |= {word.text.casefold(): most + 1 for name in self.known_words for word in words_of(name)}
        if not counts:
            # Until it is fitted every word is right.
            self._counts, self._index = counts, None
            return
        from symspellpy import SymSpell

        self._counts = counts
        self._index = SymSpell(max_dictionary_edit_distance=1)
        for word, count in counts.items():
            self._index.create_dictionary_entry(word, max(1, count))

    def _check_params(self) -> None:
        if isinstance(self.vocabulary, str) or isinstance(self.known_words, str):
            raise InputError("vocabulary and known_words are lists of words, not a single string.")
        if isinstance(self.vocabulary, Mapping) and any(count < 0 for count in self.vocabulary.values()):
            raise InputError("The frequency of a word must be at least 0.")
        if self.vocabulary is not None and not isinstance(self.vocabulary, Mapping):
            self.vocabulary = tuple(self.vocabulary)
        self.known_words = tuple(self.known_words)
        for word in (*(self.vocabulary or ()), *self.known_words):
            if not isinstance(word, str):
                raise InputError(f"A word must be a string, not {type(word).__name__}: {word!r:.60}.")
        self._build({})


@cache
def _english() -> dict[str, int]:
    """Words of symspellpy's English dictionary and how frequent they are."""
    file = importlib.resources.files("symspellpy") / "frequency_dictionary_en_82_765.txt"
    lines = file.read_text(encoding="utf-8-sig").split("\n")
    return {word: int(count) for word, count in (line.split() for line in lines if line.strip())}
