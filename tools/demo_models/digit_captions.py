"""English captions that the text tower of the digits demo is trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from art_multimodal.demo.captions import DIGIT_NAMES

#: In characters; longer ones are drawn again.
LONGEST_CAPTION = 110

_MEDIA = ("photo", "picture", "image", "drawing", "photograph", "close-up", "crop")
_QUALITIES = ("handwritten", "small", "clear", "rough", "simple", "neat", "bold", "blurred", "low resolution", "good")
_NOUNS = ("digit", "number", "numeral", "character", "symbol")
_FRAMES = (
    "{a} {medium} of the {noun} {digit}{end}",
    "{a} {medium} of {a2} {quality} {noun} {digit}{end}",
    "{a} {quality} {medium} of {a3} {digit}{end}",
    "{a} {quality} {medium} of the {quality2} {noun} {digit}{end}",
    "the {noun} {digit}{end}",
    "the {quality} {noun} {digit}, written by hand{end}",
    "{digit}",
    "{a3} {digit}{end}",
    "{a} {medium} of {a3} {digit}{end}",
    "this is {a} {medium} of the {quality} {noun} {digit}{end}",
    "this is the {noun} {digit}{end}",
    "it says {digit}{end}",
    "there is {a3} {digit} in this {medium}{end}",
    "my {medium} of {a3} {quality} {digit}{end}",
    # "one" as a pronoun teaches the tower that a digit's name does not always name a digit.
    "one can see the {noun} {digit} here{end}",
    "{noun}: {digit}",
    "{digit}, {a} {quality} {noun}{end}",
    "{digit} in {a} {medium}{end}",
    "a person has written {digit} with a pen{end}",
    "which {noun} is it? it is {digit}{end}",
)
_COLOURS = (" in {ink}", " in {ink} ink", " written in {ink} on {paper} paper", " on {paper} paper", " on {paper}")


_ONSETS = ("b", "c", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "w", "st", "sk", "tr", "ch", "sh", "")
_VOWELS = ("a", "e", "i", "o", "u", "ea", "oo", "ee")
_CODAS = ("", "n", "r", "t", "s", "l", "m", "nd", "st", "ck", "ng", "d", "p", "y", "le", "er")


@dataclass(frozen=True)
class Caption:
    """A caption and the facts it states; ``None`` where it is silent."""

    text: str
    digit: int
    ink: str | None
    paper: str | None


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou8" and word != "one" else "a"


def _made_up_word(rng: np.random.Generator) -> str:
    """A word that means nothing: from these the text tower learns to pass over words that it does not know."""
    syllables = [
        "".join(part[int(rng.integers(len(part)))] for part in (_ONSETS, _VOWELS, _CODAS))
        for _ in range(int(rng.integers(1, 3)))
    ]
    word = "".join(syllables)
    return "the" if word in DIGIT_NAMES else word


def _with_made_up_words(text: str, rng: np.random.Generator) -> str:
    words = text.split()
    for _ in range(int(rng.integers(1, 5))):
        place = int(rng.integers(len(words) + 1))
        if rng.random() < 0.5 and place < len(words) and "{digit}" not in words[place] and "{end}" not in words[place]:
            words[place] = _made_up_word(rng)
        elif not (place > 0 and "{end}" in words[place - 1]):
            words.insert(place, _made_up_word(rng))
    return " ".join(words)


def random_caption(digit: int, ink: str, paper: str, rng: np.random.Generator) -> Caption:
    """Draw a caption that is true of an image of ``digit`` in ``ink`` on ``paper``."""

    def pick(choices: tuple[str, ...]) -> str:
        return choices[int(rng.integers(len(choices)))]

    medium, noun, quality, quality2 = pick(_MEDIA), pick(_NOUNS), pick(_QUALITIES), pick(_QUALITIES)
    name = DIGIT_NAMES[digit] if rng.random() < 0.7 else str(digit)
    frame = pick(_FRAMES)
    if rng.random() < 0.5:
        frame = _with_made_up_words(frame, rng)
    first = quality if frame.startswith("{a} {quality}") else medium
    if frame.startswith("{digit}, {a}"):
        first = quality
    text = frame.format(
        a=_article(first),
        a2=_article(quality),
        a3=_article(name),
        medium=medium,
        noun=noun,
        quality=quality,
        quality2=quality2,
        digit=name,
        end="{end}",
    )
    stated_ink = stated_paper = None
    colours = ""
    if rng.random() < 0.4:
        template = pick(_COLOURS)
        stated_ink = ink if "{ink}" in template else None
        stated_paper = paper if "{paper}" in template else None
        colours = template.format(ink=ink, paper=paper)
    end = colours + ("." if rng.random() < 0.4 else "")
    text = text.replace("{end}", end) if "{end}" in text else text + end
    casing = rng.random()
    text = text.upper() if casing < 0.03 else text[0].upper() + text[1:] if casing < 0.3 else text
    if len(text) > LONGEST_CAPTION:
        return random_caption(digit, ink, paper, rng)
    return Caption(text, digit, stated_ink, stated_paper)
