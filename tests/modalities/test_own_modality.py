"""A modality of one's own is one class and a function: everything that takes modalities takes it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from art.attacks.evasion import HopSkipJump, ProjectedGradientDescent
from torch import Tensor, nn

from art_multimodal import FusionClassifier
from art_multimodal.attacks.evasion import (
    DecouplingAttack,
    ModalitySwapAttack,
    ProjectedGradientDescentMultimodal,
    for_each_sample,
)
from art_multimodal.datasets import LabelledSampleArrays
from art_multimodal.evaluations.audit import Audit, AuditSettings, write_reports
from art_multimodal.evaluations.single_source import SingleSource
from art_multimodal.modalities import table
from art_multimodal.modalities.modality import Modality
from art_multimodal.models.families.modular.model import ModularModel, Tower
from art_multimodal.sample_arrays import samples


# What someone writes: these lines, and the tower of the model.
class Radar(Modality):
    """Echoes ``(sweeps, ranges, 2)``, strength and speed; a point is one range in one sweep."""

    kind: ClassVar[str] = "radar"
    point: ClassVar[str] = "echo"
    colour: ClassVar[str] = "#335577"


def radar(name: str, sweeps: int, ranges: int) -> Radar:
    return Radar(name, (sweeps, ranges, 2), (0, 1), (-1.0, 1.0), variable=True, fill=0.0)


class RadarTower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 6)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        kept = mask.unsqueeze(2).to(values.dtype)
        return (torch.tanh(self.embed(values.flatten(2))) * kept).sum(dim=1) / kept.sum(dim=1)


@pytest.fixture(scope="module")
def classifier() -> FusionClassifier:
    torch.manual_seed(3)
    towers = [
        Tower(radar("front", 6, 4), RadarTower(), 6),
        Tower(table("speed", 3, (-1.0, 1.0)), nn.Sequential(nn.Linear(3, 6), nn.Tanh()), 6),
    ]
    model = ModularModel(towers, "concat", ("free", "car", "truck"))
    for weights in model.parameters():
        nn.init.normal_(weights)
    return FusionClassifier(model.eval(), device_type="cpu")


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    rng = np.random.default_rng(0)
    front = [rng.uniform(-0.8, 0.8, (length, 4, 2)).astype(np.float32) for length in (6, 2, 5, 3, 6, 1, 4, 6)]
    return samples(front=front, speed=rng.uniform(-0.8, 0.8, (8, 3)))


def steps_are_kept(x: np.ndarray, after: np.ndarray) -> bool:
    """Whether lengths are as they were, with nothing behind them."""
    front = after["front"]
    behind = [values[length:].any() for values, length in zip(front["values"], front["length"], strict=True)]
    return np.array_equal(front["length"], x["front"]["length"]) and not any(behind)


def test_every_attack_takes_it(classifier, x) -> None:
    y = classifier.predict_labels(x)
    eps = {"front": 0.4, "speed": 0.3}
    attacks = {
        "guided": DecouplingAttack(classifier, modalities="front", max_queries=60, verbose=False),
        "published": DecouplingAttack(classifier, search="exhaustive", cost="modalities", verbose=False),
        "pgd": ProjectedGradientDescentMultimodal(classifier, eps, seed=0, verbose=False),
        "swap": ModalitySwapAttack(classifier, "front", seed=0, verbose=False),
    }
    failing = {}
    for name, attack in attacks.items():
        after = attack.generate(x, y)
        assert name == "swap" or steps_are_kept(x, after)
        failing[name] = int((classifier.predict_labels(after) != y).sum())
    assert all(failing.values()), failing
    of_art = {
        "pgd": lambda view: ProjectedGradientDescent(view, eps=0.4, eps_step=0.1, max_iter=8, verbose=False),
        "hop": lambda view: HopSkipJump(view, max_iter=2, max_eval=40, init_eval=10, verbose=False),
    }
    for factory in of_art.values():
        after = for_each_sample(factory, classifier, x, y, modality="front")
        assert steps_are_kept(x, after) and np.array_equal(after["speed"], x["speed"])
        assert (classifier.predict_labels(after) != y).any()


def test_an_audit_takes_it_and_draws_it(classifier, x, tmp_path) -> None:
    data = LabelledSampleArrays(x, classifier.predict_labels(x), classifier.class_names)
    attacks = "art_pgd,apgd,pgd_multimodal,single_source,modality_swap,modality_missing,modality_removed,decoupling"
    eps = {"front": 0.4, "speed": 0.3}
    settings = AuditSettings(classifier.model, data, attacks, eps=eps, steps=4, max_queries=60)
    report = write_reports(Audit(settings, tmp_path / "out", device="cpu").evaluate())
    assert report["results"]["clean"]["accuracy"] == 1
    assert report["budget"]["modalities"]["front"]["eps"] == 0.4 and report["by_modality"]["front"]
    assert {"art_pgd@front", "single_source", "front", "decoupling_exhaustive"} <= set(report["results"])
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<bdi>front</bdi>" in page and page.count("<svg") > 2


def test_what_it_costs_to_trust_it_is_measured(classifier, x) -> None:
    y = classifier.predict_labels(x)
    found = SingleSource(classifier, {"front": 0.4}, max_iter=10, verbose=False).evaluate(x, y)
    source = found.sources["front"]
    assert source.left_out is not None and source.accuracy < 1
    assert source.cost_of_trust == pytest.approx(source.left_out.mean() - source.accuracy)
