"""The robust digits model: as accurate as the one it came from, and much harder to mislead."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from art_multimodal import ImageTextRetriever, ZeroShotClassifier, load_model
from art_multimodal.attacks.evasion import (
    BertAttack,
    CharacterAttack,
    CoAttack,
    ProjectedGradientDescentDualEncoder,
)
from art_multimodal.attacks.evasion.text.character_attack import LETTERS, edits_of
from art_multimodal.datasets import open_data
from art_multimodal.defences.trainer import Mixture
from art_multimodal.demo.captions import DIGIT_NAMES, HELD_OUT_TEMPLATES, INKS
from art_multimodal.demo.digits import ROBUST_WEIGHTS, DigitsEncoder
from art_multimodal.demo.digits_data import load_strokes
from art_multimodal.models.loading import MODEL_SOURCES
from tools.demo_models import train_robust_digits
from tools.demo_models.train_robust_digits import ALPHABET, PROTECTED, DigitBatches

TEMPLATE = "a photo of the handwritten digit {}."
PROTECTED_WORDS = open_data("demo:digits").protected_words


@pytest.fixture(scope="module")
def before() -> ZeroShotClassifier:
    return ZeroShotClassifier(load_model("demo:digits"), DIGIT_NAMES, TEMPLATE, device_type="cpu")


@pytest.fixture(scope="module")
def robust() -> ZeroShotClassifier:
    return ZeroShotClassifier(load_model("demo:digits/robust"), DIGIT_NAMES, TEMPLATE, device_type="cpu")


@pytest.fixture(scope="module")
def some(digits_images) -> tuple[np.ndarray, np.ndarray]:
    images, labels = digits_images
    rows = np.random.default_rng(5).permutation(len(images))[:60]
    return images[rows], labels[rows]


def accuracy(classifier: ZeroShotClassifier, images: np.ndarray, labels: np.ndarray, prompts=None) -> float:
    answers = classifier.predict(images) if prompts is None else classifier.predict_on(images, prompts)
    return float((answers.argmax(axis=1) == labels).mean())


def test_it_is_listed_small_and_another_model_of_the_same_kind() -> None:
    assert "demo:digits/robust" in MODEL_SOURCES["demo"].form
    assert ROBUST_WEIGHTS.stat().st_size <= 4 * 2**20
    weights, others = load_model("demo:digits/robust").state_dict(), load_model("demo:digits").state_dict()
    assert weights.keys() == others.keys() == DigitsEncoder().state_dict().keys()
    assert any(not torch.equal(weights[name], others[name]) for name in weights)


def test_it_is_accurate_on_held_out_digits_and_prompts(robust, digits_images) -> None:
    assert accuracy(robust, *digits_images) >= 0.95
    images, labels = digits_images
    features = robust.image_features(images)
    accuracies = []
    for template in HELD_OUT_TEMPLATES:
        variant = ZeroShotClassifier(robust.dual_encoder, DIGIT_NAMES, template, device_type="cpu")
        accuracies.append((variant.scores(features, variant.class_features()).argmax(axis=1) == labels).mean())
    assert np.mean(accuracies) >= 0.9
    numerals = ZeroShotClassifier(robust.dual_encoder, [*"0123456789"], TEMPLATE, device_type="cpu")
    assert accuracy(numerals, images, labels) >= 0.95


@pytest.mark.parametrize(("eps", "floor", "ceiling_before"), [(4 / 255, 0.9, 0.9), (8 / 255, 0.8, 0.4)])
def test_it_withstands_attacks_on_images(before, robust, some, eps, floor, ceiling_before) -> None:
    def under_attack(classifier: ZeroShotClassifier) -> float:
        attack = ProjectedGradientDescentDualEncoder(
            classifier, eps=eps, eps_step=eps / 4, max_iter=20, seed=0, verbose=False
        )
        return accuracy(classifier, attack.generate(*some), some[1])

    assert under_attack(before) <= ceiling_before
    assert under_attack(robust) >= floor


@pytest.mark.parametrize("top_k", [10, 50])
def test_it_withstands_other_words(before, robust, some, top_k) -> None:
    def under_attack(classifier: ZeroShotClassifier) -> float:
        attack = BertAttack(
            classifier,
            top_k=top_k,
            loss="margin",
            per_image=True,
            candidate_words=None,
            protected_words=PROTECTED_WORDS,
            verbose=False,
        )
        return accuracy(classifier, *some, attack.generate(*some))

    assert under_attack(before) <= 0.5
    assert under_attack(robust) >= 0.8


def test_it_withstands_typing_errors(before, robust, some) -> None:
    images, labels = some[0][:30], some[1][:30]

    def under_attack(classifier: ZeroShotClassifier, **settings) -> float:
        attack = CharacterAttack(
            classifier, candidate_words=1, protected_words=PROTECTED_WORDS, verbose=False, **settings
        )
        return accuracy(classifier, images, labels, attack.generate(*((images, labels) if settings else ())))

    assert under_attack(before) <= 0.3
    assert under_attack(robust) >= 0.75
    assert under_attack(robust, loss="margin", per_image=True) >= 0.55


def test_it_withstands_both_at_once(before, robust, some) -> None:
    def under_attack(classifier: ZeroShotClassifier) -> float:
        words = BertAttack(
            classifier,
            loss="margin",
            per_image=True,
            candidate_words=None,
            protected_words=PROTECTED_WORDS,
            verbose=False,
        )
        budget = {"eps": 4 / 255, "eps_step": 1 / 255, "max_iter": 10}
        attack = CoAttack(classifier, words, loss="margin", rounds=2, seed=0, verbose=False, **budget)
        return accuracy(classifier, attack.generate(*some), some[1], attack.prompts)

    assert under_attack(before) <= 0.5
    assert under_attack(robust) >= 0.8


def test_it_is_trained_on_the_training_digits_alone() -> None:
    batches = DigitBatches(3, 16, seed=0)
    strokes, labels = load_strokes("train")
    assert batches.size == 48
    assert np.array_equal(batches.strokes, strokes) and np.array_equal(batches.labels, labels)


def test_in_a_batch_a_digit_has_one_caption_that_is_true_of_it() -> None:
    batches = DigitBatches(1, 64, seed=1)
    seen = set()
    for _ in range(20):
        pairs, labels = batches.get_batch()
        assert pairs["image"].dtype == np.float32 and pairs["image"].min() >= 0 and pairs["image"].max() <= 1
        for label in np.unique(labels):
            (caption,) = set(pairs["text"][labels == label])
            assert DIGIT_NAMES[label] in caption.lower() or str(label) in caption
            seen.add(caption)
        # One ink for all of a batch.
        assert len({ink for ink in INKS for text in pairs["text"] if f" in {ink}" in text.lower()}) <= 1
    assert len(seen) >= 150


def test_half_of_the_texts_get_a_word_and_half_a_typing_error() -> None:
    retriever = ImageTextRetriever(load_model("demo:digits"), device_type="cpu")
    words = BertAttack(retriever, candidate_words=None, protected_words=PROTECTED, verbose=False)
    typos = CharacterAttack(retriever, candidate_words=1, protected_words=PROTECTED, verbose=False)
    attack = Mixture([typos, words], seed=0, letters=ALPHABET)
    texts = [f"a small photo of the number {name}" for name in DIGIT_NAMES]
    attacked = attack.perturb(texts)
    assert len(attacked) == 10
    assert all(text.split()[-1] == name for text, name in zip(attacked, DIGIT_NAMES, strict=True))
    changed = [
        [(old, new) for old, new in zip(before.split(), after.split(), strict=True) if old != new]
        for before, after in zip(texts, attacked, strict=True)
    ]
    assert all(len(pairs) == 1 for pairs in changed)
    assert sum(new in set(edits_of(old, LETTERS)) for ((old, new),) in changed) == 5
    assert attack.perturb(texts) != attacked


def test_the_training_script_runs_and_repeats_itself(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["train", "--steps", "1", "--batch-size", "8", "--out", str(tmp_path / "weights")])
    train_robust_digits.main()
    assert "step 1: loss" in capsys.readouterr().out
    first = (tmp_path / "weights").read_bytes()
    train_robust_digits.main()
    assert (tmp_path / "weights").read_bytes() == first
