"""Towers that are made for the modalities of data: what they bring to one scale, and that they are saved."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from art_multimodal import InputError, load_model
from art_multimodal.modalities import Modality, image, sequence, table, text
from art_multimodal.models.families.modular.towers import fitting_model, fitting_tower
from art_multimodal.models.fusions import FUSIONS
from art_multimodal.models.saving import save_model
from art_multimodal.sample_arrays import samples

CLASSES = ("one", "two", "three")
MODALITIES = (
    image("rgb", 3, 9, 14),
    sequence("sound", 6, 2, clip_values=(-30.0, 50.0)),
    table("lab", 4, clip_values=(-1e4, 1e4)),
    Modality("grid", (5, 7), (0, 1), (0.0, 9.0)),
)


def data(count: int = 30) -> np.ndarray:
    rng = np.random.default_rng(3)
    lengths = rng.integers(1, 7, count)
    lab = rng.normal([0, 100, -5000, 3], [1, 20, 1000, 0], (count, 4))
    return samples(
        rgb=rng.random((count, 3, 9, 14)),
        sound=[10 + rng.normal(0, 5, (length, 2)).clip(-30, 30) for length in lengths],
        lab=lab,
        grid=9 * rng.random((count, 5, 7)),
    )


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_gets_towers_that_are_saved_and_come_back(fusion: str, tmp_path) -> None:
    torch.manual_seed(0)
    x = data()
    model = fitting_model(fusion, MODALITIES, CLASSES, x, width=16, hidden=8)
    with torch.no_grad():
        scores = model(model.collate(x))
        assert scores.shape == (30, 3) and torch.isfinite(scores).all()
        save_model(model, tmp_path / "model")
        again = load_model(f"checkpoint:{tmp_path / 'model'}")
        torch.testing.assert_close(again(again.collate(x)), scores, rtol=0, atol=0)
        # What else stands in a batch changes nothing, since the scale is fixed.
        model.train()
        for norm in (part for part in model.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)):
            norm.eval()
        alone = model(model.collate(x[:1]))
        torch.testing.assert_close(alone, scores[:1], rtol=1e-4, atol=1e-5)


def test_the_first_layer_brings_what_is_trained_on_to_one_scale() -> None:
    x = data(200)
    for modality in MODALITIES:
        tower = fitting_tower(modality, x[modality.name])
        layers = tower.module.module if modality.variable else tower.module
        norm = next(layer for layer in layers if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm))
        values = torch.from_numpy(np.array(modality.values(x[modality.name])))
        if modality.variable:
            values = values[torch.arange(6) < torch.from_numpy(np.array(x[modality.name]["length"]))[:, None]]
        if norm is not layers[0]:
            values = values.flatten(1)
        scaled = norm(values).double()
        over = tuple(axis for axis in range(scaled.ndim) if axis != 1)
        # A column of float32 near 5,000 keeps four digits behind the point.
        torch.testing.assert_close(scaled.mean(over), torch.zeros(scaled.shape[1]).double(), rtol=0, atol=1e-3)
        constant = values.double().var(over) == 0
        expected = torch.where(constant, 0.0, 1.0).double()
        torch.testing.assert_close(scaled.var(over, correction=0), expected, rtol=0, atol=1e-3)


def test_without_samples_the_middle_of_each_range_counts() -> None:
    norm = fitting_tower(MODALITIES[1]).module.module[1]
    assert norm.running_mean.tolist() == [10.0, 10.0] and norm.running_var.tolist() == [400.0, 400.0]
    x = data()
    x["lab"][:] = np.nan
    norm = fitting_tower(MODALITIES[2], x["lab"]).module[1]
    assert norm.running_mean.tolist() == [0.0] * 4 and norm.running_var.tolist() == [25e6] * 4


@pytest.mark.parametrize(
    ("modalities", "fusion", "message"),
    [
        ([table("lab", 3), text("note")], "concat", "note holds texts, for which no tower is made"),
        ([image("rgb", 3)], "concat", "rgb has no size of its own"),
        ([Modality("age", (), (), (0.0, 1.0))], "concat", "age is a single number for each sample"),
        (
            [Modality("pulse", (9,), (0,), (0.0, 1.0), variable=True)],
            "mcmult",
            "pulse is a single number for each step",
        ),
        ([table("lab", 3)], "qfm", "Did you mean qmf"),
    ],
)
def test_what_no_tower_fits_is_refused(modalities, fusion: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fitting_model(fusion, modalities, CLASSES)
