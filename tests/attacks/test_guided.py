"""The guided decoupling search: exact budgets, optimal where that is known, never worse than the published one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from art.defences.preprocessor import SpatialSmoothing
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch
from attacks.removal_models import ScoreModel
from hypothesis import given
from hypothesis import strategies as st
from tiny import TinyEncoder, TinyFusion, TinyJointFusion

from art_multimodal import FusionClassifier, ZeroShotClassifier, image_text_pairs
from art_multimodal.attacks.evasion import DecouplingAttack
from art_multimodal.attacks.evasion.decoupling.guided import guided_search
from art_multimodal.attacks.evasion.decoupling.removals import Removals
from art_multimodal.attacks.evasion.decoupling.search import Linearisation, exhaustive_search
from art_multimodal.attacks.searching import run_searches
from art_multimodal.functional.points import Layout, Removal

CLASSES = ("cat", "dog", "bird", "fish")


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
        assert outcome.removal.words or outcome.removal.touches_numbers
    else:
        assert outcome.removal == Removal()


@given(st.integers(0, 10_000), st.integers(0, 3), st.booleans())
def test_it_loses_no_sample_that_the_published_search_wins(seed: int, words: int, white_box: bool) -> None:
    model = ScoreModel(16, 16, words, seed)
    exhaustive, _ = model.run(exhaustive_search(model.task()))
    guided, _ = model.run(guided_search(model.task(), 30, white_box))
    assert guided.success >= exhaustive.success
    generous, _ = model.run(guided_search(model.task(), 2000, white_box))
    if exhaustive.success:
        assert generous.removal.points(Layout(((16, 16),))) <= exhaustive.removal.points(Layout(((16, 16),)))


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
        assert outcome.removal.points(Layout(((9, 11),))) == fewest


def fewest_of_linear_scores(model: ScoreModel) -> dict[int, int]:
    """For each other class the fewest pixels whose removal makes it win over the own one: the largest terms."""
    fewest = {}
    for rival in set(range(model.weights.shape[1])) - {model.label}:
        terms = np.sort(model.weights[:, model.label] - model.weights[:, rival])[::-1]
        remaining = terms.sum() - np.cumsum(terms)
        if (remaining < 0).any():
            fewest[rival] = int(np.argmax(remaining < 0)) + 1
    return fewest


def test_white_box_finds_the_optimum_towards_any_class() -> None:
    """The class with the second largest score is not always the one that is reached with the fewest pixels."""
    astray = 0
    for seed in range(250):
        model = ScoreModel(9, 11, 0, seed)
        fewest = fewest_of_linear_scores(model)
        task = model.task(rivals=True)
        outcome, _ = model.run(guided_search(task, 300, white_box=True))
        assert outcome.success == bool(fewest)
        if fewest:
            assert outcome.removal.points(Layout(((9, 11),))) == min(fewest.values())
            astray += fewest.get(task.rivals[0], 100) > min(fewest.values())
    assert astray >= 5


@given(st.integers(0, 10_000))
def test_aiming_at_other_classes_never_removes_more(seed: int) -> None:
    model = ScoreModel(7, 8, 2, seed, bend=0.4, classes=5)
    aiming, _ = model.run(guided_search(model.task(rivals=True), 1500, white_box=True))
    without, _ = model.run(guided_search(model.task(), 1500, white_box=True))
    assert aiming.success >= without.success
    if without.success:
        assert aiming.removal.points(Layout(((7, 8),))) <= without.removal.points(Layout(((7, 8),)))


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
            assert outcome.removal.points(Layout(((2, 2),))) == 1
        outcome, _ = model.run(guided_search(model.task(image=False), 60))
        assert not outcome.removal.touches_numbers
    assert wins > 10


@pytest.fixture
def classifier() -> ZeroShotClassifier:
    return ZeroShotClassifier(TinyEncoder(seed=2).eval(), CLASSES, ["an old photo of a {}."], device_type="cpu")


class Darken(PreprocessorPyTorch):
    """Squares the brightness: a defence with a gradient of its own."""

    def __init__(self) -> None:
        super().__init__(device_type="cpu", is_fitted=True, apply_fit=True, apply_predict=True)

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor | None]:
        return x**2, y


def removals_in_float64(kind: str, images: np.ndarray, fill: np.ndarray, targets, defended: bool):
    """A model with four words for every image, and its scores without word 1, written down once more."""
    settings = {"preprocessing_defences": Darken() if defended else None, "device_type": "cpu"}
    if kind == "dual encoder":
        model = TinyEncoder(seed=2).eval().double()
        estimator, x = ZeroShotClassifier(model, CLASSES, ["one two three {} four"], **settings), images
        tokens = [model.tokenize([f"one three {name} four" for name in CLASSES])] * len(images)
    else:
        model = {"separate": TinyFusion, "joint": TinyJointFusion}[kind](seed=2).eval().double()
        texts = [f"one two three {name}" for name in CLASSES[: len(images)]]
        estimator, x = FusionClassifier(model, **settings), image_text_pairs(images, texts)
        tokens = [model.tokenize([f"one three {name}"]) for name in CLASSES[: len(images)]]
    asking = estimator.asking(3)
    removals = Removals(asking, asking.fields(x), {"image": fill}, ("image", "text"), targets)

    @torch.no_grad()
    def scores(row: int, shown: np.ndarray) -> np.ndarray:
        batch = torch.from_numpy(shown)
        batch = batch**2 if defended else batch
        asked = tokens[row]
        if isinstance(asked, dict):
            asked = {name: part.expand(len(batch), -1) for name, part in asked.items()}
        elif kind == "separate":
            asked = asked.expand(len(batch), -1)
        return model(batch, asked).numpy()

    return removals, scores


@pytest.mark.parametrize("kind", ["dual encoder", "separate", "joint"])
@pytest.mark.parametrize("defended", [False, True], ids=["bare", "defended"])
@pytest.mark.parametrize("size", [(8, 8), (11, 9)])
@pytest.mark.parametrize("targeted", [False, True], ids=["untargeted", "targeted"])
def test_saliency_is_the_derivative_of_the_margin(kind, defended, size, targeted) -> None:
    rng = np.random.default_rng(0)
    images = rng.uniform(0.2, 0.8, (4, 3, *size)).astype(np.float32)
    fill = np.array([0.3, 0.4, 0.5], dtype=np.float32).reshape(3, 1, 1)
    targets = np.array([0, 1, 2, 0]) if targeted else None
    removals, scores = removals_in_float64(kind, images, fill, targets, defended)
    labels = [answer.label for answer in removals.clean()]
    wanted = targets if targeted else labels
    masks = rng.random((4, *size)) < 0.3
    toward = [None] * 4 if targeted else [None, *((label + 1) % 3 for label in labels[1:])]
    answers = removals.ask(
        [(row, Linearisation(Removal.of_mask(masks[row].ravel(), (1,)), toward[row])) for row in (2, 0, 3, 1)]
    )
    for row, answer in zip((2, 0, 3, 1), answers, strict=True):

        def margins(there: np.ndarray, other: int | None, row=row) -> np.ndarray:
            all_scores = scores(row, fill + there[:, None] * (images[row].astype(np.float64) - fill))
            own = all_scores[:, wanted[row]]
            others = np.delete(all_scores, wanted[row], axis=1).max(axis=1) if other is None else all_scores[:, other]
            return others - own if targeted else own - others

        there = (~masks[row]).astype(np.float64)
        assert answer.margin == pytest.approx(margins(there[None], None)[0], rel=1e-4, abs=1e-4)
        steps = 1e-5 * np.eye(there.size).reshape(-1, *size)
        numeric = (margins(there + steps, toward[row]) - margins(there - steps, toward[row])) / 2e-5
        assert answer.saliency is not None and np.abs(numeric).max() > 1e-3
        np.testing.assert_allclose(answer.saliency.ravel(), numeric, rtol=1e-3, atol=1e-4 * np.abs(numeric).max())


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
