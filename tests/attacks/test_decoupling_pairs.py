"""The decoupling attack on pairs, on both kinds of model: the published procedure, budgets, and what comes back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from art.defences.preprocessor import SpatialSmoothing
from attacks.removal_models import TEXTS, Alone, Counter, check_returned, make, make_pairs, published_procedure, run
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TinyEncoder, TinyFusion, TinyJointFusion

from art_multimodal.attacks.evasion import DecouplingAttack
from art_multimodal.attacks.evasion.decoupling import attack as attack_module
from art_multimodal.attacks.evasion.decoupling.search import RemovalOutcome
from art_multimodal.models.families.late_fusion.model import LateFusion

both_models = pytest.mark.parametrize("model_class", [TinyFusion, TinyJointFusion])


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> list[RemovalOutcome]:
    """What the searches of an attack found, candidates included."""
    seen: list[RemovalOutcome] = []
    run_searches = attack_module.run_searches

    def spy(searches, ask):
        found = run_searches(searches, ask)
        seen.extend(found)
        return found

    monkeypatch.setattr(attack_module, "run_searches", spy)
    return seen


# The published procedure


@both_models
@pytest.mark.parametrize("decision", ["label", "fusion", 0.02, 0.1])
def test_exhaustive_is_the_published_procedure_on_pairs(outcomes, model_class, decision) -> None:
    classifier, combined, late = make(model_class), 0, 0
    watched = {"decision": decision} if isinstance(decision, str) else {"decision": "fusion"}
    threshold = None if isinstance(decision, str) else decision
    for shape in ((8, 8), (12, 5), (1, 30), (1, 1), (37, 20)):
        pairs = make_pairs(6, shape)
        alone = [Alone(classifier.model, pair, decision) for pair in pairs]
        for modalities in (("image",), ("text",), ("image", "text")):
            outcomes.clear()
            attack, returned = run(
                classifier,
                pairs,
                search="exhaustive",
                modalities=modalities,
                batch_size=4,
                max_combinations=150,
                fusion_threshold=threshold,
                **watched,
            )
            check_returned(classifier.model, pairs, returned, attack)
            for row, (outcome, record) in enumerate(zip(outcomes, attack.records, strict=True)):
                height, width = shape if "image" in modalities else (0, 0)
                words = len(pairs[row]["text"].split()) if "text" in modalities else 0
                clean = alone[row](set(), set())
                blocks, flipping, tried, removed = published_procedure(alone[row], height, width, words, clean, 150)
                assert [(b.row, b.column, b.height, b.width) for b in outcome.block_candidates] == blocks
                assert list(outcome.word_candidates) == flipping
                assert outcome.combinations == record.combinations == tried
                assert record.success == (removed is not None)
                late += tried > len(blocks) + len(flipping)
                if removed is not None:
                    mask = (returned[row]["image"] != pairs[row]["image"]).any(axis=0)
                    assert {tuple(pixel) for pixel in np.argwhere(mask)} == removed[0]
                    assert set(record.words) == removed[1]
                    combined += len(record.blocks) + len(record.words) > 1
    # Single candidates flip the label where that is watched; elsewhere some samples need combinations.
    assert (late > 0) == (combined > 0) == (decision != "label")


@both_models
@pytest.mark.parametrize("min_block", [1, 2, 3, 10, 1000])
def test_min_block_limits_the_squares_of_the_published_procedure(outcomes, model_class, min_block) -> None:
    classifier, pairs = make(model_class), make_pairs(size=(21, 34))
    run(classifier, pairs, search="exhaustive", modalities="image", min_block=min_block)
    for pair, outcome in zip(pairs, outcomes, strict=True):
        alone = Alone(classifier.model, pair)
        blocks, _, tried, _ = published_procedure(alone, 21, 34, 0, alone(set(), set()), min_block=min_block)
        assert [(b.row, b.column, b.height, b.width) for b in outcome.block_candidates] == blocks
        assert outcome.combinations == tried
    found = [block for outcome in outcomes for block in outcome.block_candidates]
    assert bool(found) == (min_block < 34)
    assert all(min(block.height, block.width) <= 17 for block in found)


def test_a_distance_that_is_only_rounding_is_no_decoupling() -> None:
    classifier = make()
    with torch.no_grad():
        classifier.model.visual[1].weight.zero_()
    attack, _ = run(
        classifier,
        make_pairs(20),
        search="exhaustive",
        decision="fusion",
        fusion_threshold=0.0,
        modalities="image",
    )
    assert all(record.combinations == 0 for record in attack.records)


# Budgets


@settings(max_examples=60)
@given(
    model_class=st.sampled_from([TinyFusion, TinyJointFusion]),
    white_box=st.booleans(),
    modalities=st.sampled_from([("image",), ("text",), ("image", "text")]),
    max_queries=st.one_of(st.integers(1, 12), st.integers(1, 500)),
    size=st.sampled_from([(8, 8), (6, 11), (1, 1), (1, 17)]),
    seed=st.integers(0, 100),
)
def test_budget_is_exact_and_what_is_returned_is_as_recorded(
    model_class, white_box, modalities, max_queries, size, seed
) -> None:
    classifier, pairs = make(model_class, seed % 7), make_pairs(3, size, seed, TEXTS[seed % 4 :])
    settings = {"max_queries": max_queries, "white_box": white_box, "modalities": modalities, "batch_size": 4}
    counter = Counter(classifier.model)
    attack, returned = run(classifier, pairs, **settings)
    rows = dict(counter.rows)
    assert counter.queries == sum(record.queries for record in attack.records)
    assert max(record.queries for record in attack.records) <= max_queries
    if model_class is TinyFusion:
        assert rows["text_tower"] == len(counter.texts)
        assert rows["image_tower"] <= rows["predict"]
        if "text" not in modalities:
            assert rows["image_tower"] == rows["predict"]
        if "image" not in modalities:
            assert rows["image_tower"] == len(pairs) and counter.backward == 0
    else:
        assert rows["joint_tower"] == rows["predict"]
    assert white_box or counter.backward == 0
    check_returned(classifier.model, pairs, returned, attack)
    for row in range(len(pairs)):  # also for each by itself
        before = counter.queries
        one, _ = run(classifier, pairs[row : row + 1], **settings)
        assert counter.queries - before == one.records[0].queries <= max_queries


def late_fusion(seed: int) -> LateFusion:
    torch.manual_seed(seed)
    return LateFusion(TinyEncoder(seed=seed), ("yes", "no", "maybe"))


@pytest.mark.parametrize("model_class", [TinyFusion, late_fusion])
@pytest.mark.parametrize("search", ["exhaustive", "guided"])
def test_untouched_towers_are_computed_once(search, model_class) -> None:
    pairs = make_pairs(10)
    for modality in ("text", "image"):
        classifier = make(model_class)
        counter = Counter(classifier.model)
        attack, _ = run(classifier, pairs, search=search, modalities=modality, batch_size=3)
        rows, asked = counter.rows, sum(record.queries for record in attack.records)
        assert rows["predict"] == asked - counter.backward > 10
        assert rows["image_tower"] == (10 if modality == "text" else rows["predict"])
        assert rows["text_tower"] == (len(counter.texts) if modality == "text" else len(set(TEXTS)))


def test_a_defence_written_in_numpy_leaves_the_black_box() -> None:
    classifier = make(preprocessing_defences=SpatialSmoothing(window_size=3, channels_first=True))
    counter, pairs = Counter(classifier.model), make_pairs(10)
    attack, returned = run(classifier, pairs, max_queries=80)
    assert counter.backward == 0
    assert counter.queries == sum(record.queries for record in attack.records)
    assert sum(record.success and record.pixels > 0 for record in attack.records) >= 2
    assert classifier.predict_labels(returned).tolist() == [record.label_after for record in attack.records]
    with pytest.raises(ValueError, match="white_box=True needs gradients"):
        DecouplingAttack(classifier, white_box=True)
