"""Training of fusions under attack, with modalities missing, and in several processes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from art_multimodal.defences.trainer import (
    METHODS,
    AdversarialFusionTrainer,
    FusionTrainer,
)
from art_multimodal.defences.trainer.fusion import learner as of_learner
from art_multimodal.defences.trainer.fusion.batches import SampleBatch
from art_multimodal.defences.trainer.fusion.learner import SampleLearner

from .fusions import COUNT, EPS, Y, classifier, data, plain
from .training import watch_samples


@pytest.mark.parametrize(
    ("method", "fusion", "quantity"), [("qmf", "qmf", "weights"), ("crmt", "orthogonal", "radius")]
)
def test_a_process_without_samples_has_quantities_of_the_same_shape(method, fusion, quantity, monkeypatch) -> None:
    """It does not see what the others have: rows of some width, which of numbers is 1."""
    monkeypatch.setattr(of_learner, "gathered_rows", lambda own, count, device: torch.zeros(count, 1))
    chosen = METHODS[method].stages[-1]
    learner = SampleLearner(classifier(fusion), chosen, plain(), count=COUNT)
    labels = np.zeros(3, dtype=int)
    targets = torch.eye(3)[labels]
    present = {name: torch.ones(3, dtype=torch.bool) for name in learner.multimodal.modalities}
    batch = SampleBatch(data()[:0], slice(3, 3), labels, targets, present, np.arange(3), 0)
    found = learner.quantities(batch, None)[quantity]
    shapes = {of.shape for of in (found.values() if isinstance(found, dict) else [found])}
    assert shapes == {torch.Size([3])}


@pytest.mark.parametrize("schedule", ["joint", "in-turn", "most-vulnerable"])
def test_which_modalities_a_batch_is_attacked_on(schedule: str, monkeypatch) -> None:
    of, seen = classifier("late"), watch_samples(monkeypatch)
    trainer = AdversarialFusionTrainer(of, EPS, "plain", plain(max_iter=3), schedule, ratio=0.6)
    trainer.fit(data(), Y, batch_size=5, nb_epochs=2)
    names = []
    for batch, found in seen:
        changed = {name: (found[name] != batch.x[name]).reshape(batch.size, -1).any(axis=1) for name in of.modalities}
        names.append({name for name, rows in changed.items() if rows.any()})
        assert int(np.any(list(changed.values()), axis=0).sum()) == math.ceil(0.6 * batch.size)
        for name, eps in EPS.items():
            assert np.abs(found[name] - batch.x[name]).max() <= eps + 1e-6
    if schedule == "joint":
        assert names == [{"pix", "lab"}] * 6
    elif schedule == "in-turn":
        assert names == [{"lab"}, {"pix"}] * 3
    else:
        assert all(len(one) == 1 and one <= set(EPS) for one in names)


def test_the_most_vulnerable_modality_is_the_one_whose_attack_costs_most(monkeypatch) -> None:
    """A modality that the model does not look at is never chosen."""
    of, seen = classifier("late"), watch_samples(monkeypatch)
    with torch.no_grad():
        of.multimodal.tower("lab").module[2].weight.zero_()
    AdversarialFusionTrainer(of, {"lab": 0.9, "pix": 0.01}, "plain", plain(learning_rate=1e-9)).fit(data(), Y, 4, 1)
    assert all(np.array_equal(found["lab"], batch.x["lab"]) for batch, found in seen)
    assert all(not np.array_equal(found["pix"], batch.x["pix"]) for batch, found in seen)


def test_a_share_of_the_modalities_is_missing_but_never_all(monkeypatch) -> None:
    of, seen = classifier("late"), watch_samples(monkeypatch)
    x = data(300)
    x["pix"][:100] = x["lab"][:100] = np.nan
    settings = plain(modality_dropout=0.5)
    FusionTrainer(of, "plain", settings).fit(x, np.arange(300) % 3, batch_size=300, nb_epochs=1)
    [(batch, _)] = seen
    there = np.stack([of.numpy() for of in batch.present.values()])
    own = np.stack([~np.isnan(x[name]).reshape(300, -1).any(axis=1) for name in x.dtype.names])[:, batch.rows]
    assert there.any(axis=0).all() and not (there & ~own).any()
    whole = own.all(axis=0)
    # Of 600 draws each stays with 1/2, and one of three in any case: 2/3 in the mean, give or take 6 deviations.
    assert abs(there[:, whole].mean() - 2 / 3) < 6 * math.sqrt(0.25 / 600)
