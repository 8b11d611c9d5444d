"""Attacks on the texts of a retriever: away from their own embeddings, or from their own images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from attacks.text_attacks import ALL, TEXTS, fusion, images, kl, language_model, pairs, slow_best, zero_shot
from tiny import TinyEncoder

from art_multimodal import load_model
from art_multimodal.attacks.evasion import BertAttack, CharacterAttack
from art_multimodal.datasets import open_captioned
from art_multimodal.errors import InputError
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.pairs import image_text_pairs


def retriever() -> ImageTextRetriever:
    return ImageTextRetriever(TinyEncoder(seed=3).eval(), device_type="cpu")


def bert_attack(estimator, **settings) -> BertAttack:
    return BertAttack(estimator, language_model(), **{"top_k": ALL, "verbose": False, **settings})


def cosine(estimator: ImageTextRetriever, image: np.ndarray, text: str) -> float:
    model = estimator.dual_encoder
    with torch.no_grad():
        return float(model.encode_image(torch.from_numpy(image)[None]) @ model.encode_text(model.tokenize([text]))[0])


@pytest.mark.parametrize("words", [1, None])
def test_texts_leave_their_own_images(words):
    estimator, clean = retriever(), pairs()
    attack = bert_attack(estimator, loss="similarity", candidate_words=words)
    adversarial = attack.generate(clean)
    np.testing.assert_array_equal(adversarial["image"], clean["image"])
    for pair, result, record in zip(clean, adversarial["text"], attack.records, strict=True):

        def score(text, image=pair["image"]):
            return -cosine(estimator, image, text)

        assert score(result) == pytest.approx(score(slow_best(score, pair["text"], set(), words)), abs=2e-6)
        assert record.score == pytest.approx(score(result), abs=1e-6)
        assert record.score_before == pytest.approx(score(pair["text"]), abs=1e-6)
    assert sum(record.score > record.score_before for record in attack.records) >= 4


def test_one_text_of_several_images_is_attacked_for_each():
    estimator = retriever()
    x = np.repeat(images(4), 2, axis=0)
    clean = image_text_pairs(x, [TEXTS[0], TEXTS[1]] * 4)
    attack = bert_attack(estimator, loss="similarity", candidate_words=None)
    adversarial = attack.generate(clean)
    assert len(attack.records) == 8
    assert len(set(adversarial["text"][::2])) > 1
    alone = [
        bert_attack(estimator, loss="similarity", candidate_words=None).generate(clean[n : n + 1]) for n in range(8)
    ]
    np.testing.assert_array_equal(adversarial["text"], np.concatenate(alone)["text"])


def test_equal_images_are_encoded_once(monkeypatch):
    estimator = retriever()
    seen = []
    plain = estimator.image_features
    monkeypatch.setattr(estimator, "image_features", lambda x, *rest: seen.append(len(x)) or plain(x, *rest))
    bert_attack(estimator, loss="similarity").generate(image_text_pairs(np.repeat(images(2), 3, axis=0), ["red"] * 6))
    assert seen == [2]


def test_texts_leave_their_own_embeddings():
    estimator, clean = retriever(), pairs((*TEXTS, *TEXTS))
    attack = bert_attack(estimator, candidate_words=None)
    adversarial = attack.generate(clean)
    assert list(adversarial["text"][:5]) == list(adversarial["text"][5:]) == attack.perturb(TEXTS)
    np.testing.assert_array_equal(adversarial["image"], clean["image"])
    features = {text: estimator.text_features([text])[0] for text in TEXTS}
    for text, result in zip(TEXTS, adversarial["text"], strict=False):

        def score(other, text=text):
            return kl(features[text], estimator.text_features([other])[0])

        assert result == slow_best(score, text, set(), None) != text


def test_equal_texts_are_asked_about_once():
    once, twice = bert_attack(retriever()), bert_attack(retriever())
    once.generate(pairs())
    twice.generate(pairs((*TEXTS, *TEXTS)))
    assert once.cost == twice.cost and len(twice.records) == 10


def test_only_named_words_are_protected():
    attack = bert_attack(retriever(), candidate_words=None, max_words=9, protected_words=["hill"])
    for text, result in zip(TEXTS, attack.generate(pairs())["text"], strict=True):
        assert ("hill" in result) == ("hill" in text)
    attack = bert_attack(retriever(), candidate_words=None, max_words=9)
    assert any("cat" in text and "cat" not in result for text, result in zip(TEXTS, attack.perturb(TEXTS), strict=True))


@pytest.mark.parametrize("loss", ["similarity", "embedding_kl"])
def test_typing_errors_too(loss):
    attack = CharacterAttack(retriever(), loss=loss, alphabet="az", dictionary=(), verbose=False)
    adversarial = attack.generate(pairs())
    assert all(record.score >= record.score_before for record in attack.records)
    assert any(adversarial["text"] != pairs()["text"])


@pytest.mark.parametrize("loss", ["similarity", "embedding_kl"])
def test_texts_without_words_and_no_pairs(loss):
    clean = image_text_pairs(images(3), ["", "\U0001f600!", "red car"], allow_empty=True)
    attack = bert_attack(retriever(), loss=loss)
    assert list(attack.generate(clean)["text"][:2]) == ["", "\U0001f600!"]
    assert len(attack.records) == 3
    assert len(attack.generate(clean[:0])) == 0 == len(attack.records)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="needs a classifier"):
        bert_attack(retriever(), loss="margin")
    with pytest.raises(ValueError, match="per_image"):
        bert_attack(retriever(), loss="similarity", per_image=True)
    with pytest.raises(ValueError, match="loss='margin'"):
        bert_attack(retriever(), loss="similarity", targeted=True)
    for estimator in (zero_shot(), fusion()):
        with pytest.raises(ValueError, match="on an ImageTextRetriever"):
            bert_attack(estimator, loss="similarity")
    with pytest.raises(InputError, match="ImageTextRetriever the attack takes pairs"):
        bert_attack(retriever()).generate(images(2))
    with pytest.raises(InputError, match="embedding_kl"):
        bert_attack(retriever(), loss="similarity").perturb(["a"])


@pytest.mark.slow
def test_one_letter_tells_the_model_of_scenes_more_than_one_word() -> None:
    """With all letters; that typing errors lead away at all is tested above."""
    data = open_captioned("demo:scenes")
    estimator = ImageTextRetriever(load_model("demo:scenes"), device_type="cpu")
    captions = [(index, text) for index in range(60) for text in data.captions_of(index)]
    pairs = image_text_pairs(np.stack([data.image(index) for index, _ in captions]), [text for _, text in captions])
    words, letters = (
        attack(estimator, candidate_words=count, protected_words=data.protected_words, verbose=False)
        for attack, count in ((BertAttack, None), (CharacterAttack, 1))
    )
    recalls = [estimator.recall(one.generate(pairs), truth=pairs).text_to_image[1] for one in (words, letters)]
    assert recalls[1] < 0.9 and recalls[1] < recalls[0]
