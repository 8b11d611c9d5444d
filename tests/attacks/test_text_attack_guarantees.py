"""What every text attack promises, whatever it is to raise and whatever the text is written in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from attacks.text_attacks import TEXTS, images, language_model
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TinyEncoder

from art_multimodal import ZeroShotClassifier, load_model
from art_multimodal.attacks.evasion import BertAttack, CharacterAttack
from art_multimodal.demo.digits import DigitsEncoder
from art_multimodal.errors import InputError
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.language.masked_language_model import load_masked_language_model
from art_multimodal.language.words import words_of
from art_multimodal.pairs import image_text_pairs

PROTECTED = {"cat", "cats", "dog", "dogs", "boat", "boats"}
ODD = [
    "\u05d7\u05ea\u05d5\u05dc \u05e2\u05dc \u05d4\u05d2\u05d1\u05e2\u05d4",
    "\u0642\u0637\u0629 \u0635\u063a\u064a\u0631\u0629",
    "\u2764\ufe0f\U0001f468\u200d\U0001f469\u200d\U0001f467 cat!",
    "caf\u0065\u0301 a\u200bphoto",
    "\u732b\u306e\u5199\u771f",
    "- -- ...",
    "\u202ered car\u202c on a hill",
    "A" * 60,
]
TEXT = st.one_of(
    st.sampled_from(ODD),
    st.text(st.sampled_from("a cat dog red.,!'\u2019-\U0001f600\u05e9\u0644\u732b\u0301\u200d\ufe0fCAT"), max_size=16),
    st.lists(st.sampled_from(["a", "Photo", "CAT", "dogs", "red", "car,", "hill!"]), max_size=5).map(" ".join),
).filter(lambda text: text.strip() and len(text.encode()) <= 60)


def check(text: str, result: str, budget: int) -> None:
    """At most so many words differ, none of them protected, and everything between words is as it was."""
    before, after = words_of(text), words_of(result)
    changed = [(old.text, new.text) for old, new in zip(before, after, strict=True) if old.text != new.text]
    assert len(changed) <= budget
    assert not PROTECTED & {word.lower() for pair in changed for word in pair}
    rebuilt, end = "", 0
    for old, new in zip(before, after, strict=True):
        rebuilt, end = rebuilt + text[end : old.start] + new.text, old.end
    assert result == rebuilt + text[end:]


def attacks_on(estimator, budget: int, **settings):
    yield BertAttack(estimator, language_model(), budget, top_k=6, verbose=False, **settings)
    yield CharacterAttack(estimator, budget, "az", ("ad", "reed"), candidate_words=2, verbose=False, **settings)


@settings(max_examples=12)
@given(st.lists(TEXT, min_size=3, max_size=3, unique=True), st.integers(0, 2), st.booleans(), st.booleans())
def test_prompts_on_images(prompts, budget, per_image, targeted):
    model = TinyEncoder(seed=3).eval()
    estimator = ZeroShotClassifier(model, ("cat", "dog", "boat"), prompts=prompts, device_type="cpu")
    for attack in attacks_on(estimator, budget, loss="margin", per_image=per_image, targeted=targeted):
        adversarial = attack.generate(images(3), np.array([0, 1, 2]))
        for entry in adversarial if per_image else [adversarial]:
            for text, (result,) in zip(prompts, entry, strict=True):
                check(text, result, budget)
        for record in attack.records:
            assert record.score >= record.score_before
            assert (record.adversarial == record.text) == (not record.changes)
            assert budget or record.queries == 1


@settings(max_examples=20)
@given(st.lists(TEXT, min_size=1, max_size=4), st.integers(0, 2), st.sampled_from(["similarity", "embedding_kl"]))
def test_texts_of_a_retriever(texts, budget, loss):
    estimator = ImageTextRetriever(TinyEncoder(seed=3).eval(), device_type="cpu")
    pairs = image_text_pairs(images(len(texts)), texts)
    for attack in attacks_on(estimator, budget, loss=loss, protected_words=["cat", "dog", "boat"]):
        adversarial = attack.generate(pairs)
        np.testing.assert_array_equal(adversarial["image"], pairs["image"])
        for text, result in zip(texts, adversarial["text"], strict=True):
            check(text, result, budget)


class Apart(DigitsEncoder):
    """Computes every text by itself."""

    causal_text = None


def test_sharing_beginnings_changes_nothing_but_the_cost():
    plain = Apart()
    plain.load_state_dict(load_model("demo:digits").state_dict())
    texts = [*TEXTS[:2], *ODD[:5], "a photo of the handwritten digit two.", "a photo of the handwritten digit six."]
    mlm = load_masked_language_model("demo:mlm")
    results, costs = [], []
    for encoder in (load_model("demo:digits"), plain.eval()):
        estimator = ImageTextRetriever(encoder, device_type="cpu")
        bert = BertAttack(estimator, mlm, max_words=2, candidate_words=None, verbose=False)
        characters = CharacterAttack(estimator, alphabet="az", candidate_words=2, verbose=False)
        results.append((bert.perturb(texts), characters.perturb(texts)))
        costs.append((bert.cost, characters.cost))
    assert results[0] == results[1]
    assert any(text != result for text, result in zip(texts, results[0][0], strict=True))
    for shared, apart in zip(*costs, strict=True):
        assert shared.forwards == apart.forwards
        assert shared.positions < 0.7 * apart.positions


@pytest.mark.parametrize("loss", ["similarity", "embedding_kl"])
def test_a_text_of_ten_thousand_characters(loss):
    model = TinyEncoder(seed=3).eval()
    text = "red" + " " * 9_996 + "car!"
    pairs = image_text_pairs(images(1), [text])
    estimator = ImageTextRetriever(model, device_type="cpu")
    for attack in attacks_on(estimator, 1, loss=loss):
        with pytest.raises(InputError, match="10003 characters"):
            attack.generate(pairs)
    model.context_length = 12_000
    for attack in attacks_on(estimator, 1, loss=loss, protected_words=["cat", "dog", "boat"]):
        result = attack.generate(pairs)["text"][0]
        check(text, result, 1)
        assert result != text or isinstance(attack, BertAttack)


def test_inference_mode_leaves_nothing_behind_that_cannot_be_used():
    estimator = ImageTextRetriever(TinyEncoder(seed=3).eval(), device_type="cpu")
    attack = BertAttack(estimator, language_model(), verbose=False)
    with torch.inference_mode():
        first = attack.perturb(TEXTS[:2])
    assert attack.perturb(TEXTS) == [*first, *attack.perturb(TEXTS[2:])]
