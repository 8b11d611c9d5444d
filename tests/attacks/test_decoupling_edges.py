"""The decoupling attack on unusual pairs, on models that ignore a modality, and on mistakes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from attacks.removal_models import Counter, ScoreModel, check_returned, make, make_pairs, run
from tiny import TinyEncoder, TinyFusion, TinyJointFusion

from art_multimodal import FusionClassifier, InputError, ZeroShotClassifier, image_text_pairs
from art_multimodal.attacks.evasion import DecouplingAttack
from art_multimodal.attacks.evasion.decoupling.guided import guided_search

both_models = pytest.mark.parametrize("model_class", [TinyFusion, TinyJointFusion])

SEARCHES = [
    {"search": "exhaustive"},
    {"search": "exhaustive", "decision": "fusion", "max_combinations": 40},
    {"max_queries": 60},
    {"max_queries": 60, "white_box": False},
]
all_searches = pytest.mark.parametrize("settings", SEARCHES, ids=["exhaustive", "fusion", "white", "black"])
ODD_TEXTS = [
    *("one", "", " ", "two  spaces ", "line\nbreak\ttab", " naïve café ", "שלום עולם טוב", "مرحبا بك", "🐈 🐕 🦮🏽"),
    *("a\x00b c\x00", "\ud800 x", "a\u00a0b\u3000c", "\u202eright to\u202c left", "the the the", "\x1c", "{} {}"),
]


@both_models
@all_searches
@pytest.mark.parametrize("size", [(8, 8), (1, 1)])
def test_any_text(model_class, settings, size) -> None:
    classifier = make(model_class)
    classifier.model.text.weight.data *= 3  # else few words matter
    pairs = make_pairs(2 * len(ODD_TEXTS), size, texts=ODD_TEXTS)
    for modalities in ("text", ("image", "text")):
        attack, returned = run(classifier, pairs, modalities=modalities, **settings)
        check_returned(classifier.model, pairs, returned, attack)
        assert modalities != "text" or any(record.words for record in attack.records)


@both_models
@all_searches
def test_true_labels_are_not_used(model_class, settings) -> None:
    classifier, pairs = make(model_class), make_pairs()
    predicted = classifier.predict_labels(pairs)
    plain, returned = run(classifier, pairs, **settings)
    for y in (predicted, (predicted + 1) % 3, np.eye(3)[(predicted + 2) % 3]):
        other, again = run(classifier, pairs, y, **settings)
        assert other.records == plain.records
        np.testing.assert_array_equal(again["image"], returned["image"])


@both_models
@all_searches
def test_targeted(model_class, settings) -> None:
    classifier, pairs = make(model_class), make_pairs(30)
    predicted = classifier.predict_labels(pairs)
    with torch.no_grad():
        classifier.model.answer.bias[2] = -1000  # out of reach
    target = np.where(predicted == 0, 1, 0)
    target[:3], target[3:6] = 2, classifier.predict_labels(pairs)[3:6]
    attack, returned = run(classifier, pairs, target, targeted=True, **settings)
    check_returned(classifier.model, pairs, returned, attack)
    records = attack.records
    assert [record.success for record in records] == [r.label_after == t for r, t in zip(records, target, strict=True)]
    assert not any(record.success for record in records[:3])
    assert all(record.success and record.queries == 1 and not record.share_removed for record in records[3:6])
    assert any(record.success and record.share_removed for record in records[6:])


class NoImage(TinyFusion):
    """Does not even look at the image."""

    def image_tower(self, pixels):
        return super().image_tower(pixels).detach() * 0


class NoImageJoint(TinyJointFusion):
    def joint_tower(self, pixels, tokens):
        return super().joint_tower(torch.zeros_like(pixels), tokens)


class NoText(TinyFusion):
    def text_tower(self, tokens):
        return super().text_tower(tokens[:, :1])


class NoTextJoint(TinyJointFusion):
    def joint_tower(self, pixels, tokens):
        return super().joint_tower(pixels, {name: part[:, :1] for name, part in tokens.items()})


@all_searches
@pytest.mark.parametrize("model_class", [NoImage, NoImageJoint, NoText, NoTextJoint])
def test_a_modality_that_the_model_ignores_is_left_alone(model_class, settings) -> None:
    ignored = "image" if model_class in (NoImage, NoImageJoint) else "text"
    classifier, pairs = make(model_class), make_pairs(20)
    attack, returned = run(classifier, pairs, **settings)
    check_returned(classifier.model, pairs, returned, attack)
    if settings.get("decision") != "fusion":  # that combines whatever moves the fused vector
        assert not any(record.pixels if ignored == "image" else record.words for record in attack.records)
        assert sum(record.success for record in attack.records) >= 2
    attack, returned = run(classifier, pairs, modalities=ignored, **settings)
    assert not any(record.success for record in attack.records)
    assert [pair.tobytes() for pair in returned["image"]] == [pair.tobytes() for pair in pairs["image"]]
    assert returned["text"].tolist() == pairs["text"].tolist()


@both_models
@all_searches
def test_many_pairs_one_pair_no_pair_and_the_same_pair_again(model_class, settings) -> None:
    classifier, pairs = make(model_class), make_pairs(70, (5, 9))
    pairs[40:50] = pairs[3]
    attack, returned = run(classifier, pairs, **settings)
    check_returned(classifier.model, pairs, returned, attack)
    assert any(record.success for record in attack.records[64:])
    assert len(set(attack.records[40:50])) == 1
    parts = [run(classifier, pairs[rows], **settings) for rows in (slice(0, 64), slice(64, 70), slice(0, 0))]
    assert attack.records == [record for part, _ in parts for record in part.records]
    assert np.concatenate([part for _, part in parts])["text"].tolist() == returned["text"].tolist()
    some, returned = run(classifier, pairs[:6], batch_size=1, **settings)
    check_returned(classifier.model, pairs[:6], returned, some)
    assert [record.success for record in some.records] == [record.success for record in attack.records[:6]]


# Mistakes


@both_models
def test_bad_input_is_refused_before_any_work(model_class) -> None:
    classifier, pairs = make(model_class), make_pairs(70)
    attack, _ = run(classifier, pairs[:2], max_queries=5)
    records, counter = attack.records, Counter(classifier.model)
    broken = pairs.copy()
    broken["image"][66, 0, 2, 2] = np.nan
    with pytest.raises(InputError, match="Image 66 holds NaN"):
        attack.generate(broken)
    broken = pairs.copy()
    broken["text"][66] = None
    with pytest.raises(InputError, match="Text 66 must be a string, not NoneType"):
        attack.generate(broken)
    broken["text"][66] = "very " * 20
    with pytest.raises(InputError, match="more than the 62"):
        attack.generate(broken)
    with pytest.raises(InputError, match="the attack takes pairs"):
        attack.generate(pairs["image"])
    with pytest.raises(InputError, match="the attack takes images"):
        DecouplingAttack(ZeroShotClassifier(TinyEncoder().eval(), ("cat", "dog"), device_type="cpu")).generate(pairs)
    targeted = DecouplingAttack(classifier, targeted=True)
    with pytest.raises(ValueError, match="wanted labels"):
        targeted.generate(pairs)
    with pytest.raises(InputError, match="out of range"):
        targeted.generate(pairs, np.full(70, 3))
    assert counter.queries == 0
    assert attack.records is records  # of work already done nothing is lost


@all_searches
def test_scores_that_are_not_finite_are_no_success(settings) -> None:
    classifier = make()
    empty = classifier.model.encode_text(classifier.model.tokenize([""]))[0].detach()
    joined = classifier.model.join

    def join(image, text):
        gone = (text == empty).all(dim=1, keepdim=True)
        return joined(image, text).masked_fill(gone, torch.nan)  # what has no words breaks the model

    classifier.model.join = join
    pairs = make_pairs(3, texts=["one"])
    classifier.predict_labels(pairs)
    with pytest.raises(InputError, match="scores are NaN"):
        run(classifier, pairs, modalities="text", **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decision": "scores"}, "decision must be one of"),
        ({"fusion_threshold": 0.1}, "goes with decision='fusion'"),
        ({"decision": "fusion", "fusion_threshold": -0.1}, "cosine distance in"),
        ({"decision": "fusion", "fusion_threshold": 2.1}, "cosine distance in"),
        ({"decision": "fusion", "fusion_threshold": float("nan")}, "cosine distance in"),
        ({"min_block": 0}, "min_block must be"),
        ({"min_block": 2.5}, "min_block must be"),
        ({"min_block": True}, "min_block must be"),
    ],
)
def test_bad_settings(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        DecouplingAttack(make(), **settings)
    attack = DecouplingAttack(make())
    with pytest.raises(ValueError, match=message):
        attack.set_params(**settings)


@pytest.mark.parametrize("max_queries", range(1, 41))
def test_black_box_with_words_at_every_budget(max_queries: int) -> None:
    """The budget may end between two quadrants of a square, after words were removed."""
    for seed in range(12):
        model = ScoreModel(8, 8, 4, seed)
        outcome, queries = model.run(guided_search(model.task(), max_queries, white_box=False))
        assert queries <= max_queries - 1
        assert outcome.success == (model.answer(model.there(outcome.removal)).label != model.label)


class Rounding(TinyFusion):
    """Sees 8-bit levels, as a model behind an image decoder does; gradients pass straight through."""

    def pixels(self, images: torch.Tensor) -> torch.Tensor:
        return super().pixels(images + ((images * 255).floor() / 255 - images).detach())


def test_what_the_gradient_saw_is_what_is_returned() -> None:
    classifier = FusionClassifier(Rounding().eval(), device_type="cpu")
    images = np.random.default_rng(0).integers(0, 20, (200, 3, 8, 8)).astype(np.float32) / np.float32(255)
    pairs = image_text_pairs(images, ["a red cat"] * 200)
    attack = DecouplingAttack(classifier, modalities="image", white_box=True, max_queries=60, fill=0.3, verbose=False)
    labels = classifier.predict_labels(attack.generate(pairs))
    assert sum(record.success for record in attack.records) > 20
    assert [int(label) for label in labels] == [record.label_after for record in attack.records]


@pytest.mark.parametrize(("name", "value"), [("white_box", "no"), ("modalities", 5)])
def test_settings_of_the_wrong_kind(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{name} must"):
        DecouplingAttack(FusionClassifier(TinyFusion().eval(), device_type="cpu"), **{name: value})
