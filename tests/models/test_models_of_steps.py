"""Models whose towers embed steps: what reaches the fusion, and all that asks such a model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import fill_at_random
from torch import Tensor, nn
from torch.nn import functional as F

from art_multimodal import FusionClassifier
from art_multimodal.attacks.evasion import DecouplingAttack, ProjectedGradientDescentMultimodal
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.counting import CountedModel
from art_multimodal.evaluations.single_source import SingleSource
from art_multimodal.modalities import sequence, spectrogram, table
from art_multimodal.models.families.modular.model import ModularModel, Tower
from art_multimodal.models.families.modular.steps import EachStep
from art_multimodal.models.loading import load_model
from art_multimodal.models.multimodal import Part
from art_multimodal.models.saving import save_model
from art_multimodal.sample_arrays import samples, with_field


def towers(audio_steps: int = 6) -> list[Tower]:
    per_step = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    heard = EachStep(nn.Sequential(nn.Linear(2, 5), nn.Tanh()))
    return [
        Tower(sequence("audio", audio_steps, 3, fill=0.1), EachStep(per_step), 4),
        Tower(spectrogram("speech", 4, 2), heard, 5),
        Tower(sequence("fixed", 3, 2, variable=False), EachStep(nn.Linear(2, 3)), 3),
        Tower(table("lab", 4), nn.Linear(4, 3), 3),
    ]


def model(seed: int = 0, **options: object) -> ModularModel:
    options = {"hidden": 6, "heads": 2, "layers": 2, "self_layers": 1} | options
    found = ModularModel(towers(), "mcmult", ("no", "maybe", "yes"), **options)
    fill_at_random(found, seed, {})
    return found.eval()


def inputs(lengths: tuple = ((6, 2, 0, 4), (1, 4, 3, 0))) -> np.ndarray:
    generator = np.random.default_rng(3)
    x = samples(
        audio=[generator.uniform(-0.9, 0.9, (length, 3)).astype(np.float32) for length in lengths[0]],
        speech=[generator.uniform(0.1, 0.9, (length, 2)).astype(np.float32) for length in lengths[1]],
        fixed=generator.uniform(-0.9, 0.9, (4, 3, 2)),
        lab=generator.uniform(0.1, 0.9, (4, 4)),
    )
    x["lab"][1], x["fixed"][3] = np.nan, np.nan
    return x


def test_steps_and_lengths_reach_the_fusion() -> None:
    found, x = model().double(), inputs()
    parts = found.collate(x)
    seen = {name: found.see(name, part) for name, part in parts.items()}
    assert {name: tuple(part.values.shape) for name, part in seen.items()} == {
        "audio": (4, 6, 4),
        "speech": (4, 4, 5),
        "fixed": (4, 3, 3),
        "lab": (4, 3),
    }
    assert seen["audio"].lengths.tolist() == [6, 2, 0, 4] and seen["lab"].lengths is None
    assert seen["audio"].steps.sum(dim=1).tolist() == [6, 2, 0, 4]
    # By hand, of one sample: no padding, and no modality that is missing.
    fused = found.meet(seen)
    for row, sample in enumerate(x):
        features, present = {}, {}
        for name, tower in found.towers.items():
            field = sample[name]
            values = torch.from_numpy(np.array(field["values"] if field.dtype.names else field)).double()
            here = not bool(torch.isnan(values).all())
            if field.dtype.names:
                here, values = field["length"] > 0, values[: max(1, int(field["length"]))]
            layer = tower.module if name == "lab" else tower.module.module
            features[name] = layer(torch.nan_to_num(values))[None]
            present[name] = torch.tensor([bool(here)])
        torch.testing.assert_close(fused[row], found.fusion(features, present)[0], atol=1e-10, rtol=1e-10)


def test_a_classifier_of_sequences() -> None:
    found, x = FusionClassifier(model(), device_type="cpu"), inputs()
    expected = found.predict(x)
    for size in (1, 3):
        np.testing.assert_allclose(found.predict(x, batch_size=size), expected, atol=1e-5)
    counted = CountedModel(model())
    with counted.counted() as counts:
        np.testing.assert_allclose(FusionClassifier(counted, device_type="cpu").predict(x), expected, atol=1e-6)
    assert counted.takes_steps and counts["queries"] == 4
    names = ("audio", "speech", "fixed", "lab")
    exact = FusionClassifier(model().double(), device_type="cpu")
    gradients = exact.loss_gradient(x, np.array([0, 1, 2, 0]), modality=names)
    parts = exact.multimodal.collate(x)
    for name in names:
        given, direction = parts[name].values, torch.zeros_like(parts[name].values)
        rows = parts[name].present
        direction[rows] = torch.randn(direction[rows].shape, generator=torch.Generator().manual_seed(0)).double()

        def loss(values: Tensor, name: str = name) -> float:
            moved = {**parts, name: parts[name].with_values(values)}
            return F.cross_entropy(exact.multimodal(moved), torch.tensor([0, 1, 2, 0])).item()

        slope = (loss(given + 1e-5 * direction) - loss(given - 1e-5 * direction)) / 2e-5
        own = gradients[name]["values"] if parts[name].lengths is not None else gradients[name]
        np.testing.assert_allclose((own * direction.numpy()).sum(), slope, rtol=1e-4, atol=1e-8)
        if parts[name].lengths is not None:
            assert not own[~parts[name].steps.numpy()].any()
    for name in ("audio", "speech"):
        rows = np.flatnonzero(x[name]["length"])
        view = found.modality_view(name, x[rows])
        np.testing.assert_allclose(view.predict(x[rows][name]["values"]), expected[rows], atol=1e-5)


def test_attacks_on_sequences() -> None:
    found, x = FusionClassifier(model(), device_type="cpu"), inputs()
    y = found.predict(x).argmax(axis=1)
    attack = ProjectedGradientDescentMultimodal(
        found, {"audio": 0.3, "speech": 0.2}, max_iter=5, num_random_init=0, verbose=False
    )
    after = attack.generate(x, y)
    losses = [found.compute_loss(of, y) for of in (x, after)]
    assert (losses[1] > losses[0]).all()
    for name, eps in (("audio", 0.3), ("speech", 0.2)):
        assert np.abs(after[name]["values"] - x[name]["values"]).max() <= eps + 1e-6
        behind = ~found.modalities[name].present(x[name])
        assert not after[name]["values"][behind].any()
    np.testing.assert_array_equal(after["fixed"], x["fixed"])
    # Removed steps are filled, and no others change.
    moved = DecouplingAttack(found, max_queries=60, verbose=False).generate(x)
    steps = moved["audio"]["values"] != x["audio"]["values"]
    assert (moved["audio"]["values"][steps] == np.float32(0.1)).all()
    np.testing.assert_array_equal(moved["audio"]["length"], x["audio"]["length"])
    trust = SingleSource(found, eps={"audio": 0.2}, max_iter=2, verbose=False).evaluate(x, y)
    assert trust.clean.all() and trust.sources["audio"].accuracy <= 1


def test_a_model_of_sequences_is_saved(tmp_path) -> None:
    found, x = model(kernel=3, scales="last"), inputs()
    save_model(found, tmp_path / "best")
    again = load_model(f"checkpoint:{tmp_path}")
    assert torch.equal(again(again.collate(x)), found(found.collate(x)))
    assert again.takes_steps and isinstance(again.towers["audio"].module, EachStep)


def test_means_of_steps_are_for_every_fusion(tmp_path) -> None:
    tower = Tower(sequence("audio", 6, 3), EachStep(nn.Linear(3, 4), mean=True), 4)
    found = ModularModel([tower, Tower(table("lab", 4), nn.Linear(4, 3), 3)], "late", ("no", "yes")).eval()
    x = inputs()[["audio", "lab"]]
    save_model(found, tmp_path / "best")
    again = load_model(f"checkpoint:{tmp_path}")
    assert torch.equal(again(again.collate(x)), found(found.collate(x)))
    part = found.collate(x)["audio"]
    for row, length in enumerate((6, 2, 0, 4)):
        steps = part.values[row, : max(1, length)]
        torch.testing.assert_close(found.encode("audio", part)[row], tower.module.module(steps).mean(dim=0))


def test_batch_normalisation_counts_the_steps_that_there_are() -> None:
    layer = nn.BatchNorm1d(3).train()
    values, mask = torch.randn(4, 6, 3), torch.arange(6) < torch.tensor([6, 2, 1, 4])[:, None]
    found = EachStep(layer)(values, mask)
    torch.testing.assert_close(found[mask].mean(dim=0), torch.zeros(3), atol=1e-6, rtol=0)
    assert not found[~mask].any()


def test_towers_that_lose_steps_are_refused() -> None:
    class Halved(nn.Module):
        def forward(self, values: Tensor, mask: Tensor) -> Tensor:
            return values[:, ::2]

    audio = Tower(sequence("audio", 6, 3), Halved(), 3)
    part = Part(torch.zeros(2, 6, 3), torch.tensor([True, True]), torch.tensor([6, 4]))
    wanted = r"shape \(2, 3\), or \(2, steps, 3\) of its 6 steps, not \(2, 3, 3\)"
    with pytest.raises(InputError, match=wanted):
        ModularModel([audio], "mcmult", ("no", "yes")).encode("audio", part)
    with pytest.raises(InputError, match=r"shape \(2, 3\), not \(2, 6, 3\)"):
        steps = Tower(sequence("audio", 6, 3), EachStep(nn.Identity()), 3)
        ModularModel([steps], "late", ("no", "yes")).encode("audio", part)


def test_bound_sequences_are_remembered_with_their_lengths() -> None:
    found, x = FusionClassifier(model(), device_type="cpu"), inputs()
    view = found.modality_view("fixed", x[:3])
    expected = found.predict(x[:3])
    for _ in range(2):
        np.testing.assert_allclose(view.predict(x["fixed"][:3]), expected, atol=1e-5)
    shorter = with_field(x[:3], "audio", found.modalities["audio"].left_out(x["audio"][:3]))
    other = found.modality_view("fixed", shorter).predict(x["fixed"][:3])
    np.testing.assert_allclose(other, found.predict(shorter), atol=1e-5)
    assert np.abs(other - expected)[:2].max() > 1e-4
