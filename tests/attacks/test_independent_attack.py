"""Two attacks that know nothing of each other: both parts exactly, whatever is attacked."""

from __future__ import annotations

import numpy as np
import pytest
from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescent
from attacks.text_attacks import ALL, fusion, images, language_model, pairs, zero_shot
from tiny import TinyEncoder

from art_multimodal import ImageTextRetriever, InputError
from art_multimodal.attacks.evasion import BertAttack, CharacterAttack, DecouplingAttack, ImageAttackOnPairs
from art_multimodal.attacks.evasion import ProjectedGradientDescentDualEncoder as PGD
from art_multimodal.attacks.evasion.multimodal import CoAttack, IndependentAttack

Y = np.array([0, 1, 2, 0, 1])


def bert(estimator, **settings) -> BertAttack:
    return BertAttack(estimator, language_model(), **{"top_k": ALL, "verbose": False, **settings})


@pytest.mark.parametrize(
    "text", [{}, {"loss": "margin"}, {"loss": "margin", "per_image": True, "candidate_words": None}]
)
@pytest.mark.parametrize("art", [False, True])
def test_on_prompts_both_parts_are_what_they_are_alone(text, art) -> None:
    estimator, x = zero_shot(), images(5)
    image_attack = (
        FastGradientMethod(estimator, eps=0.05)
        if art
        else PGD(estimator, eps=0.05, eps_step=0.02, seed=0, verbose=False)
    )
    attack = IndependentAttack(estimator, image_attack, bert(estimator, **text))
    found = attack.generate(x, Y)
    np.testing.assert_array_equal(found, image_attack.generate(x, np.eye(3)[Y]))
    alone = bert(estimator, **text)
    prompts = alone.generate(x, Y) if text else alone.generate()
    assert attack.prompts is not None
    assert attack.prompts.shape == ((5, 3) if text.get("per_image") else (3,))
    assert attack.prompts.tolist() == prompts.tolist()
    assert attack.records == alone.records
    assert estimator.predict_on(found, attack.prompts).shape == (5, 3)
    assert not attack.targeted


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("loss", ["embedding_kl", "margin"])
def test_on_pairs_both_parts_are_what_they_are_alone(joint, loss) -> None:
    estimator, x = fusion(joint), pairs()
    before = x.copy()
    image_attack = ImageAttackOnPairs(
        estimator, lambda view: ProjectedGradientDescent(view, eps=0.05, eps_step=0.02, max_iter=3, verbose=False)
    )
    attack = IndependentAttack(estimator, image_attack, bert(estimator, loss=loss))
    found = attack.generate(x, Y)
    np.testing.assert_array_equal(found["image"], image_attack.generate(x, Y)["image"])
    assert found["text"].tolist() == bert(estimator, loss=loss).generate(x, Y)["text"].tolist()
    assert (found["text"] != x["text"]).any()
    assert [record.adversarial for record in attack.records] == found["text"].tolist()
    assert attack.prompts is None
    # What came in is as it was.
    np.testing.assert_array_equal(x["image"], before["image"])
    assert x["text"].tolist() == before["text"].tolist()


def test_of_an_attack_on_pairs_the_images_alone_are_taken() -> None:
    estimator, x = fusion(), pairs()
    removing = DecouplingAttack(estimator, verbose=False)
    texts = CharacterAttack(estimator, verbose=False)
    found = IndependentAttack(estimator, removing, texts).generate(x, Y)
    np.testing.assert_array_equal(found["image"], removing.generate(x, Y)["image"])
    assert found["text"].tolist() == texts.generate(x)["text"].tolist()


def test_on_a_retriever() -> None:
    estimator, x = ImageTextRetriever(TinyEncoder(seed=3).eval(), device_type="cpu"), pairs()
    image_attack = CoAttack(estimator, bert(estimator, max_words=0), eps=0.05, eps_step=0.02, seed=0, verbose=False)
    found = IndependentAttack(estimator, image_attack, bert(estimator, loss="similarity")).generate(x)
    np.testing.assert_array_equal(found["image"], image_attack.generate(x)["image"])
    assert found["text"].tolist() == bert(estimator, loss="similarity").generate(x)["text"].tolist()
    assert estimator.recall(found, x, ks=(1,)).image_to_text is not None


def test_further_arguments_go_to_the_image_attack() -> None:
    estimator, x = zero_shot(), images(5)
    mask = np.zeros_like(x)
    mask[..., :4] = 1
    attack = IndependentAttack(estimator, PGD(estimator, eps=0.1, seed=0, verbose=False), bert(estimator))
    found = attack.generate(x, Y, mask=mask)
    np.testing.assert_array_equal(found[..., 4:], x[..., 4:])
    assert (found[..., :4] != x[..., :4]).any()


@pytest.mark.parametrize("per_image", [False, True])
def test_no_samples(per_image) -> None:
    estimator = zero_shot()
    attack = IndependentAttack(
        estimator, PGD(estimator, verbose=False), bert(estimator, loss="margin", per_image=per_image)
    )
    assert attack.generate(images(5)[:0], Y[:0]).shape == (0, 3, 8, 8)
    assert attack.prompts is not None
    assert attack.prompts.shape == ((0, 3) if per_image else (3,))
    assert attack.records == []
    estimator = fusion()
    assert len(IndependentAttack(estimator, *_parts(estimator)).generate(pairs()[:0])) == 0


def _parts(estimator):
    image_attack = ImageAttackOnPairs(estimator, lambda view: FastGradientMethod(view, eps=0.1))
    return image_attack, bert(estimator)


def test_parts_that_cannot_be_joined() -> None:
    estimator, other = zero_shot(), zero_shot()
    image_attack, text_attack = PGD(estimator, verbose=False), bert(estimator)
    with pytest.raises(ValueError, match="image_attack attacks another estimator"):
        IndependentAttack(estimator, PGD(other, verbose=False), text_attack)
    with pytest.raises(ValueError, match="text_attack attacks another estimator"):
        IndependentAttack(estimator, image_attack, bert(other))
    with pytest.raises(ValueError, match="text_attack must be"):
        IndependentAttack(estimator, image_attack, image_attack)
    with pytest.raises(ValueError, match="image_attack must be"):
        IndependentAttack(estimator, text_attack, text_attack)
    with pytest.raises(ValueError, match="labels would mean two things"):
        IndependentAttack(estimator, PGD(estimator, targeted=True), bert(estimator, loss="margin"))
    attack = IndependentAttack(estimator, image_attack, text_attack)
    with pytest.raises(ValueError, match="another estimator"):
        attack.set_params(text_attack=bert(other))


def test_bad_samples() -> None:
    estimator = zero_shot()
    attack = IndependentAttack(estimator, PGD(estimator, verbose=False), bert(estimator))
    with pytest.raises(InputError, match="takes images, not pairs"):
        attack.generate(pairs(), Y)
    with pytest.raises(InputError, match="Divide them by 255"):
        attack.generate(images(5) * 255, Y)
    estimator = fusion()
    attack = IndependentAttack(estimator, *_parts(estimator))
    with pytest.raises(InputError, match="takes pairs"):
        attack.generate(images(5), Y)
    with pytest.raises(InputError, match="NaN"):
        broken = pairs()
        broken["image"][2, 0] = np.nan
        attack.generate(broken, Y)
