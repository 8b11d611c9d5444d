"""The table of what attacks ask, from the registry."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

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


def overhead(results: Path) -> str:
    """What an audit costs beyond a plain script that makes the same attack, in a sentence.

    :param results: Folder of the results of benchmarks.
    """
    result = json.loads((results / "plain_audit.json").read_text(encoding="utf-8"))
    cells = result["cells"]
    images, right = cells[0]["samples"], cells[0]["right"]["audit"][0]
    each = ", ".join(
        f"{cell['overhead']['median']:.0%} with {cell['steps']} steps in groups of {cell['together']}" for cell in cells
    )
    audit, script = (result["parts"][0][name] for name in ("audit", "script"))
    differ = sum(sum(cell["different"]) for cell in cells)
    return (
        f"Against ten lines of plain PyTorch that make the same attack on a small CLIP ({images:,} images of CIFAR-10, "
        f"of which {right:,} are right and attacked), an audit takes {each} more processor time, and "
        f"{'every answer is the same' if not differ else f'{differ} answers differ'}. A run takes {audit['run']:.2f} s "
        f"by itself (the script {script['run']:.2f} s), an image {1000 * audit['image']:.2f} ms "
        f"({1000 * script['image']:.2f} ms), and a step of an attacked image {1000 * audit['step']:.2f} ms "
        f"({1000 * script['step']:.2f} ms). What is no step weighs the less, the more steps there are and the larger "
        "the model is.\n"
    )


def _line(slope: int, offset: int) -> str:
    """``2 s + 4``: s is the number of steps."""
    steps = "" if slope == 0 else "s" if slope == 1 else f"{slope} s"
    return " + ".join(part for part in (steps, str(offset) if offset or not steps else "") if part)
