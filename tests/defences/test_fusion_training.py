"""Fusion models are trained by the one loop that there is: what a step minimises, what it attacks, what is refused."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from art.attacks.attack import EvasionAttack
from art.data_generators import NumpyDataGenerator
from art.defences.preprocessor import SpatialSmoothing
from art.defences.trainer import AdversarialTrainer
from several import separate
from tiny import TINY_ANSWERS, TinyFusion, TinyJointFusion
from torch.nn import functional as F

from art_multimodal import FusionClassifier, InputError, image_text_pairs
from art_multimodal.defences.trainer import DualEncoderTrainer, FusionTrainer, Method

from .training import OF_FUSION, PLAIN, STRONG, assert_equal_weights, classifier, settings, watch_samples, weights

TEXTS = (
    "is it red",
    "a blue square on the left",
    "no",
    "is there anything at all here",
    "red",
    "is it red",
    "on the right",
)
Y = np.array([0, 1, 2, 2, 1, 0, 1])

both_models = pytest.mark.parametrize("kind", [TinyFusion, TinyJointFusion])


def pairs() -> np.ndarray:
    return image_text_pairs(np.random.default_rng(4).random((7, 3, 8, 8), dtype=np.float32), TEXTS)


def fusion(kind=TinyFusion, **options) -> FusionClassifier:
    return FusionClassifier(kind(seed=3).eval(), device_type="cpu", **options)


def by_hand(model, images: torch.Tensor, texts, labels) -> torch.Tensor:
    return F.cross_entropy(model(images, model.tokenize(list(texts))), torch.as_tensor(labels))


@both_models
@pytest.mark.parametrize(("method", "ratio"), [("plain", None), ("adversarial", 0.5), ("adversarial", 1.0)])
def test_a_step_is_the_gradient_of_the_cross_entropy_alone(kind, method, ratio, monkeypatch) -> None:
    estimator = fusion(kind)
    model, before = estimator.model, copy.deepcopy(estimator.model)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e6)
    seen = watch_samples(monkeypatch)
    trainer = FusionTrainer(estimator, method, settings(**PLAIN), **({} if ratio is None else {"ratio": ratio}))
    trainer.fit(pairs(), np.eye(3)[Y], batch_size=7, nb_epochs=1)
    [(batch, adversarial)] = seen
    assert (adversarial is None) == (method == "plain")
    seen_images = torch.from_numpy((batch.x if adversarial is None else adversarial)["image"])
    labels = batch.targets.argmax(dim=1)
    assert labels.tolist() == batch.labels.tolist()
    # Every image comes with its own text and label.
    known = {(x["image"].tobytes(), x["text"]): y for x, y in zip(pairs(), Y, strict=True)}
    found = [(x["image"].tobytes(), x["text"]) for x in batch.x]
    assert [known[one] for one in found] == labels.tolist() and set(found) == set(known)
    loss = by_hand(before, seen_images, batch.x["text"], labels)
    assert trainer.losses == [pytest.approx(loss.item(), rel=1e-5)]
    gradients = torch.autograd.grad(loss, list(before.parameters()))
    for after, parameter, gradient in zip(model.parameters(), before.parameters(), gradients, strict=True):
        torch.testing.assert_close(after, parameter - gradient, rtol=1e-4, atol=1e-5)
        assert gradient.abs().sum() > 0 and float(after.grad.min()) == 1e6
    assert not model.training


@both_models
@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9, 1.0])
def test_a_share_of_each_batch_is_attacked_within_the_budget(kind, ratio, monkeypatch) -> None:
    estimator = fusion(kind)
    seen = watch_samples(monkeypatch)
    FusionTrainer(estimator, "adversarial", settings(learning_rate=1e-9), ratio=ratio).fit(pairs(), Y, 4, 3)
    assert [batch.size for batch, _ in seen] == [4, 3] * 3
    rows = []
    for batch, found in seen:
        clean_images, adversarial = (torch.from_numpy(x["image"]) for x in (batch.x, found))
        assert found["text"].tolist() == batch.x["text"].tolist()
        moved = (adversarial - clean_images).abs().amax(dim=(1, 2, 3))
        changed = moved > 1e-6
        assert int(changed.sum()) == math.ceil(ratio * batch.size)
        assert moved.max() <= STRONG["eps"] + 1e-6 and adversarial.min() >= 0 and adversarial.max() <= 1
        # Attacked with its own text, against its own label: the loss of each rises.
        for place in changed.nonzero().flatten().tolist():
            label, text = batch.targets[place : place + 1].argmax(dim=1), [batch.x["text"][place]]
            with torch.no_grad():
                clean = by_hand(estimator.model, clean_images[place][None], text, label)
                assert by_hand(estimator.model, adversarial[place][None], text, label) > clean
        rows.append(changed.tolist())
    # Drawn anew in every step.
    assert ratio >= 0.9 or len({tuple(row) for row in rows}) > 2


class Recorded(EvasionAttack):
    """Gives what another attack has found for the same images and texts."""

    _estimator_requirements = (FusionClassifier,)

    def __init__(self, estimator, found) -> None:
        super().__init__(estimator=estimator)
        self.found = found

    def generate(self, x, y=None, **kwargs):
        images = np.stack([self.found[one["image"].tobytes(), one["text"]] for one in x])
        return image_text_pairs(images, x["text"])


def test_it_takes_the_step_of_arts_trainer(monkeypatch) -> None:
    """On the same attacked images; with everything attacked nothing is drawn but the order, which does not matter."""
    ours, theirs = fusion(), fusion()
    seen = watch_samples(monkeypatch)
    FusionTrainer(ours, "adversarial", settings(**PLAIN), ratio=1).fit(pairs(), Y, batch_size=7, nb_epochs=1)
    [(batch, adversarial)] = seen
    places = zip(batch.x, adversarial["image"], strict=True)
    attack = Recorded(theirs, {(x["image"].tobytes(), x["text"]): found for x, found in places})
    theirs.set_params(optimizer=torch.optim.SGD(theirs.model.parameters(), lr=1.0))
    AdversarialTrainer(theirs, attack, ratio=1).fit(pairs(), Y, batch_size=7, nb_epochs=1)
    for one, other in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", OF_FUSION)
def test_the_loss_falls_and_fit_generator_trains_too(method) -> None:
    one, other = fusion(), fusion()
    chosen = settings(learning_rate=0.02, schedule="constant", eps=0.01, eps_step=0.005)
    trainer = FusionTrainer(one, method, chosen)
    trainer.fit(pairs(), Y, batch_size=7, nb_epochs=40)
    assert np.mean(trainer.losses[-3:]) < 0.5 * np.mean(trainer.losses[:3])
    again = FusionTrainer(other, method, chosen)
    again.fit_generator(NumpyDataGenerator(pairs(), Y, batch_size=7, drop_remainder=False), nb_epochs=40)
    assert np.mean(again.losses[-3:]) < 0.5 * np.mean(again.losses[:3])


def test_defences_of_images_stand_in_front_of_the_model(monkeypatch) -> None:
    estimator = fusion(preprocessing_defences=SpatialSmoothing(window_size=3, channels_first=True))
    before = copy.deepcopy(estimator.model)
    seen = watch_samples(monkeypatch)
    trainer = FusionTrainer(estimator, "adversarial", settings(**PLAIN))
    trainer.fit(pairs(), Y, batch_size=7, nb_epochs=1)
    [(batch, adversarial)] = seen
    behind = torch.from_numpy(estimator.preprocessing_defences[0](adversarial["image"])[0])
    labels = batch.targets.argmax(dim=1)
    assert trainer.losses == [pytest.approx(by_hand(before, behind, batch.x["text"], labels).item(), rel=1e-5)]
    assert trainer.configuration()["preprocessing_defences"][0]["name"] == "SpatialSmoothing"


def test_frozen_parameters_stay_and_a_method_of_ones_own_asks_for_scores() -> None:
    def towards_zero(clean_scores: torch.Tensor, weight: float = 2.0) -> torch.Tensor:
        return weight * clean_scores.square().mean()

    estimator = fusion()
    estimator.model.text.requires_grad_(False)
    before = weights(estimator.model)
    trainer = FusionTrainer(estimator, Method(towards_zero, "scores become small"), settings(), weight=3.0)
    trainer.fit(pairs(), Y, batch_size=4, nb_epochs=2)
    changed = {name for name, tensor in weights(estimator.model).items() if not torch.equal(tensor, before[name])}
    assert changed == set(before) - {"text.weight"}
    assert trainer.configuration()["options"] == {"weight": 3.0}


@pytest.mark.parametrize("method", OF_FUSION)
def test_a_run_that_was_stopped_ends_like_one_that_was_not(method, tmp_path) -> None:
    chosen = settings(optimizer="adamw", learning_rate=1e-2)
    whole, stopped = fusion(), fusion()
    FusionTrainer(whole, method, chosen).fit(pairs(), Y, batch_size=3, nb_epochs=3)

    def stop(record) -> None:
        if record.place.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FusionTrainer(stopped, method, chosen).fit(
            pairs(), Y, 3, 3, checkpoint=tmp_path, checkpoint_every=2, callback=stop
        )
    again = fusion()
    FusionTrainer(again, method, chosen).fit(pairs(), Y, 3, 3, checkpoint=tmp_path, resume=True)
    assert_equal_weights(weights(again.model), weights(whole.model))
    with pytest.raises(InputError, match="another"):
        FusionTrainer(fusion(), "plain" if method == "adversarial" else "adversarial", chosen).fit(
            pairs(), Y, 3, 3, checkpoint=tmp_path, resume=True
        )


def test_what_cannot_be_trained_is_refused_in_one_line() -> None:
    for attempt, message in [
        (
            lambda: FusionTrainer(fusion(), "tecoa"),
            "tecoa trains dual encoders; for fusion models there are plain, adv",
        ),
        (
            lambda: DualEncoderTrainer(classifier(), "plain"),
            "plain trains fusion models; for dual encoders there are mm",
        ),
        (lambda: FusionTrainer(classifier(), "plain"), "A FusionClassifier can be trained in this way, not ZeroShot"),
        (lambda: DualEncoderTrainer(fusion(), "clean"), "A ZeroShotClassifier or an ImageTextRetriever can be"),
        (
            lambda: FusionTrainer(FusionClassifier(separate(), device_type="cpu")),
            "Name the modalities that are attacked",
        ),
        (lambda: FusionTrainer(fusion(), ratio=0.0), "share of a batch that is attacked, greater than 0 and at most 1"),
        (lambda: FusionTrainer(fusion(), ratio=1.01), "not 1.01"),
        (lambda: FusionTrainer(fusion(), ratio=math.nan), "not nan"),
        (lambda: FusionTrainer(fusion(), "plain", ratio=0.5), "plain has no option ratio. Its options: none"),
        (lambda: FusionTrainer(fusion(), beta=0.5), "has no option beta. Its options: ratio"),
        (lambda: FusionTrainer(fusion()).fit(pairs()["image"], Y), "A FusionClassifier is trained on pairs"),
        (lambda: FusionTrainer(fusion()).fit(pairs(), None), "give labels in `y`"),
        (lambda: FusionTrainer(fusion()).fit(pairs(), Y + 1), "3"),
        (lambda: FusionTrainer(fusion()).fit(pairs()[:0], Y[:0]), "no samples to train on"),
        (lambda: FusionTrainer(fusion(), settings=settings(towers="image")).fit(pairs(), Y), "trained as a whole"),
        (lambda: FusionTrainer(frozen()).fit(pairs(), Y), "The model is frozen"),
        (
            lambda: FusionTrainer(fusion()).fit(image_text_pairs(pairs()["image"], ["x" * 90] * 7), Y),
            "more than the 62",
        ),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            attempt()
        assert "\n" not in str(caught.value)
    assert len(TINY_ANSWERS) == 3


def frozen() -> FusionClassifier:
    estimator = fusion()
    estimator.model.requires_grad_(False)
    return estimator
