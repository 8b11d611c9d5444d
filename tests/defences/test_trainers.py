"""The trainers as ART trainers: what they take, and what they do with it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from art.data_generators import NumpyDataGenerator
from art.defences.preprocessor import SpatialSmoothing
from art.defences.trainer import Trainer

from art_multimodal import ZeroShotClassifier
from art_multimodal.attacks.evasion import CharacterAttack
from art_multimodal.defences import trainer as trainers
from art_multimodal.defences.trainer import METHODS, DualEncoderTrainer, TrainingSettings
from art_multimodal.errors import InputError

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
    watch_attacks,
    weights,
)

CLASSES = {
    "mmcoa": trainers.AdversarialTrainerMMCoA,
    "text-contrastive": trainers.AdversarialTrainerTextContrastive,
    "tecoa": trainers.AdversarialTrainerTeCoA,
    "fare": trainers.AdversarialTrainerFARE,
    "pmg-aft": trainers.AdversarialTrainerPMGAFT,
    "leaf": trainers.AdversarialTrainerLEAF,
    "joint-anchored": trainers.AdversarialTrainerJointAnchored,
}


@pytest.mark.parametrize("name", list(CLASSES))
def test_every_method_has_a_trainer_of_its_own(name):
    estimator = classifier()
    one = CLASSES[name](estimator)
    assert isinstance(one, Trainer) and one.method is METHODS[name]
    assert one.get_classifier() is estimator
    assert one.settings == TrainingSettings()
    assert set(CLASSES) | {"clean"} == set(OF_DUAL_ENCODERS)


def test_a_generator_is_trained_on_as_arrays_are():
    one, other = (classifier(templates="a photo of the digit {}.") for _ in range(2))
    before = weights(one.dual_encoder)
    # Without an attack nothing depends on the order of a batch.
    DualEncoderTrainer(one, "clean", settings(**PLAIN)).fit(images(), labels(), batch_size=6, nb_epochs=3)
    generator = NumpyDataGenerator(images(), np.eye(3)[labels()], batch_size=6, shuffle=False)
    trainer = DualEncoderTrainer(other, "clean", settings(**PLAIN))
    trainer.fit_generator(generator, nb_epochs=3)
    assert len(trainer.losses) == 3
    for name, tensor in weights(one.dual_encoder).items():
        torch.testing.assert_close(tensor, weights(other.dual_encoder)[name], atol=1e-4, rtol=1e-4)
    assert (before["visual.1.weight"] - one.dual_encoder.visual[1].weight).abs().max() > 0.01


def test_pairs_from_a_generator():
    one = DualEncoderTrainer(retriever(), "mmcoa", settings())
    one.fit_generator(NumpyDataGenerator(pairs(), np.zeros(6), batch_size=3, shuffle=True), nb_epochs=2)
    assert len(one.losses) == 4


@pytest.mark.parametrize("given", ["indices", "column", "one-hot"])
def test_labels_in_every_form(given):
    y = {"indices": labels(), "column": labels()[:, None], "one-hot": np.eye(3, dtype=np.float32)[labels()]}[given]
    estimator, reference = classifier(), classifier()
    DualEncoderTrainer(estimator, "tecoa", settings()).fit(images(), y, batch_size=4, nb_epochs=1)
    DualEncoderTrainer(reference, "tecoa", settings()).fit(images(), labels(), batch_size=4, nb_epochs=1)
    assert_equal_weights(weights(estimator.dual_encoder), weights(reference.dual_encoder))


def test_defences_in_front_of_the_model_are_trained_through():
    estimator = classifier(preprocessing_defences=SpatialSmoothing(window_size=3, channels_first=True))
    plain = classifier()
    for one in (estimator, plain):
        DualEncoderTrainer(one, "clean", settings(**PLAIN)).fit(images(), labels(), batch_size=6, nb_epochs=1)
    smooth = SpatialSmoothing(window_size=3, channels_first=True)(images())[0]
    by_hand = classifier()
    DualEncoderTrainer(by_hand, "clean", settings(**PLAIN)).fit(smooth, labels(), batch_size=6, nb_epochs=1)
    for name, tensor in weights(estimator.dual_encoder).items():
        torch.testing.assert_close(tensor, weights(by_hand.dual_encoder)[name])
    assert not torch.allclose(weights(plain.dual_encoder)["visual.1.weight"], estimator.dual_encoder.visual[1].weight)


def test_the_original_is_the_model_that_the_trainer_was_made_with():
    estimator = classifier()
    one = DualEncoderTrainer(estimator, "fare", settings())
    start = weights(estimator.dual_encoder)
    one.fit(images(), None, batch_size=6, nb_epochs=2)
    assert_equal_weights(weights(one._original), start)
    assert not torch.equal(start["visual.1.weight"], estimator.dual_encoder.visual[1].weight)


def test_callbacks_and_the_cosine():
    records = []
    one = DualEncoderTrainer(classifier(), "tecoa", settings(warmup_steps=2))
    one.fit(images(9), labels(9), batch_size=3, nb_epochs=2, callback=records.append)
    assert [record.place.step for record in records] == list(range(6))
    assert [(record.place.epoch, record.place.index) for record in records[2:4]] == [(0, 2), (1, 0)]
    assert [record.loss for record in records] == one.losses
    rates = [record.learning_rate / 1e-3 for record in records]
    expected = [0.5 * (1 + np.cos(np.pi * step / 6)) * min(1, (step + 1) / 2) for step in range(6)]
    assert rates == pytest.approx(expected)


def test_every_sample_is_seen_once_in_an_epoch():
    records = []
    DualEncoderTrainer(classifier(), "tecoa", settings()).fit(images(10), labels(10), 4, 2, callback=records.append)
    first, second = ([row for record in part for row in record.place.rows] for part in (records[:3], records[3:]))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_settings_come_back_from_json():
    before = settings(norm=np.inf, betas=(0.8, 0.9), seed=np.int64(3))
    after = TrainingSettings(**json.loads(json.dumps(before.as_json())))
    assert after == settings(norm="inf", betas=(0.8, 0.9), seed=3)
    assert after.image_budget == before.image_budget


def test_another_text_attack_can_be_given():
    estimator = classifier()
    attack = CharacterAttack(estimator, max_edits=2, verbose=False)
    one = DualEncoderTrainer(estimator, "mmcoa", settings(), text_attack=attack)
    one.fit(images(), labels(), batch_size=6, nb_epochs=1)
    assert one.text_attack is attack and attack.records
    assert one.configuration()["text_attack"]["max_edits"] == 2


def test_reference_texts_are_drawn_from_those_given_and_checked(monkeypatch):
    given = [f"a drawing of a {word}" for word in ("tree", "house", "river", "boat")]
    estimator = classifier()
    seen = watch_attacks(monkeypatch)
    trainer = trainers.AdversarialTrainerJointAnchored(estimator, settings(), reference_texts=given)
    trainer.fit(images(), labels(), batch_size=6, nb_epochs=3)
    drawn = [batch.references for batch, *_ in seen]
    assert all(len(texts) == 6 and set(texts) <= set(given) for texts in drawn)
    assert len(set(drawn)) == 3
    assert trainer.configuration()["reference_texts"]["count"] == 4
    # Without any: English words in the classifier's templates.
    default = trainers.AdversarialTrainerJointAnchored(classifier()).reference_texts
    assert len(default) > 10_000 and {"a photo of the handwritten digit house.", "a scan of the number house."} & set(
        default
    )
    on_pairs = trainers.AdversarialTrainerJointAnchored(retriever()).reference_texts
    assert all("{" not in text for text in on_pairs)
    for wrong in ([], [1], ["x" * 400]):
        with pytest.raises(InputError):
            trainers.AdversarialTrainerJointAnchored(classifier(), reference_texts=wrong)
    with pytest.raises(InputError, match="leave out reference_texts"):
        DualEncoderTrainer(classifier(), "mmcoa", reference_texts=given)


def test_numbers_of_numpy_are_numbers(tmp_path):
    given = settings(
        max_iter=np.int64(1), eps=np.float32(4 / 255), learning_rate=np.float32(1e-3), betas=np.array([0.9, 0.98])
    )
    trainer = trainers.DualEncoderTrainer(classifier(), "tecoa", given)
    x, y = images()[:8], labels()[:8]
    trainer.fit(x, y, batch_size=np.int64(4), nb_epochs=np.int32(1), checkpoint=tmp_path)
    assert (tmp_path / "checkpoint.json").is_file()


def test_english_words_that_do_not_fit_are_no_reference_texts():
    estimator = ZeroShotClassifier(classifier().dual_encoder, ["a", "b"], "x" * 50 + "{}", device_type="cpu")
    texts = trainers.DualEncoderTrainer(estimator, "joint-anchored", settings()).reference_texts
    # 50 characters, the word, and the ends: room for a dozen letters.
    assert max(map(len, texts)) < 64 and len(texts) > 1000
    estimator.dual_encoder.tokenize(list(texts))
