"""Repair of texts: what is undone, what is left alone, and that estimators and attacks meet it."""

from __future__ import annotations

import string

import numpy as np
import pytest
from estimators.captions import captioned
from estimators.captions import make as make_retriever
from estimators.fusion_pairs import both_models
from estimators.fusion_pairs import make as make_fusion
from hypothesis import given
from hypothesis import strategies as st

from art_multimodal import InputError, ZeroShotClassifier, image_text_pairs
from art_multimodal.attacks.evasion import CharacterAttack
from art_multimodal.attacks.evasion.text.character_attack import edits_of
from art_multimodal.defences.preprocessor import SpellingRepair, UnicodeNormalisation
from art_multimodal.language.words import words_of

VOCABULARY = {"cat": 5, "cats": 2, "bat": 9, "photo": 4, "of": 8, "a": 7, "child": 3}


@pytest.fixture(scope="module")
def small() -> SpellingRepair:
    return SpellingRepair(VOCABULARY)


@pytest.fixture(scope="module")
def english() -> SpellingRepair:
    return SpellingRepair()


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        ("a pho\u200bto of\u2060 a c\u0430t", "a photo of a cat"),  # zero width, Cyrillic a
        ("\u0430 photo", "a photo"),  # a whole word of lookalikes among Latin ones
        ("\uff41 \uff50\uff48oto", "a photo"),
        ("\u202eabc\u202c so\u00adft", "abc soft"),
        ("one\ttwo\nthree", "one two three"),
        ("\ud835\udc1bold".encode("utf-16", "surrogatepass").decode("utf-16"), "bold"),
        ("\ufb01ne \u039f\u039a", "fine OK"),
        ("\u0406 see", "I see"),
        ("cafe\u0301", "caf\u00e9"),
    ],
)
def test_what_the_eye_does_not_see_is_undone(text: str, repaired: str) -> None:
    assert UnicodeNormalisation().repair([text]) == [repaired]


@pytest.mark.parametrize(
    "text",
    [
        "мама мыла раму",
        "сосо и кот",  # of the first word all letters look Latin
        "the word мама means mother, о и а",
        "Наталия visits Παρθενών",
        "να το",
        "کتاب\u200cها",
        "👨\u200d👩\u200d👧 family ❤️",
        "日本語 の text",
        "plain ASCII, 100 %!",
        "",
    ],
)
def test_genuine_texts_of_any_script_stay(text: str) -> None:
    assert UnicodeNormalisation().repair([text]) == [text]


@given(st.text(max_size=20))
def test_repairing_twice_changes_nothing_more(text: str) -> None:
    (once,) = UnicodeNormalisation().repair([text])
    assert UnicodeNormalisation().repair([once]) == [once]


@given(st.text(alphabet="catbphofs", min_size=1, max_size=6))
def test_a_word_becomes_the_most_frequent_of_those_one_edit_away(small: SpellingRepair, word: str) -> None:
    near = [other for other in VOCABULARY if other in set(edits_of(word, string.ascii_lowercase))]
    expected = word if word in VOCABULARY or not near else max(near, key=VOCABULARY.__getitem__)
    assert small.repair([word]) == [expected]


@given(st.sampled_from(sorted(VOCABULARY)), st.data())
def test_every_typing_error_of_the_attack_is_undone_or_ambiguous(small: SpellingRepair, word: str, data) -> None:
    edited = data.draw(st.sampled_from([edit for edit in edits_of(word, string.ascii_lowercase) if edit]))
    (found,) = small.repair([edited])
    assert found == word or found in VOCABULARY


def test_case_punctuation_and_what_is_unlike_any_word_stay(small: SpellingRepair) -> None:
    texts = ["A PHOTOX of, xyzzyq!", "Phto  of child's", "mp3 4 cat", "phot0!", "x" * 100]
    assert small.repair(texts) == ["A PHOTO of, xyzzyq!", "Photo  of child's", "mp3 4 cat", "photo!", "x" * 100]


def test_known_words_come_before_more_frequent_ones(english: SpellingRepair) -> None:
    assert english.repair(["a dgit", "a narwhall"]) == ["a digit", "a narwhal"]
    named = SpellingRepair(known_words=("git annex", "narwhall"))
    assert named.repair(["a dgit", "a narwhall"]) == ["a git", "a narwhall"]


def test_fitted_words_are_right_and_preferred() -> None:
    repair = SpellingRepair(vocabulary=())
    assert repair.repair(["anything gose"]) == ["anything gose"]
    repair.fit(image_text_pairs(np.zeros((2, 3, 2, 2)), ["a hot day", "a hot hat"]))
    assert repair.repair(["a hotx hzt dya", "unknown"]) == ["a hot hot day", "unknown"]
    repair.fit(np.array(["other words"], dtype=object))
    assert repair.repair(["hotx othr"]) == ["hotx other"]
    with pytest.raises(InputError, match="no word"):
        repair.fit(np.array(["!"], dtype=object))


def test_bad_input_is_refused() -> None:
    for settings in ({"vocabulary": "word"}, {"known_words": "word"}, {"vocabulary": [3]}, {"vocabulary": {"a": -1}}):
        with pytest.raises(InputError):
            SpellingRepair(**settings)
    with pytest.raises(InputError, match="not NoneType"):
        UnicodeNormalisation().repair(None)
    with pytest.raises(InputError, match="must be a string"):
        UnicodeNormalisation().repair([3])


def test_pairs_and_texts_are_repaired_and_images_pass(small: SpellingRepair) -> None:
    pairs = image_text_pairs(np.random.default_rng(0).random((2, 3, 4, 4)), ["a ctt", "a bat"])
    labels = np.array([1, 0])
    repaired, y = small(pairs, labels)
    assert y is labels
    assert repaired["text"].tolist() == ["a cat", "a bat"]
    assert pairs["text"].tolist() == ["a ctt", "a bat"]
    np.testing.assert_array_equal(repaired["image"], pairs["image"])
    prompts, _ = small(np.array([["a ctt"], ["phto"]], dtype=object))
    assert prompts.tolist() == [["a cat"], ["photo"]]
    images = np.ascontiguousarray(pairs["image"])
    assert small(images)[0] is images
    assert small.estimate_gradient(images, images) is images


@both_models
def test_a_fusion_classifier_reads_repaired_texts(model_class, small: SpellingRepair) -> None:
    plain, repairing = make_fusion(model_class), make_fusion(model_class, preprocessing_defences=[small])
    images = np.random.default_rng(0).random((3, 3, 8, 8), dtype=np.float32)
    clean, typed = (
        image_text_pairs(images, ["a cat", "photo", "bat"]),
        image_text_pairs(images, ["a ctt", "phto", "bt"]),
    )
    np.testing.assert_array_equal(repairing.predict(typed), plain.predict(clean))
    assert not np.allclose(plain.predict(typed), plain.predict(clean))
    labels = np.array([0, 1, 2])
    np.testing.assert_array_equal(repairing.loss_gradient(typed, labels), plain.loss_gradient(clean, labels))
    view = repairing.image_view(typed["text"].tolist())
    np.testing.assert_array_equal(view.predict(images), plain.predict(clean))


def test_a_retriever_and_its_classifier_read_repaired_texts(small: SpellingRepair) -> None:
    plain, repairing = make_retriever(), make_retriever(preprocessing_defences=small)
    clean = captioned()
    typed = clean.copy()
    clean["text"], typed["text"] = ["a cat", "photo"] * 3 + ["bat"], ["a catt", "pohto"] * 3 + ["bta"]
    np.testing.assert_array_equal(repairing.predict(typed), plain.predict(clean))
    np.testing.assert_array_equal(repairing.loss_gradient(typed), plain.loss_gradient(clean))
    gallery = [["a catt"], ["pohto"]]
    images = np.ascontiguousarray(clean["image"])
    expected = plain.as_classifier([["a cat"], ["photo"]]).predict(images)
    np.testing.assert_array_equal(repairing.as_classifier(gallery).predict(images), expected)


def test_prompts_are_repaired_in_every_variant(tiny, tiny_images, small: SpellingRepair) -> None:
    plain = ZeroShotClassifier(tiny, ("cat", "bat"), "photo of a {}", device_type="cpu")
    typed = ZeroShotClassifier(tiny, ("cat", "bat"), "phoot of a {}", preprocessing_defences=[small], device_type="cpu")
    expected = plain.predict(tiny_images)
    np.testing.assert_array_equal(typed.predict(tiny_images), expected)
    for variant in (typed.with_templates("photo off a {}"), typed.with_prompts(["photo of a catt", "photo of a bbat"])):
        np.testing.assert_array_equal(variant.predict(tiny_images), expected)
    np.testing.assert_array_equal(typed.predict_on(tiny_images, ["photo of a acat", "photo of a bat"]), expected)


def test_attacks_on_the_estimator_meet_the_repair(tiny, small: SpellingRepair) -> None:
    def attacked(**settings) -> tuple[list[str], CharacterAttack]:
        estimator = ZeroShotClassifier(tiny, ("cat", "bat"), "photo of a {}", device_type="cpu", **settings)
        attack = CharacterAttack(estimator, candidate_words=None, dictionary=(), verbose=False)
        return [text for entry in attack.generate() for text in entry], attack

    naive, _ = attacked()
    assert small.repair(naive) == ["photo of a cat", "photo of a bat"]
    adaptive, attack = attacked(preprocessing_defences=[small])
    assert small.repair(adaptive) != ["photo of a cat", "photo of a bat"]
    # The protected names and the edit budget hold in front of the repair.
    for before, after in zip(["photo of a cat", "photo of a bat"], adaptive, strict=True):
        assert after.split()[-1] == before.split()[-1]
        assert len(words_of(after)) == len(words_of(before))
    assert all(record.score > 0 for record in attack.records)


def test_it_stands_beside_image_defences_and_not_behind_the_constructor(tiny, tiny_images, small) -> None:
    from art.defences.preprocessor import FeatureSqueezing

    squeeze = FeatureSqueezing(clip_values=(0.0, 1.0), bit_depth=1)
    both = ZeroShotClassifier(tiny, ("cat", "bat"), "phto {}", preprocessing_defences=[small, squeeze])
    alone = ZeroShotClassifier(tiny, ("cat", "bat"), "photo {}", preprocessing_defences=[squeeze])
    assert both.preprocessing_defences == [squeeze]
    np.testing.assert_array_equal(both.predict(tiny_images), alone.predict(tiny_images))
    with pytest.raises(InputError, match="constructor"):
        alone.set_params(preprocessing_defences=[small])
    with pytest.raises(InputError, match="constructor"):
        make_fusion().set_params(preprocessing_defences=[small])
