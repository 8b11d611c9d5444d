"""The decoupling attack inside ART's adversarial training, and after weights have changed."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from art.defences.trainer import AdversarialTrainer
from attacks.removal_models import make_pairs
from tiny import TinyEncoder, TinyFusion, TinyJointFusion
from torch import nn

from art_multimodal import FusionClassifier, ZeroShotClassifier
from art_multimodal.attacks.evasion import DecouplingAttack

COUNT = 16
Y = np.random.default_rng(5).integers(0, 3, COUNT)
IMAGES = np.random.default_rng(0).random((COUNT, 3, 8, 8), dtype=np.float32)
FILL = np.array([0.4, 0.5, 0.6], dtype=np.float32).reshape(3, 1, 1)


class RawSteps(torch.optim.Optimizer):
    """Gradient descent that writes to ``param.data``, which version counters do not see."""

    def __init__(self, parameters, lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.data.add_(parameter.grad, alpha=-group["lr"])


def make_classifier(kind: str, model: nn.Module | None = None, raw: bool = False):
    """A victim and what it takes."""
    fusion = {"separate": TinyFusion, "joint": TinyJointFusion}
    model = model or (fusion[kind](seed=1) if kind in fusion else TinyEncoder(seed=2))
    optimizer = RawSteps(model.parameters(), 0.3) if raw else torch.optim.Adam(model.parameters(), lr=0.02)
    if kind in fusion:
        return FusionClassifier(model, optimizer=optimizer, device_type="cpu"), make_pairs(COUNT)
    templates = ["an old photo of a {}."]
    return (
        ZeroShotClassifier(model, ("cat", "dog", "bird"), templates, optimizer=optimizer, device_type="cpu"),
        IMAGES,
    )


def assert_nothing_is_left_behind(model: nn.Module) -> None:
    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks and not module._backward_hooks
    assert all(parameter.requires_grad for parameter in model.parameters())


def is_left_of(part: str, text: str) -> bool:
    """Whether words of a text, in their order, are what is there."""
    words = iter(text.split())
    return part == text or all(word in words for word in part.split())


kinds = pytest.mark.parametrize("kind", ["separate", "joint", "dual encoder"])


@kinds
@pytest.mark.parametrize("settings", [{"max_queries": 25}, {"search": "exhaustive"}], ids=["guided", "exhaustive"])
def test_arts_adversarial_trainer_lowers_the_loss_on_decoupled_samples(kind, settings) -> None:
    classifier, x = make_classifier(kind)
    if kind == "dual encoder":  # words removed from a template do not show in images
        settings = {**settings, "modalities": "image"}
    attack = DecouplingAttack(classifier, verbose=False, **settings)
    y = np.eye(3, dtype=np.float32)[Y]
    decoupled = attack.generate(x)
    before = classifier.compute_loss(decoupled, y).mean()
    batches = []
    fit = classifier.fit
    classifier.fit = lambda x, y, **more: (batches.append((x.copy(), y.copy())), fit(x, y, **more))
    np.random.seed(0)
    torch.manual_seed(0)
    AdversarialTrainer(classifier, attack, ratio=0.5).fit(x, y, batch_size=6, nb_epochs=15)
    # It trained on images with points removed, each with its own text, less some words, and its own label.
    images, texts = (x, [""] * COUNT) if kind == "dual encoder" else (x["image"], x["text"])
    touched = 0
    for rows, labels in batches:
        for row, label in zip(rows, labels, strict=True):
            image, text = (row, "") if kind == "dual encoder" else (row["image"], row["text"])
            kept = (image != FILL).any(axis=0)
            assert any(
                (images[own][:, kept] == image[:, kept]).all()
                and is_left_of(text, texts[own])
                and label.argmax() == Y[own]
                for own in range(COUNT)
            )
            touched += not kept.all() or text not in texts
    assert touched > 10
    assert classifier.compute_loss(decoupled, y).mean() < 0.7 * before
    assert_nothing_is_left_behind(classifier.model)


@kinds
@pytest.mark.parametrize("raw", [False, True], ids=["adam", "param.data"])
@pytest.mark.parametrize("settings", [{"max_queries": 40}, {"search": "exhaustive"}, {"modalities": "text"}])
def test_an_attack_that_is_used_again_knows_the_new_weights(kind, raw, settings) -> None:
    classifier, x = make_classifier(kind, raw=raw)
    attack = DecouplingAttack(classifier, verbose=False, **settings)
    attack.generate(x)
    old = attack.records
    classifier.fit(x, Y, batch_size=COUNT, nb_epochs=4)
    model = classifier.dual_encoder if kind == "dual encoder" else classifier.model
    fresh = DecouplingAttack(make_classifier(kind, copy.deepcopy(model))[0], verbose=False, **settings)
    for _ in range(2):
        again, wanted = attack.generate(x), fresh.generate(x)
        assert attack.records == fresh.records != old
        assert again.tobytes() == wanted.tobytes() if kind == "dual encoder" else (again == wanted).all()
    assert_nothing_is_left_behind(classifier.model)
