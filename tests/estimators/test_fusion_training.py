"""Training a FusionClassifier on pairs."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from art.attacks.evasion import ProjectedGradientDescent
from art.data_generators import NumpyDataGenerator
from art.defences.preprocessor import LabelSmoothing, Mixup
from art.defences.trainer import AdversarialTrainer
from estimators.fusion_pairs import Y, both_models, make, scores_of
from tiny import TinyFusion

from art_multimodal import FusionClassifier
from art_multimodal.attacks.evasion import ImageAttackOnPairs
from art_multimodal.models.fusion import FusionModel

# Training


@both_models
@pytest.mark.parametrize("training_mode", [True, False])
@pytest.mark.parametrize("form", ["indices", "one-hot"])
def test_fit_moves_all_weights_and_lowers_the_loss(
    pairs: np.ndarray, model_class: type[FusionModel], training_mode: bool, form: str
) -> None:
    classifier = make(model_class, lr=0.02)
    before = copy.deepcopy(classifier.model.state_dict())
    loss = classifier.compute_loss(pairs, Y).mean()
    torch.manual_seed(0)
    y = Y if form == "indices" else np.eye(3)[Y]
    classifier.fit(pairs, y, nb_epochs=40, batch_size=3, training_mode=training_mode)
    assert classifier.compute_loss(pairs, Y).mean() < 0.3 * loss
    for name, tensor in classifier.model.state_dict().items():
        assert not torch.equal(tensor, before[name]), name


def test_fit_takes_the_steps_that_torch_would(pairs: np.ndarray) -> None:
    classifier, model = make(), TinyFusion().eval()
    classifier.set_params(optimizer=torch.optim.SGD(classifier.model.parameters(), lr=0.1))
    classifier.fit(pairs, Y, batch_size=7, nb_epochs=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        scores = torch.stack([scores_of(model, pair["image"].copy(), pair["text"]) for pair in pairs])
        torch.nn.functional.cross_entropy(scores, torch.from_numpy(Y)).backward()
        optimizer.step()
    for ours, theirs in zip(classifier.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_fit_keeps_images_and_texts_and_labels_together(pairs: np.ndarray) -> None:
    classifier = make(lr=0.0)
    own = {(pair["image"].tobytes(), pair["text"], label) for pair, label in zip(pairs, Y, strict=True)}
    seen = []
    forward, tokenize, loss = classifier.model.forward, classifier.model.tokenize, classifier.loss.forward
    batch: dict[str, list] = {}
    classifier.model.tokenize = lambda texts: (batch.update(texts=texts), tokenize(texts))[1]
    classifier.model.forward = lambda images, tokens: (
        batch.update(images=[image.numpy().tobytes() for image in images]),
        forward(images, tokens),
    )[1]
    classifier.loss.forward = lambda scores, target: (
        seen.extend(zip(batch["images"], batch["texts"], target.tolist(), strict=True)),
        loss(scores, target),
    )[1]
    classifier.fit(pairs, Y, batch_size=2, nb_epochs=3)
    assert len(seen) == 21
    assert set(seen) == own
    assert seen[:7] != seen[7:14]
    seen.clear()
    classifier.fit(pairs, Y, batch_size=2, nb_epochs=1, drop_last=True)
    assert len(seen) == 6


class Steps:
    """A scheduler that counts."""

    count = 0

    def step(self) -> None:
        self.count += 1


def test_fit_steps_the_scheduler_every_epoch(pairs: np.ndarray) -> None:
    scheduler = Steps()
    make(lr=0.01).fit(pairs, Y, nb_epochs=3, batch_size=2, scheduler=scheduler)
    assert scheduler.count == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "defence", [LabelSmoothing(max_value=0.7), Mixup(num_classes=3, alpha=1.0)], ids=["smoothing", "mixup"]
)
def test_fit_with_a_defence_that_softens_labels(
    pairs: np.ndarray, defence: LabelSmoothing | Mixup, dtype: torch.dtype
) -> None:
    model = TinyFusion().eval().to(dtype)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    if isinstance(defence, LabelSmoothing):
        defence._apply_fit, defence._apply_predict = True, False
    classifier = FusionClassifier(model, optimizer=optimizer, preprocessing_defences=defence, device_type="cpu")
    targets = []
    classifier.loss.register_forward_pre_hook(lambda module, inputs: targets.append(inputs[1]))
    np.random.seed(0)
    loss = classifier.compute_loss(pairs, Y).mean()
    targets.clear()
    classifier.fit(pairs, Y, nb_epochs=30, batch_size=7)
    assert all(target.shape == (7, 3) and (target.max(dim=1).values < 1).any() for target in targets)
    assert classifier.compute_loss(pairs, Y).mean() < loss


def test_fit_keeps_mixed_labels_as_they_are(pairs: np.ndarray) -> None:
    classifier = make(lr=0.02)
    wanted = np.tile(np.array([0.2, 0.5, 0.3], dtype=np.float32), (7, 1))
    classifier.fit(pairs, wanted, nb_epochs=150)
    predicted = torch.from_numpy(classifier.predict(pairs)).softmax(dim=1)
    np.testing.assert_allclose(predicted, wanted, atol=0.05)


def test_parameters_that_the_user_froze_stay_frozen(pairs: np.ndarray) -> None:
    classifier = make(lr=0.1)
    classifier.model.text.requires_grad_(False)
    before = classifier.model.text.weight.clone()
    classifier.fit(pairs, Y, nb_epochs=2)
    classifier.loss_gradient(pairs, Y)
    torch.testing.assert_close(classifier.model.text.weight, before)
    assert not classifier.model.text.weight.requires_grad
    assert classifier.model.mixer.weight.requires_grad


@pytest.mark.parametrize("shuffle", [True, False])
def test_fit_generator(pairs: np.ndarray, shuffle: bool) -> None:
    classifier = make(lr=0.02)
    loss = classifier.compute_loss(pairs, Y).mean()
    np.random.seed(0)
    generator = NumpyDataGenerator(pairs, np.eye(3)[Y], batch_size=3, shuffle=shuffle, drop_remainder=False)
    classifier.fit_generator(generator, nb_epochs=30)
    assert classifier.compute_loss(pairs, Y).mean() < 0.5 * loss


def test_arts_adversarial_trainer_lowers_the_loss_under_attack(pairs: np.ndarray) -> None:
    classifier = make(lr=0.02)
    attack = ImageAttackOnPairs(
        classifier,
        lambda view: ProjectedGradientDescent(view, eps=0.05, eps_step=0.02, max_iter=3, batch_size=4, verbose=False),
    )
    y = np.eye(3, dtype=np.float32)[Y]
    before = classifier.compute_loss(attack.generate(pairs, y), y).mean()
    trained_on = []
    fit = classifier.fit
    classifier.fit = lambda x, y, **kwargs: (trained_on.append((x.copy(), y.copy())), fit(x, y, **kwargs))
    original = pairs.copy()
    np.random.seed(0)
    torch.manual_seed(0)
    AdversarialTrainer(classifier, attack, ratio=0.5).fit(pairs, y, batch_size=4, nb_epochs=15)
    assert classifier.compute_loss(attack.generate(pairs, y), y).mean() < 0.6 * before
    np.testing.assert_array_equal(pairs, original)
    moved = total = 0
    for batch, labels in trained_on:
        distances = np.abs(batch["image"][:, None] - pairs["image"]).max(axis=(2, 3, 4))
        rows = distances.argmin(axis=1)
        assert distances.min(axis=1).max() <= 0.05 + 1e-6
        assert batch["text"].tolist() == pairs["text"][rows].tolist()
        np.testing.assert_array_equal(labels, y[rows])
        moved += (distances.min(axis=1) > 0.01).sum()
        total += len(batch)
    assert moved / total == pytest.approx(4 / 7)  # half of four, and of three, rounded up
