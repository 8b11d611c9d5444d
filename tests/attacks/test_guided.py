"""The guided decoupling search: exact budgets, optimal where that is known, never worse than the published one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from art.defences.preprocessor import SpatialSmoothing
from hypothesis import given
from hypothesis import strategies as st
from tiny import TinyEncoder

from art_multimodal import ZeroShotClassifier
from art_multimodal.attacks.evasion import DecouplingAttack
from art_multimodal.attacks.evasion.decoupling.guided import guided_search
from art_multimodal.attacks.evasion.decoupling.search import (
    Answer,
    Linearisation,
    Task,
    exhaustive_search,
    run_searches,
)
from art_multimodal.attacks.evasion.decoupling.zero_shot import ZeroShotVictim
from art_multimodal.functional.occlusion import Removal

CLASSES = ("cat", "dog", "bird", "fish")


class ScoreModel:
    """Scores that are linear in what is there, with a bend; counts every query by itself."""

    def __init__(self, height: int, width: int, words: int, seed: int, bend: float = 0.0, classes: int = 3) -> None:
        rng = np.random.default_rng(seed)
        self.height, self.width, self.words = height, width, words
        self.points = height * width + words
        self.weights = rng.standard_normal((self.points, classes))
        self.bend = bend
        self.queries = 0
        scores = self.scores(np.ones(self.points))
        self.label = int(scores.argmax())

    def scores(self, there: np.ndarray) -> np.ndarray:
        linear = there @ self.weights
        return linear + self.bend * np.sin(2 * linear)

    def there(self, removal: Removal) -> np.ndarray:
        there = np.ones(self.points)
        there[: self.height * self.width][removal.mask(self.height, self.width).ravel()] = 0
        there[[self.height * self.width + word for word in removal.words]] = 0
        return there

    def answer(self, there: np.ndarray) -> Answer:
        scores = self.scores(there)
        label = int(scores.argmax())
        return Answer(label, label, float(scores[self.label] - np.delete(scores, self.label).max()))

    def ask(self, probes) -> list[Answer]:
        answers = []
        for _, probe in probes:
            linearise = isinstance(probe, Linearisation)
            self.queries += 2 if linearise else 1
            there = self.there(probe.removal if linearise else probe)
            answer = self.answer(there)
            if linearise:
                linear = there @ self.weights
                slope = 1 + 2 * self.bend * np.cos(2 * linear)
                scores = self.scores(there)
                other = int(np.where(np.arange(len(scores)) == self.label, -np.inf, scores).argmax())
                gradient = slope[self.label] * self.weights[:, self.label] - slope[other] * self.weights[:, other]
                saliency = gradient[: self.height * self.width].reshape(self.height, self.width)
                answer = Answer(answer.decision, answer.label, answer.margin, saliency)
            answers.append(answer)
        return answers

    def task(self, image: bool = True) -> Task:
        clean = self.answer(np.ones(self.points))
        return Task(self.height if image else 0, self.width if image else 0, self.words, clean)

    def run(self, search):
        (outcome,), (queries,) = run_searches([search], self.ask)
        return outcome, queries


@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    words=st.integers(0, 3),
    seed=st.integers(0, 10_000),
    bend=st.sampled_from([0.0, 0.4]),
    max_queries=st.integers(1, 80),
    white_box=st.booleans(),
)
def test_budget_is_exact_and_what_is_returned_flips(height, width, words, seed, bend, max_queries, white_box) -> None:
    model = ScoreModel(height, width, words, seed, bend)
    outcome, queries = model.run(guided_search(model.task(), max_queries, white_box))
    assert queries == model.queries <= max_queries - 1  # the intact sample was the first query
    again = model.answer(model.there(outcome.removal))
    assert outcome.answer.label == again.label
    if outcome.success:
        assert again.label != model.label
        assert outcome.removal.words or outcome.removal.touches_image
    else:
        assert outcome.removal == Removal()


@given(st.integers(0, 10_000), st.booleans())
def test_it_loses_no_sample_that_the_published_search_wins(seed: int, white_box: bool) -> None:
    model = ScoreModel(16, 16, 0, seed)
    exhaustive, _ = model.run(exhaustive_search(model.task()))
    guided, _ = model.run(guided_search(model.task(), 30, white_box))
    assert guided.success >= exhaustive.success
    generous, _ = model.run(guided_search(model.task(), 2000, white_box))
    if exhaustive.success:
        assert generous.removal.points(16, 16) <= exhaustive.removal.points(16, 16)


@given(st.integers(0, 10_000))
def test_white_box_finds_the_optimum_of_a_linear_model(seed: int) -> None:
    """With two classes the margin is a sum over pixels: the smallest removal is a prefix of the sorted terms."""
    model = ScoreModel(9, 11, 0, seed, classes=2)
    terms = np.sort(model.weights[:, model.label] - model.weights[:, 1 - model.label])[::-1]
    remaining = terms.sum() - np.cumsum(terms)
    fewest = int(np.argmax(remaining < 0)) + 1 if (remaining < 0).any() else None
    outcome, _ = model.run(guided_search(model.task(), 40, white_box=True))
    assert outcome.success == (fewest is not None)
    if fewest is not None:
        assert outcome.removal.points(9, 11) == fewest


def test_black_box_asks_for_no_gradient() -> None:
    model = ScoreModel(16, 16, 2, seed=1)

    def ask(probes):
        assert not any(isinstance(probe, Linearisation) for _, probe in probes)
        return model.ask(probes)

    run_searches([guided_search(model.task(), 200, white_box=False)], ask)


def test_one_word_is_enough_where_one_word_is_enough() -> None:
    wins = 0
    for seed in range(80):
        model = ScoreModel(2, 2, 5, seed)
        singles = [w for w in range(5) if model.answer(model.there(Removal(words=(w,)))).label != model.label]
        outcome, _ = model.run(guided_search(model.task(), 60))
        if singles:
            wins += 1
            assert outcome.removal.points(2, 2) == 1
        outcome, _ = model.run(guided_search(model.task(image=False), 60))
        assert not outcome.removal.touches_image
    assert wins > 10


@pytest.fixture
def classifier() -> ZeroShotClassifier:
    return ZeroShotClassifier(TinyEncoder(seed=2).eval(), CLASSES, ["an old photo of a {}."], device_type="cpu")


def test_saliency_is_the_derivative_of_the_margin(classifier) -> None:
    model = classifier.dual_encoder.double()
    images = np.random.default_rng(0).random((2, 3, 8, 8), dtype=np.float32)
    fill = np.full((3, 1, 1), 0.3, dtype=np.float32)
    victim = ZeroShotVictim(classifier, images, fill, batch_size=4)
    clean = victim.clean()
    mask = np.random.default_rng(1).random((8, 8)) < 0.3
    removal = Removal.of_mask(mask, words=(1,))
    answers = victim.ask([(row, Linearisation(removal)) for row in range(2)])
    tokens = model.tokenize([f"an photo of a {name}." for name in CLASSES])
    for row, answer in enumerate(answers):
        assert answer.saliency is not None

        def margin(there: np.ndarray, row=row) -> float:
            image = fill + there * (images[row].astype(np.float64) - fill)
            with torch.no_grad():
                scores = model(torch.from_numpy(image)[None], tokens)[0].numpy()
            return scores[clean[row].label] - np.delete(scores, clean[row].label).max()

        assert answer.margin == pytest.approx(margin((~mask).astype(float)), abs=1e-4)
        for pixel in ((0, 0), (3, 5), (7, 7)):
            step = np.zeros((8, 8))
            step[pixel] = 1e-4
            numeric = (margin(~mask + step) - margin(~mask - step)) / 2e-4
            assert answer.saliency[pixel] == pytest.approx(numeric, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("white_box", [True, False])
@pytest.mark.parametrize("max_queries", [1, 2, 7, 50])
def test_queries_agree_with_a_counter_on_the_model(classifier, white_box, max_queries) -> None:
    images = np.random.default_rng(0).random((5, 3, 16, 11), dtype=np.float32)
    count = {"forward": 0, "backward": 0}

    def hook(module, inputs, output) -> None:
        count["forward"] += len(output)
        if output.requires_grad:
            output.register_hook(lambda gradient: count.__setitem__("backward", count["backward"] + len(gradient)))

    classifier.model.image_encoder.register_forward_hook(hook)
    attack = DecouplingAttack(
        classifier, modalities="image", max_queries=max_queries, white_box=white_box, batch_size=3, verbose=False
    )
    adversarial = attack.generate(images)
    asked = sum(record.queries for record in attack.records)
    assert asked == count["forward"] + count["backward"]
    assert max(record.queries for record in attack.records) <= max_queries
    assert (count["backward"] > 0) == (white_box and max_queries >= 7)
    labels = classifier.predict(adversarial).argmax(axis=1)
    for row, record in enumerate(attack.records):
        assert labels[row] == record.label_after
        changed = (adversarial[row] != images[row]).any(axis=0).sum()
        assert changed == record.pixels
        assert record.share_removed == pytest.approx(record.pixels / (16 * 11 + 5))


@pytest.mark.parametrize("white_box", [True, False])
def test_far_less_than_the_published_search_on_the_digits(digits_classifier, digits_images, white_box) -> None:
    images = digits_images[0][:24]
    records = {}
    for search in ("exhaustive", "guided"):
        attack = DecouplingAttack(
            digits_classifier, search=search, modalities="image", max_queries=100, white_box=white_box, verbose=False
        )
        attack.generate(images)
        records[search] = attack.records
    pairs = list(zip(records["guided"], records["exhaustive"], strict=True))
    assert all(guided.success for guided, exhaustive in pairs if exhaustive.success)
    common = [(g.share_removed, e.share_removed) for g, e in pairs if e.success]
    ratio = np.mean([g for g, _ in common]) / np.mean([e for _, e in common])
    assert ratio <= (0.10 if white_box else 0.30)
    success = [np.mean([r.success and r.share_removed <= 0.25 for r in rs]) for rs in records.values()]
    assert success[1] >= success[0] + (0.15 if white_box else 0.04)


def test_targeted(digits_classifier, digits_images) -> None:
    images = digits_images[0][:6]
    target = (digits_classifier.predict(images).argmax(axis=1) + 3) % 10
    attack = DecouplingAttack(digits_classifier, targeted=True, max_queries=150, verbose=False)
    adversarial = attack.generate(images, target)
    assert sum(record.success for record in attack.records) >= 4
    for row, record in enumerate(attack.records):
        variant = digits_classifier.with_templates(attack.templates_of(record))
        label = variant.predict(adversarial[row : row + 1]).argmax()
        assert label == record.label_after
        assert record.success == (label == target[row])


def test_defences_written_in_numpy_leave_the_black_box(digits, digits_images) -> None:
    from art_multimodal import load_model

    defended = ZeroShotClassifier(
        load_model("demo:digits"),
        digits.class_names,
        digits.templates,
        preprocessing_defences=SpatialSmoothing(window_size=3, channels_first=True),
        device_type="cpu",
    )
    with pytest.raises(ValueError, match="white_box=True needs gradients"):
        DecouplingAttack(defended, white_box=True, verbose=False)
    attack = DecouplingAttack(defended, modalities="image", max_queries=60, verbose=False)
    adversarial = attack.generate(digits_images[0][:4])
    assert [int(label) for label in defended.predict(adversarial).argmax(axis=1)] == [
        record.label_after for record in attack.records
    ]
    with pytest.raises(ValueError, match="max_queries must be"):
        DecouplingAttack(defended, max_queries=0, verbose=False)
