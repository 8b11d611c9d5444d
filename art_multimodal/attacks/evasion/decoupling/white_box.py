"""The guided search where gradients are known: remove what they have pointed at, over many states."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np

from art_multimodal.attacks.evasion.decoupling.hunt import Hunt, Step
from art_multimodal.attacks.evasion.decoupling.search import Probe
from art_multimodal.attacks.searching import Answer

#: How much of the saliency of earlier states is kept when one of a new state is added.
_MEMORY = 0.5
#: Removals in a row that may fail to be smaller before the search turns to another class.
_PATIENCE = 6
#: Times that the search starts again: towards other classes first, then with the saliency of each point varied.
_RESTARTS = 6
_VARIATION = 0.7


def by_saliency(hunt: Hunt) -> Step:
    """Find a flip and make it smaller; then again from other starts, since each ends in a minimum of its own."""
    saliency = yield from _first_flip(hunt)
    if saliency is None:
        return
    yield from _shrink(hunt, saliency)
    rivals = [rival for rival in hunt.task.rivals if rival != hunt.best_answer.label]
    rng = np.random.default_rng(0)
    for start in range(_RESTARTS):
        toward = rivals[start] if start < len(rivals) else None
        # From the intact sample and from the best removal in turn: their gradients differ most.
        from_best = toward is None and start % 2
        saliency = yield from hunt.linearise(hunt.removal(hunt.best_points) if from_best else hunt.base, toward)
        if saliency is None or not hunt.has_room:
            return
        if toward is None:
            saliency = saliency * np.exp(_VARIATION * rng.standard_normal(len(saliency)))
        yield from _shrink(hunt, saliency, toward)


def _first_flip(hunt: Hunt) -> Generator[list[Probe], Sequence[Answer], np.ndarray | None]:
    """Remove the most salient points until the label changes; the last saliency, or ``None`` where it never does."""
    base = np.zeros(0, dtype=np.int64)
    while True:
        saliency = yield from hunt.linearise(hunt.removal(base))
        if saliency is None or hunt.best is not None:
            return saliency
        gone = np.zeros(hunt.size, dtype=bool)
        gone[base] = True
        order = hunt.ranked(saliency)
        order = order[~gone[order]]
        before = len(hunt.asked)
        yield from hunt.smallest_prefix(base, order, len(order))
        if hunt.best is not None:
            return saliency
        if len(hunt.asked) == before or not len(order):
            return None
        # Removing everything in this order does not flip: go on from where the best part of it is removed.
        base = np.concatenate([base, order[: max(1, min(len(order) // 4, hunt.size // 16))]])


def _shrink(hunt: Hunt, saliency: np.ndarray, toward: int | None = None) -> Step:
    """Remove ever fewer points, those with the largest saliency on average over the states that were tried.

    A single gradient is right near its own state only; what matters is near the smallest removals that flip, and these
    are the states whose gradients are averaged.
    """
    failures, step = 0, max(1, int(hunt.best_cost) // 10)
    while failures < _PATIENCE and hunt.has_room:
        cost, order = hunt.best_cost, hunt.ranked(saliency)
        chosen = order[: max(1, hunt.most(order, spared=step - 1))]
        new = yield from hunt.linearise(hunt.removal(chosen), toward)
        if new is None:
            return
        saliency = _MEMORY * saliency + new
        if hunt.best_cost < cost:
            failures, step = 0, min(2 * step, max(1, int(hunt.best_cost) // 4))
        else:
            failures += 1
            step = max(1, step // 2) if failures % 2 == 0 else step
