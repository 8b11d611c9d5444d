"""Training on samples of which elements are hidden: what a step sees and minimises, and that runs go on."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from art.data_generators import NumpyDataGenerator
from art.defences.preprocessor import SpatialSmoothing
from tiny import TinyFusion
from torch.nn import functional as F

from art_multimodal import FusionClassifier, InputError, image_text_pairs
from art_multimodal.ablation import Blocks, Keep, Points, Words
from art_multimodal.defences.trainer import (
    METHODS,
    AblationTrainer,
    AdversarialFusionTrainer,
    DualEncoderTrainer,
    FusionTrainer,
    ImageAblationTrainer,
    Method,
)
from art_multimodal.functional.objectives import cosine_logits

from .fusions import COUNT, EPS, Y, data, own_scores, plain
from .fusions import classifier as samples_classifier
from .training import (
    OF_MASKS,
    PLAIN,
    assert_equal_weights,
    classifier,
    images,
    labels,
    pairs,
    retriever,
    settings,
    watch_attacks,
    watch_samples,
    weights,
)

KEEP = {"pix": 5, "lab": 2}
COUNTS = {"pix": 16, "lab": 4}
#: Two of four columns in every mask.
PARTITION = np.arange(4) % 2 == np.arange(2)[:, None]


def kept_of(view: np.ndarray, clean: np.ndarray, fill: float) -> np.ndarray:
    """Of each point of a field, whether it is as it was; the others must be filled in. Booleans ``(N, points)``."""
    view, clean = view.reshape(len(view), -1), clean.reshape(len(clean), -1)
    assert ((view == clean) | (view == np.float32(fill))).all()
    return view == clean


@pytest.mark.parametrize("views", [1, 2])
def test_a_step_sees_k_elements_of_each_sample_and_another_choice_in_every_view(views, monkeypatch) -> None:
    of, seen = samples_classifier(), watch_samples(monkeypatch)
    trainer = AblationTrainer(of, KEEP, plain(learning_rate=1e-9), consistency=views - 1.0)
    trainer.fit(data(), Y, batch_size=5, nb_epochs=4)
    found = {name: [] for name in KEEP}
    for batch, attacked in seen:
        assert attacked is None and len(batch.views) == views
        for view in batch.views:
            # A modality that is not named is seen whole.
            np.testing.assert_array_equal(view["gas"], batch.x["gas"])
            for name, k in KEEP.items():
                kept = kept_of(view[name], batch.x[name], of.modalities[name].fill)
                assert (kept.sum(axis=1) == k).all()
                found[name] += [row.tobytes() for row in kept]
    # Of 4,368 and of 6 choices.
    assert len(found["pix"]) == views * 4 * COUNT and len(set(found["pix"])) > 0.9 * len(found["pix"])
    assert len(set(found["lab"])) == 6


@pytest.mark.parametrize("consistency", [0.0, 3.0])
def test_a_step_is_the_gradient_of_its_formula(consistency: float, monkeypatch) -> None:
    of, seen = samples_classifier(), watch_samples(monkeypatch)
    before = copy.deepcopy(of.multimodal).train()
    trainer = AblationTrainer(of, KEEP, plain(learning_rate=0.1), consistency=consistency)
    trainer.fit(data(), Y, batch_size=COUNT, nb_epochs=1)
    [(batch, _)] = seen
    targets = torch.from_numpy(batch.labels)
    # The scores of the fusion "late" are the mean of those of its modalities.
    scores = [torch.stack(list(own_scores(before, view).values())).mean(dim=0) for view in batch.views]
    loss = torch.stack([F.cross_entropy(of, targets) for of in scores]).mean()
    if consistency:
        one, other = (of.softmax(dim=1) for of in scores)
        loss = loss + consistency * ((one - other).square().sum(dim=1) / 2).mean()
    assert trainer.losses == [pytest.approx(loss.item(), rel=1e-7)]
    gradients = torch.autograd.grad(loss, list(before.parameters()))
    for after, parameter, gradient in zip(of.multimodal.parameters(), before.parameters(), gradients, strict=True):
        # Of three modalities each weighs a third in float32.
        torch.testing.assert_close(after, parameter - 0.1 * gradient, rtol=1e-6, atol=1e-8)
        assert gradient.abs().sum() > 0


def test_given_masks_are_the_only_ones(monkeypatch) -> None:
    of, seen = samples_classifier(), watch_samples(monkeypatch)
    own = Keep(Points(of.modalities["gas"]).with_fill(0.375), PARTITION)
    AblationTrainer(of, {"lab": PARTITION, "gas": own}, plain()).fit(data(), Y, batch_size=4, nb_epochs=6)
    chosen = []
    for batch, _ in seen:
        lab, gas = (
            (kept_of(batch.views[0][name], batch.x[name], fill)[:, None] == PARTITION).all(axis=2)
            for name, fill in (("lab", 0.0), ("gas", 0.375))
        )
        assert (lab.sum(axis=1) == 1).all() and (gas.sum(axis=1) == 1).all()
        chosen += list(zip(lab.argmax(axis=1), gas.argmax(axis=1), strict=True))
    # Each modality by itself: all four pairs of masks.
    assert len(set(chosen)) == 4


def test_what_a_sample_lacks_stays_missing(monkeypatch) -> None:
    of, seen = samples_classifier(), watch_samples(monkeypatch)
    AblationTrainer(of, KEEP, plain(modality_dropout=0.5)).fit(data(), Y, batch_size=COUNT, nb_epochs=2)
    gone = 0
    for batch, _ in seen:
        for name, modality in of.modalities.items():
            missing = modality.missing(batch.x[name])
            assert missing.tolist() == modality.missing(batch.views[0][name]).tolist()
            gone += missing.sum()
    assert gone > 10


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_answers_under_masks_become_right(precision: str) -> None:
    """As a certificate asks: most views of a sample give its class, where before hardly any did."""
    of, x, y = samples_classifier(dtype=torch.float32), data(60), np.arange(60) % 3
    keep = {name: Keep(Points(of.modalities[name]), k) for name, k in {"pix": 8, "lab": 3, "gas": 3}.items()}

    def share() -> float:
        rng, right = np.random.default_rng(1), []
        for _ in range(20):
            view = x.copy()
            for name, one in keep.items():
                view[name] = one.ablated(x[name], rng)
            right.append((of.predict_labels(view) == y).mean())
        return float(np.mean(right))

    before = share()
    chosen = plain(optimizer="adam", betas=(0.9, 0.99), learning_rate=0.01, precision=precision)
    trainer = AblationTrainer(of, keep, chosen, consistency=0.5)
    trainer.fit(x, y, batch_size=20, nb_epochs=60)
    assert np.mean(trainer.losses[-3:]) < 0.8 * np.mean(trainer.losses[:3])
    assert before < 0.5 and share() > before + 0.25


def test_a_run_that_was_stopped_ends_like_one_that_was_not(tmp_path) -> None:
    chosen = plain(optimizer="adamw", betas=(0.9, 0.99), learning_rate=0.01, modality_dropout=0.2)

    def trainer(of: FusionClassifier, keep: object = KEEP, **options) -> FusionTrainer:
        return FusionTrainer(of, "ablation", chosen, keep=keep, **{"consistency": 1.0, **options})

    whole, stopped, again = (samples_classifier() for _ in range(3))
    trainer(whole).fit(data(), Y, batch_size=5, nb_epochs=4)

    def stop(record) -> None:
        if record.place.step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(stopped).fit(data(), Y, 5, 4, checkpoint=tmp_path, checkpoint_every=2, callback=stop)
    trainer(again).fit(data(), Y, 5, 4, checkpoint=tmp_path, resume=True)
    assert_equal_weights(weights(again.multimodal), weights(whole.multimodal))
    for keep, message in [
        ({"pix": 5, "lab": 1}, "another run: keep.lab.keep was 2, now 1"),
        ({"pix": 5}, "keep.lab.elements was 'points', now None"),
        ({**KEEP, "pix": Keep(Blocks(whole.modalities["pix"], 2), 5)}, "keep.pix.elements was 'blocks:1', now"),
        ({**KEEP, "lab": PARTITION}, "keep.lab.digest was None, now"),
    ]:
        with pytest.raises(InputError, match=message):
            trainer(samples_classifier(), keep).fit(data(), Y, 5, 4, checkpoint=tmp_path, resume=True)


def test_a_generator_is_trained_on_as_arrays_are() -> None:
    one, other = (samples_classifier() for _ in range(2))
    # As fit shuffles its only epoch.
    order: list[int] = []
    AblationTrainer(one, KEEP, plain()).fit(data(), Y, 6, 1, callback=lambda step: order.extend(step.place.rows))
    given = NumpyDataGenerator(data()[order], np.eye(3)[Y[order]], batch_size=6, shuffle=False)
    AblationTrainer(other, KEEP, plain()).fit_generator(given, nb_epochs=1)
    assert_equal_weights(weights(one.multimodal), weights(other.multimodal))


TEXTS = ("is it red", "a blue square on the left", "no", "red", "is there anything at all here", "on the right")


def test_pairs_lose_blocks_and_words_in_front_of_the_defences(monkeypatch) -> None:
    """The attacker's own pixels are hidden: what a defence makes of them comes behind it."""
    smoothing = SpatialSmoothing(window_size=3, channels_first=True, clip_values=(0, 1))
    of = FusionClassifier(TinyFusion(seed=3).eval(), device_type="cpu", preprocessing_defences=smoothing)
    seen, x = watch_samples(monkeypatch), image_text_pairs(images(), TEXTS)
    keep = {"image": 3, "text": Keep(Words(of.modalities["text"], ("red", "left"), "?"), 2)}
    trainer = AblationTrainer(of, keep, settings(**PLAIN))
    before = copy.deepcopy(of.model)
    trainer.fit(x, labels(), batch_size=6, nb_epochs=1)
    [(batch, _)] = seen
    [view] = batch.views
    fill = np.asarray(of.modalities["image"].fill)
    # Images of 8 x 8 pixels have blocks of 2 x 2, a quarter of their side.
    for shown, clean in zip(view["image"], batch.x["image"], strict=True):
        blocks = [
            (shown[:, y : y + 2, x : x + 2] == clean[:, y : y + 2, x : x + 2]).all()
            for y in range(0, 8, 2)
            for x in range(0, 8, 2)
        ]
        assert sum(blocks) == 3
        hidden = (shown != clean).any(axis=0)
        assert (np.where(hidden, shown, fill) == fill).all() and hidden.sum() == 13 * 4
    for shown, clean in zip(view["text"], batch.x["text"], strict=True):
        words, before_ = shown.split(), clean.split()
        assert len(words) == len(before_)
        assert all(one in (other, "?") for one, other in zip(words, before_, strict=True))
        free = [place for place, word in enumerate(before_) if word not in ("red", "left")]
        assert sum(words[place] != "?" for place in free) == min(2, len(free))
        assert all(words[place] != "?" for place, word in enumerate(before_) if word in ("red", "left"))
    defended = torch.from_numpy(smoothing(view["image"])[0])
    scores = before(defended, before.tokenize(view["text"].tolist()))
    assert trainer.losses == [pytest.approx(F.cross_entropy(scores, torch.from_numpy(batch.labels)).item(), rel=1e-5)]


@pytest.mark.parametrize("consistency", [0.0, 2.0])
@pytest.mark.parametrize("of", ["labels", "captions"])
def test_images_of_a_dual_encoder_lose_blocks(of: str, consistency: float, monkeypatch) -> None:
    estimator = classifier() if of == "labels" else retriever()
    before, seen = copy.deepcopy(estimator.dual_encoder), watch_attacks(monkeypatch)
    trainer = ImageAblationTrainer(estimator, {"image": 4}, settings(**PLAIN), consistency)
    x, y = (images(), labels()) if of == "labels" else (pairs(), None)
    trainer.fit(x, y, batch_size=6, nb_epochs=1)
    [(batch, adversarial, _)] = seen
    assert adversarial is None and len(batch.views) == (2 if consistency else 1)
    fill = torch.from_numpy(np.asarray(estimator.modalities["image"].fill))
    for view in batch.views:
        hidden = (view != batch.images).any(dim=1)
        assert (hidden.sum(dim=(1, 2)) == (16 - 4) * 4).all()
        assert torch.equal(torch.where(hidden[:, None], view, fill), fill.expand_as(view))
    units = [
        F.normalize(before.encode_text(before.tokenize(list(texts))).mean(dim=0), dim=0) for texts in batch.classes
    ]
    logits = [
        cosine_logits(before.encode_image(view), torch.stack(units), before.logit_scale.exp().detach())
        for view in batch.views
    ]
    loss = torch.stack([F.cross_entropy(one, batch.targets) for one in logits]).mean()
    if consistency:
        one, other = (each.softmax(dim=1) for each in logits)
        loss = loss + consistency * ((one - other).square().sum(dim=1) / 2).mean()
    assert trainer.losses == [pytest.approx(loss.item(), rel=1e-5)]
    trained = {name: p for name, p in before.named_parameters() if name != "logit_scale"}
    gradients = torch.autograd.grad(loss, list(trained.values()))
    for (name, parameter), gradient in zip(trained.items(), gradients, strict=True):
        torch.testing.assert_close(
            weights(estimator.dual_encoder)[name], (parameter - gradient).detach(), rtol=1e-4, atol=1e-5
        )


def test_a_dual_encoder_goes_on_where_it_was_stopped(tmp_path) -> None:
    whole, stopped, again = (classifier() for _ in range(3))

    def fit(of, **more) -> None:
        trainer = ImageAblationTrainer(of, {"image": 4}, settings(learning_rate=0.01), consistency=0.5)
        trainer.fit(images(), labels(), batch_size=4, nb_epochs=3, **more)

    def stop(record) -> None:
        if record.place.step == 3:
            raise KeyboardInterrupt

    fit(whole)
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, checkpoint=tmp_path, checkpoint_every=1, callback=stop)
    fit(again, checkpoint=tmp_path, resume=True)
    assert_equal_weights(weights(again.dual_encoder), weights(whole.dual_encoder))


def under_masks_and_whole(scores, ablated_scores, targets):
    return F.cross_entropy(scores, targets) + F.cross_entropy(ablated_scores[0], targets)


def test_an_objective_of_ones_own_may_ask_for_both() -> None:
    method = Method(under_masks_and_whole, "whole and hidden")
    assert method.ablates and method.of_fusion
    trainer = FusionTrainer(samples_classifier(), method, plain(), keep=KEEP)
    trainer.fit(data(), Y, batch_size=COUNT, nb_epochs=2)
    assert len(trainer.losses) == 2
    assert all(METHODS[name].ablates for name in OF_MASKS) and not METHODS["plain"].ablates


def test_what_cannot_be_hidden_is_refused_before_anything_is_trained() -> None:
    of = samples_classifier()
    wide = Keep(Points(of.modalities["lab"]), np.ones((2, 5), dtype=bool))
    for attempt, message in [
        (
            lambda: FusionTrainer(of, "ablation"),
            "ablation trains on samples of which elements are hidden. Say how many",
        ),
        (lambda: FusionTrainer(of, "plain", keep=KEEP), "plain trains on whole samples and hides nothing"),
        (lambda: FusionTrainer(of, "ablation", None, EPS, keep=KEEP), "leave out attack"),
        (lambda: AdversarialFusionTrainer(of, EPS, "ablation", keep=KEEP), "leave out attack"),
        (lambda: AblationTrainer(of, {"gaz": 1}), "Unknown modality 'gaz'. Did you mean gas"),
        (lambda: AblationTrainer(of, {"lab": -1}), "must be at least 0, not -1"),
        (lambda: AblationTrainer(of, KEEP, consistency=-1.0), "consistency is the weight .* at least 0, not -1"),
        (lambda: AblationTrainer(of, KEEP, consistency=float("nan")), "at least 0, not nan"),
        (lambda: AblationTrainer(of, {"lab": wide}).fit(data(), Y, 4, 1), "lab: the masks are of 5 elements, but samp"),
        (lambda: AblationTrainer(classifier(), {"image": 4}), "A FusionClassifier can be trained in this way"),
        (lambda: DualEncoderTrainer(classifier(), "image-ablation"), "keep={'image': 4, ...}; there are image"),
        (lambda: DualEncoderTrainer(classifier(), "clean", keep={"image": 4}), "clean trains on whole samples"),
        (lambda: ImageAblationTrainer(classifier(), {"text": 2}), "Unknown modality 'text'"),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            attempt()
        assert "\n" not in str(caught.value)
