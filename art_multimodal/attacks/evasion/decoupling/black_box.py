"""The guided search where only scores are known: refine trees where removal lowers the margin most."""

from __future__ import annotations

import heapq
from collections.abc import Generator, Sequence

import numpy as np

from art_multimodal.attacks.evasion.decoupling.hunt import Hunt, Step, give_back_by_halves
from art_multimodal.attacks.evasion.decoupling.search import Probe
from art_multimodal.attacks.searching import Answer
from art_multimodal.functional.points import Box, Cube, Removal

#: The largest drop of the margin per side length comes first; what follows tells all cubes apart.
Entry = tuple[float, int, tuple[int, ...], int, int, Cube]


def by_tree(hunt: Hunt) -> Step:
    """Divide the cubes of all modalities where it pays most, remove the best of what is left, and give back."""
    if not hunt.words:
        hunt.release()  # it begins with the parts of a whole modality
    task, shapes = hunt.task, hunt.layout.shapes
    each = [grid.flat[0] if grid.size else 0.0 for grid in hunt.layout.grids(hunt.costs.numbers)]
    roots = hunt.layout.roots()
    leaves: dict[Cube, Box] = {root: box for root in roots if (box := root.clipped(shapes[root.modality]))}
    drop: dict[Cube, float] = dict.fromkeys(roots, hunt.base_margin)
    most_parts = max(2 ** len(root.start) for root in roots)

    def entry(cube: Cube, fallen: float) -> Entry:
        volume = cube.side ** len(cube.start) * each[cube.modality]
        return -fallen / volume**0.5, cube.modality, cube.start, cube.side, cube.level, cube

    def divide(cube: Cube) -> Generator[list[Probe], Sequence[Answer], list[tuple[Cube, Answer]]]:
        parts = cube.parts_inside(shapes[cube.modality])
        answers = yield from hunt.ask([Removal(blocks=(box,), words=hunt.words) for _, box in parts])
        known = [(part, answer) for (part, _), answer in zip(parts, answers, strict=True) if answer is not None]
        if len(known) < len(parts):
            return []  # the budget ended inside: the cube stays whole
        # Where sides are odd, cubes overlap, and the same one may be a part of two others.
        new = [(part, answer) for part, answer in known if part not in drop]
        del leaves[cube]
        leaves.update((part, box) for part, box in parts if part not in drop)
        drop.update({part: hunt.base_margin - answer.margin for part, answer in new})
        return new

    # Down the cube that flips most surely; of several modalities, from the one that does.
    current: Cube | None = roots[0]
    if len(roots) > 1:
        answers = yield from hunt.ask([Removal(blocks=(leaves[root],), words=hunt.words) for root in roots])
        whole = [(answer.margin, root) for root, answer in zip(roots, answers, strict=True) if answer is not None]
        drop.update({root: hunt.base_margin - margin for margin, root in whole})
        surest = min(range(len(whole)), key=lambda place: whole[place][0], default=None)
        current = None if surest is None or whole[surest][0] >= 0 else whole[surest][1]
    while current is not None and task.is_divided(current):
        known = yield from divide(current)
        flipping = [
            (answer.margin, place, part) for place, (part, answer) in enumerate(known) if task.is_success(answer)
        ]
        current = min(flipping)[2] if flipping else None
    # Best first, for about a third of the budget.
    until = hunt.left - max(8, hunt.left // 3)
    queue = [entry(leaf, drop[leaf]) for leaf in leaves if task.is_divided(leaf)]
    heapq.heapify(queue)
    while queue and hunt.left - most_parts > until:
        for part, answer in (yield from divide(heapq.heappop(queue)[-1])):
            if task.is_divided(part):
                heapq.heappush(queue, entry(part, hunt.base_margin - answer.margin))
    ranked = sorted(
        leaves, key=lambda leaf: (-drop[leaf] / (leaves[leaf].area * each[leaf.modality]), leaf.modality, leaf.start)
    )
    grids = hunt.layout.grids(np.arange(hunt.size))
    every = np.concatenate([grids[leaf.modality][leaves[leaf].slices].ravel() for leaf in ranked])
    order = every[np.sort(np.unique(every, return_index=True)[1])]  # cubes may overlap by a point
    yield from hunt.smallest_prefix(np.zeros(0, dtype=np.int64), order, hunt.most(order))
    # The most valuable points come first in this order; later bisection begins with giving back the last ones.
    rank = np.empty(hunt.size, dtype=np.int64)
    rank[order] = np.arange(len(order))
    yield from give_back_by_halves(hunt, rank)
