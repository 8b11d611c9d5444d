"""Coloured shapes and yes/no questions about them, for the shapes demo: neither modality tells the answer by itself.

Samples come in groups of four: two scenes A and B and two questions, of which the first is true of A only and the
second of B only. So every image and every question stands once beside each answer, and whatever looks at one of the
two alone is right exactly half the time. The "no" cases are near misses: the right colour on another shape, the
relation reversed, a look-alike in the right place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

SHAPES = ("circle", "square", "triangle")
#: RGB in [0, 1].
COLOURS = {
    "red": (0.85, 0.12, 0.12),
    "green": (0.10, 0.58, 0.20),
    "blue": (0.15, 0.25, 0.85),
    "yellow": (0.95, 0.85, 0.10),
}
COLOUR_NAMES = tuple(COLOURS)
KINDS = len(SHAPES) * len(COLOUR_NAMES)
#: Marks a place of a scene or a question that holds nothing.
NOTHING = -1
#: Pixels along each side of an image, and the most objects in one.
SIDE, MOST_OBJECTS = 32, 3

#: How relations are worded. A question without a relation asks whether something is there.
RELATIONS = {
    "left": ("left of", "to the left of", "on the left of"),
    "right": ("right of", "to the right of", "on the right of"),
    "above": ("above", "over", "higher than"),
    "below": ("below", "under", "lower than"),
}
RELATION_NAMES = tuple(RELATIONS)
OPENINGS = ("is there a {}", "do you see a {}", "can you see a {}", "does the picture show a {}", "is a {} shown")

#: Distance between the three places along each axis, how far objects stray from them, and their half sizes; in pixels.
_STEP, _STRAY, _HALF_SIZES = 10.0, 1.7, (3.3, 4.3)
#: Column and row of each of three objects, no two in one column or row: ``[36, 2, 3]``.
_ORDERS = np.array([(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
_PLACES = np.array([(columns, rows) for columns in _ORDERS for rows in _ORDERS])


@dataclass(frozen=True)
class Scenes:
    """``N`` scenes of up to three objects, no two of one kind.

    :param kinds: ``int`` ``[N, 3]``: ``shape * 4 + colour``, or :data:`NOTHING`.
    :param centres: ``float32`` ``[N, 3, 2]``: x (to the right) and y (down), in pixels. On each axis any two objects
        are more than 6 pixels apart.
    """

    kinds: np.ndarray
    centres: np.ndarray

    def __len__(self) -> int:
        return len(self.kinds)

    def objects(self, index: int) -> list[tuple[str, float, float]]:
        """One scene in words: ``("red circle", x, y)`` per object."""
        return [
            (kind_name(int(kind)), float(x), float(y))
            for kind, (x, y) in zip(self.kinds[index], self.centres[index], strict=True)
            if kind != NOTHING
        ]


@dataclass(frozen=True)
class Questions:
    """``N`` questions.

    :param facts: ``int`` ``[N, 3]``: the kind that is asked about; an index into :data:`RELATION_NAMES`; the kind that
        the first is related to. The last two are :data:`NOTHING` where a question only asks whether something is there.
    :param texts: The wordings.
    """

    facts: np.ndarray
    texts: list[str]


@dataclass(frozen=True)
class Batch:
    """Samples in groups of four in order: (A, first) yes, (A, second) no, (B, first) no, (B, second) yes.

    :param images: ``float32`` ``[N, 3, 32, 32]`` in [0, 1].
    :param scenes: One per sample.
    :param questions: One per sample.
    :param labels: ``int64`` ``[N]``: 1 for yes.
    """

    images: np.ndarray
    scenes: Scenes
    questions: Questions
    labels: np.ndarray


def kind_name(kind: int) -> str:
    """``"red circle"``."""
    return f"{COLOUR_NAMES[kind % len(COLOUR_NAMES)]} {SHAPES[kind // len(COLOUR_NAMES)]}"


def answers(objects: Sequence[tuple[str, float, float]], question: str) -> bool:
    """The true answer to a question, from the words alone; shares nothing with how questions are made.

    :param objects: ``(name, x, y)``, as :meth:`Scenes.objects` gives them.
    :param question: A question in any of the wordings.
    """
    words = question.lower().replace("?", "").split()
    named = [f"{colour} {shape}" for colour, shape in pairwise(words) if colour in COLOURS and shape in SHAPES]
    where = {name: (x, y) for name, x, y in objects}
    if any(name not in where for name in named):
        return False
    if len(named) == 1:
        return True
    (x, y), (other_x, other_y) = (where[name] for name in named)
    if "left" in words:
        return x < other_x
    if "right" in words:
        return x > other_x
    if {"above", "over", "higher"} & set(words):
        return y < other_y
    return y > other_y


def make_samples(groups: int, rng: np.random.Generator) -> Batch:
    """Draw ``4 * groups`` samples: two in five groups ask what is there, the others how two objects stand.

    >>> drawn = make_samples(2, np.random.default_rng(0))
    >>> isinstance(drawn, Batch), drawn.images.shape, drawn.labels.tolist()
    (True, (8, 3, 32, 32), [1, 0, 0, 1, 1, 0, 0, 1])

    :param groups: Two images with two questions each: the answer to each question is yes for one image alone.
    :param rng: Of what is drawn.
    :return: ``images``, ``questions.texts`` and ``labels`` (1 for yes), and what is on the images (``scenes``).
    """
    existing = rng.random(groups) < 0.4
    kinds, subjects, relations, references = (
        np.where(existing.reshape(-1, *[1] * (one.ndim - 1)), one, other)
        for one, other in zip(_existence_groups(groups, rng), _relation_groups(groups, rng), strict=True)
    )
    # Of A the first question is true and the second false, of B the other way round.
    centres = np.stack([_arrange(kinds[:, i], subjects, relations, references, i, rng) for i in range(2)], axis=1)
    shuffled = rng.permuted(np.broadcast_to(np.arange(MOST_OBJECTS), kinds.shape), axis=2)
    kinds = np.take_along_axis(kinds, shuffled, axis=2)
    centres = np.take_along_axis(centres, shuffled[..., None], axis=2)
    scenes = Scenes(kinds.reshape(-1, MOST_OBJECTS), centres.reshape(-1, MOST_OBJECTS, 2).astype(np.float32))
    images = draw(scenes, rng)
    facts = np.stack([subjects, relations, references], axis=2).reshape(-1, 3)
    texts = [word_question(subject, relation, reference, rng) for subject, relation, reference in facts.tolist()]
    scene_rows = np.repeat(np.arange(2 * groups), 2)
    question_rows = np.arange(2 * groups).reshape(groups, 1, 2).repeat(2, axis=1).ravel()
    return Batch(
        images[scene_rows],
        Scenes(scenes.kinds[scene_rows], scenes.centres[scene_rows]),
        Questions(facts[question_rows], [texts[row] for row in question_rows]),
        np.tile(np.array([1, 0, 0, 1]), groups),
    )


def place_objects(kinds: np.ndarray, rng: np.random.Generator) -> Scenes:
    """Put objects anywhere, as far apart as in every scene.

    :param kinds: ``int`` ``[N, 3]``, as in :class:`Scenes`.
    """
    nothing = np.full((len(kinds), 2), NOTHING)
    return Scenes(kinds, _arrange(kinds, nothing, nothing, nothing, 0, rng).astype(np.float32))


def word_question(subject: int, relation: int, reference: int, rng: np.random.Generator) -> str:
    """Put a question into one of its wordings, of at most 15 words."""
    opening = OPENINGS[int(rng.integers(len(OPENINGS)))]
    asked = kind_name(subject)
    if relation != NOTHING:
        wordings = RELATIONS[RELATION_NAMES[relation]]
        article = "the" if rng.random() < 0.7 else "a"
        where = f" {wordings[int(rng.integers(len(wordings)))]} {article} {kind_name(reference)}"
    else:
        where = ""
    text = opening.format(asked) + where
    text = text + "?" if rng.random() < 0.5 else text
    return text[0].upper() + text[1:] if rng.random() < 0.3 else text


def _kind(shape: np.ndarray, colour: np.ndarray) -> np.ndarray:
    return shape * len(COLOUR_NAMES) + colour


def _others(taken: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """``[N, count]`` distinct kinds that are none of ``taken`` ``[N, M]`` (:data:`NOTHING` takes nothing)."""
    order = rng.random((len(taken), KINDS))
    for column in taken.T:
        rows = np.flatnonzero(column != NOTHING)
        order[rows, column[rows]] = 2.0
    return order.argsort(axis=1)[:, :count]


def _sometimes(kinds: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Keep a share of the kinds, and put nothing in place of the others."""
    return np.where(rng.random(kinds.shape) < share, kinds, NOTHING)


def _look_alike(kinds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Kinds that differ either in the colour or in the shape."""
    shape, colour = np.divmod(kinds, len(COLOUR_NAMES))
    recoloured = _kind(shape, (colour + rng.integers(1, len(COLOUR_NAMES), kinds.shape)) % len(COLOUR_NAMES))
    reshaped = _kind((shape + rng.integers(1, len(SHAPES), kinds.shape)) % len(SHAPES), colour)
    return np.where(rng.random(kinds.shape) < 0.5, recoloured, reshaped)


def _existence_groups(n: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Kinds ``[n, 2, 3]`` of A and B, and subjects, relations and references ``[n, 2]`` of two questions.

    Mostly A holds a red circle and a blue square, B a red square and a blue circle, and each question names one object:
    every colour and every shape asked about is in both images.
    """
    shape = rng.integers(len(SHAPES), size=n)
    colour = rng.integers(len(COLOUR_NAMES), size=n)
    shape2 = (shape + rng.integers(1, len(SHAPES), n)) % len(SHAPES)
    colour2 = (colour + rng.integers(1, len(COLOUR_NAMES), n)) % len(COLOUR_NAMES)
    in_a = np.stack([_kind(shape, colour), _kind(shape2, colour2)], axis=1)
    in_b = np.stack([_kind(shape2, colour), _kind(shape, colour2)], axis=1)
    subjects = np.stack([in_a[np.arange(n), rng.integers(2, size=n)], in_b[np.arange(n), rng.integers(2, size=n)]], 1)
    rest = _others(np.concatenate([in_a, in_b], axis=1), 4, rng)
    # Now and then only the objects asked about are held on to: their colour or shape may then be nowhere else.
    loose = rng.random(n) < 0.3
    in_a[loose] = np.stack([subjects[:, 0], rest[:, 2]], axis=1)[loose]
    in_b[loose] = np.stack([subjects[:, 1], rest[:, 3]], axis=1)[loose]
    thirds = _sometimes(rest[:, :2], 0.6, rng)
    kinds = np.stack([np.column_stack([in_a, thirds[:, 0]]), np.column_stack([in_b, thirds[:, 1]])], axis=1)
    return kinds, subjects, np.full((n, 2), NOTHING), np.full((n, 2), NOTHING)


def _relation_groups(n: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """As :func:`_existence_groups`. The two questions differ in the relation or in one of the objects."""
    subject = rng.integers(KINDS, size=n)
    reference = np.where(rng.random(n) < 0.5, _look_alike(subject, rng), _others(subject[:, None], 1, rng)[:, 0])
    relation = rng.integers(4, size=n)
    opposite, across = relation ^ 1, (relation ^ 2) ^ rng.integers(2, size=n)
    subjects, references = np.stack([subject, subject], 1), np.stack([reference, reference], 1)
    relations = np.stack([relation, relation], 1)
    recipe = rng.choice(5, size=n, p=(0.2, 0.15, 0.15, 0.25, 0.25))
    relations[recipe == 0, 1] = opposite[recipe == 0]
    swapped = recipe == 1
    subjects[swapped, 1], references[swapped, 1] = reference[swapped], subject[swapped]
    relations[recipe == 2, 1] = across[recipe == 2]
    # A look-alike of the subject (of the reference) that is itself the reference (the subject) is no question.
    named = np.stack([subject, reference], 1)
    for number, column, changed in ((3, subject, subjects), (4, reference, references)):
        other = _look_alike(column, rng)
        other = np.where((named == other[:, None]).any(axis=1), _others(named, 1, rng)[:, 0], other)
        changed[recipe == number, 1] = other[recipe == number]
    competitor = np.where(recipe == 3, subjects[:, 1], np.where(recipe == 4, references[:, 1], NOTHING))
    original = np.where(recipe == 3, subject, reference)
    free = _sometimes(_others(np.column_stack([named, competitor]), 2, rng), 0.6, rng)
    scene_a = np.column_stack([named, free[:, 0]])
    scene_b = np.column_stack([named, free[:, 1]])
    # With two candidates, an image holds both, or only the one that its question is true of beside something else.
    both = (competitor != NOTHING) & (rng.random(n) < 0.6)
    alone = (competitor != NOTHING) & ~both
    scene_a[both, 2] = scene_b[both, 2] = competitor[both]
    scene_b[alone] = np.where(scene_b == original[:, None], competitor[:, None], scene_b)[alone]
    return np.stack([scene_a, scene_b], axis=1), subjects, relations, references


def _arrange(
    kinds: np.ndarray,
    subjects: np.ndarray,
    relations: np.ndarray,
    references: np.ndarray,
    true_question: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Centres ``[n, 3, 2]`` for objects ``[n, 3]`` that make one question of two true and the other false."""
    fits = np.ones((len(kinds), len(_PLACES)), dtype=bool)
    for question in range(2):
        axis, sign = relations[:, question] // 2, np.where(relations[:, question] % 2 == 0, 1, -1)
        ends = [kinds == asked[:, question, None] for asked in (subjects, references)]
        there = ends[0].any(axis=1) & ends[1].any(axis=1)
        # Places [n, 36] of the two objects along the question's axis; whatever where they are not there.
        first, second = (_PLACES[:, axis, end.argmax(axis=1)].T for end in ends)
        true = (sign[:, None] * (second - first) > 0) & there[:, None]
        asks_relation = relations[:, question, None] != NOTHING
        fits &= ~asks_relation | (true == (question == true_question))
    chosen = np.where(fits, rng.random(fits.shape), -1.0).argmax(axis=1)
    places = _PLACES[chosen].transpose(0, 2, 1)
    return SIDE / 2 + _STEP * (places - 1) + rng.uniform(-_STRAY, _STRAY, places.shape)


def draw(scenes: Scenes, rng: np.random.Generator) -> np.ndarray:
    """Paint scenes, with colours, sizes and a grey background that vary: ``float32`` ``[N, 3, 32, 32]`` in [0, 1]."""
    n = len(scenes)
    pixels = np.arange(SIDE, dtype=np.float32) + np.float32(0.5)
    images = np.empty((n, 3, SIDE, SIDE), dtype=np.float32)
    tint = rng.uniform(0.5, 0.9, (n, 1)) + rng.uniform(-0.03, 0.03, (n, 3))
    images[:] = tint[:, :, None, None]
    sizes = rng.uniform(*_HALF_SIZES, (n, MOST_OBJECTS)).astype(np.float32)
    paints = np.array(list(COLOURS.values()))[scenes.kinds % len(COLOUR_NAMES)]
    paints = (paints + rng.uniform(-0.07, 0.07, paints.shape)).astype(np.float32)
    for number in range(MOST_OBJECTS):
        rows = np.flatnonzero(scenes.kinds[:, number] != NOTHING)
        centre, size = scenes.centres[rows, number], sizes[rows, number, None, None]
        x = pixels[None, None, :] - centre[:, 0, None, None]
        y = pixels[None, :, None] - centre[:, 1, None, None]
        outside = _distance_outside(scenes.kinds[rows, number] // len(COLOUR_NAMES), x, y, size)
        cover = np.clip(np.float32(0.5) - outside, 0, 1)[:, None]
        images[rows] += cover * (paints[rows, number, :, None, None] - images[rows])
    images += np.float32(0.03) * rng.standard_normal(images.shape, dtype=np.float32)
    return np.clip(images, 0, 1, out=images)


def _distance_outside(shape: np.ndarray, x: np.ndarray, y: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Roughly how many pixels ``[n, 32, 32]`` points lie outside of shapes of a half size; negative within."""
    shape = shape[:, None, None]
    circle = np.hypot(x, y) - size
    square = np.maximum(np.abs(x), np.abs(y)) - np.float32(0.9) * size
    # Two slanted sides from the tip at y = -size to the base at y = size.
    slope = np.float32(1 / np.sqrt(5))
    triangle = np.maximum((2 * np.abs(x) - y - size) * slope, y - size)
    return np.where(shape == 0, circle, np.where(shape == 1, square, triangle))
