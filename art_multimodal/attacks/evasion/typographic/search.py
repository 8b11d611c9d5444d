"""Where to write which word, how large and in which colours: a search for one image, best first."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import count, product

import numpy as np

from art_multimodal.attacks.searching import Answer, Outcome, Search, Task
from art_multimodal.functional.lettering import lettering, write
from art_multimodal.functional.points import Box

#: Sizes of a label, as parts of the area that it may have.
SIZES = (1.0, 0.5, 0.25, 0.125)
#: Places along each side of the image, from one edge to the other.
PLACES = 9
#: Every word is tried here first: in the middle below.
_FIRST_PLACE = (PLACES - 1, PLACES // 2)
#: Words that are tried at once, and the share of the queries that words at their first place may take.
_WORDS_AT_ONCE, _FIRST_PART = 8, 1 / 3
#: Every so many turns the search looks at random labels instead, of which it asks for some at once.
_TURNS, _RANDOM = 3, 4
#: After a success, this part of what is left (and at least so many queries) goes into smaller labels.
_SMALLER_PART, _SMALLER_LEAST = 1 / 4, 8


@dataclass(frozen=True)
class Label:
    """A word on a patch, by indices: of the word, its size, its colours, and the row and column of its place."""

    word: int
    size: int
    colours: int
    row: int
    column: int


@dataclass(frozen=True)
class TypographicRecord:
    """The result for one sample.

    >>> from art_multimodal.attacks.evasion import TypographicAttack
    >>> attack = TypographicAttack(classifier, words=["nine"], max_share=0.25, max_queries=10, verbose=False)
    >>> attacked = attack.generate(images[:1], labels[:1])
    >>> isinstance(attack.records[0], TypographicRecord), attack.records[0].word in ("nine", None)
    (True, True)

    :param word: The written word; ``None`` where the image came back as it was.
    :param box: The patch; nothing outside of it changed.
    :param colours: Of the text and of the patch, as they were given.
    :param share: Of the image's area, that of the patch.
    :param queries: Evaluations of the model for this sample, the intact one included.
    :param label_before: Predicted for the intact sample.
    :param label_after: Predicted for the returned sample.
    :param success: Whether the predicted label changed (or became the target).
    """

    word: str | None
    box: Box | None
    colours: tuple | None
    share: float
    queries: int
    label_before: int
    label_after: int
    success: bool


class Catalogue:
    """All labels that can be written on images of one size.

    :param words: The words.
    :param shape: Of an image, ``(C, H, W)``.
    :param max_share: Most of the image's area that a patch has, in (0, 1].
    :param colours: Of text and patch, each of shape ``(C, 1, 1)``.
    :param font: A font file, or ``None`` for the built-in font.
    """

    def __init__(
        self,
        words: Sequence[str],
        shape: tuple[int, int, int],
        max_share: float,
        colours: Sequence[tuple[np.ndarray, np.ndarray]],
        font: str | None = None,
    ) -> None:
        self.height, self.width = shape[1:]
        self.colours = colours
        #: For each word its sizes, the largest first; none where it cannot be written.
        self.letters: list[list[np.ndarray]] = []
        for word in words:
            sizes: list[np.ndarray] = []
            for part in SIZES:
                # An area such as 0.07 * 100 must not lose its last pixel to rounding.
                pixels = int(max_share * part * self.height * self.width + 1e-9)
                letters = lettering(word, self.height, self.width, pixels, font)
                if letters is not None and not (sizes and sizes[-1].shape == letters.shape):
                    sizes.append(letters)
            self.letters.append(sizes)

    def box(self, label: Label) -> Box:
        """Where the patch is."""
        rows, columns = self.letters[label.word][label.size].shape
        # To the nearest pixel, halves down: whole numbers, so that no rounding of floats decides.
        row = ((self.height - rows) * label.row * 2 + PLACES - 2) // (2 * (PLACES - 1))
        column = ((self.width - columns) * label.column * 2 + PLACES - 2) // (2 * (PLACES - 1))
        return Box((row, column), (rows, columns))

    def write(self, image: np.ndarray, label: Label) -> None:
        """Write a label into an image ``(C, H, W)``, in place."""
        box = self.box(label)
        write(image, self.letters[label.word][label.size], box.row, box.column, *self.colours[label.colours])

    def key(self, image: np.ndarray, label: Label) -> tuple | None:
        """The same for labels that make the same picture of an image; ``None`` where nothing would change."""
        box = self.box(label)
        before = image[(slice(None), *box.slices)]
        after = np.empty_like(before)
        write(after, self.letters[label.word][label.size], 0, 0, *self.colours[label.colours])
        changed = (after != before).any(axis=0)
        if not changed.any():
            return None
        rows, columns = (np.flatnonzero(changed.any(axis=axis)) for axis in (1, 0))
        after = after[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        digest = hashlib.blake2b(np.ascontiguousarray(after).tobytes(), digest_size=16).digest()
        return box.row + int(rows[0]), box.column + int(columns[0]), after.shape, digest

    def moves(self, label: Label, level: int) -> list[Label] | None:
        """Labels next to one, by the coarsest moves first: level 0, 1, ...; ``None`` behind the last level."""
        word, size, colours, row, column = label.word, label.size, label.colours, label.row, label.column
        if level == 1:
            return [Label(word, size, other, row, column) for other in range(len(self.colours)) if other != colours]
        if level == 2:
            return [Label(word, s, colours, row, column) for s in range(len(self.letters[word])) if s != size]
        if level > 4:
            return None
        step = {0: 4, 3: 2, 4: 1}[level]
        places = ((row + step * down, column + step * right) for down, right in product((-1, 0, 1), repeat=2))
        return [
            Label(word, size, colours, *place)
            for place in places
            if place != (row, column) and all(0 <= index < PLACES for index in place)
        ]


@dataclass(frozen=True, kw_only=True)
class LabelTask(Task):
    """One image that a label is written into.

    :param catalogue: What can be written.
    :param image: Shape ``(C, H, W)``.
    :param words: Indices of the words to write, the most promising first.
    :param max_queries: Most questions, that about the intact image included.
    :param seed: Seeds the choice of random labels.
    """

    catalogue: Catalogue
    image: np.ndarray
    words: tuple[int, ...]
    max_queries: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class LabelOutcome(Outcome):
    """What a search for a label found.

    :param label: The best label; ``None`` where the intact image is the best.
    """

    label: Label | None


Questions = Generator[list[Label], Sequence[Answer], None]


class LabelSearch:
    """A search for one image. Given enough queries, it asks about every label; a success ends it early."""

    def __init__(self, task: LabelTask) -> None:
        self.task, self.catalogue = task, task.catalogue
        self.best: Label | None = None
        self.best_answer = task.clean
        self.succeeded = task.is_success(task.clean)
        self.queries, self.limit = 1, task.max_queries
        self._seen: set[Label] = set()
        self._known: dict[tuple | None, Answer] = {None: task.clean}
        # Labels by margin; then coarse moves first, and what came first.
        self._queue: list[tuple[float, int, int, Label]] = []
        self._order = count()

    def run(self) -> Search[Label, Answer, LabelOutcome]:
        """Ask until the budget is spent, a success is as small as a part of it makes it, or nothing is left."""
        waiting, rng = list(self.task.words), np.random.default_rng(self.task.seed)
        first_part = 1 + max(_WORDS_AT_ONCE, int(_FIRST_PART * self.task.max_queries))
        turn = 0
        if self.succeeded:
            waiting = []  # the intact image has the wanted label
        while self.queries < self.limit and (waiting or self._queue):
            turn += 1
            explores = turn % _TURNS == 0
            if waiting and (not self._queue or explores or (self.queries < first_part and not self.succeeded)):
                some, waiting = waiting[:_WORDS_AT_ONCE], waiting[_WORDS_AT_ONCE:]
                yield from self._ask([self._first(word) for word in some])
                continue
            if explores:
                yield from self._ask([self._random(rng) for _ in range(_RANDOM)])
                continue
            margin, level, _, label = heapq.heappop(self._queue)
            moves = self.catalogue.moves(label, level)
            if moves is not None:
                heapq.heappush(self._queue, (margin, level + 1, next(self._order), label))
                yield from self._ask(moves)
        return LabelOutcome(label=self.best, answer=self.best_answer, success=self.succeeded, queries=self.queries)

    def _first(self, word: int) -> Label:
        """The largest label of a word that is worth asking about, at the first place."""
        sizes = range(len(self.catalogue.letters[word]))
        first = (Label(word, size, 0, *_FIRST_PLACE) for size in sizes)
        return next((label for label in first if self._is_wanted(label)), Label(word, 0, 0, *_FIRST_PLACE))

    def _random(self, rng: np.random.Generator) -> Label:
        word = self.task.words[rng.integers(len(self.task.words))]
        ends = (len(self.catalogue.letters[word]), len(self.catalogue.colours), PLACES, PLACES)
        return Label(word, *(int(rng.integers(end)) for end in ends))

    def _ask(self, labels: list[Label]) -> Questions:
        """Ask about labels that are new and, after a success, smaller; each distinct image once."""
        new = [label for label in dict.fromkeys(labels) if label not in self._seen and self._is_wanted(label)]
        self._seen.update(new)
        keys = [self.catalogue.key(self.task.image, label) for label in new]
        asked: dict[tuple | None, Label] = {}
        for key, label in zip(keys, new, strict=True):
            if key not in self._known and key not in asked and self.queries + len(asked) < self.limit:
                asked[key] = label
        if asked:
            self.queries += len(asked)
            self._known.update(zip(asked, (yield list(asked.values())), strict=True))
        for key, label in zip(keys, new, strict=True):
            if key in self._known:
                self._remember(label, self._known[key])

    def _remember(self, label: Label, answer: Answer) -> None:
        heapq.heappush(self._queue, (answer.margin, 0, next(self._order), label))
        success = self.task.is_success(answer)
        if success and not self.succeeded:
            left = self.limit - self.queries
            self.limit = self.queries + min(left, max(_SMALLER_LEAST, int(_SMALLER_PART * left)))
            better = True
        elif success:
            better = (self._area(label), answer.margin) < (self._area(self.best), self.best_answer.margin)
        else:
            better = not self.succeeded and answer.margin < self.best_answer.margin
        if better:
            self.best, self.best_answer = label, answer
        self.succeeded |= success

    def _is_wanted(self, label: Label) -> bool:
        return not self.succeeded or self._area(label) < self._area(self.best)

    def _area(self, label: Label | None) -> int:
        return 0 if label is None else self.catalogue.letters[label.word][label.size].size
