"""English captions for the scenes demo: what its text tower learns from, and wordings that are kept for testing it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from art_multimodal.demo.scenes import COLOUR_NAMES, SHAPES, kind_name

NUMBERS = ("one", "two", "three")
#: Words whose replacement makes a caption say something else.
FACTS = (*COLOUR_NAMES, *SHAPES, *NUMBERS)

#: Never used in training; most of their nouns and verbs ("poster", "depicts", ...) occur in none of its captions.
HELD_OUT_WORDINGS = (
    "a print of {} on the wall",
    "somebody made a poster with {}",
    "look, an illustration: {}",
    "{} in the notebook of a child",
    "this stamp depicts {}.",
    "a rough painting of {}",
    "the screen displays {}.",
    "an example of a sign with {}",
    "a student scribbled {} here",
    "on the calendar there is {}.",
)

#: In characters; longer ones are drawn again.
LONGEST_CAPTION = 96

_MEDIA = ("picture", "photo", "drawing", "sketch")
_QUALITIES = ("small", "simple", "plain", "neat", "clear")
_PLACES = ("page", "sheet", "card", "board")
_VERBS = ("shows", "contains", "has")
_FRAMES = (
    "{objects}",
    "a {medium} of {objects}",
    "a {quality} {medium} of {objects}",
    "a {medium} with {objects}",
    "this {medium} {verb} {objects}",
    "the {quality} {medium} {verb} {objects}",
    "there is {objects} here",
    "there is {objects} in this {medium}",
    "here you see {objects}",
    "one can see {objects} in the {medium}",
    "this is a {medium} of {objects}",
    "{objects} on a {quality} {place}",
    "{objects} in a {medium}",
    "a {place} with {objects}",
    "the {place} {verb} {objects}",
    "a person drew {objects}",
    "{number}: {objects}",
    "a {medium} of {number}: {objects}",
)


def word_objects(kinds: Sequence[int], rng: np.random.Generator) -> str:
    """Name objects in a drawn order: ``"a red circle, a small blue square and a green triangle"``.

    :param kinds: At least one, none twice; indices as in :class:`Scenes`.
    """
    article = ("a", "a", "a", "the", "one")[int(rng.integers(5))]
    names = []
    for kind in rng.permutation(np.asarray(kinds)).tolist():
        quality = f" {_QUALITIES[int(rng.integers(len(_QUALITIES)))]}" if rng.random() < 0.1 else ""
        names.append(f"{article}{quality} {kind_name(kind)}")
    joints = (" and ", " with ") if len(names) == 2 else (" and ", ", and ")
    last = joints[int(rng.integers(2))] + names.pop() if len(names) > 1 else ""
    return ", ".join(names) + last


def random_caption(kinds: Sequence[int], rng: np.random.Generator) -> str:
    """Draw a caption that names all objects of a scene and nothing else.

    :param kinds: The objects, none twice; between one and three.
    """

    def pick(choices: Sequence[str]) -> str:
        return choices[int(rng.integers(len(choices)))]

    number = f"{NUMBERS[len(kinds) - 1]} {'object' if len(kinds) == 1 else 'objects'}"
    text = pick(_FRAMES).format(
        medium=pick(_MEDIA),
        quality=pick(_QUALITIES),
        place=pick(_PLACES),
        verb=pick(_VERBS),
        number=number,
        objects=word_objects(kinds, rng),
    )
    text = text + "." if rng.random() < 0.4 else text
    text = text[0].upper() + text[1:] if rng.random() < 0.3 else text
    return text if len(text) <= LONGEST_CAPTION else random_caption(kinds, rng)


def held_out_caption(kinds: Sequence[int], rng: np.random.Generator) -> str:
    """As :func:`random_caption`, in a wording that training does without."""
    wording = HELD_OUT_WORDINGS[int(rng.integers(len(HELD_OUT_WORDINGS)))]
    text = wording.format(word_objects(kinds, rng))
    return text[0].upper() + text[1:] if rng.random() < 0.3 else text
