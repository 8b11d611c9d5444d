"""``search="guided"``: removes far less than the published procedure, for a fixed number of queries.

Two forms. *White box* asks for the saliency of pixels at a state, removes the smallest prefix of the most salient ones
that flips the label, and from there alternates between going back part of the way and choosing the rest anew, and
giving back the pixels that turned out not to matter. *Black box* refines a quadtree where removal lowers the margin
most per side length, removes the smallest prefix of its leaves, and gives back by bisection down to single pixels. Both
try words first, which cost as much as pixels, and spend what is left on the published tree.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator

import numpy as np

from art_multimodal.attacks.evasion.decoupling.search import Answer, Linearisation, Outcome, Probe, Search, Task
from art_multimodal.functional.occlusion import (
    Block,
    Removal,
    Square,
    quadtree_root,
)

#: Queries kept for the four quadrants until something has flipped: the published search begins with them.
_RESERVE = 4
#: How much of the best removal is kept when the rest is chosen anew, in the order in which it is tried.
_FRACTIONS = (0.5, 0.75, 0.25, 0.9, 0.0, 0.6, 0.4, 0.8, 0.1, 0.33, 0.67, 0.95)
Step = Generator[list[Probe], list[Answer], None]


class _Hunt:
    """What is known about one sample: the budget left, and the smallest removal that succeeded."""

    def __init__(self, task: Task, max_queries: int) -> None:
        self.task = task
        self.shape = (task.height, task.width)
        self.size = task.height * task.width
        self.left = max_queries - 1  # the intact sample was one
        self.best: Removal | None = None
        self.best_answer = task.clean
        self.best_points = self.size + task.words + 1
        self.asked: dict[Removal, Answer] = {}
        self._reserve = _RESERVE if self.size else 0

    def removal(self, pixels: np.ndarray) -> Removal:
        """The removal of pixels by flat index."""
        mask = np.zeros(self.size, dtype=bool)
        mask[pixels] = True
        return Removal.of_mask(mask.reshape(self.shape))

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
            self.left -= len(new)
            for removal, answer in zip(new, (yield list(new)), strict=True):
                self.note(removal, answer)
        return [self.asked.get(removal) for removal in removals]

    def linearise(self, removal: Removal) -> Generator[list[Probe], list[Answer], np.ndarray | None]:
        """Ask for the saliency at a state, flat; ``None`` without the budget for it."""
        if self.left - self.keep < 2:
            return None
        self.left -= 2
        (answer,) = yield [Linearisation(removal)]
        self.note(removal, answer)
        return None if answer.saliency is None else answer.saliency.ravel()

    def note(self, removal: Removal, answer: Answer) -> None:
        self.asked[removal] = answer
        if self.task.is_success(answer) and (removal.touches_image or removal.words):
            points = removal.points(*self.shape)
            if points < self.best_points:
                self.best, self.best_answer, self.best_points = removal, answer, points

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


def guided_search(task: Task, max_queries: int = 500, white_box: bool = True) -> Search:
    """Search for the smallest removal within a budget of queries.

    :param max_queries: Most evaluations, the intact sample included; a saliency counts as two.
    :param white_box: Use saliencies.
    """
    if task.target is not None and task.is_success(task.clean):
        return Outcome(Removal(), task.clean, True)
    hunt = _Hunt(task, max_queries)
    yield from _words(hunt)
    if hunt.size and hunt.best_points > 1:
        yield from _by_saliency(hunt) if white_box else _by_quadtree(hunt)
        yield from _published_tree(hunt)
        yield from _give_back_by_halves(hunt)
    if hunt.best is None:
        return Outcome(Removal(), task.clean, False)
    return Outcome(hunt.best, hunt.best_answer, True)


def _words(hunt: _Hunt) -> Step:
    """Each word alone, then prefixes of the words in the order of their effect."""
    if not hunt.task.words:
        return
    singles = [Removal(words=(word,)) for word in range(hunt.task.words)]
    answers = yield from hunt.ask(singles)
    if hunt.best is not None:
        return
    known = [(answer.margin, word) for word, answer in enumerate(answers) if answer is not None]
    order = [word for margin, word in sorted(known) if margin < hunt.task.clean.margin]
    for length in range(2, len(order) + 1):
        yield from hunt.ask([Removal(words=tuple(sorted(order[:length])))])
        if hunt.best is not None:
            return


def _by_saliency(hunt: _Hunt) -> Step:
    base = np.zeros(0, dtype=np.int64)
    # Until something flips: linearise, remove the most salient pixels, and go on from the most promising state.
    while hunt.best is None:
        saliency = yield from hunt.linearise(hunt.removal(base))
        if saliency is None:
            return
        order = _ranked(saliency, base)
        before = len(hunt.asked)
        yield from hunt.smallest_prefix(base, order, len(order))
        if hunt.best is None:
            if len(hunt.asked) == before or not len(order):
                return
            step = max(1, min(len(order) // 4, hunt.size // 16))
            base = np.concatenate([base, order[:step]])
    failures = 0
    while hunt.left >= 3 and hunt.best_points > 1 and failures < len(_FRACTIONS):
        points = hunt.best_points
        yield from _give_back(hunt)
        pixels = hunt.best_pixels
        saliency = yield from hunt.linearise(hunt.removal(pixels))
        if saliency is None:
            return
        kept = pixels[np.argsort(-saliency[pixels], kind="stable")][: int(_FRACTIONS[failures] * len(pixels))]
        saliency = yield from hunt.linearise(hunt.removal(kept))
        if saliency is None:
            return
        order = _ranked(saliency, kept)
        most = hunt.best_points - len(kept) - 1
        if most >= 1:
            (answer,) = yield from hunt.ask([hunt.removal(np.concatenate([kept, order[:most]]))])
            if answer is not None and hunt.task.is_success(answer):
                yield from hunt.smallest_prefix(kept, order, most - 1)
        failures = 0 if hunt.best_points < points else failures + 1


def _ranked(saliency: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """Pixels that are not removed yet, the most salient first."""
    order = np.argsort(-saliency, kind="stable")
    gone = np.zeros(len(saliency), dtype=bool)
    gone[removed] = True
    return order[~gone[order]]


def _give_back(hunt: _Hunt) -> Step:
    """Restore the longest prefix, least salient first, that is not needed."""
    pixels = hunt.best_pixels
    if len(pixels) < 2:
        return
    saliency = yield from hunt.linearise(hunt.removal(pixels))
    if saliency is None:
        return
    order = pixels[np.argsort(-saliency[pixels], kind="stable")]
    low, high = 0, len(order)  # keeping `high` pixels flips; keeping `low` does not
    length = len(order) - 1
    step = max(1, len(order) // 64)
    while high - low > 1:
        (answer,) = yield from hunt.ask([hunt.removal(order[:length])])
        if answer is None:
            return
        if hunt.task.is_success(answer):
            high, step = length, 2 * step
        else:
            low, step = length, max(1, (high - length) // 2)
        length = max(low + 1, high - step) if low else max(1, high - step)
        if length >= high:
            return


def _quadrants(square: Square, shape: tuple[int, int]) -> list[tuple[Square, Block]]:
    """Quadrants of a square that reach into the image, with what of them is inside."""
    return [(part, block) for part in square.quadrants() if (block := part.clipped(*shape))]


def _by_quadtree(hunt: _Hunt) -> Step:
    hunt.release()  # it begins with the quadrants
    task = hunt.task
    root = quadtree_root(*hunt.shape)
    leaves: dict[Square, Block] = {root: Block(0, 0, *hunt.shape)}
    drop: dict[Square, float] = {root: task.clean.margin}

    def divide(square: Square) -> Generator[list[Probe], list[Answer], list[tuple[Square, Answer]]]:
        parts = _quadrants(square, hunt.shape)
        answers = yield from hunt.ask([Removal(blocks=(block,)) for _, block in parts])
        known = [(part, answer) for (part, _), answer in zip(parts, answers, strict=True) if answer is not None]
        if len(known) == len(parts):
            del leaves[square]
            leaves.update(parts)
            drop.update({part: task.clean.margin - answer.margin for part, answer in known})
        return known

    # Down the square that flips most surely.
    square = root
    while task.is_divided(square):
        known = yield from divide(square)
        flipping = [
            (answer.margin, place, part) for place, (part, answer) in enumerate(known) if task.is_success(answer)
        ]
        if not flipping:
            break
        square = min(flipping)[2]
    # Best first, for about a third of the budget.
    until = hunt.left - max(8, hunt.left // 3)
    queue = [(-drop[leaf] / leaf.side, leaf.row, leaf.column, leaf) for leaf in leaves if task.is_divided(leaf)]
    heapq.heapify(queue)
    while queue and hunt.left - 4 > until:
        for part, answer in (yield from divide(heapq.heappop(queue)[3])):
            if task.is_divided(part):
                value = (task.clean.margin - answer.margin) / part.side
                heapq.heappush(queue, (-value, part.row, part.column, part))
    ranked = sorted(leaves, key=lambda leaf: (-drop[leaf] / leaves[leaf].area, leaf.row, leaf.column))
    flat = np.arange(hunt.size).reshape(hunt.shape)
    every = np.concatenate([flat[leaves[leaf].slices].ravel() for leaf in ranked])
    order = every[np.sort(np.unique(every, return_index=True)[1])]  # squares may overlap by a pixel
    yield from hunt.smallest_prefix(np.zeros(0, dtype=np.int64), order, min(hunt.best_points - 1, len(order)))
    # The most valuable pixels come first in this order; later bisection begins with giving back the last ones.
    rank = np.empty(hunt.size, dtype=np.int64)
    rank[order] = np.arange(len(order))
    yield from _give_back_by_halves(hunt, rank)


def _give_back_by_halves(hunt: _Hunt, rank: np.ndarray | None = None) -> Step:
    """Try to restore pixels in chunks, and halves of chunks that are needed, down to single pixels."""
    if hunt.best is None:
        return
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


def _published_tree(hunt: _Hunt) -> Step:
    """Replay the published drill-down with what is left."""
    root = quadtree_root(*hunt.shape)
    level = [root] if hunt.task.is_divided(root) else []
    hunt.release()
    while level and hunt.left > 0:
        parts = [part for square in level for part in _quadrants(square, hunt.shape)]
        answers = yield from hunt.ask([Removal(blocks=(block,)) for _, block in parts])
        level = [
            part
            for (part, _), answer in zip(parts, answers, strict=True)
            if answer is not None and hunt.task.is_candidate(answer) and hunt.task.is_divided(part)
        ]
