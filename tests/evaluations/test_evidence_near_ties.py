"""Verdicts that rounding alone could turn are told from those that it could not."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from audits import RETRIEVAL

from art_multimodal.evaluations.audit import Audit
from art_multimodal.evaluations.audit.lines import Classified
from art_multimodal.evaluations.evidence.judging import HALF_UNITS, UNITS, ask, tolerance
from art_multimodal.evaluations.suite import PAIRS, ZERO_SHOT, Attacked

EPS = float(np.finfo(np.float32).eps)


class Stub:
    """A subject whose scores are given, one array for each draw."""

    def __init__(self, *draws: list[list[float]], task: str = PAIRS, dtype: torch.dtype = torch.float32) -> None:
        self.draws = [np.array(one, dtype=np.float32) for one in draws]
        self.task = task
        self.model = SimpleNamespace(dtype=dtype, logit_scale=torch.tensor(np.log(100.0)))
        self.estimator = SimpleNamespace(nb_classes=self.draws[0].shape[1])

    def stack(self, samples: Any) -> np.ndarray:
        return np.zeros((len(samples), 1))

    def labels(self, samples: Any) -> np.ndarray:
        return np.array(samples)

    def seeded(self, *seed: int) -> Any:
        return nullcontext()

    def scores(self, attacked: Attacked, batch_size: int) -> np.ndarray:
        self.asked = getattr(self, "asked", -1) + 1
        return self.draws[self.asked % len(self.draws)]

    def voted(self, predict: Any, truth: np.ndarray) -> np.ndarray:
        votes = np.zeros(self.draws[0].shape)
        rows = np.arange(len(truth))
        for _ in self.draws:
            votes[rows, predict()] += 1
        votes[rows, truth] -= 0.5
        return votes.argmax(axis=1)


def near(stub: Stub, label: int, before: int) -> tuple[int, bool]:
    asked = ask(stub, [0], [label], None, 8, (0,))
    return asked.verdicts[0].predicted, asked.near([Classified(label, before)])[0]


@pytest.mark.parametrize(("units", "expected"), [(0, True), (UNITS / 2, True), (2 * UNITS, False), (10**5, False)])
def test_two_scores_are_near_within_units_of_their_scale(units: float, expected: bool) -> None:
    # Numbers whose differences are exact in float32.
    scores = [[8.0, 8.0 - units * 8 * EPS, -4.0]]
    assert near(Stub(scores), 0, 1) == (0, expected)
    # The third is never near.
    assert near(Stub(scores), 0, 2) == (0, False)


def test_logits_of_a_dual_encoder_round_as_their_scale_does() -> None:
    small = [[0.5, 0.5 - 10 * UNITS * 0.5 * EPS]]
    assert near(Stub(small), 0, 1) == (0, False)
    # A cosine of 0.005 is a difference of numbers of the order of 1.
    assert near(Stub(small, task=ZERO_SHOT), 0, 1) == (0, True)


def test_half_precision_rounds_more() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        stub = Stub([[8.0, 7.99]], dtype=dtype)
        assert tolerance(stub) == HALF_UNITS * torch.finfo(dtype).eps
        assert near(stub, 0, 1) == (0, True)
    assert tolerance(Stub([[1.0, 0.0]])) == UNITS * EPS


def test_of_several_draws_most_count() -> None:
    sure, other, tie = [[9.0, 1.0, 0.0]], [[1.0, 9.0, 0.0]], [[5.0, 5.0, 0.0]]
    assert near(Stub(sure, sure, other), 0, 1) == (0, False)
    assert near(Stub(sure, tie, other), 0, 1) == (0, True)
    assert near(Stub(sure, sure, tie), 0, 1) == (0, False)
    # As many for as against count against the model.
    assert near(Stub(sure, other), 0, 0) == (1, False)


def test_ranks_are_near_where_others_score_alike(tmp_path: Path) -> None:

    job = Audit(replace(RETRIEVAL, attacks="similarity_pgd"), tmp_path / "unused", device="cpu")
    subject = job.subject
    subject.prepare(job.order, 8)
    sample = subject.read(int(job.order[0]))
    asked = ask(subject, [int(job.order[0])], [sample], None, 8, (0,))
    (now,) = asked.verdicts
    assert asked.near([now]) == [True]
    assert asked.near([replace(now, image_rank=now.image_rank + 3)]) == [False]
    # Another image's caption that scores as its own does: first or second is a matter of rounding.
    place = subject._place[int(job.order[0])]
    other = next(row for row in range(len(subject._owner)) if subject._owner[row] != place and subject._first[row])
    best = int(np.argmax((subject._texts @ subject._images[place]).numpy() * (subject._owner == place)))
    subject._texts[other] = subject._texts[best] * (1 - 2.0**-22)
    asked = ask(subject, [int(job.order[0])], [sample], None, 8, (0,))
    assert asked.near([replace(asked.verdicts[0], image_rank=3 - asked.verdicts[0].image_rank)]) == [True]
    assert subject.slack == 0
