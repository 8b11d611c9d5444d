"""CharacterAttack finds the edit that moves a text the furthest, and never writes another word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from attacks.text_attacks import TEXTS, embedding, fusion, images, kl, pairs, spans, zero_shot
from forked import Forked
from hypothesis import given, settings
from hypothesis import strategies as st

from art_multimodal import ZeroShotClassifier, load_model
from art_multimodal.attacks.evasion import CharacterAttack
from art_multimodal.attacks.evasion.text.character_attack import edits_of
from art_multimodal.language import words as language_words
from art_multimodal.language.words import english_words, is_word, words_of

CLASSES = {"cat", "dog", "boat"}


def character_attack(estimator, **settings) -> CharacterAttack:
    return CharacterAttack(estimator, **{"candidate_words": None, "verbose": False, "alphabet": "aez", **settings})


def distance(word: str, other: str) -> int:
    """Edits from one word to another, a swap of neighbours being one (optimal string alignment)."""
    table = {(i, 0): i for i in range(len(word) + 1)} | {(0, j): j for j in range(len(other) + 1)}
    for i in range(1, len(word) + 1):
        for j in range(1, len(other) + 1):
            same = word[i - 1] != other[j - 1]
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + same)
            if i > 1 and j > 1 and word[i - 1] == other[j - 2] and word[i - 2] == other[j - 1]:
                table[i, j] = min(table[i, j], table[i - 2, j - 2] + 1)
    return table[len(word), len(other)]


def slow_best(score, text: str, dictionary: set[str], alphabet: str) -> str:
    """Try every text that is one character longer, shorter or different, or has two neighbours swapped."""
    best, known = text, dictionary | {text[a:b].lower() for a, b in spans(text)} | CLASSES
    for start, end in spans(text):
        word = text[start:end]
        if word.lower() in CLASSES:
            continue
        letters = alphabet.upper() if word.isupper() and len(word) > 1 else alphabet
        edits = [word[:i] + word[i + 1 :] for i in range(len(word))]
        edits += [word[:i] + c + word[i + k :] for k in (0, 1) for i in range(len(word) + 1 - k) for c in letters]
        edits += [word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1)]
        for edit in edits:
            plain = edit.lower()
            if edit and plain not in known and not {plain, plain.removesuffix("s")} & CLASSES:
                best = max(best, text[:start] + edit + text[end:], key=score)
    return best


@pytest.mark.parametrize("text", TEXTS)
def test_one_edit_is_the_best_of_all(text):
    estimator = zero_shot()
    clean = embedding(estimator, text, None)

    def score(other):
        return kl(clean, embedding(estimator, other, None))

    dictionary = {"rd", "photz", "ahill", "te"}
    [found] = character_attack(estimator, dictionary=dictionary).perturb([text])
    assert score(found) == pytest.approx(score(slow_best(score, text, dictionary, "aez")), rel=1e-6)
    assert found != text


def test_the_best_edit_of_pairs_by_their_margin():
    estimator, clean_pairs, labels = fusion(joint=True), pairs(), np.array([0, 1, 2, 0, 1])
    attack = character_attack(estimator, loss="margin", dictionary=())
    adversarial = attack.generate(clean_pairs, labels)
    for row, label in enumerate(labels):

        def score(text, row=row, label=label):
            one = clean_pairs[row : row + 1].copy()
            one["text"] = [text]
            scores = estimator.predict(one)[0]
            return float(np.delete(scores, label).max() - scores[label])

        text = clean_pairs["text"][row]
        options = {text[: w.start] + e + text[w.end :] for w in words_of(text) for e in edits_of(w.text, "aez")}
        best = max(score(option) for option in options)
        assert score(adversarial["text"][row]) <= best + 1e-5
        assert attack.records[row].score == pytest.approx(score(adversarial["text"][row]), abs=1e-5)
        assert attack.records[row].score > attack.records[row].score_before


@pytest.mark.parametrize("word", ["cat", "aa", "I", "x"])
def test_edits_are_all_that_one_edit_can_do(word):
    alphabet = "abct"
    letters = {*alphabet, *word}
    shorter_and_longer = {""} | letters | {a + b for a in letters for b in letters}
    for _ in range(2):
        shorter_and_longer |= {w + a for w in shorter_and_longer if len(w) <= len(word) for a in letters}
    wanted = {w for w in shorter_and_longer if distance(word, w) == 1}
    # What is inserted or substituted comes from the alphabet alone.
    wanted = {w for w in wanted if all(w.count(a) <= word.count(a) for a in letters - set(alphabet))}
    assert set(edits_of(word, alphabet)) - {word} == wanted


def test_capitals_are_kept_in_words_of_capitals():
    assert "CATZ" in set(edits_of("CAT", "z")) and "CATz" not in set(edits_of("CAT", "z"))
    assert "Catz" in set(edits_of("Cat", "z"))


@settings(max_examples=30)
@given(
    st.lists(
        st.text(
            st.sampled_from("a cat dog red.,!'\u2019-\U0001f600\u05e9\u0644\u732b\u0301\u200d\ufe0fCAT"), max_size=16
        )
        | st.text(max_size=8)
        | st.lists(st.sampled_from(["a", "Photo", "CAT", "dogs", "red", "car,"]), max_size=4).map(" ".join),
        max_size=3,
    ),
    st.integers(0, 2),
    st.sampled_from([1, None]),
)
def test_budget_protection_dictionary_and_everything_else_is_kept(texts, budget, words):
    texts = [text for text in texts if len(text.encode("utf-8", "surrogatepass")) <= 60]
    dictionary = {"rd", "ed", "aa", "za"}
    attack = character_attack(
        zero_shot(), max_edits=budget, candidate_words=words, alphabet="ae", dictionary=dictionary
    )
    results = attack.perturb(texts)
    known = {word.text.casefold() for text in texts for word in words_of(text)} | dictionary
    for text, result in zip(texts, results, strict=True):
        before, after = words_of(text), words_of(result)
        rebuilt, end, spent = "", 0, 0
        for old, new in zip(before, after, strict=True):
            rebuilt, end = rebuilt + text[end : old.start] + new.text, old.end
            spent += distance(old.text, new.text)
            if old.text != new.text:
                assert new.text.casefold() not in known
                assert not {old.text.lower(), new.text.lower()} & {"cat", "cats", "dog", "dogs", "boat"}
        assert result == rebuilt + text[end:]
        assert spent <= budget
    assert results == attack.perturb(texts)


def test_more_edits_move_further_and_may_meet_in_one_word():
    scores = []
    for edits in range(4):
        attack = character_attack(zero_shot(), max_edits=edits, dictionary=())
        attack.perturb(["red cat"])
        scores.append(attack.records[0].score)
    assert scores[0] == 0 and scores == sorted(scores) and len(set(scores)) == 4
    assert [change.before for change in attack.records[0].changes] == ["red"]


def test_only_the_most_important_words_are_tried():
    few, all_words = (character_attack(zero_shot(), candidate_words=count) for count in (1, None))
    for attack in (few, all_words):
        attack.perturb(["a photo of the red car"])
    assert few.cost.forwards < all_words.cost.forwards / 2
    assert few.records[0].score <= all_words.records[0].score


def test_english_words_at_hand():
    words = english_words()
    assert {"photo", "hill", "the", "small", "dogs"} <= words
    assert 20_000 < len(words) < 50_000
    assert not any(any(letter in word for letter in "<>/ ") for word in words)


def test_english_words_are_read_from_open_clips_own_file_without_importing_it(tmp_path: Path):
    code = (
        "import sys; heavy = {'open_clip', 'torchvision'}; "
        "[sys.modules.pop(name) for name in [*sys.modules] if name.partition('.')[0] in heavy | {'art_multimodal'}]; "
        "from art_multimodal.language import words; words.english_words(); assert not heavy & {*sys.modules}"
    )
    done = Forked(tmp_path, "-c", code)
    assert done.wait() == 0, done.stderr
    from open_clip.tokenizer import default_bpe

    assert default_bpe().endswith(language_words._VOCABULARY)


@pytest.mark.parametrize(
    ("text", "one"),
    [("cat", True), ("c4t", True), ("7", True), ("chat\u00e9", True), ("child's", True), ("", False), ("a b", False)]
    + [("a-b", False), ("cat_", False), ("a" * 64, True), ("a" * 65, False), ("\u00b2", True), ("cat'", False)],
)
def test_what_is_one_word(text, one):
    assert is_word(text) is one


def test_by_default_no_english_word_is_written():
    attack = CharacterAttack(zero_shot(), verbose=False)
    attack.perturb(["a photo of the red car on a hill"])
    assert attack.records[0].changes[0].after not in english_words()


def test_pairs_and_prompts_come_back_as_they_went_in():
    estimator = fusion()
    adversarial = character_attack(estimator).generate(pairs())
    assert adversarial.dtype == pairs().dtype and len(adversarial) == 5
    classifier = zero_shot()
    prompts = character_attack(classifier).generate()
    assert classifier.with_prompts(prompts).predict(images(2)).shape == (2, 3)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_batches_do_not_change_anything(batch_size):
    whole, parts = (character_attack(fusion(joint=True), batch_size=size) for size in (128, batch_size))
    np.testing.assert_array_equal(whole.generate(pairs())["text"], parts.generate(pairs())["text"])


def test_long_words_are_left_alone():
    attack = CharacterAttack(ZeroShotClassifier(load_model("demo:digits"), ("one", "two"), device_type="cpu"))
    attack.set_params(verbose=False)
    text = "x" * 100
    assert attack.perturb([text]) == [text]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_edits": -1}, "max_edits"),
        ({"alphabet": "a b"}, "letters and digits"),
        ({"alphabet": "a-"}, "letters and digits"),
        ({"dictionary": "cat"}, "set of words"),
        ({"targeted": True}, "needs loss='margin'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        character_attack(zero_shot(), **settings)
