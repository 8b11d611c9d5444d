"""The decoupling attack against the published procedure, written down a second time as plain recursion."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from attacks.removal_models import RandomModel, mask_of, published_procedure, removal_task
from hypothesis import given
from hypothesis import strategies as st
from tiny import TinyEncoder

from art_multimodal import InputError, ZeroShotClassifier
from art_multimodal.attacks.evasion import DecouplingAttack
from art_multimodal.attacks.evasion.decoupling.search import exhaustive_search
from art_multimodal.attacks.searching import Answer, TargetReached, run_searches
from art_multimodal.functional.points import Box, Removal
from art_multimodal.prompts import removable_words, templates_without

CLASSES = ("cat", "dog", "bird", "fish")


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    words=st.integers(0, 4),
    seed=st.integers(0, 10_000),
    alike=st.booleans(),
    limit=st.sampled_from([1, 7, 60]),
    min_block=st.sampled_from([None, 1, 2, 5, 10, 50]),
)
def test_search_is_the_published_procedure(height, width, words, seed, alike, limit, min_block) -> None:
    model = RandomModel(height, width, words, seed, alike)
    clean = model(set(), set())
    blocks, flipping_words, tried, removed = published_procedure(model, height, width, words, clean, limit, min_block)
    task = removal_task((height, width), words, model.answer(set(), set()), min_block=min_block)
    (outcome,) = run_searches([exhaustive_search(task, limit)], model.ask)
    assert [(b.row, b.column, b.height, b.width) for b in outcome.block_candidates] == blocks
    assert list(outcome.word_candidates) == flipping_words
    assert outcome.combinations == tried
    assert outcome.success == (removed is not None)
    if removed is not None:
        found = {tuple(p) for p in np.argwhere(mask_of(outcome.removal, (height, width)))}, set(outcome.removal.words)
        assert found == removed
        assert outcome.answer.label == model(*removed)[1] != clean[1]
    # Nothing is asked twice as a block of the drill-down, and an independent counter agrees.
    assert outcome.queries - 1 == len(model.asked)


def test_combinations_are_reached() -> None:
    """Of the random models above some must need the combination stage, or its test would be empty."""
    needed = 0
    for seed in range(200):
        model = RandomModel(16, 16, 3, seed, alike=False)
        task = removal_task((16, 16), 3, model.answer(set(), set()))
        (outcome,) = run_searches([exhaustive_search(task)], model.ask)
        needed += outcome.success and len(outcome.removal.blocks) + len(outcome.removal.words) > 1
    assert needed >= 5


@pytest.mark.parametrize("side", [224, 220, 200])
def test_ten_pixels_at_the_published_size_are_five_levels(side: int) -> None:
    """Where every removal flips, all blocks are asked about: the 1,364 of SPEC."""

    def blocks(min_block: int | None) -> list[tuple[int, int, int, int]]:
        task = removal_task((side, side), 0, Answer(0), min_block=min_block)
        (outcome,) = run_searches([exhaustive_search(task, 1)], lambda probes: [Answer(1) for _ in probes])
        assert outcome.queries - 1 == len(set(outcome.block_candidates))
        return [(b.row, b.column, b.height, b.width) for b in outcome.block_candidates]

    assert blocks(10) == blocks(None)
    if side == 224:
        assert len(blocks(10)) == 4 + 16 + 64 + 256 + 1024
        assert {height for _, _, height, _ in blocks(10)} == {112, 56, 28, 14, 7}
        assert len(blocks(56)) == 4 + 16
        assert len(blocks(7)) == 4 + 16 + 64 + 256 + 1024
        assert len(blocks(6)) > len(blocks(7))


def test_targeted_search_reaches_the_target_or_says_so() -> None:
    reached = 0
    for seed in range(60):
        model = RandomModel(8, 8, 2, seed, alike=True)
        clean = model.answer(set(), set())
        target = (clean.label + 1) % 3
        task = removal_task((8, 8), 2, clean, criterion=TargetReached(target))
        (outcome,) = run_searches([exhaustive_search(task)], model.ask)
        assert outcome.success == (outcome.answer.label == target)
        reached += outcome.success
    assert 5 <= reached < 60
    task = removal_task((8, 8), 2, clean, criterion=TargetReached(clean.label))
    (outcome,) = run_searches([exhaustive_search(task)], model.ask)
    assert outcome.success and not outcome.removal.blocks and outcome.queries == 1


@pytest.fixture
def classifier() -> ZeroShotClassifier:
    return ZeroShotClassifier(
        TinyEncoder(seed=2).eval(), CLASSES, ["an old photo of a {}.", "{} here"], device_type="cpu"
    )


def test_words_that_may_be_removed() -> None:
    templates = ("an old  photo of a {}.", "{}", "the {} there")
    words = removable_words(templates)
    assert words == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (2, 0), (2, 2)]
    assert templates_without(templates, [1, 4, 6]) == ("an photo of {}.", "{}", "the {}")
    assert templates_without(templates, []) == templates
    assert removable_words(None) == []


@pytest.mark.parametrize("shape", [(8, 8), (12, 5), (3, 30), (1, 1), (37, 37)])
@pytest.mark.parametrize("modalities", [("image",), ("text",), ("image", "text")])
def test_attack_is_the_published_procedure_on_a_dual_encoder(classifier, shape, modalities) -> None:
    images = np.random.default_rng(3).random((4, 3, *shape), dtype=np.float32)
    attack = DecouplingAttack(classifier, search="exhaustive", modalities=modalities, batch_size=5, verbose=False)
    adversarial = attack.generate(images)
    fill = np.array([0.4, 0.5, 0.6], dtype=np.float32)
    for row, record in enumerate(attack.records):

        def answer(pixels, words, row=row):
            image = images[row].copy()
            for r, c in pixels:
                image[:, r, c] = fill
            victim = classifier.with_templates(templates_without(classifier.templates, sorted(words)))
            label = int(victim.predict(image[None]).argmax())
            return label, label

        clean = answer(set(), set())
        height, width = shape if "image" in modalities else (0, 0)
        _, _, tried, removed = published_procedure(answer, height, width, 6 if "text" in modalities else 0, clean)
        assert record.success == (removed is not None)
        assert record.combinations == tried
        assert record.label_before == clean[1]
        if removed is None:
            np.testing.assert_array_equal(adversarial[row], images[row])
            assert record.share_removed == 0
            assert record.label_after == record.label_before
            continue
        assert set(record.words) == removed[1]
        changed = {(int(r), int(c)) for b in record.blocks for r, c in np.argwhere(mask_of(Removal((b,)), shape))}
        assert changed == removed[0]
        assert record.share_removed == pytest.approx((len(removed[0]) + len(removed[1])) / (shape[0] * shape[1] + 6))
        # The returned sample, evaluated again, has the label that the record says.
        again = classifier.with_templates(attack.templates_of(record)).predict(adversarial[row : row + 1])
        assert int(again.argmax()) == record.label_after != record.label_before


def test_untouched_towers_are_not_computed_again(classifier) -> None:
    images = np.random.default_rng(0).random((5, 3, 16, 16), dtype=np.float32)
    model = classifier.dual_encoder
    image_rows, text_rows = [], []
    model.visual.register_forward_hook(lambda m, i, o: image_rows.append(len(o)))
    model.text.register_forward_hook(lambda m, i, o: text_rows.append(len(o)))
    attack = DecouplingAttack(classifier, search="exhaustive", modalities="text", verbose=False)
    attack.generate(images)
    assert sum(image_rows) == 5  # each intact image once
    assert sum(record.queries for record in attack.records) == 5 * (1 + 6)
    assert sum(text_rows) == 8 + 6 * 8  # eight prompts intact, and once for each deleted word
    text_rows.clear()
    image_rows.clear()
    attack = DecouplingAttack(classifier, search="exhaustive", modalities="image", batch_size=3, verbose=False)
    attack.generate(images)
    assert sum(text_rows) == 0
    assert sum(image_rows) == sum(record.queries for record in attack.records)


def test_batch_size_changes_nothing(classifier) -> None:
    images = np.random.default_rng(1).random((7, 3, 16, 16), dtype=np.float32)
    results = []
    for batch_size in (1, 3, 128):
        attack = DecouplingAttack(classifier, search="exhaustive", batch_size=batch_size, verbose=False)
        results.append((attack.generate(images), attack.records))
    for adversarial, records in results[1:]:
        np.testing.assert_array_equal(adversarial, results[0][0])
        assert records == results[0][1]


def test_what_is_outside_the_blocks_is_returned_bit_for_bit(classifier) -> None:
    images = np.random.default_rng(1).random((7, 3, 16, 16), dtype=np.float32)
    attack = DecouplingAttack(classifier, search="exhaustive", fill=(0.1, 0.2, 0.3), verbose=False)
    adversarial = attack.generate(images)
    assert any(record.blocks for record in attack.records)
    for row, record in enumerate(attack.records):
        mask = mask_of(Removal(record.blocks), (16, 16))
        np.testing.assert_array_equal(adversarial[row][:, ~mask], images[row][:, ~mask])
        for channel, value in enumerate((0.1, 0.2, 0.3)):
            assert (adversarial[row][channel][mask] == np.float32(value)).all()


@pytest.mark.parametrize(("fill", "colour"), [("mean", (0.4, 0.5, 0.6)), ("black", (0, 0, 0)), (0.25, (0.25,) * 3)])
def test_fill_colours(classifier, fill, colour) -> None:
    attack = DecouplingAttack(classifier, search="exhaustive", fill=fill, verbose=False)
    np.testing.assert_allclose(attack.fill_colour().ravel(), colour, rtol=1e-6)


def test_a_model_that_ignores_the_image_is_only_attacked_through_words(classifier) -> None:
    with torch.no_grad():
        classifier.dual_encoder.visual[1].weight.zero_()
    images = np.random.default_rng(1).random((3, 3, 16, 16), dtype=np.float32)
    attack = DecouplingAttack(classifier, search="exhaustive", modalities="image", verbose=False)
    np.testing.assert_array_equal(attack.generate(images), images)
    assert all(record.queries == 5 and not record.success for record in attack.records)


def test_prompts_as_they_stand_have_no_words_to_remove(classifier) -> None:
    images = np.random.default_rng(1).random((2, 3, 8, 8), dtype=np.float32)
    attack = DecouplingAttack(
        classifier.with_prompts(list(CLASSES)), search="exhaustive", modalities="text", verbose=False
    )
    np.testing.assert_array_equal(attack.generate(images), images)
    assert [record.queries for record in attack.records] == [1, 1]


def test_on_the_digits_it_flips_many_labels(digits_classifier, digits_images) -> None:
    images, labels = digits_images[0][:60], digits_images[1][:60]
    right = digits_classifier.predict(images).argmax(axis=1) == labels
    attack = DecouplingAttack(digits_classifier, search="exhaustive", verbose=False)
    attack.generate(images[right])
    assert right.mean() >= 0.95
    assert np.mean([record.success for record in attack.records]) > 0.2
    assert all(0 < record.share_removed < 0.3 for record in attack.records if record.success)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"search": "best"}, "search must be one of"),
        ({"modalities": ()}, "modalities must name"),
        ({"modalities": ("audio",)}, "modalities must name"),
        ({"fill": "grey"}, "fill must be"),
        ({"fill": (0.1, 0.2)}, "fill must be"),
        ({"fill": 1.5}, "fill must be"),
        ({"max_combinations": 0}, "max_combinations must be"),
        ({"batch_size": 0}, "batch_size must be"),
    ],
)
def test_bad_settings(classifier, settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        DecouplingAttack(classifier, verbose=False, **settings)


def test_bad_input(classifier) -> None:
    attack = DecouplingAttack(classifier, search="exhaustive", targeted=True, verbose=False)
    images = np.zeros((2, 3, 8, 8), np.float32)
    with pytest.raises(ValueError, match="wanted labels"):
        attack.generate(images)
    with pytest.raises(InputError, match="out of range"):
        attack.generate(images, np.array([0, 9]))
    with pytest.raises(InputError, match="Divide them by 255"):
        attack.generate(images + 200)
    assert DecouplingAttack(classifier, search="exhaustive", verbose=False).generate(images[:0]).shape == (0, 3, 8, 8)


def test_blocks_are_ordered_and_hashable() -> None:
    assert len({Box((0, 0), (1, 1)), Box((0, 0), (1, 1))}) == 1
