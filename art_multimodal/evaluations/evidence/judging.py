"""What a model says of samples again, and whether rounding alone could have made another answer of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from art_multimodal.estimators.image_classifier import finite_labels
from art_multimodal.evaluations.audit.lines import Classified, Ranked
from art_multimodal.evaluations.audit.subject import Subject
from art_multimodal.evaluations.suite import RETRIEVAL, SAMPLES, ZERO_SHOT, Attacked
from art_multimodal.pairs import is_pairs
from art_multimodal.sample_arrays import with_field

Verdict = Classified | Ranked
#: Units in the last place by which a score may differ elsewhere. Sums in another order are off by about the root of the
#: number of their terms, so this stands for some thousand; of scores in half precision few units are enough, for their
#: sums are made in single precision.
UNITS, HALF_UNITS = 64, 4
_SINGLE = torch.finfo(torch.float32).eps


@dataclass(frozen=True)
class Asked:
    """Answers about a group of samples.

    :param verdicts: Of each sample what the model says.
    :param near: Of each sample, given what was said before, whether that is no further away than rounding.
    """

    verdicts: list[Any]
    near: Callable[[Sequence[Any]], list[bool]]


def tolerance(subject: Subject) -> float:
    """How far scores may differ between machines, as a share of their scale."""
    numbers = torch.finfo(subject.model.dtype)
    return HALF_UNITS * float(numbers.eps) if numbers.bits < 32 else UNITS * _SINGLE


def ask(
    subject: Subject,
    indices: Sequence[int],
    samples: Sequence[Any],
    attacked: Attacked | None,
    batch_size: int,
    seed: Sequence[int],
) -> Asked:
    """Ask the model about samples of one shape.

    :param indices: Places of the samples in the data of the run.
    :param samples: They before any attack, as the subject reads them.
    :param attacked: They after it; ``None`` asks about them as they were.
    :param seed: Of random defences, as the audit seeded them.
    """
    if subject.task == RETRIEVAL:
        return _ranked(subject, indices, samples, attacked, batch_size)
    if attacked is None:
        attacked = Attacked(subject.stack(samples), None)
    return _classified(subject, subject.labels(samples), attacked, batch_size, seed)


def _classified(subject: Subject, y: np.ndarray, attacked: Attacked, batch_size: int, seed: Sequence[int]) -> Asked:
    seen: list[np.ndarray] = []

    def predict() -> np.ndarray:
        seen.append(subject.scores(attacked, batch_size))
        return finite_labels(seen[-1])

    with subject.seeded(*seed):
        labels = subject.voted(predict, y)

    def near(logged: Sequence[Classified]) -> list[bool]:
        possible = _possible(subject, seen, y)
        # A label is no score: another one is no rounding.
        return [bool(possible[row, one.predicted]) and one.label == int(y[row]) for row, one in enumerate(logged)]

    verdicts = [Classified(int(truth), int(label)) for truth, label in zip(y, labels, strict=True)]
    return Asked(verdicts, near)


def _possible(subject: Subject, draws: Sequence[np.ndarray], y: np.ndarray) -> np.ndarray:
    """Which labels rounding could make the answer, ``(N, K)``: of several draws those that most of them may name."""
    share, rows = tolerance(subject), np.arange(len(y))
    most = np.zeros((len(y), subject.estimator.nb_classes))
    least = most.copy()
    for scores in draws:
        scale = np.abs(scores).max(axis=1, keepdims=True)
        if subject.task == ZERO_SHOT:
            # Logits are cosines, each of which rounds as 1 does, times this.
            scale = np.maximum(scale, float(subject.model.logit_scale.detach().float().exp()))
        close = scores >= scores.max(axis=1, keepdims=True) - share * scale
        most += close
        least += close & (close.sum(axis=1, keepdims=True) == 1)
    # A tie of draws counts against the model.
    most[rows, y] -= 0.5
    least[rows, y] -= 0.5
    # Two classes at least: what each of the others is sure of, at most.
    ordered = np.sort(least, axis=1)
    of_others = np.where(least == ordered[:, -1:], ordered[:, -2:-1], ordered[:, -1:])
    return (most > 0) & (most >= of_others)


def _ranked(
    subject: Any, indices: Sequence[int], samples: Sequence[Any], attacked: Attacked | None, batch_size: int
) -> Asked:
    def with_slack(slack: float) -> list[Ranked]:
        subject.slack = slack
        try:
            if attacked is None:
                said = subject.answers(indices, samples, batch_size)
            else:
                said = subject.judged(indices, samples, attacked, batch_size)
        finally:
            subject.slack = 0.0
        return [one.verdict for one in said]

    def near(logged: Sequence[Ranked]) -> list[bool]:
        # Cosines are of the order of 1.
        best, worst = with_slack(-tolerance(subject)), with_slack(tolerance(subject))
        return [
            all(low <= rank <= high for low, rank, high in zip(a.ranks, one.ranks, b.ranks, strict=True))
            for a, one, b in zip(best, logged, worst, strict=True)
        ]

    return Asked(with_slack(0.0), near)


def rounded(attacked: Attacked, subject: Subject) -> Attacked | None:
    """The same samples with images of 8 bits, as they come out of a PNG; ``None`` where there are no images."""
    x = attacked.x
    if subject.task == SAMPLES:
        modalities = subject.estimator.modalities
        names = [name for name, one in modalities.items() if one.kind == "image" and one.clip_values == (0.0, 1.0)]
        if not names:
            return None
        for name in names:
            # NaN, of one that is missing, stays.
            x = with_field(x, name, _eight_bit(np.asarray(x[name])))
    elif is_pairs(x):
        x = x.copy()
        x["image"] = _eight_bit(x["image"])
    else:
        x = _eight_bit(x)
    versions = tuple(one for one in (rounded(version, subject) for version in attacked.versions) if one is not None)
    return replace(attacked, x=x, versions=versions)


def _eight_bit(images: np.ndarray) -> np.ndarray:
    return np.round(np.clip(images, 0, 1) * 255).astype(np.float32) / np.float32(255)
