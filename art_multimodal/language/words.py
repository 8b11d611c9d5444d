"""Words of a text with their places, which of them are class names, and lists of English words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

#: Longer runs of letters are no words of a language; they are left alone.
LONGEST_WORD = 64

#: Of open_clip's list; those behind are not part of its vocabulary.
_MERGES = 49152 - 256 - 2
_VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
_APOSTROPHES = "'\u2019"
#: Joiners stand inside words of Persian and of Indian scripts.
_JOINERS = "\u200c\u200d"

_FUNCTION_WORDS = """
a about above after again against all almost also although always am among an and another any anything
are around as at away be because been before behind being below beside between beyond both but by can
cannot could did do does doing done down during each either else even ever every everything few for from
further had has have having he hence her here hers herself him himself his how however i if in indeed
into is it its itself just least less like many may me might mine more most much must my myself near
neither never no nobody none nor not nothing now of off often on once only onto or other others
otherwise our ours ourselves out over own per perhaps please quite rather really said same seem seemed
seems several shall she should since so some somebody someone something sometimes such than that the
their theirs them themselves then there therefore these they this those though through throughout thus
to together too toward towards under unless until up upon us very via was we well were what whatever
when where whereas whether which while who whole whom whose why will with within without would yet you
your yours yourself yourselves isn't aren't wasn't weren't don't doesn't didn't won't can't couldn't
shouldn't wouldn't hasn't haven't hadn't
"""
#: Letters of scripts in which a name may stand inside a longer run: Chinese, Japanese, Thai, Lao, Tibetan, Burmese,
#: Khmer, Balinese, Javanese and Yi, which are written without spaces, and Korean, whose particles are attached.
_RUN_ON = (
    "\u0e00-\u109f\u1100-\u11ff\u1780-\u17ff\u1b00-\u1b7f\u3005-\u3007\u3040-\u318f\u31a0-\u31ff\u3400-\u4dbf"
    "\u4e00-\ua4cf\ua960-\ua9df\uaa60-\uaa7f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
)
#: Short words that are written together with the word behind them ("and", "in", "like", "the", ...).
_PREFIXES = {
    "ARABIC": "(?:[\u0648\u0641]?[\u0628\u0643\u0644\u0633]?(?:\u0627\u0644)?|[\u0648\u0641]?\u0644\u0644)",
    "HEBREW": "[\u05d5\u05d1\u05d4\u05db\u05dc\u05de\u05e9]{0,4}",
}
#: Function words: never proposed as a replacement, since they carry grammar rather than meaning.
STOP_WORDS = frozenset(_FUNCTION_WORDS.split())


@dataclass(frozen=True)
class Word:
    """A word of a text.

    :param text: The word.
    :param start: Where it begins in its text, in characters.
    :param end: Where it ends: ``source[start:end] == text``.
    """

    text: str
    start: int
    end: int

    def replaced(self, source: str, replacement: str) -> str:
        """The text that it stands in, with another word in its place."""
        return source[: self.start] + replacement + source[self.end :]


def words_of(text: str) -> list[Word]:
    """Return the words of a text in order.

    A word is a run of letters, digits and marks of any script; an apostrophe or a joiner between two of these belongs
    to it ("child's"). Everything else (spaces, hyphens, punctuation, emoji) stands between words. A run in a script
    that is written without spaces is one word.
    """
    words, start = [], None
    for place, letter in enumerate(text):
        inside = _is_letter(letter) or (
            start is not None
            and letter in _APOSTROPHES + _JOINERS
            and place + 1 < len(text)
            and _is_letter(text[place + 1])
        )
        # A mark without a letter in front of it (the variation selector of an emoji) begins no word.
        if inside and start is None and unicodedata.category(letter)[0] != "M":
            start = place
        elif not inside and start is not None:
            words.append(Word(text[start:place], start, place))
            start = None
    if start is not None:
        words.append(Word(text[start:], start, len(text)))
    return words


def is_word(text: str) -> bool:
    """Whether a text is exactly one word, not longer than :data:`LONGEST_WORD`."""
    if len(text) > LONGEST_WORD:
        return False
    # Most are plain letters and digits, and tens of thousands are asked about.
    return (text.isascii() and text.isalnum()) or [word.text for word in words_of(text)] == [text]


def in_case_of(word: str, original: str) -> str:
    """Write a lower-case word as the original is: capitalised, or all in capitals. Other words stay as they are."""
    if word != word.lower() or original == original.lower():
        return word
    if len(original) > 1 and original == original.upper():
        return word.upper()
    return word[0].upper() + word[1:] if original[0] != original[0].lower() else word


class ProtectedWords:
    """Words whose replacement would change what a text is about: those of the class names.

    Compared without regard to case, the width of characters, a possessive 's and an English plural ending (-s, -es,
    -ies for -y, -ves for -f or -fe) on either side; irregular plurals ("mice") are other words. Three rules:

    * Where a name stands as a whole, its words in order with nothing but spaces and punctuation between them, every
      one of these words is protected ("bird of prey").
    * Each word of a name is protected wherever it stands, unless the name has several words and this one is a function
      word ("of"), and must not come in as a replacement either: "a cat of a dog" would be of two classes.
    * In scripts that are written without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan, ...), in
      Korean, whose particles are attached, and behind the attached short words of Arabic and Hebrew, a name may stand
      inside a longer run of letters. The run may change; every name in it stays whole, and no other comes in.

    A name inside of other compounds (German, Finnish, Turkish endings) is another word.

    >>> protected = ProtectedWords(["bird of prey", "cat"])
    >>> protected.covers("Cats"), protected.covers("of"), protected.allows("large", "cat")
    (True, False, False)

    :param names: Names of one word or several.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._alone: set[str] = set()
        self._phrases: dict[str, list[list[frozenset[str]]]] = {}
        inside: set[str] = set()
        for name in names:
            parts = [word.text for word in words_of(name)]
            forms = [_forms(part) for part in parts]
            content = [part for part in parts if _plain(part) not in STOP_WORDS]
            for part in content or parts:
                self._alone |= _forms(part)
                inside |= _inside_runs(_plain(part))
            if len(parts) > 1:
                for form in forms[0]:
                    self._phrases.setdefault(form, []).append(forms)
        # Found wherever they begin, also within each other; at one place the longest.
        patterns = "|".join(sorted(inside, key=lambda pattern: (-len(pattern), pattern)))
        self._inside = re.compile(f"(?=({patterns}))") if inside else None

    def allows(self, word: str, replacement: str) -> bool:
        """Whether a word may take the place of another that is not protected as a whole."""
        return not self.covers(replacement) and self._names_inside(word) == self._names_inside(replacement)

    def _names_inside(self, word: str) -> list[str]:
        return self._inside.findall(_plain(word)) if self._inside and not word.isascii() else []

    def covers(self, word: str) -> bool:
        """Whether a word is protected wherever it stands."""
        return not self._alone.isdisjoint(_forms(word))

    def among(self, words: Sequence[Word]) -> set[int]:
        """Indices of the protected words among the words of a text."""
        found = {index for index, word in enumerate(words) if self.covers(word.text)}
        forms = [_forms(word.text) for word in words] if self._phrases else []
        for start, first in enumerate(forms):
            for phrase in (phrase for form in first for phrase in self._phrases.get(form, ())):
                here = forms[start : start + len(phrase)]
                if len(here) == len(phrase) and not any(
                    wanted.isdisjoint(form) for wanted, form in zip(phrase, here, strict=True)
                ):
                    found.update(range(start, start + len(phrase)))
        return found


@cache
def english_words() -> frozenset[str]:
    """English words that are at hand offline: what open_clip's vocabulary holds to the end of a word, and stop words.

    About 30,000 entries in lower case, ASCII letters only. Some are endings of words, which does no harm in a list of
    what must not be written by accident.
    """
    import gzip
    from importlib.util import find_spec

    # The file lies in open_clip's folder; importing open_clip, and timm with it, would take seconds.
    package = find_spec("open_clip")
    assert package is not None and package.origin is not None
    with gzip.open(Path(package.origin).with_name(_VOCABULARY), "rt", encoding="utf-8") as file:
        merges = [line.split() for line in islice(file, 1, _MERGES + 1)]
    ends = ("".join(pair).removesuffix("</w>") for pair in merges if pair and pair[-1].endswith("</w>"))
    return STOP_WORDS | {word for word in ends if len(word) > 1 and word.isascii() and word.isalpha()}


def _is_letter(letter: str) -> bool:
    return unicodedata.category(letter)[0] in "LNM"


def _plain(word: str) -> str:
    return unicodedata.normalize("NFKC", word).casefold().replace("\u2019", "'")


def _inside_runs(name: str) -> set[str]:
    """Patterns that find a word of a name, as :func:`_plain` writes it, inside a run of letters."""
    name_here = re.escape(name)
    if re.search(f"[{_RUN_ON}]", name):
        return {name_here}
    # In another script it ends where the other letters begin ("cat" or "3" in a Chinese sentence).
    patterns = {f"(?:^|(?<=[{_RUN_ON}])){name_here}(?=$|[{_RUN_ON}])"}
    scripts = {unicodedata.name(letter, "").split(" ")[0] for letter in name}
    return patterns | {f"^{prefix}{name_here}" for script, prefix in _PREFIXES.items() if script in scripts}


def _forms(word: str) -> frozenset[str]:
    """A word without its possessive or plural ending; every reading that leaves at least two letters."""
    word = _plain(word)
    word = word.removesuffix("'s").removesuffix("'") or word
    forms = {word}
    for ending, singulars in (("s", ("",)), ("es", ("",)), ("ies", ("y",)), ("ves", ("f", "fe"))):
        if word.endswith(ending) and len(word) >= len(ending) + 2:
            forms |= {word.removesuffix(ending) + singular for singular in singulars}
    return frozenset(forms)
