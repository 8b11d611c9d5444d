"""The joint attack on what a model answers: never weaker than any of its parts."""

from __future__ import annotations

import numpy as np
import pytest
from attacks.joint_attacks import BALL, ESTIMATORS, SAMPLES, Y, bert, co_attack, many, margins, strong
from attacks.text_attacks import images, zero_shot

from art_multimodal import ZeroShotClassifier
from art_multimodal.attacks.evasion import BertAttack, CoAttack, IndependentAttack
from art_multimodal.attacks.evasion import ProjectedGradientDescentDualEncoder as PGD


@pytest.mark.parametrize("name", ["zero_shot", "fusion", "joint_fusion"])
@pytest.mark.parametrize("loss", ["margin", "cross_entropy"])
@pytest.mark.parametrize("seed", range(2))
def test_no_sample_is_weaker_than_with_any_part(name, loss, seed) -> None:
    estimator, x = ESTIMATORS[name], SAMPLES[name]
    y = estimator.predict(x).argmax(axis=1)
    ball = {"loss": loss, "seed": seed, "num_random_init": 2, "eps": 0.03, "eps_step": 0.01}
    text_attack = strong(estimator)
    # Without admissible changes what remains is the attack on the image alone.
    image_alone = co_attack(estimator, strong(estimator, max_words=0), **ball).generate(x, y)
    found = {1: x, 2: x}
    joint = {}
    for rounds in (1, 2):
        attack = co_attack(estimator, text_attack, rounds=rounds, **ball)
        found[rounds] = attack.generate(x, y)
        joint[rounds] = margins(estimator, found[rounds], y, attack.prompts)
    if name == "zero_shot":
        prompts = text_attack.generate(x, y)
        parts = [margins(estimator, images, y, texts) for images in (x, image_alone) for texts in (None, prompts)]
        pgd = PGD(estimator, **{**BALL, **ball})
        parts.append(margins(estimator, pgd.generate(x, y), y))
        independent = IndependentAttack(estimator, pgd, text_attack)
        parts.append(margins(estimator, independent.generate(x, y), y, independent.prompts))
    else:
        text_alone = text_attack.generate(x, y)
        both = text_alone.copy()
        both["image"] = image_alone["image"]
        parts = [margins(estimator, part, y) for part in (x, image_alone, text_alone, both)]
    for rounds in (1, 2):
        assert (joint[rounds] >= np.max(parts, axis=0) - 1e-4).all()
        assert joint[rounds].mean() > np.max(parts, axis=0).mean() + 1e-3


def test_the_image_alone_is_our_pgd_of_the_same_settings() -> None:
    estimator, x = zero_shot(), images(5)
    for loss in ("margin", "cross_entropy"):
        settings = {**BALL, "loss": loss, "num_random_init": 2}
        attack = CoAttack(estimator, strong(estimator, max_words=0), **settings)
        pgd = PGD(estimator, **settings).generate(x, Y)
        # Starts from there follow, which can only add.
        assert (margins(estimator, attack.generate(x, Y), Y) >= margins(estimator, pgd, Y) - 1e-5).all()


def test_with_shared_prompts_no_fewer_samples_fail_than_with_any_part() -> None:
    x = images(40)
    estimator = ESTIMATORS["zero_shot"]
    y = estimator.predict(x).argmax(axis=1)
    ball = {"loss": "margin", "num_random_init": 2, "eps": 0.01, "eps_step": 0.004, "batch_size": 16}
    for text_attack in (bert(estimator, loss="margin"), bert(estimator)):
        attack = co_attack(estimator, text_attack, rounds=2, **ball)
        found = attack.generate(x, y)
        assert attack.prompts is not None
        assert attack.prompts.shape == (3,)
        pgd = PGD(estimator, **{**BALL, **ball}).generate(x, y)
        prompts = text_attack.generate(x, y) if text_attack.loss == "margin" else text_attack.generate()
        failing = [(margins(estimator, part, y, texts) > 0).sum() for part in (x, pgd) for texts in (None, prompts)]
        assert (margins(estimator, found, y, attack.prompts) > 0).sum() >= max(failing)
        assert len(attack.records) == 6


@pytest.mark.parametrize("name", ["zero_shot", "fusion", "joint_fusion"])
def test_a_second_round_goes_on_where_the_model_is_right(name) -> None:
    estimator, x = ESTIMATORS[name], many(name, 60)
    y = estimator.predict(x).argmax(axis=1)
    eps = 0.004 if name == "zero_shot" else 0.02
    ball = {"loss": "margin", "eps": eps, "eps_step": eps / 2, "batch_size": 32}
    text_attack = strong(estimator, top_k=1)
    first, second = (co_attack(estimator, text_attack, rounds=rounds, **ball) for rounds in (1, 2))
    found = first.generate(x, y)
    before = margins(estimator, found, y, first.prompts)
    after = margins(estimator, second.generate(x, y), y, second.prompts)
    left = before <= 0
    assert left.any()
    assert (after > before + 1e-3).any()
    # The others are done with.
    np.testing.assert_allclose(after[before > 0.01], before[before > 0.01], atol=1e-5)
    if name != "zero_shot":
        # Where it goes on, the text is attacked given the image as it is by then.
        now = x.copy()
        now["image"] = found["image"]
        given = margins(estimator, text_attack.generate(now, y), y)
        assert (given[left] > before[left] + 1e-3).any()
        assert (after[left] >= np.maximum(before, given)[left] - 1e-5).all()


@pytest.mark.parametrize("name", ["zero_shot", "fusion"])
def test_records_say_what_was_done_to_the_texts_that_are_kept(name) -> None:
    estimator, x = ESTIMATORS[name], images(12) if name == "zero_shot" else SAMPLES[name]
    attack = co_attack(estimator, strong(estimator, top_k=1), loss="margin", rounds=3, eps=0.004, eps_step=0.001)
    y = estimator.predict(x).argmax(axis=1)
    found = attack.generate(x, y)
    once = strong(estimator, top_k=1)
    once.generate(x, y)
    assert len(attack.records) == len(once.records)
    if name == "zero_shot":
        assert attack.prompts is not None
        per_image = len(attack.records) // len(x)
        for row in range(len(x)):
            of = {r.text: r.adversarial for r in attack.records[row * per_image : (row + 1) * per_image]}
            for entry, prompts in zip(attack.prompts[row], estimator.prompts, strict=True):
                assert entry == tuple(of[text] for text in prompts)
    else:
        assert [record.adversarial for record in attack.records] == found["text"].tolist()
    for record, alone in zip(attack.records, once.records, strict=True):
        assert record.queries >= alone.queries
        assert bool(record.changes) == (record.text != record.adversarial)
    assert sum(r.queries for r in attack.records) > sum(r.queries for r in once.records)


def test_texts_that_are_kept_as_they_were_have_records_that_say_so() -> None:
    estimator, x = ESTIMATORS["fusion"], many("fusion", 20)
    y = estimator.predict(x).argmax(axis=1)
    # Texts moved without a look at the answer are at times worse than none.
    attack = co_attack(estimator, bert(estimator), loss="margin", eps=0.02, eps_step=0.01)
    found = attack.generate(x, y)
    alone = bert(estimator).generate(x)
    kept = (found["text"] == x["text"]) & (alone["text"] != x["text"])
    assert kept.any()
    assert not kept.all()
    assert [record.text for record in attack.records] == x["text"].tolist()
    assert [record.adversarial for record in attack.records] == found["text"].tolist()
    for record in np.array(attack.records)[kept]:
        assert record.changes == ()
        assert record.score == record.score_before
        assert record.queries > 1


@pytest.mark.parametrize("name", ["zero_shot", "fusion", "joint_fusion"])
def test_targeted(name) -> None:
    estimator, x = ESTIMATORS[name], SAMPLES[name]
    wanted = (estimator.predict(x).argmax(axis=1) + 1) % 3
    text_attack = strong(estimator, targeted=True)
    attack = co_attack(estimator, text_attack, loss="margin", rounds=2, eps=0.3, eps_step=0.04, max_iter=20)
    assert attack.targeted
    found = attack.generate(x, np.eye(3)[wanted])
    scores = estimator.predict(found) if attack.prompts is None else estimator.predict_on(found, attack.prompts)
    assert (scores.argmax(axis=1) == wanted).mean() >= 0.8
    with pytest.raises(ValueError, match="wanted labels"):
        attack.generate(x)


def test_on_the_demo_model_together_is_more_than_apart(digits_classifier: ZeroShotClassifier, digits_images) -> None:
    estimator = digits_classifier.with_templates("a photo of a {}.")
    x, y = (part[:60] for part in digits_images)
    text_attack = BertAttack(
        estimator,
        loss="margin",
        per_image=True,
        candidate_words=None,
        protected_words=tuple("0123456789"),
        verbose=False,
    )
    ball = {"loss": "margin", "eps": 4 / 255, "eps_step": 1 / 255, "seed": 0, "batch_size": 60, "verbose": False}
    pgd = PGD(estimator, **ball)
    independent = IndependentAttack(estimator, pgd, text_attack)
    joint = CoAttack(estimator, text_attack, rounds=2, **ball)

    def successes(images: np.ndarray, prompts=None) -> np.ndarray:
        right = estimator.predict(x).argmax(axis=1) == y
        return right & (margins(estimator, images, y, prompts) > 0)

    image_alone, text_alone = successes(pgd.generate(x, y)), successes(x, text_attack.generate(x, y))
    apart = successes(independent.generate(x, y), independent.prompts)
    together = successes(joint.generate(x, y), joint.prompts)
    assert 0 < text_alone.sum() < image_alone.sum() < apart.sum() < together.sum() < 60
    for part in (image_alone, text_alone, apart):
        assert not (part & ~together).any()
