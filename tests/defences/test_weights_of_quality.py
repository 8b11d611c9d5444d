"""What QMF's training makes of weights, on digits that it has not seen: the claim of its paper, and where it ends."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from art_multimodal import FusionClassifier
from art_multimodal.defences.trainer import FusionTrainerQMF, TrainingSettings
from art_multimodal.demo.views_data import ViewsData
from art_multimodal.models.families.modular.towers import fitting_model
from art_multimodal.sample_arrays import with_field


@pytest.fixture(scope="module")
def trained() -> FusionClassifier:
    train = ViewsData("train")
    torch.manual_seed(0)
    model = fitting_model("qmf", train.modalities.values(), train.class_names, train.samples())
    classifier = FusionClassifier(model, device_type="cpu")
    settings = TrainingSettings(learning_rate=3e-3, weight_decay=0.02, modality_dropout=0.15)
    FusionTrainerQMF(classifier, settings).fit(train.samples(), train.labels, batch_size=50, nb_epochs=10)
    return classifier


def weights_and_losses(of: FusionClassifier, x: np.ndarray, labels: np.ndarray, name: str) -> tuple[np.ndarray, ...]:
    asking = of.asking(500)
    with torch.no_grad():
        said = asking.weighed(asking.all_seen(x))
    losses = torch.nn.functional.cross_entropy(said.scores[name], torch.from_numpy(labels), reduction="none")
    return said.weights[name].numpy(), losses.numpy()


@pytest.mark.parametrize("name", ["pix", "fou", "kar"])
def test_on_clean_samples_weights_fall_as_losses_rise(trained, name: str) -> None:
    """The whole interval of the correlation (Fisher's) lies below 0."""
    test = ViewsData("test")
    weights, losses = weights_and_losses(trained, test.samples(), test.labels, name)
    correlation = np.corrcoef(weights, losses)[0, 1]
    assert np.arctanh(correlation) + 1.96 / np.sqrt(len(weights) - 3) < 0


def test_noise_lowers_some_weights_and_raises_others(trained) -> None:
    """That of pixels falls, the noisier the lower, as the paper says; that of coefficients rises under much noise."""
    test = ViewsData("test")

    def mean_weight(name: str, level: float) -> float:
        x = test.samples()
        values = x[name] + np.random.default_rng(1).normal(0, level, x[name].shape)
        noisy = with_field(x, name, values.clip(0, 1).astype(np.float32))
        return float(weights_and_losses(trained, noisy, test.labels, name)[0].mean())

    falling = [mean_weight("pix", level) for level in (0.1, 0.3, 0.5, 0.7)]
    assert all(after < 0.95 * before for before, after in itertools.pairwise(falling))
    assert mean_weight("kar", 0.7) > 1.03 * mean_weight("kar", 0.1)
