"""English captions for the digits demo: what its text tower is trained on, and what is kept for testing it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

#: RGB in [0, 1]. Inks are dark and papers light enough for every pair to be readable.
INKS = {
    "black": (0.05, 0.05, 0.05),
    "red": (0.75, 0.10, 0.10),
    "green": (0.05, 0.45, 0.10),
    "blue": (0.10, 0.20, 0.75),
    "purple": (0.45, 0.10, 0.55),
    "brown": (0.40, 0.22, 0.08),
}
PAPERS = {
    "white": (0.97, 0.97, 0.97),
    "yellow": (0.97, 0.93, 0.55),
    "pink": (0.98, 0.78, 0.84),
    "grey": (0.78, 0.78, 0.78),
}

#: Never used in training; several words ("scan", "sketch", "wrote", ...) occur in none of the training captions.
HELD_OUT_TEMPLATES = (
    "a scan of the number {}",
    "a sketch of a {}.",
    "somebody wrote a {} here",
    "look, it is the figure {}!",
    "this shows {}",
    "an example of {} from a school notebook",
    "the answer on the sheet reads {}",
    "a child's {}",
    "a blurry shot of the handwritten figure {}.",
    "mail sorting sample: {}",
)

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
