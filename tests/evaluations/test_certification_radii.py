"""Euclidean certificates of an orthogonal fusion in a certification: against attacks, by hand, and of other models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from art_multimodal import FusionClassifier
from art_multimodal.datasets import LabelledSampleArrays
from art_multimodal.evaluations.certification import Certification, CertificationSettings, summarise, write_reports
from art_multimodal.evaluations.certification.log import LineReader
from art_multimodal.modalities import table
from art_multimodal.models.families.modular.model import ModularModel, Tower
from art_multimodal.sample_arrays import samples

WIDTHS, CLASSES, COUNT = {"a": 6, "b": 4}, ("x", "y", "z"), 12


def model(fusion: str = "orthogonal", activation: type[nn.Module] = nn.Tanh) -> ModularModel:
    torch.manual_seed(3)
    towers = [
        Tower(table(name, width, (-5.0, 5.0)), nn.Sequential(nn.Linear(width, 5), activation()), 5)
        for name, width in WIDTHS.items()
    ]
    made = ModularModel(towers, fusion, CLASSES)
    if fusion == "orthogonal":
        with torch.no_grad():
            made.fusion.raw.uniform_(0, 2)
    return made.eval()


def arrays() -> np.ndarray:
    rng = np.random.default_rng(0)
    return samples(**{name: rng.normal(size=(COUNT, width)).astype(np.float32) for name, width in WIDTHS.items()})


def certified(out: Path, of: ModularModel, wrong: int = 2) -> Certification:
    labels = FusionClassifier(of, device_type="cpu").predict(arrays()).argmax(axis=1)
    labels[:wrong] = (labels[:wrong] + 1) % 3
    data = LabelledSampleArrays(arrays(), labels, CLASSES)
    return Certification(CertificationSettings(model=of, data=data, keep={"a": 2}, group_size=5), out, device="cpu")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Any:
    log = certified(tmp_path_factory.mktemp("radii") / "run", model()).evaluate()
    write_reports(log)
    return log


def verdicts(log: Any) -> dict[int, Any]:
    return {one.index: one for line in log.lines() if line.row == "model" for one in line.samples}


def test_no_step_within_a_radius_changes_an_answer(finished: Any) -> None:
    """Along the gradient of every other class, to the end of each ball and of mixtures that are covered."""
    of, x = model(), arrays()
    for index, one in verdicts(finished).items():
        inputs = [torch.from_numpy(x[name][index : index + 1].copy()) for name in WIDTHS]
        radii = dict(zip(WIDTHS, one.radii, strict=True))
        assert 0 < one.radius <= min(radii.values())
        for share in (0.0, 0.3, 0.5, 1.0):
            # Lengths over radii add up to less than 1.
            lengths = {"a": share * radii["a"] * (1 - 1e-4), "b": (1 - share) * radii["b"] * (1 - 1e-4)}
            assert one.predicted not in _turned(of, inputs, one.predicted, list(lengths.values()))
        for weights in ((1.0, 0.0), (0.6, 0.8), (0.0, 1.0)):
            lengths_together = [one.radius * (1 - 1e-4) * weight for weight in weights]
            assert one.predicted not in _turned(of, inputs, one.predicted, lengths_together)


def _turned(of: ModularModel, inputs: list[torch.Tensor], answer: int, lengths: list[float]) -> set[int]:
    """The answer, if steps towards another class reach one."""
    parts = dict(zip(WIDTHS, inputs, strict=True))

    def scores(values: dict[str, torch.Tensor]) -> torch.Tensor:
        features = {name: of.tower(name).module(one) for name, one in values.items()}
        return of.predict(of.combine(features, {name: torch.ones(1, dtype=torch.bool) for name in values}))

    found = set()
    for other in set(range(len(CLASSES))) - {answer}:
        moved = {name: one.clone() for name, one in parts.items()}
        for _ in range(8):
            leaves = {name: one.detach().requires_grad_() for name, one in moved.items()}
            said = scores(leaves)[0]
            gradients = torch.autograd.grad(said[other] - said[answer], list(leaves.values()))
            for (name, start), length, gradient in zip(parts.items(), lengths, gradients, strict=True):
                step = moved[name] + length * gradient / gradient.norm().clamp_min(1e-12)
                away = step - start
                moved[name] = start + away * min(1.0, length / max(1e-12, float(away.norm())))
        if int(scores(moved)[0].argmax()) != answer:
            found.add(answer)
    return found


def test_numbers_of_the_reports_are_those_of_the_log(finished: Any) -> None:
    report = json.loads((finished.folder / "report.json").read_text())
    found, said = report["results"]["model"]["radii"], verdicts(finished)
    assert list(report["constants"]) == list(WIDTHS) == list(found["alone"])
    right = [one for one in said.values() if one.right]
    assert len(right) == COUNT - 2
    for place, name in enumerate(WIDTHS):
        for share, radius in found["alone"][name].items():
            # So many of all samples have at least that radius, and no larger one would do.
            assert sum(one.radii[place] >= radius for one in right) >= float(share) * COUNT
            assert sum(one.radii[place] > radius for one in right) < float(share) * COUNT
    expected = [
        float(torch.linalg.matrix_norm(model().tower(name).module[0].weight.detach().double(), ord=2))
        for name in WIDTHS
    ]
    assert list(report["constants"].values()) == pytest.approx(expected, rel=1e-9)
    for page in ("report.html", "report.md"):
        text = (finished.folder / page).read_text()
        assert "Radii of the model itself" in text and "certified without any votes" in text
        assert f"{found['together']['0.5']:.4g}" in text


def test_too_few_right_answers_have_no_radius(tmp_path: Path) -> None:
    log = certified(tmp_path / "run", model(), wrong=10).evaluate()
    found = summarise(log.header, log.lines())["results"]["model"]["radii"]
    assert found["together"] == dict.fromkeys(("0.75", "0.5", "0.25"))
    assert "fewer than half" in (write_reports(log) and (log.folder / "report.md").read_text())


@pytest.mark.parametrize(("fusion", "activation"), [("late", nn.Tanh), ("orthogonal", nn.GELU)])
def test_other_models_have_none(fusion: str, activation: type[nn.Module], tmp_path: Path) -> None:
    job = certified(tmp_path / "run", model(fusion, activation))
    assert job.radii is None and "constants" not in job.header()
    log = job.evaluate()
    report = write_reports(log)
    assert "radii" not in report["results"]["model"] and "radii" not in report["protocol"]
    assert "Radii of the model itself" not in (log.folder / "report.html").read_text()


@pytest.mark.parametrize(
    "changes", [{"radii": [1.0]}, {"radii": []}, {"radius": None}, {"radii": [-1.0, 1.0]}, {"radius": "far"}]
)
def test_lines_that_no_run_writes_are_refused(finished: Any, changes: dict[str, Any]) -> None:
    (line, *_) = [json.loads(line) for line in (finished.folder / "log.jsonl").read_text().splitlines()]
    assert LineReader(finished.header).line(line).row == "model"
    changed = {**line["samples"][0], **changes}
    if changes.get("radius", 0) is None:
        del changed["radius"]
    line["samples"][0] = changed
    with pytest.raises(ValueError, match="radi"):
        LineReader(finished.header).line(line)
