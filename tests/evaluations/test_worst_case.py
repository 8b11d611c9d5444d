"""WorstCase: every sample once, multimodal never better than image or text, and who broke what."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest
from art.evaluations.evaluation import Evaluation
from tiny import TinyEncoder, TinyFusion

from art_multimodal import FusionClassifier, ZeroShotClassifier, image_text_pairs
from art_multimodal.errors import InputError
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.evaluations import worst_case
from art_multimodal.evaluations.suite import ATTACKS, Attacked, AttackEntry, Budget, Detail, PreparedAttack
from art_multimodal.evaluations.worst_case import MODALITIES, WorstCase, WorstCaseResult
from art_multimodal.functional.statistics import proportion_ci95

BUDGET = Budget("inf", 0.006, 0.002, 8, 30, 4)


@pytest.fixture(scope="module")
def estimator() -> ZeroShotClassifier:
    return ZeroShotClassifier(TinyEncoder().eval(), ("cat", "dog", "bird"), "a small photo of a {}.", device_type="cpu")


@pytest.fixture(scope="module")
def samples(estimator) -> tuple[np.ndarray, np.ndarray]:
    """Ten images, two of them named wrong."""
    images = np.random.default_rng(7).random((10, 3, 8, 8), dtype=np.float32)
    labels = estimator.predict_labels(images)
    labels[[2, 5]] = (labels[[2, 5]] + 1) % 3
    return images, labels


@pytest.fixture(scope="module")
def result(estimator, samples) -> WorstCaseResult:
    return WorstCase(estimator, BUDGET, verbose=False).evaluate(*samples)


class Scripted(PreparedAttack):
    """Breaks samples by the number in their first pixel."""

    def __init__(self, estimator, budget, broken: set[int], batches: list, flags: dict[str, int]) -> None:
        super().__init__(estimator, budget)
        self.broken, self.batches, self.flags = broken, batches, flags

    def attack(self, x, y, seed) -> Attacked:
        numbers = np.round(x[:, 0, 0, 0] * 100).astype(int).tolist()
        self.batches.append((numbers, seed))
        details = [Detail(broken_by=f"script {number}" if number in self.broken else None) for number in numbers]
        return Attacked(x, np.where([number in self.broken for number in numbers], y + 1, y), details, self.flags)


def scripted(broken: set[int], batches: list, flags: dict[str, int]) -> AttackEntry:
    make = partial(Scripted, broken=broken, batches=batches, flags=flags)
    return AttackEntry("scripted", "worst", "black box", "scripted", make)


def numbered(estimator, count: int) -> tuple[np.ndarray, np.ndarray]:
    images = np.full((count, 3, 8, 8), 0.5, dtype=np.float32)
    images[:, 0, 0, 0] = np.arange(count) / 100
    return images, estimator.predict_labels(images)


@pytest.fixture
def scripts(monkeypatch) -> dict[str, list]:
    """Ensembles that break images 1 and 4, texts 4 and 5, and both 2."""
    seen: dict[str, list] = {modality: [] for modality in MODALITIES}
    for modality, broken in (("image", {1, 4}), ("text", {4, 5}), ("multimodal", {2})):
        entry = scripted(broken, seen[modality], {"checked": 1, "random": int(modality == "image")})
        after = ATTACKS[f"worst_{modality}"].goes_on_after
        monkeypatch.setitem(ATTACKS._entries, f"worst_{modality}", dataclasses.replace(entry, goes_on_after=after))
    return seen


def test_every_sample_once(estimator, scripts, monkeypatch) -> None:
    monkeypatch.setattr(worst_case, "SAMPLES_TOGETHER", 4)
    images, labels = numbered(estimator, 7)
    labels[0] = (labels[0] + 1) % 3
    found = WorstCase(estimator, Budget(batch_size=2), seed=3, verbose=False).evaluate(images, labels)
    assert found.right.tolist() == [False] + [True] * 6
    assert found.clean_accuracy == 6 / 7 and found.clean_accuracy_ci95 == proportion_ci95(6, 7)
    expected = {
        "image": [None, "script 1", None, None, "script 4", None, None],
        "text": [None, None, None, None, "script 4", "script 5", None],
        "multimodal": [None, "script 1", "script 2", None, "script 4", "script 5", None],
    }
    for modality, names in expected.items():
        row = found[modality]
        assert list(row.broken_by) == names
        assert row.robust.tolist() == [False] + [name is None for name in names[1:]]
        assert (row.n, row.attacked, row.accuracy) == (7, 6, row.robust.mean())
        assert row.accuracy_ci95 == proportion_ci95(int(row.robust.sum()), 7)
    assert found["text"].broken_by_counts == {"script 4": 1, "script 5": 1}
    # By their place, whatever the batch size. Wrong ones are never attacked, nor what an ensemble goes on after.
    assert [numbers for numbers, _ in scripts["image"]] == [[1, 2, 3], [4, 5, 6]]
    assert [numbers for numbers, _ in scripts["multimodal"]] == [[2, 3], [6]]
    seeds = [seed for batches in scripts.values() for _, seed in batches]
    assert len(set(seeds)) == len(seeds) == 6
    # Flags of batches add up; their sentences come with them.
    assert found["image"].flags == {"checked": 2, "random": 2}
    assert "2 of 2 inputs otherwise" in found["image"].suspicions[0]
    assert found["text"].suspicions == []


def test_real_ensembles(result, samples) -> None:
    assert issubclass(WorstCase, Evaluation)
    assert result.right.sum() == 8
    for modality in MODALITIES:
        row = result[modality]
        assert not row.robust[[2, 5]].any() and row.attacked == 8
        assert [name is None for name in row.broken_by] == (row.robust | ~result.right).tolist()
        assert 0 < row.robust.sum() < 8 or modality != "image"
        assert set(row.broken_by_counts) <= set(ATTACKS) | {"pgd_targeted"}
        assert sum(row.broken_by_counts.values()) == 8 - row.robust.sum()
    assert not (result["multimodal"].robust & ~(result["image"].robust & result["text"].robust)).any()
    assert result["image"].flags["checked"] >= 4
    assert result["image"].suspicions == []


def test_the_same_again_and_with_one_hot_labels(estimator, samples, result) -> None:
    one_hot = np.eye(3, dtype=np.float32)[samples[1]]
    again = WorstCase(estimator, BUDGET, ("image",), verbose=False).evaluate(samples[0], one_hot)
    assert tuple(again.modalities) == ("image",)
    assert again["image"].broken_by == result["image"].broken_by


def test_multimodal_brings_the_others_along(estimator) -> None:
    assert WorstCase(estimator, BUDGET, ("multimodal",)).modalities == MODALITIES
    assert WorstCase(estimator, BUDGET, ("text",)).modalities == ("text",)


def test_on_pairs() -> None:
    fusion = FusionClassifier(TinyFusion().eval(), device_type="cpu")
    images = np.random.default_rng(1).random((5, 3, 8, 8), dtype=np.float32)
    pairs = image_text_pairs(images, ["a red car", "what is a photo", "a red car", "the old boat", "a small dog"])
    found = WorstCase(fusion, dataclasses.replace(BUDGET, eps=0.1), verbose=False).evaluate(
        pairs, fusion.predict_labels(pairs)
    )
    assert found.clean_accuracy == 1
    assert found["multimodal"].accuracy <= min(found["image"].accuracy, found["text"].accuracy)
    assert found["image"].accuracy < 1


def test_no_samples_and_none_right(estimator, samples) -> None:
    evaluation = WorstCase(estimator, BUDGET, verbose=False)
    nothing = evaluation.evaluate(samples[0][:0], samples[1][:0])
    assert nothing.clean_accuracy is None and nothing.clean_accuracy_ci95 is None
    assert nothing["image"].accuracy is None and nothing["image"].accuracy_ci95 is None
    wrong = evaluation.evaluate(samples[0], (estimator.predict_labels(samples[0]) + 1) % 3)
    assert [wrong[modality].accuracy for modality in MODALITIES] == [0, 0, 0]
    assert wrong["multimodal"].attacked == 0 and set(wrong["multimodal"].broken_by) == {None}


def test_what_cannot_be_evaluated(estimator, samples) -> None:
    for modalities in ((), "image", ("image", "sound")):
        with pytest.raises(InputError, match="modalities must be some of image, text, multimodal"):
            WorstCase(estimator, BUDGET, modalities)
    with pytest.raises(InputError, match="not a ImageTextRetriever"):
        WorstCase(ImageTextRetriever(TinyEncoder().eval(), device_type="cpu"), BUDGET)
    with pytest.raises(InputError, match="seed"):
        WorstCase(estimator, BUDGET, seed=-1)
    evaluation = WorstCase(estimator, BUDGET, ("image",), verbose=False)
    with pytest.raises(InputError, match="Labels are needed"):
        evaluation.evaluate(samples[0], None)
    with pytest.raises(InputError, match="Label 3 is out of range"):
        evaluation.evaluate(samples[0], np.full(10, 3))
    with pytest.raises(InputError, match="Divide them by 255"):
        evaluation.evaluate(samples[0] * 255, samples[1])
