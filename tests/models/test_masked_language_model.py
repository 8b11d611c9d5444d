"""Candidates are the model's predictions at the word's own position, spelled in whole words, with every tokenizer."""

from __future__ import annotations

from itertools import islice, product
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models.language_models import CONTEXT, FAMILIES, WORDS, save_bert
from safetensors.torch import load_file, save_file

from art_multimodal.errors import InputError
from art_multimodal.language.masked_language_model import (
    MaskedLanguageModel,
    best_combinations,
    load_masked_language_model,
)

TEXT = "a photo of the red car"


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    return {name: save(tmp_path_factory.mktemp(name)) for name, save in FAMILIES.items()}


@pytest.fixture(params=list(FAMILIES))
def family(request) -> str:
    return request.param


@pytest.fixture
def model(folders, family) -> MaskedLanguageModel:
    return load_masked_language_model(folders[family])


@pytest.fixture
def bert(folders) -> MaskedLanguageModel:
    return load_masked_language_model(f"hf:{folders['bert']}")


def place(text: str, word: str) -> tuple[str, int, int]:
    start = text.index(word)
    return text, start, start + len(word)


def predictions(model: MaskedLanguageModel, text: str, position: int) -> dict[str, float]:
    """Probabilities by token, from the model itself, special tokens around the text."""
    with torch.no_grad():
        logits = model.model(**model.tokenizer(text, return_tensors="pt")).logits[0, position]
    return dict(zip(model.tokenizer.convert_ids_to_tokens(range(len(logits))), logits.softmax(0).tolist(), strict=True))


@pytest.mark.parametrize("word", TEXT.split())
def test_candidates_are_the_predictions_at_the_words_own_position(model, family, word):
    position = 1 + TEXT.split().index(word)  # behind one special token; each of these words is one token
    if family == "roberta":
        tokens = model.tokenizer.convert_ids_to_tokens(model.tokenizer(TEXT)["input_ids"])
        assert tokens[position].lstrip("\u0120") == word
    mark = {"bert": "", "roberta": "\u0120", "sentence_piece": "\u2581"}[family]
    # Where the text begins, byte-level BPE has words without the mark, too: the better of the two counts.
    forms = (f"{mark}{{}}", "{}") if (family, position) == ("roberta", 1) else (f"{mark}{{}}",)
    predicted = predictions(model, TEXT, position)
    wanted = {
        other: max(predicted.get(form.format(other), 0.0) for form in forms)
        for other in WORDS
        if f"{mark}{other}" in predicted and other != word
    }
    assert len(wanted) >= 5
    found = {
        candidate.word: candidate.probability
        for candidate in model.candidates([place(TEXT, word)], top_k=len(model.tokenizer))[0]
    }
    assert wanted.keys() <= found.keys()
    assert all(found[name] == pytest.approx(probability, rel=1e-4) for name, probability in wanted.items())
    assert not any("##" in name or "\u0120" in name or "\u2581" in name or " " in name for name in found)


def test_candidates_come_best_first_and_no_more_than_asked_for(model):
    [found] = model.candidates([place(TEXT, "red")], top_k=5)
    assert len(found) <= 5
    assert [c.probability for c in found] == sorted((c.probability for c in found), reverse=True)


def test_the_threshold_is_a_probability(bert):
    everything = bert.candidates([place(TEXT, "red")], top_k=30)[0]
    threshold = everything[2].probability
    assert bert.candidates([place(TEXT, "red")], top_k=30, threshold=threshold)[0] == everything[:3]
    assert bert.candidates([place(TEXT, "red")], top_k=30, threshold=1.0)[0] == []


def test_stop_words_and_the_word_itself_are_left_out_whatever_the_case(bert):
    text = "a photo of the RED car"
    words = [c.word for c in bert.candidates([place(text, "RED")], top_k=30)[0]]
    assert "red" not in words and {"the", "cat"} <= set(words)
    stopped = [c.word for c in bert.candidates([place(text, "RED")], top_k=30, stop_words=["THE", "Cat"])[0]]
    assert stopped == [word for word in words if word not in ("the", "cat")]


def test_a_word_of_several_pieces_is_combined_from_the_predictions_of_each(bert):
    text = "the unlike cat"  # [CLS] the un ##like cat [SEP]
    heads, tails = predictions(bert, text, 2), predictions(bert, text, 3)
    combined = {
        head + tail.removeprefix("##"): p * q
        for head, p in heads.items()
        for tail, q in tails.items()
        if not head.startswith(("##", "[")) and tail.startswith("##")
    }
    combined.pop("unlike")
    found = bert.candidates([place(text, "unlike")], top_k=len(bert.tokenizer))[0]
    best = sorted(combined.items(), key=lambda item: -item[1])[: len(found)]
    assert len(found) > 20
    assert [c.word for c in found] == [word for word, _ in best]
    assert [c.probability for c in found] == pytest.approx([p for _, p in best], rel=1e-4)


@pytest.mark.parametrize("word", ["unlike", "boat"])
def test_words_of_several_pieces_get_whole_words(model, word):
    text = f"the {word}ly"
    found = model.candidates([place(text, f"{word}ly")], top_k=30)[0]
    assert all(c.word and not c.word.startswith("##") and "\u2581" not in c.word for c in found)


@given(st.lists(st.lists(st.integers(0, 4), min_size=0, max_size=4), min_size=0, max_size=4))
def test_lazy_combination_is_the_sorted_full_enumeration(sizes):
    choices = [sorted(((value / 4, number) for number, value in enumerate(row)), reverse=True) for row in sizes]
    found = list(best_combinations(choices))
    products = []
    for combination in product(*choices) if choices else ():
        value = 1.0
        for probability, _ in combination:
            value *= probability
        products.append((value, tuple(token for _, token in combination)))
    assert sorted(found) == sorted(products)
    assert [value for value, _ in found] == sorted((value for value, _ in products), reverse=True)


def test_lazy_combination_does_not_list_all():
    choices = [[(1 / (rank + 2), rank) for rank in range(50)] for _ in range(30)]  # 50 ** 30 combinations
    assert len(list(islice(best_combinations(choices), 100))) == 100


def test_batches_do_not_change_anything(folders, family):
    texts = [TEXT, "the cat", "a small boat on the hill", "dog", "the unlike cat of the red dog on a hill"]
    places = [place(text, word) for text in texts for word in dict.fromkeys(text.split())]
    alone = load_masked_language_model(folders[family], batch_size=1)
    together = load_masked_language_model(folders[family])
    for one, other in zip(alone.candidates(places), together.candidates(places), strict=True):
        assert [c.word for c in one] == [c.word for c in other]
        assert [c.probability for c in one] == pytest.approx([c.probability for c in other], rel=1e-4)
    # All words of a text share a forward pass.
    assert alone.cost == together.cost
    assert alone.cost.forwards == len(texts)


def test_predictions_are_kept(bert):
    first = bert.candidates([place(TEXT, "red"), place(TEXT, "car")])
    asked = bert.cost.forwards
    assert bert.candidates([place(TEXT, "car"), place(TEXT, "red")]) == first[::-1]
    assert bert.cost.forwards == asked == 1


def test_texts_that_the_model_cannot_read_have_no_candidates(model):
    long = "cat " * 2500
    half = "a \ud800 cat"
    found = model.candidates([place(long, "cat"), place(half, "cat"), place("a \u732b", "\u732b")])
    assert found[:2] == [[], []]


def test_a_token_that_reaches_beyond_the_word_is_not_replaced(bert):
    assert bert.candidates([("the cat", 4, 6)])[0] == []


@pytest.mark.parametrize("text", ["(cat", "the cat!", "CAT."])
def test_words_beside_punctuation_have_candidates(model, family, text):
    start = text.lower().index("cat")
    if family == "bert" or text.islower():
        found = model.candidates([(text, start, start + 3)], top_k=300)[0]
        assert {c.word for c in found} & set(WORDS), text


@pytest.mark.parametrize(
    ("settings", "message"), [({"top_k": 0}, "top_k"), ({"threshold": 1.5}, "probability"), ({"top_k": True}, "top_k")]
)
def test_settings_that_make_no_sense_are_refused(bert, settings, message):
    with pytest.raises(InputError, match=message):
        bert.candidates([place(TEXT, "red")], **settings)


@pytest.mark.parametrize("bad", [("cat", 1, 1), ("cat", 0, 4), ("cat", -1, 2)])
def test_places_off_the_text_are_refused(bert, bad):
    with pytest.raises(InputError, match="no word"):
        bert.candidates([bad])


def test_what_is_no_masked_language_model_is_refused(tmp_path, folders):
    from transformers import AutoTokenizer, BertConfig, BertModel

    tokenizer = AutoTokenizer.from_pretrained(folders["bert"])
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    BertModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"does not hold the weights of BertForMaskedLM"):
        load_masked_language_model(str(tmp_path))


def test_a_tokenizer_without_a_mask_is_refused(bert):
    bert.tokenizer.mask_token = None
    with pytest.raises(InputError, match="mask token"):
        MaskedLanguageModel(bert.model, bert.tokenizer)


@pytest.mark.parametrize(("name", "message"), [("demo:bert", "demo:mlm"), ("./nowhere", "no folder"), ("hf:", "names")])
def test_names_that_lead_nowhere_are_refused(name, message):
    with pytest.raises(InputError, match=message):
        load_masked_language_model(name)


def test_whole_words(model):
    assert set(WORDS) - {"a"} <= model.whole_words() | {"a"}
    assert "ly" not in model.whole_words()


def test_the_demo_model_is_small_and_knows_the_demos():
    from art_multimodal.demo.loading import MLM_FOLDER

    assert sum(file.stat().st_size for file in Path(MLM_FOLDER).iterdir()) <= 2_000_000
    model = load_masked_language_model("demo:mlm")
    assert type(model.model).__name__ == "BertForMaskedLM"
    text = "a photo of the handwritten digit seven."
    found = {c.word for c in model.candidates([place(text, "photo")], top_k=20)[0]}
    assert len(found & {"picture", "image", "drawing", "sketch", "snapshot", "photograph", "shot", "copy", "scan"}) >= 4
    found = model.candidates([place("a child's seven", "child's")])[0]
    assert found and all(c.word.endswith("'s") for c in found)
    question = "is there a red circle left of the blue square?"
    assert {"green", "yellow", "blue"} <= {c.word for c in model.candidates([place(question, "red")])[0]}


def test_saving_and_loading_changes_nothing(tmp_path, bert):
    again = load_masked_language_model(save_bert(tmp_path))
    assert again.candidates([place(TEXT, "car")]) == bert.candidates([place(TEXT, "car")])
    assert again.context_length == CONTEXT


def test_weights_without_a_place_are_named(tmp_path):
    path = Path(save_bert(tmp_path)) / "model.safetensors"
    assert load_masked_language_model(str(tmp_path)).notes == ()
    save_file({**load_file(path), "cls.other.weight": torch.ones(2, 2)}, path, metadata={"format": "pt"})
    (note,) = load_masked_language_model(str(tmp_path)).notes
    assert "no place in BertForMaskedLM were left out: cls.other.weight" in note
