"""Texts without what the eye does not see: invisible characters, and letters that look like others."""

from __future__ import annotations

import unicodedata
from functools import cache

from art_multimodal.defences.preprocessor.text_preprocessor import TextPreprocessor
from art_multimodal.language.words import words_of

#: Control characters that separate words.
_SPACES = "\t\n\v\f\r\x85"
#: Categories of what takes no room: control and format characters.
_INVISIBLE = ("Cc", "Cf")
#: Joiners mean something between letters of these scripts, and between the parts of an emoji.
_JOINERS = "\u200c\u200d"
#: Format characters without which nothing is missing in any script, besides those of the categories above: fillers and
#: variation selectors of letters.
_FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"
_LATIN = "LATIN"
#: Scripts with letters that are taken for Latin ones.
_MISTAKEN = ("CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU")


class UnicodeNormalisation(TextPreprocessor):
    """Bring texts that look alike to the same characters.

    1. Control and format characters go: zero-width ones, bidirectional controls, soft hyphens, tags. Line breaks and
       tabs become spaces. Joiners stay between letters that need them (Persian, Indian scripts) and inside emoji.
    2. NFKC: full-width, mathematical and ligature forms become plain letters; letters and their marks are composed.
    3. Letters that look like Latin ones (Unicode's confusables, UTS #39) become Latin where scripts are mixed: in a
       word that has Latin letters, too; and a word without any, if all of it looks Latin, the text has Latin words, and
       no word of that script that could not be read as Latin. A text in Cyrillic or Greek stays, and so does a Greek or
       Russian name in an English text.

    Repairing twice changes nothing more. Lookalikes within the Latin script (those of phonetic writing) stay, and so do
    marks that a letter cannot be composed with.

    >>> UnicodeNormalisation().repair(["a phоto of a cаt", "ｆｕｌｌ ｗｉｄｔｈ"])
    ['a photo of a cat', 'full width']
    """

    def _repaired(self, text: str) -> str:
        if text.isascii() and text.isprintable():
            return text
        text = unicodedata.normalize("NFKC", _visible(unicodedata.normalize("NFKC", text)))
        return text if text.isascii() else unicodedata.normalize("NFKC", _folded(text))


def _visible(text: str) -> str:
    kept = []
    for place, letter in enumerate(text):
        if letter in _SPACES:
            kept.append(" ")
        elif letter in _JOINERS:
            around = text[place - 1 : place] + text[place + 1 : place + 2]
            if len(around) == 2 and not any(_invisible(other) or _script(other) == _LATIN for other in around):
                kept.append(letter if not around.isascii() else "")
        elif not _invisible(letter):
            kept.append(letter)
    return "".join(kept)


def _invisible(letter: str) -> bool:
    return unicodedata.category(letter) in _INVISIBLE or letter in _FILLERS


def _folded(text: str) -> str:
    """The text with lookalikes of Latin letters folded where scripts are mixed."""
    words = [(word, {_script(letter) for letter in word.text} - {""}) for word in words_of(text)]
    latin = any(_LATIN in scripts for _, scripts in words)
    genuine = {
        script
        for word, scripts in words
        if _LATIN not in scripts and _as_latin(word.text) is None
        for script in scripts
    }
    parts, end = [], 0
    for word, scripts in words:
        foreign = scripts & set(_MISTAKEN)
        mixed = bool(foreign) and (_LATIN in scripts or (latin and not foreign & genuine))
        parts += [text[end : word.start], (_as_latin(word.text) or _mixed(word.text)) if mixed else word.text]
        end = word.end
    return "".join([*parts, text[end:]])


def _as_latin(word: str) -> str | None:
    """A word read as Latin; ``None`` where a letter does not look so."""
    read = [letter if _script(letter) not in _MISTAKEN else _lookalikes().get(letter) for letter in word]
    return None if None in read else "".join(filter(None, read))


def _mixed(word: str) -> str:
    """A word of several scripts with those letters folded that look Latin."""
    return "".join(_lookalikes().get(letter, letter) for letter in word)


@cache
def _script(letter: str) -> str:
    """The script of a letter; empty for what is of none (digits, punctuation, marks)."""
    if unicodedata.category(letter)[0] != "L":
        return ""
    return unicodedata.name(letter, "").split(" ")[0]


@cache
def _lookalikes() -> dict[str, str]:
    """Letters of other scripts and the Latin ASCII letter that each looks like."""
    from confusable_homoglyphs.confusables import confusables_data

    found = {}
    for letter, others in confusables_data.items():
        if len(letter) == 1 and _script(letter) in _MISTAKEN:
            ascii_letters = [o["c"] for o in others if len(o["c"]) == 1 and o["c"].isascii() and o["c"].isalpha()]
            # Of several the one of the same case. Capitals that look like an l are an I.
            ascii_letters.sort(key=lambda other: other.isupper() != letter.isupper())
            if ascii_letters:
                found[letter] = "I" if letter.isupper() and ascii_letters[0] == "l" else ascii_letters[0]
    return found
