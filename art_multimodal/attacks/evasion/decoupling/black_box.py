"""The guided search where only scores are known: refine a quadtree where removal lowers the margin most."""

from __future__ import annotations

import heapq
from collections.abc import Generator

import numpy as np

from art_multimodal.attacks.evasion.decoupling.hunt import Hunt, Step, give_back_by_halves
from art_multimodal.attacks.evasion.decoupling.search import Answer, Probe
from art_multimodal.functional.occlusion import Block, Removal, Square, quadrants_inside, quadtree_root

#: The largest drop of the margin per side length comes first; what follows tells all squares apart.
Entry = tuple[float, int, int, int, int, Square]


def _entry(square: Square, drop: float) -> Entry:
    return -drop / square.side, square.row, square.column, square.side, square.level, square


def by_quadtree(hunt: Hunt) -> Step:
    if not hunt.words:
        hunt.release()  # it begins with the quadrants
    task = hunt.task
    root = quadtree_root(*hunt.shape)
    leaves: dict[Square, Block] = {root: Block(0, 0, *hunt.shape)}
    drop: dict[Square, float] = {root: hunt.base_margin}

    def divide(square: Square) -> Generator[list[Probe], list[Answer], list[tuple[Square, Answer]]]:
        parts = quadrants_inside(square, *hunt.shape)
        answers = yield from hunt.ask([Removal(blocks=(block,), words=hunt.words) for _, block in parts])
        known = [(part, answer) for (part, _), answer in zip(parts, answers, strict=True) if answer is not None]
        if len(known) < len(parts):
            return []  # the budget ended inside: the square stays whole
        # Where sides are odd, squares overlap, and the same one may be a part of two others.
        new = [(part, answer) for part, answer in known if part not in drop]
        del leaves[square]
        leaves.update((part, block) for part, block in parts if part not in drop)
        drop.update({part: hunt.base_margin - answer.margin for part, answer in new})
        return new

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
    queue = [_entry(leaf, drop[leaf]) for leaf in leaves if task.is_divided(leaf)]
    heapq.heapify(queue)
    while queue and hunt.left - 4 > until:
        for part, answer in (yield from divide(heapq.heappop(queue)[-1])):
            if task.is_divided(part):
                heapq.heappush(queue, _entry(part, hunt.base_margin - answer.margin))
    ranked = sorted(leaves, key=lambda leaf: (-drop[leaf] / leaves[leaf].area, leaf.row, leaf.column))
    flat = np.arange(hunt.size).reshape(hunt.shape)
    every = np.concatenate([flat[leaves[leaf].slices].ravel() for leaf in ranked])
    order = every[np.sort(np.unique(every, return_index=True)[1])]  # squares may overlap by a pixel
    yield from hunt.smallest_prefix(np.zeros(0, dtype=np.int64), order, min(hunt.most_pixels, len(order)))
    # The most valuable pixels come first in this order; later bisection begins with giving back the last ones.
    rank = np.empty(hunt.size, dtype=np.int64)
    rank[order] = np.arange(len(order))
    yield from give_back_by_halves(hunt, rank)
