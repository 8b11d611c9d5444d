"""Headline rows on texts and on both modalities against brute force, which shares no code with the attacks.

Brute force encodes every text by itself in double precision, and compares all combinations. A sample that it misleads
by more than rounding may not be called robust.
"""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from attacks.text_attacks import ALL, fusion, images, language_model, pairs, replacements, zero_shot

from art_multimodal import ZeroShotClassifier, load_model
from art_multimodal.attacks.evasion import BertAttack, CharacterAttack
from art_multimodal.attacks.evasion.text.exhaustive import ExhaustiveTextAttack
from art_multimodal.datasets import open_data
from art_multimodal.evaluations.suite import ATTACKS, Budget, TextBudget
from art_multimodal.language.masked_language_model import load_masked_language_model
from art_multimodal.language.words import STOP_WORDS, english_words

MODELS = ("demo:digits", "demo:digits/robust")
DIGITS = ("three", "eight")
TEMPLATE = "a digit {}"
EPS = 3 / 255
CLASSES = {"cat", "dog", "boat"}
LABELS = np.array([0, 1, 2, 0, 1])


@pytest.fixture(scope="module", params=MODELS)
def victim(request) -> tuple[ZeroShotClassifier, np.ndarray, np.ndarray]:
    """Two classes, and images that are named right."""
    data = open_data("demo:digits")
    rows = [row for row in range(len(data)) if data.label_of(row) in (3, 8)][:16]
    x = np.stack([data.image(row) for row in rows])
    y = np.array([0 if data.label_of(row) == 3 else 1 for row in rows])
    estimator = ZeroShotClassifier(load_model(request.param), DIGITS, TEMPLATE, device_type="cpu")
    right = estimator.predict_labels(x) == y
    return estimator, x[right], y[right]


def budget(top_k: int = 10, **text) -> Budget:
    protected = open_data("demo:digits").protected_words
    return Budget("inf", EPS, EPS / 4, 10, 40, 16, TextBudget(top_k=top_k, protected_words=protected, **text))


def edited(word: str) -> set[str]:
    """Every word that one typing error makes of another."""
    found = set()
    for i in range(len(word) + 1):
        for letter in "abcdefghijklmnopqrstuvwxyz":
            found.add(word[:i] + letter + word[i:])
            if i < len(word):
                found.add(word[:i] + letter + word[i + 1 :])
        if i < len(word):
            found.add(word[:i] + word[i + 1 :])
        if i + 1 < len(word):
            found.add(word[:i] + word[i + 1] + word[i] + word[i + 2 :])
    return {other for other in found if other}


def typing_errors(name: str) -> list[str]:
    taken = english_words() | {"a", "digit", *DIGITS}
    numerals = {f"{word}{end}" for word in DIGITS for end in ("", "s", "'s")}
    texts = [f"{other} digit {name}" for other in edited("a") if other not in taken | numerals]
    return texts + [f"a {other} {name}" for other in edited("digit") if other not in taken | numerals]


def other_words(name: str) -> list[str]:
    """Every word of the vocabulary, without asking the language model how likely it is."""
    numerals = {*DIGITS, *(f"{word}s" for word in DIGITS)}
    known = [
        token
        for token in load_masked_language_model("demo:mlm").tokenizer.get_vocab()
        if token.isalpha() and len(token) > 1 and token not in STOP_WORDS | numerals
    ]
    return [f"{word} digit {name}" for word in known] + [f"a {word} {name}" for word in known if word != "digit"]


def units(module: torch.nn.Module, texts: list[str]) -> np.ndarray:
    """Unit embeddings of texts by the full forward pass of a model in double precision."""
    with torch.no_grad():
        parts = [module.text_tower(module.tokenize(texts[i : i + 64])) for i in range(0, len(texts), 64)]
    vectors = torch.cat(parts).numpy()
    assert vectors.dtype == np.float64
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def scores(estimator: ZeroShotClassifier, x: np.ndarray, texts: list[list[str]]) -> list[np.ndarray]:
    """Of each class the scores of images ``(N, U)`` with each of its texts."""
    double = copy.deepcopy(estimator.dual_encoder).double().eval()
    with torch.no_grad():
        seen = double.encode_image(torch.from_numpy(x).double(), normalize=False).numpy()
        scale = float(double.logit_scale.exp())
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    return [scale * seen @ units(double, part).T for part in texts]


def worst_margins(estimator: ZeroShotClassifier, x: np.ndarray, y: np.ndarray, texts: list[list[str]]) -> np.ndarray:
    """The largest margin over all pairs of a text for the one class and a text for the other."""
    sides = scores(estimator, x, texts)
    found = []
    for row, label in enumerate(y):
        own, other = sides[label][row], sides[1 - label][row]
        found.append(max(float((other - score).max()) for score in own))
    return np.array(found)


def test_no_edit_and_no_word_breaks_what_worst_text_calls_robust(victim) -> None:
    estimator, x, y = victim
    texts = [[f"a digit {name}", *typing_errors(name), *other_words(name)] for name in DIGITS]
    brute = worst_margins(estimator, x, y, texts)
    attacked = ATTACKS["worst_text"].run(estimator, x, y, budget(), 0)
    robust = attacked.labels == y
    assert not (robust & (brute > 1e-3)).any()
    # Nor the other way round: what falls does so to a text that brute force knows.
    assert not (~robust & (brute < -1e-3)).any()
    assert all(detail.word_candidates == 400 for detail in attacked.details)
    # The curve falls, and its points are those of a search with so many words.
    fell = np.array([detail.fell_at or np.inf for detail in attacked.details])
    for point in (10, 100):
        few = ATTACKS["text_exhaustive"].run(estimator, x, y, budget(point), 0)
        assert ((few.labels == y) == (fell > point)).all()


def test_the_text_row_tries_every_edit_of_every_word(victim) -> None:
    estimator, x, y = victim
    texts = [[f"a digit {name}", *typing_errors(name)] for name in DIGITS]
    brute = worst_margins(estimator, x, y, texts)
    attacked = ATTACKS["text_exhaustive"].run(estimator, x, y, budget(1), 0)
    assert not ((attacked.labels == y) & (brute > 1e-3)).any()
    # With nothing but edits, and no early end, margins agree to what float32 leaves of the embeddings.
    attack = ExhaustiveTextAttack(
        estimator,
        [CharacterAttack(estimator, protected_words=open_data("demo:digits").protected_words)],
        verbose=False,
    )
    attack.generate(x, y)
    found = np.array([record.score for record in attack.records[:: len(DIGITS)]])
    np.testing.assert_allclose(found, brute, atol=1e-4)


def test_no_combination_of_words_and_images_breaks_what_joint_calls_robust(victim) -> None:
    """For each pair of texts an ascent of its own on the image."""
    estimator, x, y = victim[0], victim[1][:3], victim[2][:3]
    small = budget(6, max_edits=0)
    attack = BertAttack(estimator, "demo:mlm", top_k=6, protected_words=small.text.protected_words)
    plan, free = attack.planned([f"a digit {name}" for name in DIGITS])
    texts = [
        [f"a digit {name}"]
        + [
            " ".join([*words[:index], other, *words[index + 1 :]])
            for words in [f"a digit {name}".split()]
            for index in free[f"a digit {name}"]
            for other in plan.propose(f"a digit {name}", index, words[index])
        ]
        for name in DIGITS
    ]
    assert all(2 < len(part) < 16 for part in texts), [len(part) for part in texts]
    model = estimator.dual_encoder
    with torch.no_grad():
        vectors = [model.encode_text(model.tokenize(part)) for part in texts]
        scale = float(model.logit_scale.exp())
    numbers = list(itertools.product(range(len(x)), range(len(texts[0])), range(len(texts[1]))))
    rows, first, second = torch.tensor(numbers).T
    sign = torch.from_numpy(1.0 - 2.0 * y).float()[rows, None]
    direction = (vectors[1][second] - vectors[0][first]) * sign
    clean = torch.from_numpy(x)[rows]
    corners = np.random.default_rng(0).choice([-EPS / 2, EPS / 2], size=x.shape)
    delta = torch.from_numpy(corners.astype(np.float32))[rows]
    brute = np.full(len(x), -np.inf)
    for step in range(8):
        image = (clean + delta).clamp(0, 1).requires_grad_(True)
        margin = scale * (model.encode_image(image) * direction).sum(dim=1)
        np.maximum.at(brute, rows.numpy(), margin.detach().numpy())
        (gradient,) = torch.autograd.grad(margin.sum(), image)
        size = EPS / 2 if step < 5 else EPS / 8
        delta = (image.detach() + size * gradient.sign() - clean).clamp(-EPS, EPS)
    robust = ATTACKS["joint"].run(estimator, x, y, small, 0).labels == y
    assert not (robust & (brute > 1e-2)).any()


def exhaustive(estimator, *attacks, **settings) -> ExhaustiveTextAttack:
    return ExhaustiveTextAttack(estimator, attacks, **{"verbose": False, **settings})


def words(estimator, top_k: int | None = ALL, **settings) -> BertAttack:
    return BertAttack(estimator, language_model(), top_k=top_k, **settings)


def edits(estimator, number: int = 1, alphabet: str = "az") -> CharacterAttack:
    return CharacterAttack(estimator, number, alphabet, ())


def margins(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    rows = np.arange(len(labels))
    own = logits[rows, labels]
    others = logits.copy()
    others[rows, labels] = -np.inf
    return others.max(axis=1) - own


@pytest.mark.parametrize("targeted", [False, True])
def test_all_combinations_of_two_prompts_of_a_class(targeted) -> None:
    estimator, x = zero_shot(), images(5)
    attack = exhaustive(estimator, words(estimator), targeted=targeted)
    sign = -1 if targeted else 1
    found = sign * margins(estimator.predict_on(x, attack.generate(x, LABELS)), LABELS)
    seen = estimator.image_features(x).double()
    seen = (seen / seen.norm(dim=1, keepdim=True)).numpy()
    options = []
    for entry in estimator.prompts:
        texts = [[text, *itertools.chain(*replacements(text, CLASSES).values())] for text in entry]
        sums = []
        with torch.no_grad():
            sides = [
                estimator.dual_encoder.encode_text(estimator.dual_encoder.tokenize(part)).double().numpy()
                for part in texts
            ]
        for one, two in itertools.product(*sides):
            sums.append((one + two) / np.linalg.norm(one + two))
        options.append(float(estimator.dual_encoder.logit_scale.exp()) * seen @ np.array(sums).T)
    for row, label in enumerate(LABELS):
        high = [part[row].max() for part in options]
        low = [part[row].min() for part in options]
        if targeted:
            expected = high[label] - max(value for number, value in enumerate(low) if number != label)
        else:
            expected = max(value for number, value in enumerate(high) if number != label) - low[label]
        assert found[row] == pytest.approx(expected, abs=1e-3)
    assert attack.cut == [False] * 5


def test_prompts_in_turn_where_there_are_too_many_combinations(monkeypatch) -> None:
    from art_multimodal.attacks.evasion.text import prompt_search

    estimator, x = zero_shot(), images(5)
    best = exhaustive(estimator, words(estimator))
    best.generate(x, LABELS)
    monkeypatch.setattr(prompt_search, "_COMBINATIONS", 1)
    attack = exhaustive(estimator, words(estimator))
    prompts = attack.generate(x, LABELS)
    assert attack.cut == [fell is None for fell in attack.fell_to]
    after = margins(estimator.predict_on(x, prompts), LABELS)
    assert (after >= margins(estimator.predict(x), LABELS) - 1e-4).all()
    scores = np.array([[record.score for record in part.records[::6]] for part in (attack, best)])
    assert (scores[0] <= scores[1] + 1e-4).all()
    np.testing.assert_allclose(scores[0], after, atol=1e-3)


def test_two_edits_and_two_words_are_all_tried() -> None:
    estimator = ZeroShotClassifier(zero_shot().dual_encoder, ("cat", "dog"), prompts=["ab cat", "ab dog"])
    x, y = images(4), np.array([0, 1, 0, 1])
    attack = exhaustive(estimator, edits(estimator, 2, "z"))
    options = attack.options(["ab cat"], 10_000)["ab cat"]
    once = edited_with("ab", "z")
    twice = {other for word in once for other in edited_with(word, "z")} | once
    assert set(options.texts[0]) == {f"{word} cat" for word in twice - {"ab", "", "cat", "dog"}}
    assert options.complete == (True,)
    attack.generate(x, y)
    texts = [[f"{word} {name}" for word in (twice - {""}) | {"ab"}] for name in ("cat", "dog")]
    brute = worst_margins(estimator, x, y, texts)
    np.testing.assert_allclose([record.score for record in attack.records[::2]], brute, atol=1e-3)
    assert any(len(record.changes) == 1 and record.adversarial[:2] != "ab" for record in attack.records)


def edited_with(word: str, letter: str) -> set[str]:
    found = {word[:i] + letter + word[i:] for i in range(len(word) + 1)}
    found |= {word[:i] + letter + word[i + 1 :] for i in range(len(word))}
    found |= {word[:i] + word[i + 1 :] for i in range(len(word))}
    return found | {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1)}


@pytest.mark.parametrize("joint", [False, True])
def test_texts_of_pairs(joint) -> None:
    estimator, samples = fusion(joint), pairs()
    y = estimator.predict_labels(samples)
    attack = exhaustive(estimator, words(estimator, protected_words=["cat", "dog", "boat"]))
    adversarial = attack.generate(samples, y)
    for row, text in enumerate(samples["text"]):
        changed = [text, *itertools.chain(*replacements(text, CLASSES).values())]
        copies = np.repeat(samples[row : row + 1], len(changed))
        copies["text"] = changed
        worst = margins(estimator.predict(copies), np.full(len(changed), y[row])).max()
        mine = margins(estimator.predict(adversarial[row : row + 1]), y[row : row + 1])[0]
        assert mine == pytest.approx(worst, abs=1e-4)
        assert (attack.fell_to[row] is None) == (worst <= 1e-3)


def test_above_the_limit_the_likeliest_are_tried_and_it_is_said() -> None:
    estimator, x = zero_shot(("a photo of a {}.",)), images(5)
    whole = exhaustive(estimator, words(estimator, 3), edits(estimator), words(estimator, None))
    whole.generate(x, LABELS)
    assert whole.cut == [False] * 5 and set(whole.words_tried) == {language_model().vocabulary_size}
    few = exhaustive(estimator, words(estimator, 3), edits(estimator), words(estimator, None), most_texts=6)
    few.generate(x, estimator.predict_labels(x))
    assert few.cost.forwards <= 6 + 3
    assert few.cut == [fell is None for fell in few.fell_to] and any(few.cut)
    for text, options in few.options([p[0] for p in estimator.prompts], 8).items():
        every = whole.options([text], 10**6)[text]
        assert sum(map(len, options.texts)) == 8
        tried = [other for part in options.texts for other in part]
        assert tried == [other for part in every.texts for other in part][:8]


def test_who_else_is_attacked_and_early_ends_change_no_verdict() -> None:
    estimator, x = zero_shot(("a photo of a {}.",)), images(5)
    attacks = words(estimator, 2), edits(estimator), words(estimator)
    thorough, quick = (exhaustive(estimator, *attacks, stop=stop) for stop in (False, True))
    thorough.generate(x, LABELS)
    together = quick.generate(x, LABELS)
    assert quick.fell_to == thorough.fell_to and {0, None} & set(quick.fell_to)
    details = [(record.adversarial, record.queries) for record in quick.records]
    alone = []
    for row in range(5):
        assert (quick.generate(x[row : row + 1], LABELS[row : row + 1]) == together[row]).all()
        alone += [(record.adversarial, record.queries) for record in quick.records]
    assert alone == details


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attacks": ()}, "at least one"),
        ({"attacks": ["words"]}, "must be text attacks"),
        ({"most_texts": 0}, "most_texts"),
    ],
)
def test_what_cannot_be_used(settings, message) -> None:
    estimator = zero_shot()
    with pytest.raises(ValueError, match=message):
        ExhaustiveTextAttack(estimator, **{"attacks": [words(estimator)], **settings})
    with pytest.raises(ValueError, match="worst is worst for a sample"):
        ExhaustiveTextAttack(fusion(), [words(fusion())], loss="embedding_kl")
    with pytest.raises(ValueError, match="another estimator"):
        ExhaustiveTextAttack(estimator, [words(zero_shot())])
