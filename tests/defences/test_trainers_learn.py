"""What training is for: losses fall, robust accuracy rises, and captions are found."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import TinyEncoder

from art_multimodal import ZeroShotClassifier, load_model
from art_multimodal.attacks.evasion import ProjectedGradientDescentDualEncoder
from art_multimodal.defences import trainer as trainers
from art_multimodal.defences.trainer import DualEncoderTrainer, TrainingSettings
from art_multimodal.demo.captions import DIGIT_NAMES
from art_multimodal.demo.digits_data import ink_on_paper, load_strokes
from art_multimodal.estimators.retriever import ImageTextRetriever

from .training import (
    OF_DUAL_ENCODERS,
    pairs,
    settings,
)

TEMPLATES = ("a photo of the handwritten digit {}.", "a scan of the number {}.", "an image of a {}.")


@pytest.fixture(scope="module")
def digits_to_train_on() -> tuple[np.ndarray, np.ndarray]:
    strokes, of_strokes = load_strokes("train")
    return ink_on_paper(strokes, np.zeros(3), np.ones(3)), of_strokes


def digits_classifier() -> ZeroShotClassifier:
    return ZeroShotClassifier(load_model("demo:digits"), DIGIT_NAMES, TEMPLATES, device_type="cpu")


@pytest.mark.parametrize("name", OF_DUAL_ENCODERS)
def test_every_method_lowers_its_loss(name, digits_to_train_on):
    x, y = (part[:64] for part in digits_to_train_on)
    # Of a random model even the clean methods have something to learn.
    torch.manual_seed(0)
    estimator = digits_classifier()
    with torch.no_grad():
        for parameter in estimator.dual_encoder.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    one = DualEncoderTrainer(
        estimator, name, TrainingSettings(learning_rate=3e-4, eps=4 / 255, eps_step=2 / 255, max_iter=3)
    )
    if name == "leaf":
        # Most of the time goes into typing errors.
        one.text_attack.set_params(alphabet="aeiou")
    one.fit(x, y, batch_size=32, nb_epochs=4)
    assert len(one.losses) == 8
    assert np.mean(one.losses[-2:]) < 0.9 * np.mean(one.losses[:2])


@pytest.mark.parametrize("trainer", [trainers.AdversarialTrainerTeCoA, trainers.AdversarialTrainerMMCoA])
def test_robust_accuracy_rises(trainer, digits_to_train_on, digits_images):
    x, y = (part[:256] for part in digits_to_train_on)
    held_out, truth = (part[:120] for part in digits_images)
    estimator = digits_classifier()
    attack = ProjectedGradientDescentDualEncoder(
        estimator, eps=8 / 255, eps_step=2 / 255, max_iter=10, batch_size=120, seed=1, verbose=False
    )

    def accuracies() -> tuple[float, float]:
        adversarial = attack.generate(held_out, truth)
        return tuple(
            float((estimator.predict(part).argmax(axis=1) == truth).mean()) for part in (held_out, adversarial)
        )

    clean, robust = accuracies()
    one = trainer(estimator, TrainingSettings(learning_rate=3e-4, eps=8 / 255, eps_step=4 / 255, max_iter=3))
    one.fit(x, y, batch_size=64, nb_epochs=3)
    clean_after, robust_after = accuracies()
    assert robust_after > robust + 0.15
    assert clean_after > clean - 0.05


def test_captions_teach_a_model_to_retrieve():
    """Pairs with captions of their own: the loss falls, and captions are found."""
    estimator = ImageTextRetriever(TinyEncoder(seed=3).eval(), device_type="cpu")
    one = DualEncoderTrainer(estimator, "mmcoa", settings(learning_rate=0.03, eps=0.01, eps_step=0.01, max_iter=2))
    before = estimator.recall(pairs(), ks=(1,)).text_to_image[1]
    one.fit(pairs(), None, batch_size=6, nb_epochs=40)
    assert one.losses[-1] < 0.5 * one.losses[0]
    assert estimator.recall(pairs(), ks=(1,)).text_to_image[1] > before
