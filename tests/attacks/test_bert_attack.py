"""BertAttack finds what a slow search over all admissible substitutions finds, and keeps its promises."""

from __future__ import annotations

import numpy as np
import pytest
from attacks.text_attacks import (
    ALL,
    TEXTS,
    embedding,
    fusion,
    images,
    kl,
    language_model,
    pairs,
    slow_best,
    spans,
    zero_shot,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from art_multimodal import ZeroShotClassifier, load_model
from art_multimodal.attacks.evasion import BertAttack, CharacterAttack
from art_multimodal.errors import InputError
from art_multimodal.language.masked_language_model import load_masked_language_model
from art_multimodal.language.words import ProtectedWords, in_case_of, is_word, words_of
from art_multimodal.pairs import image_text_pairs

ANSWERS = {"no", "maybe", "yes"}
CLASSES = {"cat", "dog", "boat"}


def bert_attack(estimator, **settings) -> BertAttack:
    settings = {"top_k": ALL, "verbose": False, **settings}
    return BertAttack(estimator, settings.pop("language_model", language_model()), **settings)


def margin(scores: np.ndarray, label: int) -> float:
    return float(np.delete(scores, label).max() - scores[label])


@pytest.mark.parametrize("words", [1, None])
def test_prompts_move_as_far_as_the_slow_search_moves_them(words):
    estimator = zero_shot()
    attack = bert_attack(estimator, candidate_words=words)
    adversarial = attack.generate()
    assert adversarial.dtype == object and adversarial.shape == (3,)
    for before, after in zip(estimator.prompts, adversarial, strict=True):
        for text, result in zip(before, after, strict=True):
            clean = embedding(estimator, text, None)
            wanted = slow_best(lambda t, clean=clean: kl(clean, embedding(estimator, t, None)), text, CLASSES, words)
            assert result == wanted != text
    assert estimator.with_prompts(adversarial).prompts == tuple(adversarial)


@pytest.mark.parametrize("words", [1, None])
@pytest.mark.parametrize("joint", [False, True])
def test_texts_of_pairs_move_as_far_as_the_slow_search_moves_them(joint, words):
    estimator, clean_pairs = fusion(joint), pairs()
    attack = bert_attack(estimator, candidate_words=words)
    adversarial = attack.generate(clean_pairs)
    np.testing.assert_array_equal(adversarial["image"], clean_pairs["image"])
    for pair, result, record in zip(clean_pairs, adversarial["text"], attack.records, strict=True):
        image = pair["image"] if joint else None
        clean = embedding(estimator, pair["text"], image)

        def score(text, clean=clean, image=image):
            return kl(clean, embedding(estimator, text, image))

        assert result == slow_best(score, pair["text"], ANSWERS, words)
        assert record.score == pytest.approx(score(result), abs=1e-7)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("joint", [False, True])
def test_margins_of_pairs_grow_as_far_as_the_slow_search_makes_them(joint, targeted):
    estimator, clean_pairs = fusion(joint), pairs()
    labels = np.array([0, 1, 2, 0, 1])
    attack = bert_attack(estimator, loss="margin", targeted=targeted, candidate_words=None)
    adversarial = attack.generate(clean_pairs, labels)
    for row, label in enumerate(labels):

        def score(text, row=row, label=label):
            one = image_text_pairs(clean_pairs["image"][row : row + 1], [text])
            return (-1 if targeted else 1) * margin(estimator.predict(one)[0], label)

        assert adversarial["text"][row] == slow_best(score, clean_pairs["text"][row], ANSWERS, None)
        assert attack.records[row].score == pytest.approx(score(adversarial["text"][row]), abs=1e-5)
        assert attack.records[row].score_before == pytest.approx(score(clean_pairs["text"][row]), abs=1e-5)


@pytest.mark.parametrize("targeted", [False, True])
def test_margins_on_images_grow_as_far_as_the_slow_search_makes_them(targeted):
    estimator, x, labels = zero_shot(), images(5), np.array([0, 1, 2, 0, 0])
    attack = bert_attack(estimator, loss="margin", targeted=targeted, candidate_words=None)
    adversarial = attack.generate(x, labels)
    for number, entry in enumerate(estimator.prompts):
        for place, prompt in enumerate(entry):

            def score(text, number=number, place=place):
                prompts = [list(texts) for texts in estimator.prompts]
                prompts[number][place] = text
                scores = estimator.with_prompts(prompts).predict(x)
                margins = [margin(row, label) for row, label in zip(scores, labels, strict=True)]
                return (-1 if targeted else 1) * float(np.mean(margins))

            found, wanted = adversarial[number][place], slow_best(score, prompt, CLASSES, None)
            assert score(found) == pytest.approx(score(wanted), abs=1e-5)


def test_without_labels_the_models_own_are_used():
    estimator, clean_pairs = fusion(), pairs()
    attack = bert_attack(estimator, loss="margin")
    own = estimator.predict(clean_pairs).argmax(axis=1)
    np.testing.assert_array_equal(attack.generate(clean_pairs)["text"], attack.generate(clean_pairs, own)["text"])


def test_a_prompt_of_two_classes_is_attacked_once_and_moves_both():
    estimator = zero_shot().with_prompts([["a photo", "a cat"], ["a photo", "red dog"], "a boat on a hill"])
    attack = bert_attack(estimator, loss="margin", candidate_words=None)
    adversarial = attack.generate(images(4), np.array([0, 1, 2, 0]))
    assert adversarial[0][0] == adversarial[1][0]
    assert [record.text for record in attack.records] == ["a photo", "a cat", "red dog", "a boat on a hill"]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_batches_do_not_change_anything(batch_size):
    for estimator in (fusion(), fusion(joint=True)):
        whole, parts = bert_attack(estimator), bert_attack(estimator, batch_size=batch_size)
        np.testing.assert_array_equal(whole.generate(pairs())["text"], parts.generate(pairs())["text"])
        assert [r.queries for r in whole.records] == [r.queries for r in parts.records]
        assert whole.cost.forwards == parts.cost.forwards


def test_every_distinct_text_is_asked_about_once():
    few, many = bert_attack(fusion()), bert_attack(fusion())
    few.generate(pairs())
    twice = pairs((*TEXTS, *TEXTS))
    result = many.generate(twice)
    assert many.cost.forwards == few.cost.forwards == sum(record.queries for record in few.records)
    assert list(result["text"][:5]) == list(result["text"][5:])
    assert len(many.records) == 10


def test_queries_are_what_the_model_was_asked(monkeypatch):
    estimator = zero_shot()
    asked = []
    encode = estimator.dual_encoder.encode_text
    monkeypatch.setattr(estimator.dual_encoder, "encode_text", lambda t, **k: asked.append(len(t)) or encode(t, **k))
    attack = bert_attack(estimator)
    attack.perturb(TEXTS)
    assert sum(asked) == attack.cost.forwards == sum(record.queries for record in attack.records)
    single = bert_attack(zero_shot(), max_words=0)
    single.perturb(TEXTS[:1])
    assert single.cost.positions == len("a photo of the red car") + 2


@settings(max_examples=40)
@given(
    st.lists(
        st.text(
            st.sampled_from("a cat dog red.,!'\u2019-\U0001f600\u05e9\u0644\u732b\u0301\u200d\ufe0f\nCAT"), max_size=24
        )
        | st.text(max_size=12)
        | st.lists(st.sampled_from(["a", "Photo", "CAT", "dogs", "red", "car,", "hill!", "unlike"])).map(" ".join),
        max_size=4,
    ),
    st.integers(0, 3),
    st.sampled_from([1, 2, None]),
)
def test_budget_protection_and_everything_else_is_kept(texts, budget, words):
    texts = [text for text in texts if len(text.encode("utf-8", "surrogatepass")) <= 60]
    attack = bert_attack(zero_shot(), max_words=budget, candidate_words=words, top_k=5)
    results = attack.perturb(texts)
    for text, result in zip(texts, results, strict=True):
        before, after = words_of(text), words_of(result)
        changed = [(a.text, b.text) for a, b in zip(before, after, strict=True) if a.text != b.text]
        assert len(changed) <= budget
        for old, new in changed:
            assert not {old.lower(), new.lower()} & {"cat", "cats", "dog", "dogs", "boat", "boats"}
        rebuilt, end = "", 0
        for old, new in zip(before, after, strict=True):
            rebuilt, end = rebuilt + text[end : old.start] + new.text, old.end
        assert result == rebuilt + text[end:]
    assert results == attack.perturb(texts)
    for record in attack.records:
        assert record.score >= record.score_before == pytest.approx(0, abs=1e-12)
        assert [c.after for c in record.changes] == [words_of(record.adversarial)[c.index].text for c in record.changes]
        assert (record.text != record.adversarial) == bool(record.changes)


def test_more_words_move_further():
    scores = []
    for budget in range(4):
        attack = bert_attack(zero_shot(), max_words=budget)
        attack.perturb(["a photo of the red car on a small hill"])
        scores.append(attack.records[0].score)
        assert len(attack.records[0].changes) == budget
    assert scores[0] == 0 and sorted(scores) == scores


def test_the_paper_attacks_class_names_too():
    attack = bert_attack(zero_shot(), protect_class_names=False, candidate_words=None, max_words=3)
    attack.generate()
    assert CLASSES & {change.before for record in attack.records for change in record.changes}


def test_words_can_be_protected():
    attack = bert_attack(zero_shot(), max_words=9, protected_words=["red car", "HILLS"], candidate_words=None)
    [text] = attack.perturb(["a photo of the red car on a small hill"])
    assert text.endswith("hill") and "red car" in text
    assert words_of(text)[0].text != "a"


@pytest.mark.parametrize("settings", [{"threshold": 1.0}, {"max_words": 0}, {"stop_words": None, "top_k": 1}])
def test_without_an_admissible_candidate_texts_come_back_unchanged(settings):
    if "stop_words" in settings:
        pieces = language_model().tokenizer.get_vocab()
        settings["stop_words"] = list(pieces)
        texts = ["a photo of the red car"]
    else:
        texts = list(TEXTS)
    attack = bert_attack(zero_shot(), **settings)
    assert attack.perturb(texts) == texts
    assert all(record.changes == () for record in attack.records)


def test_a_change_that_the_model_cannot_read_is_not_admissible():
    # 62 bytes fit: no longer word does, and neither does the mask.
    text = "red" + " " * (62 - len("red car")) + "car"
    attack = bert_attack(zero_shot(), candidate_words=None, max_words=2)
    [result] = attack.perturb([text])
    assert len(result) <= 62 and result != text


def test_long_texts_are_refused_by_name_and_do_not_loop():
    attack = bert_attack(zero_shot())
    with pytest.raises(InputError, match="10000 characters"):
        attack.perturb(["word " * 2000])
    with pytest.raises(InputError, match="bytes"):
        bert_attack(fusion()).generate(pairs(["x" * 10_000]))


def test_a_text_of_four_thousand_characters_that_the_model_reads():
    estimator = zero_shot()
    estimator.dual_encoder.context_length = 5_000
    text = "the longest word " * 236 + "red car"
    attack = bert_attack(estimator, max_words=2)
    assert len(text) > 4_000
    # The language model reads 24 tokens: it proposes nothing, so there is nothing to ask.
    assert attack.perturb([text]) == [text] and attack.cost.forwards == 1
    characters = CharacterAttack(estimator, alphabet="z", candidate_words=2, batch_size=32, verbose=False)
    [result] = characters.perturb([text])
    assert len(result) in range(len(text) - 1, len(text) + 2) and result != text


def test_empty_texts_stay_empty():
    clean_pairs = image_text_pairs(images(4), ["", "  ", "\U0001f600!", "red car"], allow_empty=True)
    for estimator in (fusion(), fusion(joint=True)):
        for loss in ("embedding_kl", "margin"):
            attack = bert_attack(estimator, loss=loss)
            assert list(attack.generate(clean_pairs)["text"][:3]) == list(clean_pairs["text"][:3])
            assert len(attack.records) == 4
    nothing = clean_pairs[:0]
    assert len(bert_attack(fusion()).generate(nothing)) == 0
    assert bert_attack(zero_shot()).perturb([]) == []


def test_candidates_are_written_in_the_case_of_the_word():
    assert [in_case_of("red", word) for word in ("Cat", "CAT", "cat", "A", "iPad")] == [
        "Red",
        "RED",
        "red",
        "Red",
        "red",
    ]
    assert in_case_of("Paris", "cat") == "Paris"


@pytest.mark.parametrize(
    ("names", "text", "protected"),
    [
        (["cat"], "Cats and a CAT's cat", {0, 3, 4}),
        (["buses"], "a bus", {1}),
        (["bird of prey"], "birds of prey, a king of birds", {0, 1, 2, 6}),
        (["fairy"], "two fairies", {1}),
        (["knife"], "knives", {0}),
        (["the who"], "who is the who", {0, 2, 3}),
        (["it"], "it is it", {0, 2}),
        (["traffic-light"], "light of the Traffic light", {0, 3, 4}),
        (["caf\u00e9"], "CAF\u00c9 cafe\u0301s", {0, 1}),
        (["\u732b"], "\u732b", {0}),
        ([], "a cat", set()),
        (["as"], "a glass", set()),
    ],
)
def test_protected_words(names, text, protected):
    assert ProtectedWords(names).among(words_of(text)) == protected


def test_words():
    text = "A child's t-shirt,\u05e9\u05dc\u05d5\u05dd "
    text += "\u0915\u093f\u0924\u093e\u092c \u2764\ufe0f 'quoted' caf\u00e9\u0301 3D"
    words = words_of(text)
    assert [w.text for w in words[:5]] == ["A", "child's", "t", "shirt", "\u05e9\u05dc\u05d5\u05dd"]
    assert words[5].text == "\u0915\u093f\u0924\u093e\u092c"
    assert [w.text for w in words[6:]] == ["quoted", "caf\u00e9\u0301", "3D"]
    assert all(text[w.start : w.end] == w.text for w in words)
    assert is_word("child's") and not is_word("two words") and not is_word("") and not is_word("x" * 65)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "kl"}, "loss must be one of"),
        ({"targeted": True}, "needs loss='margin'"),
        ({"max_words": -1}, "max_words"),
        ({"top_k": 0}, "top_k"),
        ({"threshold": 2}, "probability"),
        ({"candidate_words": 0}, "candidate_words"),
        ({"protected_words": "cat"}, "list of words"),
        ({"stop_words": "cat"}, "list of words"),
        ({"language_model": 3}, "MaskedLanguageModel"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        bert_attack(zero_shot(), **settings)


def test_inputs_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="x must be None"):
        bert_attack(zero_shot()).generate(images(2))
    with pytest.raises(InputError, match="needs images"):
        bert_attack(zero_shot(), loss="margin").generate()
    with pytest.raises(InputError, match="takes pairs"):
        bert_attack(fusion()).generate()
    with pytest.raises(InputError, match="without an image"):
        bert_attack(fusion(joint=True)).perturb(["a"])
    with pytest.raises(InputError, match="embedding_kl"):
        bert_attack(fusion(), loss="margin").perturb(["a"])
    with pytest.raises(InputError, match="string"):
        bert_attack(zero_shot()).perturb([3])
    with pytest.raises(ValueError, match="wanted labels"):
        bert_attack(fusion(), loss="margin", targeted=True).generate(pairs())


def test_the_digits_demo_suffers_without_its_class_words_touched(digits, digits_images):
    x, y = digits_images
    mlm = load_masked_language_model("demo:mlm")
    encoder = load_model("demo:digits")
    clean, attacked = [], []
    for template in ("a photo of the handwritten digit {}.", "a blurry picture of the small numeral {}", "it says {}"):
        estimator = ZeroShotClassifier(encoder, digits.class_names, template, device_type="cpu")
        attack = BertAttack(estimator, mlm, candidate_words=None, verbose=False)
        prompts = attack.generate()
        assert all(name in prompt.split()[-1] for name, [prompt] in zip(digits.class_names, prompts, strict=True))
        clean.append((estimator.predict(x).argmax(1) == y).mean())
        attacked.append((estimator.with_prompts(prompts).predict(x).argmax(1) == y).mean())
    assert np.mean(clean) > 0.98
    assert np.mean(attacked) < np.mean(clean) - 0.1


def test_the_whole_vocabulary_is_the_largest_top_k() -> None:
    known = language_model()
    place = (TEXTS[0], *spans(TEXTS[0])[1])
    assert known.candidates([place], None) == known.candidates([place], known.vocabulary_size)
    assert known.candidates([place], None) == known.candidates([place], 10 * known.vocabulary_size)
    found = [bert_attack(zero_shot(), top_k=k, candidate_words=None).generate() for k in (None, ALL)]
    assert (found[0] == found[1]).all()
