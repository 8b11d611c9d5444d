"""What a guided search knows about one sample, and the moves that both of its forms share."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

import numpy as np

from art_multimodal.attacks.evasion.decoupling.search import Linearisation, Probe, RemovalTask
from art_multimodal.attacks.searching import Answer
from art_multimodal.functional.points import Removal

#: Costs that differ by less are equal: rounding of their sums is smaller.
_EQUAL = 1e-9
Step = Generator[list[Probe], Sequence[Answer], None]


class Hunt:
    """What is known about one sample: the budget left, and the smallest removal that succeeded.

    Points are removed on top of :attr:`words`, which alone do not flip the label but bring it closer. Those of all
    modalities of numbers stand in one row, in the order of the layout.
    """

    def __init__(self, task: RemovalTask, max_queries: int) -> None:
        self.task = task
        self.layout = task.layout
        self.size = task.layout.size
        self.costs = task.costs
        self._least_point = float(self.costs.numbers.min(initial=np.inf))
        self._least = min(self._least_point, float(self.costs.words.min(initial=np.inf)))
        self.max_queries = max_queries
        self.left = max_queries - 1  # the intact sample was one
        self.best: Removal | None = None
        self.best_answer = task.clean
        self.best_cost = float(self.costs.numbers.sum() + self.costs.words.sum() + 1)
        self.words: tuple[int, ...] = ()
        #: Queries that are kept for what comes later.
        self.later = 0
        self.asked: dict[Removal, Answer] = {}
        self.progress: list[tuple[int, int]] = []
        # Kept for the first parts of the tree until something has flipped: the published search begins with them.
        self._reserve = sum(len(root.parts_inside(self.layout.shapes[root.modality])) for root in self.layout.roots())

    def removal(self, points: np.ndarray) -> Removal:
        """The removal of points by their number, and of the words."""
        mask = np.zeros(self.size, dtype=bool)
        mask[points] = True
        return Removal.of_mask(mask, self.words)

    @property
    def base(self) -> Removal:
        """The removal of the words alone."""
        return Removal(words=self.words)

    @property
    def base_margin(self) -> float:
        """The margin without the words."""
        return self.asked[self.base].margin if self.words else self.task.clean.margin

    @property
    def room(self) -> float:
        """What points besides the words must cost less than to make the best removal cheaper."""
        return self.best_cost - self.costs.of(self.base, self.layout)

    @property
    def has_room(self) -> bool:
        """Whether any point is cheap enough to make the best removal cheaper."""
        return self._least_point < self.room - _EQUAL

    @property
    def has_dear_words(self) -> bool:
        """Whether words are removed first that cost more than points: then points alone may well be cheaper."""
        dearest = self.costs.words[list(self.words)].max(initial=0.0)
        return bool(dearest > self._least_point + _EQUAL)

    @property
    def is_least(self) -> bool:
        """Whether the best removal is a single one of the cheapest points or words."""
        return self.best_cost <= self._least + _EQUAL

    def most(self, order: np.ndarray, spared: float = 0.0) -> int:
        """How many points of an order, from the first on, cost less than the room that there is.

        :param spared: Leave at least so much of it.
        """
        return self.costs.affordable(order, self.room - spared - _EQUAL)

    def ranked(self, saliency: np.ndarray) -> np.ndarray:
        """The numbers of all points, those first that lower the margin most for what they cost."""
        return np.argsort(-saliency / self.costs.numbers, kind="stable")

    @property
    def keep(self) -> int:
        """Queries that may not be spent yet."""
        return self.later + (self._reserve if self.best is None else 0)

    def release(self) -> None:
        """Let the reserved queries be spent: what they were kept for begins."""
        self._reserve = 0

    def ask(self, removals: list[Removal]) -> Generator[list[Probe], Sequence[Answer], list[Answer | None]]:
        """Ask about removals as far as the budget allows; ``None`` for those beyond it. Nothing is asked twice."""
        new = [r for r in dict.fromkeys(removals) if r not in self.asked][: max(0, self.left - self.keep)]
        if new:
            for removal, answer in zip(new, (yield list(new)), strict=True):
                self.left -= 1
                self.note(removal, answer)
        return [self.asked.get(removal) for removal in removals]

    def linearise(
        self, removal: Removal, toward: int | None = None
    ) -> Generator[list[Probe], Sequence[Answer], np.ndarray | None]:
        """Ask for the saliency at a state, flat, towards a class; ``None`` without the budget for it."""
        if self.left - self.keep < 2:
            return None
        self.left -= 2
        (answer,) = yield [Linearisation(removal, toward)]
        self.note(removal, answer)
        return None if answer.saliency is None else answer.saliency.ravel()

    def note(self, removal: Removal, answer: Answer) -> None:
        self.asked[removal] = replace(answer, saliency=None)  # maps of hundreds of queries would fill the memory
        if self.task.is_success(answer) and (removal.touches_numbers or removal.words):
            cost = self.costs.of(removal, self.layout)
            if cost < self.best_cost - _EQUAL:
                self.best, self.best_answer, self.best_cost = removal, answer, cost
                self.progress.append((self.max_queries - self.left, removal.points(self.layout)))

    def smallest_prefix(self, base: np.ndarray, order: np.ndarray, most: int) -> Step:
        """Find the smallest prefix of ``order``, at most ``most`` long, that flips when removed on top of ``base``."""
        most = min(most, len(order))
        if most < 1:
            return
        low, high, length = 0, None, max(1, self.size // 512)
        while high is None:
            length = min(length, most)
            (answer,) = yield from self.ask([self.removal(np.concatenate([base, order[:length]]))])
            if answer is None:
                return
            if self.task.is_success(answer):
                high = length
            elif length == most:
                return
            else:
                low, length = length, 2 * length
        while high - low > 1:
            middle = (low + high) // 2
            (answer,) = yield from self.ask([self.removal(np.concatenate([base, order[:middle]]))])
            if answer is None:
                return
            if self.task.is_success(answer):
                high = middle
            else:
                low = middle

    @property
    def best_points(self) -> np.ndarray:
        """The numbers of the points of the best removal."""
        assert self.best is not None
        return np.flatnonzero(self.best.mask(self.layout))


def give_back_by_halves(hunt: Hunt, rank: np.ndarray | None = None) -> Step:
    """Try to restore points in chunks, and halves of chunks that are needed, down to single points."""
    if hunt.best is None:
        return
    hunt.words = hunt.best.words
    points = hunt.best_points
    if rank is not None:
        points = points[np.argsort(-rank[points], kind="stable")]  # least valuable first
    chunks = [part for part in np.array_split(points, 2) if len(part)]
    while chunks and hunt.left > 0 and not hunt.is_least:
        chunk = chunks.pop(0)
        kept = np.setdiff1d(hunt.best_points, chunk)
        if not len(kept):
            if len(chunk) > 1:
                chunks += [part for part in np.array_split(chunk, 2) if len(part)]
            continue
        (answer,) = yield from hunt.ask([hunt.removal(kept)])
        if answer is None:
            return
        if not hunt.task.is_success(answer) and len(chunk) > 1:
            chunks += np.array_split(chunk, 2)
