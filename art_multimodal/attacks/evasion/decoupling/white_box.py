"""The guided search where gradients are known: remove what they have pointed at, over many states."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from art_multimodal.attacks.evasion.decoupling.hunt import Hunt, Step
from art_multimodal.attacks.evasion.decoupling.search import Answer, Probe
from art_multimodal.functional.occlusion import Removal

#: How much of the saliency of earlier states is kept when one of a new state is added.
_MEMORY = 0.5
#: Removals in a row that may fail to be smaller before the search turns to another class.
_PATIENCE = 8


def by_saliency(hunt: Hunt) -> Step:
    """Find a flip, make it smaller, and try the classes that were next best too: each has a minimum of its own."""
    saliency = yield from _first_flip(hunt)
    if saliency is None:
        return
    yield from _shrink(hunt, saliency)
    for rival in hunt.task.rivals:
        if rival == hunt.best_answer.label:
            continue
        saliency = yield from hunt.linearise(Removal(), rival)
        if saliency is None:
            return
        yield from _shrink(hunt, saliency, rival)


def _first_flip(hunt: Hunt) -> Generator[list[Probe], list[Answer], np.ndarray | None]:
    """Remove the most salient pixels until the label changes; the last saliency, or ``None`` where it never does."""
    base = np.zeros(0, dtype=np.int64)
    while True:
        saliency = yield from hunt.linearise(hunt.removal(base))
        if saliency is None or hunt.best is not None:
            return saliency
        gone = np.zeros(hunt.size, dtype=bool)
        gone[base] = True
        order = np.argsort(-saliency, kind="stable")
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
    """Remove ever fewer pixels, those with the largest saliency on average over the states that were tried.

    A single gradient is right near its own state only; what matters is near the smallest removals that flip, and these
    are the states whose gradients are averaged.
    """
    failures, step = 0, max(1, hunt.best_points // 10)
    while failures < _PATIENCE and hunt.best_points > 1:
        points = hunt.best_points
        chosen = np.argsort(-saliency, kind="stable")[: max(1, points - step)]
        new = yield from hunt.linearise(hunt.removal(chosen), toward)
        if new is None:
            return
        saliency = _MEMORY * saliency + new
        if hunt.best_points < points:
            failures, step = 0, min(2 * step, max(1, hunt.best_points // 4))
        else:
            failures += 1
            step = max(1, step // 2) if failures % 2 == 0 else step
