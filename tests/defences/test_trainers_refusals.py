"""What the trainers refuse, what they leave out, and what is left where a loss overflows."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from art.data_generators import NumpyDataGenerator
from tiny import TinyEncoder

from art_multimodal.attacks.evasion import BertAttack
from art_multimodal.defences.trainer import DualEncoderTrainer, Method, TrainingSettings
from art_multimodal.errors import InputError
from art_multimodal.pairs import image_text_pairs

from .training import (
    OF_DUAL_ENCODERS,
    PLAIN,
    assert_equal_weights,
    classifier,
    images,
    labels,
    pairs,
    retriever,
    settings,
    weights,
)


@pytest.mark.parametrize(
    ("method", "x", "y", "batch_size", "message"),
    [
        ("mmcoa", images(), np.ones(6, dtype=int), 3, "belong to one class"),
        ("mmcoa", images(1), labels(1), 3, "belong to one class, or there is only one"),
        ("mmcoa", images(), labels(), 1, "batch_size must be at least 2"),
        ("tecoa", images()[:0], labels()[:0], 3, "no samples"),
        ("fare", images()[:0], None, 3, "no samples"),
        ("tecoa", images(), None, 3, "give labels"),
        ("tecoa", images(), np.array([0, 1, 2, 3, 0, 1]), 3, "Label 3 is out of range"),
        ("tecoa", images() * 255, labels(), 3, "Divide them by 255"),
        ("tecoa", np.full((6, 3, 8, 8), np.nan, dtype=np.float32), labels(), 3, "NaN"),
        ("tecoa", images(), labels()[:4], 3, "Labels must have shape"),
        ("tecoa", images(), labels(), 0, "batch_size must be a whole number of at least 1"),
        ("tecoa", pairs(), labels(), 3, "For pairs use ImageTextRetriever"),
    ],
)
def test_what_cannot_be_trained_on_changes_nothing(method, x, y, batch_size, message):
    estimator = classifier()
    start = weights(estimator.dual_encoder)
    with pytest.raises(InputError, match=message):
        DualEncoderTrainer(estimator, method, settings()).fit(x, y, batch_size=batch_size, nb_epochs=1)
    assert_equal_weights(weights(estimator.dual_encoder), start)


def test_captions_longer_than_the_context_are_refused_before_the_first_step():
    x = pairs()
    x["text"][5] = "a very long caption " * 10
    estimator, records = retriever(), []
    with pytest.raises(InputError, match="needs more than the 64 tokens"):
        DualEncoderTrainer(estimator, "mmcoa", settings()).fit(x, None, 2, 1, callback=records.append)
    assert not records


@pytest.mark.parametrize("wrong", [[np.nan] * 6, [0, 1, 2, 0, 1, np.inf], ["a"] * 6, [0.5] * 6])
def test_labels_that_are_no_numbers_of_classes_are_refused(wrong):
    for estimator, x in ((classifier(), images()), (retriever(), pairs())):
        with pytest.raises(InputError, match="Labels must be whole class indices or one-hot rows"):
            DualEncoderTrainer(estimator, "mmcoa", settings()).fit(x, np.array(wrong), batch_size=6, nb_epochs=1)


def test_pairs_of_one_image_or_text_are_refused():
    for x in (
        image_text_pairs(images(), ["the number two"] * 6),
        image_text_pairs(images(1).repeat(6, axis=0), pairs()["text"]),
    ):
        for method in ("mmcoa", "tecoa"):
            with pytest.raises(InputError, match="two images with texts"):
                DualEncoderTrainer(retriever(), method, settings()).fit(x, None, batch_size=3, nb_epochs=1)
    for y in (None, np.zeros(0, dtype=int)):
        with pytest.raises(InputError, match="no samples"):
            DualEncoderTrainer(retriever(), "mmcoa", settings()).fit(pairs()[:0], y, batch_size=3, nb_epochs=1)
    with pytest.raises(InputError, match="image_text_pairs"):
        DualEncoderTrainer(retriever(), "mmcoa", settings()).fit(images(), labels(), batch_size=3, nb_epochs=1)


def test_batches_of_one_class_are_left_out():
    generator = NumpyDataGenerator(images(12), np.repeat([0, 1, 2, 1], 3), batch_size=3, shuffle=False)
    with pytest.raises(InputError, match="No batch of epoch 1 holds two classes"):
        DualEncoderTrainer(classifier(), "mmcoa", settings()).fit_generator(generator, nb_epochs=1)
    one = DualEncoderTrainer(classifier(), "mmcoa", settings())
    generator = NumpyDataGenerator(images(12), np.repeat([0, 1, 2], 4), batch_size=3, shuffle=False)
    with pytest.warns(UserWarning, match="2 of 4 batches were left out"):
        one.fit_generator(generator, nb_epochs=1)
    assert len(one.losses) == 2
    # Where classes are told apart by their prompts, one class is as good as several.
    one = DualEncoderTrainer(classifier(), "tecoa", settings())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one.fit(images(), np.ones(6, dtype=int), batch_size=1, nb_epochs=1)
    assert len(one.losses) == 6


def test_frozen_towers():
    estimator = classifier()
    estimator.dual_encoder.visual.requires_grad_(False)
    with pytest.raises(InputError, match="The image tower is frozen"):
        DualEncoderTrainer(estimator, "tecoa", settings(towers="image")).fit(images(), labels(), 3, 1)
    with pytest.raises(InputError, match="Nothing that is trained takes part"):
        DualEncoderTrainer(estimator, "fare", settings()).fit(images(), labels(), 3, 1)
    with pytest.raises(InputError, match="towers='image' it has no gradient"):
        DualEncoderTrainer(classifier(), "leaf", settings(towers="image")).fit(images(), labels(), 3, 1)
    estimator.dual_encoder.requires_grad_(False)
    with pytest.raises(InputError, match="Both towers are frozen"):
        DualEncoderTrainer(estimator, "mmcoa", settings()).fit(images(), labels(), 3, 1)


@pytest.mark.parametrize("method", OF_DUAL_ENCODERS)
@pytest.mark.parametrize("rate", [1e12, 1e38])
def test_a_loss_that_overflows_stops_and_restores(method, rate, tmp_path):
    estimator = classifier()
    one = DualEncoderTrainer(estimator, method, settings(**{**PLAIN, "learning_rate": rate}))
    start = weights(estimator.dual_encoder)
    try:
        one.fit(images(8), labels(8), batch_size=4, nb_epochs=3, checkpoint=tmp_path)
    except InputError as error:
        assert "training has diverged" in str(error) and "of epoch 1" in str(error)
        assert_equal_weights(weights(estimator.dual_encoder), start)
        assert not list(tmp_path.iterdir())
    else:
        assert rate < 1e38 and np.isfinite(one.losses).all()


def test_the_batch_that_breaks_training_is_named(monkeypatch, tmp_path):
    estimator = classifier()
    one = DualEncoderTrainer(estimator, "tecoa", settings())
    kept = []

    def broken(record):
        if record.place.step == 2:
            kept.append(weights(estimator.dual_encoder))
        if record.place.step == 4:
            with torch.no_grad():
                estimator.dual_encoder.visual[1].bias[0] = float("nan")

    with pytest.raises(InputError, match=r"The loss of batch 3 of epoch 2 \(rows \d+, \d+, \d+\) is nan"):
        one.fit(images(9), labels(9), batch_size=3, nb_epochs=3, callback=broken, checkpoint=tmp_path)
    assert len(one.losses) == 5
    # As it was at the end of the first epoch, where the checkpoint is.
    assert_equal_weights(weights(estimator.dual_encoder), kept[0])
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["checkpoint.json", "step-000000003.safetensors"]


def test_settings_and_options_are_checked():
    for wrong in (
        {"towers": "text tower"},
        {"positives": "all"},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"eps": -0.1},
        {"norm": 1},
        {"max_iter": 2.5},
        {"betas": (0.9, 1.0)},
        {"max_grad_norm": 0.0},
        {"max_grad_norm": float("inf")},
        {"precision": "fp8"},
        {"seed": -1},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            TrainingSettings(**wrong)
    with pytest.raises(InputError, match=r"Unknown training method 'mmcao'. Did you mean mmcoa"):
        DualEncoderTrainer(classifier(), "mmcao")
    with pytest.raises(InputError, match=r"has no option lambda. Its options: lambda_img, lambda_txt"):
        DualEncoderTrainer(classifier(), "mmcoa", **{"lambda": 1.0})
    with pytest.raises(InputError, match="attacks no texts"):
        DualEncoderTrainer(classifier(), "tecoa", text_attack=BertAttack(classifier(), verbose=False))
    with pytest.raises(InputError, match="attacks another model"):
        DualEncoderTrainer(classifier(), "mmcoa", text_attack=BertAttack(classifier(), verbose=False))
    estimator = classifier()
    with pytest.raises(InputError, match="loss='embedding_kl', not 'margin'"):
        DualEncoderTrainer(estimator, "mmcoa", text_attack=BertAttack(estimator, loss="margin", verbose=False))
    with pytest.raises(InputError, match="can be trained in this way, not TinyEncoder"):
        DualEncoderTrainer(TinyEncoder(), "mmcoa")
    with pytest.raises(InputError, match="Unknown argument epochs"):
        DualEncoderTrainer(classifier(), "mmcoa").fit(images(), labels(), epochs=3)


def test_methods_are_checked_when_they_are_registered():
    with pytest.raises(ValueError, match="asks for images; there are"):
        Method(lambda images: images.sum(), "")
    with pytest.raises(ValueError, match="image_attack must be one of cross_entropy, distance"):
        Method(lambda adversarial_images: adversarial_images.sum(), "")
    with pytest.raises(ValueError, match="leave out text_attack"):
        Method(lambda clean_images: clean_images.sum(), "", text_attack="words")
