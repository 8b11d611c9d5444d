"""Pairs and samples of any modalities in the protocols that are proposed: numbers equal to an audit's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audits import read_report, run_audit
from tiny import TINY_ANSWERS, TinyEncoder, TinyFusion

from art_multimodal import FusionClassifier, ZeroShotClassifier, load_model, samples
from art_multimodal.datasets import LabelledArrays, LabelledSampleArrays
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit import AuditSettings
from art_multimodal.evaluations.suite import ATTACKS, PAIRS, entry_of
from art_multimodal.interop.maite import RobustAccuracy, SamplesAttack, SamplesDataset, SamplesModel, pairs
from art_multimodal.interop.maite.layouts import NamedLayout
from art_multimodal.modalities import image, sequence, table

SAME = ("n", "accuracy", "attacked", "attack_success_rate")
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "art_pgd": ("demo:shapes", "demo:shapes", {"eps": 8 / 255}),
    "text_exhaustive": ("demo:shapes", "demo:shapes", {"top_k": 2}),
    "apgd@fou": ("demo:views/concat", "demo:views", {"eps": {"pix": 0.1, "fou": 0.2, "kar": 0.05}}),
    "modality_missing@pix": ("demo:views/concat", "demo:views", {}),
    "pgd_multimodal": ("demo:spoken", "demo:spoken", {}),
}


@pytest.fixture
def fusion() -> FusionClassifier:
    return FusionClassifier(TinyFusion().eval(), device_type="cpu")


def pairs_of(count: int = 6) -> LabelledArrays:
    images = np.random.default_rng(0).random((count, 3, 8, 8), dtype=np.float32)
    labels = [row % 3 for row in range(count)]
    return LabelledArrays(images, labels, TINY_ANSWERS, [f"is number {row} red?" for row in range(count)])


@pytest.mark.parametrize("name", CASES)
def test_the_numbers_of_an_audit(name: str, tmp_path: Path) -> None:
    model, spec, budget = CASES[name]
    classifier = FusionClassifier(load_model(model), device_type="cpu")
    data = SamplesDataset(spec, classifier, limit=10, seed=3)
    words = data.data.protected_words
    settings = AuditSettings(model, spec, attacks=name, limit=10, seed=3, group_size=5, steps=2, **budget)
    run_audit(settings, tmp_path / "run")
    audited = read_report(tmp_path / "run")["results"]
    attack = SamplesAttack(name, classifier, seed=3, group_size=5, steps=2, protected_words=words, **budget)
    answering, batch = SamplesModel(classifier), tuple(zip(*(data[place] for place in range(10)), strict=True))
    clean, metric = RobustAccuracy(), RobustAccuracy()
    clean.update(answering(batch[0]), *batch[1:])
    found, targets, noted = attack(batch)
    metric.update(answering(found), targets, noted)
    assert clean.compute()["accuracy"] == audited["clean"]["accuracy"]
    assert metric.compute()["accuracy"] == audited[name]["accuracy"]
    if not entry_of(name).of_everyone:
        paired = RobustAccuracy(clean)
        paired.update(answering(found), targets, noted)
        assert {key: paired.compute()[key] for key in SAME} == {key: audited[name][key] for key in SAME}
    done = [one["adversarial_attack"] for one in noted]
    assert sum(one["success"] for one in done) == sum(one["right_before"] and not one["right_after"] for one in done)


@pytest.mark.parametrize("name", ["art_pgd", "character_attack_margin", "joint"])
def test_what_is_changed_stays_within_the_budget(name: str, fusion: FusionClassifier) -> None:
    data = SamplesDataset(pairs_of(), fusion)
    batch = tuple(zip(*(data[place] for place in range(6)), strict=True))
    before = [(one["image"].copy(), one["text"]) for one in batch[0]]
    found, _, noted = SamplesAttack(name, fusion, eps=0.03, steps=3)(batch)
    assert [(one["text"]) for one in batch[0]] == [text for _, text in before]
    for (pixels, text), one, after, done in zip(before, batch[0], found, noted, strict=True):
        np.testing.assert_array_equal(one["image"], pixels)
        assert np.abs(after["image"] - pixels).max() <= 0.03 + 1e-6
        assert (after["text"] == text) or name != "art_pgd"
        radius = 0.03 if ATTACKS[name].within_radius else None
        assert done["adversarial_attack"]["eps"] == radius
    assert PAIRS in ATTACKS[name].tasks and any(done["adversarial_attack"]["attacked"] for done in noted)


def test_samples_come_and_go_as_they_are() -> None:
    rng = np.random.default_rng(0)
    described = (image("rgb", 1, 4, 4), sequence("sound", 5, 2, clip_values=(-1, 1)), table("facts", 3))
    sound = [rng.uniform(-1, 1, (length, 2)) for length in (5, 0, 3, 1)]
    x = samples(rgb=rng.random((4, 1, 4, 4)), sound=sound, facts=rng.random((4, 3)))
    layout = NamedLayout({one.name: one for one in described}, of_pairs=False)
    ((places, laid_out),) = layout.groups(layout.split(x))
    assert places.tolist() == [0, 1, 2, 3]
    for row, one in enumerate(layout.split(laid_out)):
        np.testing.assert_array_equal(one["sound"], sound[row].astype(np.float32))
        np.testing.assert_array_equal(one["rgb"], x["rgb"][row])
        np.testing.assert_array_equal(one["facts"], x["facts"][row])
    with pytest.raises(InputError, match="Sample 0 of the batch has rgb; the model takes rgb, sound, facts"):
        layout.groups([{"rgb": x["rgb"][0]}])
    with pytest.raises(InputError, match="is ndarray: give a mapping"):
        layout.groups([x["rgb"][0]])
    assert layout.groups([]) == []


def test_our_adapters_are_what_is_proposed(fusion: FusionClassifier) -> None:
    model, data, attack = SamplesModel(fusion), SamplesDataset(pairs_of(), fusion), SamplesAttack("art_pgd", fusion)
    assert isinstance(model, pairs.Model) and isinstance(data, pairs.Dataset) and isinstance(attack, pairs.Augmentation)
    assert not isinstance(model, pairs.Dataset)
    assert dict(model.modalities) == dict(data.modalities)
    assert model.modalities["image"]["kind"] == "image" and model.modalities["text"]["high"] is None
    assert (model.modalities["image"]["low"], model.modalities["image"]["high"]) == (0.0, 1.0)
    probabilities = SamplesModel(fusion, probabilities=True)([data[0][0]])[0]
    assert probabilities.sum() == pytest.approx(1) and model([]) == [] and attack(([], [], [])) == ([], [], [])


def test_what_cannot_be_made_says_why(fusion: FusionClassifier) -> None:
    zero_shot = ZeroShotClassifier(TinyEncoder().eval(), ("a", "b"), device_type="cpu")
    x = samples(rgb=np.zeros((2, 1, 4, 4)))
    for make, said in (
        (lambda: SamplesModel(zero_shot), "go with MaiteModel"),
        (lambda: SamplesAttack("pgd@depth", fusion), "is for models over several modalities"),
        (lambda: SamplesAttack("pgd", fusion), "does not work on fusion models"),
        (lambda: SamplesAttack("text", fusion), "Unknown attack 'text'"),
        (lambda: SamplesAttack("joint", fusion, eps={"image": 0.1}), "no modalities by name"),
        (lambda: SamplesDataset(LabelledSampleArrays(x, [0, 1], ["a", "b"]), fusion), "not LabelledSampleArrays"),
        (lambda: SamplesDataset(LabelledArrays(np.zeros((1, 3, 8, 8)), [0], TINY_ANSWERS), fusion), "needs a text"),
    ):
        with pytest.raises(InputError, match=said):
            make()
