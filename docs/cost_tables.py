"""The table of what attacks ask, from the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable

Table = Callable[[Iterable[str], Iterable[Iterable[object]]], str]


def calls(table: Table) -> str:
    """Forward passes of each attacked sample, by task, of attacks whose cost does not depend on what they find."""
    from art_multimodal.attacks.budget import Budget
    from art_multimodal.evaluations.suite import ATTACKS, PAIRS, RETRIEVAL, SAMPLES, ZERO_SHOT
    from art_multimodal.evaluations.suite.costs import Texts

    tasks = (ZERO_SHOT, PAIRS, RETRIEVAL, SAMPLES)
    rows = []
    for name, attack in ATTACKS.items():
        if attack.calls is None:
            continue
        cells, backward = [], "0"
        for task in tasks:
            texts = Texts(10, 1.0, 0, 5.0, 100.0, task=task)
            few, more = (attack.calls(Budget(max_iter=steps), texts) for steps in (1, 2))
            if task not in attack.tasks or few is None or more is None:
                cells.append("–")
                continue
            slope = round(more.forward - few.forward)
            cells.append(_line(slope, round(few.forward) - slope))
            backward = _line(round(few.backward), 0)
        rows.append((f"`{name}`", *cells, backward))
    return table(("attack", *tasks, "backward"), rows)


def _line(slope: int, offset: int) -> str:
    """``2 s + 4``: s is the number of steps."""
    steps = "" if slope == 0 else "s" if slope == 1 else f"{slope} s"
    return " + ".join(part for part in (steps, str(offset) if offset or not steps else "") if part)
