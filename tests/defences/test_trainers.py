"""The trainers as ART trainers: what they take and refuse, that each lowers its loss, and that robustness rises."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
from art.data_generators import NumpyDataGenerator
from art.defences.preprocessor import SpatialSmoothing
from art.defences.trainer import Trainer
from tiny import TinyEncoder

from art_multimodal import ZeroShotClassifier, load_model
from art_multimodal.attacks.evasion import BertAttack, CharacterAttack, ProjectedGradientDescentDualEncoder
from art_multimodal.defences import trainer as trainers
from art_multimodal.defences.trainer import METHODS, DualEncoderTrainer, Method, TrainingSettings
from art_multimodal.demo.captions import DIGIT_NAMES
from art_multimodal.demo.digits_data import ink_on_paper, load_strokes
from art_multimodal.errors import InputError
from art_multimodal.estimators.retriever import ImageTextRetriever
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
TEMPLATES = ("a photo of the handwritten digit {}.", "a scan of the number {}.", "an image of a {}.")


@pytest.fixture(scope="module")
def digits_to_train_on() -> tuple[np.ndarray, np.ndarray]:
    strokes, of_strokes = load_strokes("train")
    return ink_on_paper(strokes, np.zeros(3), np.ones(3)), of_strokes


def digits_classifier() -> ZeroShotClassifier:
    return ZeroShotClassifier(load_model("demo:digits"), DIGIT_NAMES, TEMPLATES, device_type="cpu")


@pytest.mark.parametrize("name", list(CLASSES))
def test_every_method_has_a_trainer_of_its_own(name):
    estimator = classifier()
    one = CLASSES[name](estimator)
    assert isinstance(one, Trainer) and one.method is METHODS[name]
    assert one.get_classifier() is estimator
    assert one.settings == TrainingSettings()
    assert set(CLASSES) | {"clean"} == set(OF_DUAL_ENCODERS)


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


@pytest.mark.parametrize("name", ["tecoa", "mmcoa"])
def test_robust_accuracy_rises(name, digits_to_train_on, digits_images):
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
    one = CLASSES[name](estimator, TrainingSettings(learning_rate=3e-4, eps=8 / 255, eps_step=4 / 255, max_iter=3))
    one.fit(x, y, batch_size=64, nb_epochs=3)
    clean_after, robust_after = accuracies()
    assert robust_after > robust + 0.15
    assert clean_after > clean - 0.05


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


def test_methods_are_checked_when_they_are_registered():
    with pytest.raises(ValueError, match="asks for images; there are"):
        Method(lambda images: images.sum(), "")
    with pytest.raises(ValueError, match="image_attack must be one of cross_entropy, distance"):
        Method(lambda adversarial_images: adversarial_images.sum(), "")
    with pytest.raises(ValueError, match="leave out text_attack"):
        Method(lambda clean_images: clean_images.sum(), "", text_attack="words")


def test_captions_teach_a_model_to_retrieve():
    """Pairs with captions of their own: the loss falls, and captions are found."""
    estimator = ImageTextRetriever(TinyEncoder(seed=3).eval(), device_type="cpu")
    one = DualEncoderTrainer(estimator, "mmcoa", settings(learning_rate=0.03, eps=0.01, eps_step=0.01, max_iter=2))
    before = estimator.recall(pairs(), ks=(1,)).text_to_image[1]
    one.fit(pairs(), None, batch_size=6, nb_epochs=40)
    assert one.losses[-1] < 0.5 * one.losses[0]
    assert estimator.recall(pairs(), ks=(1,)).text_to_image[1] > before


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
