"""What the runs of an attack did to samples, as its contract looks at them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from art_multimodal.evaluations.suite import Attacked
from art_multimodal.evaluations.suite.costs import Texts
from art_multimodal.evaluations.suite.entry import LABELS, RETRIEVAL, SAMPLES, SCORES, ZERO_SHOT
from art_multimodal.language.words import words_of
from art_multimodal.modalities import image, text
from art_multimodal.modalities.modality import Modality
from art_multimodal.testing.asked import equal
from art_multimodal.testing.attack_cases import Run

#: What a radius may be exceeded by for rounding, in relation to it: float32 differences of numbers up to 1.
_ROUNDING = 1e-5
#: What attacks of these groups change, where samples are images or pairs; all others may change both.
_OF_IMAGES = ("image", "noise", "transfer", "universal", "decision", "typographic")
#: Groups in which points are removed, or whole modalities exchanged, moved or left out.
REMOVALS, EXCHANGES = ("decoupling", "modality_removed"), ("modality_swap", "time_shift", "modality_missing")


def fields(run: Run, found: Attacked | None = None) -> Iterator[tuple[str, Modality | None, np.ndarray, np.ndarray]]:
    """Of each modality its name, what it is (``None`` for texts), and its values before and after."""
    x, after = run.victim.x, (run.found if found is None else found).x
    estimator = run.victim.estimator
    known = estimator.modalities if run.victim.task == SAMPLES else {"image": image("image"), "text": text("text")}
    if x.dtype.names is None:
        yield "image", known["image"], x, after
        return
    for name in x.dtype.names:
        of = known[name]
        if of.numeric:
            yield name, of, np.asarray(of.values(x[name])), np.asarray(of.values(after[name]))
        else:
            yield name, None, x[name], after[name]


def beyond(run: Run, name: str, of: Modality, before: np.ndarray, after: np.ndarray) -> Iterator[str]:
    """Yield for each sample how its numbers are beyond the budget."""
    group, budget = run.entry.modality, run.budget
    if group in EXCHANGES:
        return
    changed = (after != before) & ~(np.isnan(after) & np.isnan(before))
    if group in REMOVALS:
        fill = np.asarray(of.fill if run.victim.task == SAMPLES else _mean_colour(run), dtype=before.dtype)
        wrong = changed & ~np.isclose(after, np.broadcast_to(fill, after.shape), atol=1e-6)
        for row in np.flatnonzero(wrong.reshape(len(wrong), -1).any(axis=1)):
            yield f"{run}: {name} of sample {row} has removed points that are not the fill."
        return
    if group == "typographic":
        for place, covered in enumerate(changed.any(axis=1).reshape(len(changed), -1).mean(axis=1)):
            if covered > budget.max_share:
                yield f"{run}: {covered:.3g} of image {place} are covered, where {budget.max_share:.3g} may be."
        return
    if not changed.any():
        return
    ball = budget.balls.get(name) if run.victim.task == SAMPLES else None
    eps = ball.eps if ball else budget.eps
    delta = np.nan_to_num(after.astype(np.float64) - before.astype(np.float64)).reshape(len(after), -1)
    lengths = np.abs(delta).max(axis=1) if budget.art_norm == np.inf else np.linalg.norm(delta, axis=1)
    # Each difference of float32 numbers is rounded by itself.
    most = eps * (1 + _ROUNDING) + np.finfo(np.float32).eps * float(np.abs(before[np.isfinite(before)]).max())
    for row in np.flatnonzero(~(lengths <= most)):
        yield f"{run}: {name} of sample {row} moved by {lengths[row]:.8g}, beyond the radius {eps:g}."


def _mean_colour(run: Run) -> np.ndarray:
    model = run.victim.estimator.model
    found = next(part for part in model.modules() if hasattr(part, "mean_colour"))
    return found.mean_colour


def touched(run: Run) -> set[str]:
    """Fields that the attack may change."""
    names = set(run.victim.x.dtype.names or ())
    _, at, modality = run.entry.name.partition("@")
    if run.victim.task == SAMPLES:
        return {modality} if at else names
    group = run.entry.modality
    return {"image"} if group in _OF_IMAGES else {"text"} if group == "text" else names


def moved_words(old: str, new: str) -> int:
    before, after = ([word.text for word in words_of(text)] for text in (old, new))
    if len(before) != len(after):
        return max(len(before), len(after))
    return sum(a != b for a, b in zip(before, after, strict=True))


def first_of_each(runs: list[Run]) -> list[Run]:
    """One run for each task."""
    return list({run.victim.task: run for run in reversed(runs)}.values())


def lead(run: Run, x: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """How far the scores of targets are ahead of all others, ``(N,)``."""
    scores, rows = np.asarray(run.victim.estimator.predict(x), dtype=np.float64).copy(), np.arange(len(x))
    own = scores[rows, targets].copy()
    scores[rows, targets] = -np.inf
    return own - scores.max(axis=1)


def most_asked(run: Run) -> float | None:
    """How often one sample may be asked about."""
    entry, victim = run.entry, run.victim
    if entry.cost is None:
        return run.budget.max_queries if entry.needs in (SCORES, LABELS) else None
    classes = len(victim.x) if victim.task == RETRIEVAL else victim.estimator.nb_classes
    shared = classes if victim.task == ZERO_SHOT else 0
    axes = tuple(len(of.point_axes) for of in getattr(victim.estimator, "modalities", {}).values() if of.numeric)
    texts = Texts(classes, float(shared == 0), shared, 6, 400, axes or (2,), 2, victim.task)
    return entry.cost(run.budget, texts).forward


def same_samples(one: np.ndarray, other: np.ndarray) -> bool:
    if one.dtype.names is None:
        return equal(one, other)
    return all(equal(np.ascontiguousarray(one[n]), np.ascontiguousarray(other[n])) for n in one.dtype.names)


def differences(
    run: Run, again: Attacked, how: str, atol: float = 0.0, rows: np.ndarray | None = None
) -> Iterator[str]:
    """Yield where a second result is another one.

    :param rows: Which samples count, booleans; ``None`` for all.
    """
    counts = np.ones(len(run.victim.x), dtype=bool) if rows is None else rows
    for name, other in _changed(run, again, atol).items():
        for row in np.flatnonzero(other & counts):
            yield f"{run}: {name} of sample {row} is another one {how}."
    if run.found.labels is None or again.labels is None:
        if run.found.labels is not again.labels:
            yield f"{run}: labels are there, or not, {how}."
    elif not np.array_equal(np.asarray(run.found.labels)[counts], np.asarray(again.labels)[counts]):
        yield f"{run}: labels are others {how}."


def steady(run: Run, atol: float) -> np.ndarray:
    """Samples whose result stays where weights move by their last bits, booleans: others follow rounding noise.

    So do descents where a loss does not change at all, as a ratio of differences in which both are the same.
    """
    kept = [(of, of.data) for of in run.victim.estimator.model.parameters() if of.is_floating_point()]
    generator = torch.Generator().manual_seed(0)
    still = np.ones(len(run.victim.x), dtype=bool)
    try:
        for _ in range(2):
            for of, weights in kept:
                signs = torch.randint(0, 2, weights.shape, generator=generator).to(weights) * 2 - 1
                of.data = weights * (1 + 4 * torch.finfo(weights.dtype).eps * signs)
            for other in _changed(run, run.again(), atol).values():
                still &= ~other
    finally:
        for of, weights in kept:
            of.data = weights
    return still


def _changed(run: Run, again: Attacked, atol: float) -> dict[str, np.ndarray]:
    """Of each modality which samples are others than the first time, booleans."""
    found: dict[str, np.ndarray] = {}
    firsts = {name: after for name, _, _, after in fields(run)}
    for name, of, _, other in fields(run, again):
        first = firsts[name]
        same = (first == other) if of is None else np.isclose(first, other, rtol=0, atol=atol, equal_nan=True)
        kept = np.asarray(same, dtype=bool).reshape(len(other), -1).all(axis=1)
        found[name] = np.logical_not(kept)
    return found
