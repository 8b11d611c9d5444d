"""What a guided search knows about one sample, and the moves that both of its forms share."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import numpy as np

from art_multimodal.attacks.evasion.decoupling.search import Answer, Linearisation, Probe, Task
from art_multimodal.functional.occlusion import Removal

#: Queries kept for the four quadrants until something has flipped: the published search begins with them.
_RESERVE = 4
Step = Generator[list[Probe], list[Answer], None]


class Hunt:
    """What is known about one sample: the budget left, and the smallest removal that succeeded.

    Pixels are removed on top of :attr:`words`, which alone do not flip the label but bring it closer.
    """

    def __init__(self, task: Task, max_queries: int) -> None:
        self.task = task
        self.shape = (task.height, task.width)
        self.size = task.height * task.width
        self.max_queries = max_queries
        self.left = max_queries - 1  # the intact sample was one
        self.best: Removal | None = None
        self.best_answer = task.clean
        self.best_points = self.size + task.words + 1
        self.words: tuple[int, ...] = ()
        self.asked: dict[Removal, Answer] = {}
        self.progress: list[tuple[int, int]] = []
        self._reserve = _RESERVE if self.size else 0

    def removal(self, pixels: np.ndarray) -> Removal:
        """The removal of pixels by flat index, and of the words."""
        mask = np.zeros(self.size, dtype=bool)
        mask[pixels] = True
        return Removal.of_mask(mask.reshape(self.shape), self.words)

    @property
    def base(self) -> Removal:
        """The removal of the words alone."""
        return Removal(words=self.words)

    @property
    def base_margin(self) -> float:
        """The margin without the words."""
        return self.asked[self.base].margin if self.words else self.task.clean.margin

    @property
    def most_pixels(self) -> int:
        """How many pixels may be removed besides the words to make the best removal smaller; 0 for none."""
        return self.best_points - len(self.words) - 1

    @property
    def keep(self) -> int:
        """Queries that may not be spent yet."""
        return self._reserve if self.best is None else 0

    def release(self) -> None:
        """Let the reserved queries be spent: what they were kept for begins."""
        self._reserve = 0

    def ask(self, removals: list[Removal]) -> Generator[list[Probe], list[Answer], list[Answer | None]]:
        """Ask about removals as far as the budget allows; ``None`` for those beyond it. Nothing is asked twice."""
        new = [r for r in dict.fromkeys(removals) if r not in self.asked][: max(0, self.left - self.keep)]
        if new:
            for removal, answer in zip(new, (yield list(new)), strict=True):
                self.left -= 1
                self.note(removal, answer)
        return [self.asked.get(removal) for removal in removals]

    def linearise(
        self, removal: Removal, toward: int | None = None
    ) -> Generator[list[Probe], list[Answer], np.ndarray | None]:
        """Ask for the saliency at a state, flat, towards a class; ``None`` without the budget for it."""
        if self.left - self.keep < 2:
            return None
        self.left -= 2
        (answer,) = yield [Linearisation(removal, toward)]
        self.note(removal, answer)
        return None if answer.saliency is None else answer.saliency.ravel()

    def note(self, removal: Removal, answer: Answer) -> None:
        self.asked[removal] = replace(answer, saliency=None)  # maps of hundreds of queries would fill the memory
        if self.task.is_success(answer) and (removal.touches_image or removal.words):
            points = removal.points(*self.shape)
            if points < self.best_points:
                self.best, self.best_answer, self.best_points = removal, answer, points
                self.progress.append((self.max_queries - self.left, points))

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
    def best_pixels(self) -> np.ndarray:
        assert self.best is not None
        return np.flatnonzero(self.best.mask(*self.shape))


def give_back_by_halves(hunt: Hunt, rank: np.ndarray | None = None) -> Step:
    """Try to restore pixels in chunks, and halves of chunks that are needed, down to single pixels."""
    if hunt.best is None:
        return
    hunt.words = hunt.best.words
    pixels = hunt.best_pixels
    if rank is not None:
        pixels = pixels[np.argsort(-rank[pixels], kind="stable")]  # least valuable first
    chunks = [part for part in np.array_split(pixels, 2) if len(part)]
    while chunks and hunt.left > 0 and hunt.best_points > 1:
        chunk = chunks.pop(0)
        kept = np.setdiff1d(hunt.best_pixels, chunk)
        if not len(kept):
            if len(chunk) > 1:
                chunks += [part for part in np.array_split(chunk, 2) if len(part)]
            continue
        (answer,) = yield from hunt.ask([hunt.removal(kept)])
        if answer is None:
            return
        if not hunt.task.is_success(answer) and len(chunk) > 1:
            chunks += np.array_split(chunk, 2)
