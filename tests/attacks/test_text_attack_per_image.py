"""Prompts for each image alone: the worst that can be done to it, whatever else is attacked along with it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from attacks.text_attacks import ALL, fusion, images, language_model, replacements, slow_best, zero_shot
from tiny import TinyEncoder

from art_multimodal import ZeroShotClassifier
from art_multimodal.attacks.evasion import BertAttack, CharacterAttack
from art_multimodal.attacks.evasion.text.character_attack import edits_of
from art_multimodal.estimators.asking import memory
from art_multimodal.language.words import words_of

CLASSES = {"cat", "dog", "boat"}
LABELS = np.array([0, 1, 2, 0, 1, 2])


def bert_attack(estimator, **settings) -> BertAttack:
    settings = {"loss": "margin", "per_image": True, "top_k": ALL, "verbose": False, **settings}
    return BertAttack(estimator, language_model(), **settings)


def character_attack(estimator, **settings) -> CharacterAttack:
    settings = {"loss": "margin", "per_image": True, "alphabet": "aez", "dictionary": (), "verbose": False, **settings}
    return CharacterAttack(estimator, **{"candidate_words": None, **settings})


def margins(logits: np.ndarray, labels: np.ndarray, targeted: bool) -> np.ndarray:
    """The margin losses of logits ``[..., K]``."""
    own = np.take_along_axis(logits, labels[..., None], -1)[..., 0]
    masked = logits.copy()
    np.put_along_axis(masked, labels[..., None], -np.inf, -1)
    return own - masked.max(-1) if targeted else masked.max(-1) - own


def options_of(kind: str, text: str) -> list[str]:
    """The text and all that one admissible change makes of it."""
    if kind == "bert":
        return [text, *(other for found in replacements(text, CLASSES).values() for other in found)]
    found = [text]
    for word in words_of(text):
        if word.text not in CLASSES:
            for edited in edits_of(word.text, "aez"):
                known = CLASSES | {f"{name}s" for name in CLASSES} | {w.text for w in words_of(text)}
                if edited and edited not in known:
                    found.append(word.replaced(text, edited))
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("kind", ["bert", "characters"])
def test_no_combination_of_changes_is_worse_for_an_image(kind, targeted, seed):
    prompts = ["a photo of a cat", "dog on a hill", "the small red boat"]
    model = TinyEncoder(seed=seed).eval()
    estimator = ZeroShotClassifier(model, ("cat", "dog", "boat"), prompts=prompts, device_type="cpu")
    x = images(6)
    attack = (bert_attack if kind == "bert" else character_attack)(estimator, targeted=targeted, candidate_words=None)
    found = margins(estimator.predict_on(x, attack.generate(x, LABELS)), LABELS, targeted)

    options = [options_of(kind, text) for text in prompts]
    with torch.no_grad():
        features = [model.encode_text(model.tokenize(texts)) for texts in options]
        sides = [estimator.scores(estimator.image_features(x), part) for part in features]
    assert all(side.shape[1] > 3 for side in sides)
    combinations = np.array(list(itertools.product(*(range(len(texts)) for texts in options))))
    logits = np.stack([side[:, combinations[:, number]] for number, side in enumerate(sides)], axis=-1)
    worst = margins(logits, np.broadcast_to(LABELS[:, None], logits.shape[:2]), targeted).max(axis=1)
    np.testing.assert_allclose(found, worst, atol=1e-4)
    clean = margins(estimator.predict(x), LABELS, targeted)
    assert (found > clean + 0.01).any()
    shared = bert_attack(estimator, targeted=targeted, candidate_words=None, per_image=False).generate(x, LABELS)
    if kind == "bert":
        assert (found >= margins(estimator.with_prompts(shared).predict(x), LABELS, targeted) - 1e-4).all()


def test_every_prompt_is_attacked_by_itself():
    estimator, x = zero_shot(), images(5)
    attack = bert_attack(estimator, candidate_words=None)
    adversarial = attack.generate(x, LABELS[:5])
    assert adversarial.shape == (5, 3) and adversarial.dtype == object
    texts = [text for entry in estimator.prompts for text in entry]
    assert [record.text for record in attack.records] == texts * 5
    places = list(itertools.product(range(5), range(3), range(2)))
    for record, (row, number, place) in zip(attack.records, places, strict=True):

        def score(text, row=row, number=number, place=place):
            prompts = [list(entry) for entry in estimator.prompts]
            prompts[number][place] = text
            scores = estimator.with_prompts(prompts).predict(x[row : row + 1])
            return float(margins(scores, LABELS[row : row + 1], False)[0])

        assert adversarial[row, number][place] == record.adversarial
        wanted = slow_best(score, record.text, CLASSES, None)
        assert score(record.adversarial) == pytest.approx(score(wanted), abs=1e-4)
        assert record.score == pytest.approx(score(record.adversarial), abs=1e-4)
        assert record.score_before == pytest.approx(score(record.text), abs=1e-4)


def test_a_prompt_of_several_classes_moves_all_of_them():
    prompts = [["a photo", "a cat", "a photo"], ["a photo", "red dog"], "a boat on a hill"]
    estimator, x = zero_shot().with_prompts(prompts), images(4)
    for targeted in (False, True):
        attack = bert_attack(estimator, candidate_words=None, targeted=targeted)
        adversarial = attack.generate(x, LABELS[:4])
        assert all(entry[0][0] == entry[0][2] == entry[1][0] for entry in adversarial)
        for row, record in enumerate(attack.records[::4]):
            changed = [[record.adversarial if text == "a photo" else text for text in e] for e in estimator.prompts]
            logits = estimator.with_prompts(changed).predict(x[row : row + 1])
            label = LABELS[row : row + 1]
            # When targeted, classes that do not have this prompt are left to their own.
            wanted = logits[:, :2] if targeted and label[0] < 2 else logits
            if not targeted or label[0] < 2:
                assert record.score == pytest.approx(margins(wanted, label, targeted)[0], abs=1e-4)


@pytest.mark.parametrize("words", [1, None])
@pytest.mark.parametrize("attack_on", [bert_attack, character_attack])
def test_an_image_gets_the_same_prompts_in_any_company(attack_on, words):
    budget = "max_words" if attack_on is bert_attack else "max_edits"
    settings = {"candidate_words": words, budget: 2}
    x, order = images(6), np.array([3, 0, 5, 1, 4, 2])
    whole = attack_on(zero_shot(), **settings)
    wanted = whole.generate(x, LABELS)
    alone = [attack_on(zero_shot(), batch_size=3, **settings).generate(x[n : n + 1], LABELS[n : n + 1]) for n in order]
    mixed = attack_on(zero_shot(), batch_size=7, **settings)
    np.testing.assert_array_equal(wanted[order], np.concatenate(alone))
    np.testing.assert_array_equal(wanted[order], mixed.generate(x[order], LABELS[order]))
    by_image = np.array([record.queries for record in whole.records]).reshape(6, -1)
    np.testing.assert_array_equal(by_image[order].ravel(), [record.queries for record in mixed.records])
    assert len({tuple(entry) for entry in wanted}) > 1, "the images must get different prompts"


def test_without_labels_the_models_own_are_used():
    estimator, x = zero_shot(), images(4)
    own = estimator.predict(x).argmax(axis=1)
    np.testing.assert_array_equal(bert_attack(estimator).generate(x), bert_attack(estimator).generate(x, own))


def test_no_images_get_no_prompts():
    attack = bert_attack(zero_shot())
    assert attack.generate(images(2)[:0], LABELS[:0]).shape == (0, 3)
    assert attack.records == []


def test_where_it_makes_no_sense_it_is_refused():
    for estimator, settings in ((zero_shot(), {"loss": "embedding_kl"}), (fusion(), {})):
        with pytest.raises(ValueError, match="per_image"):
            bert_attack(estimator, **settings)
    with pytest.raises(ValueError, match="per_image"):
        bert_attack(zero_shot()).set_params(loss="embedding_kl")


# --- what is known already is not asked again -------------------------------------------------------------------------


def test_texts_are_embedded_once_for_all_attacks_on_a_model():
    estimator, x = zero_shot(), images(6)
    first = bert_attack(estimator, candidate_words=None)
    wanted = first.generate(x[:3], LABELS[:3])
    texts = {text for entry in estimator.prompts for prompt in entry for text in options_of("bert", prompt)}
    assert first.cost.forwards == len(texts)
    asked = first.cost.forwards
    np.testing.assert_array_equal(first.generate(x[:3], LABELS[:3]), wanted)
    first.generate(x[3:], LABELS[3:])
    assert first.cost.forwards == asked
    other = bert_attack(estimator.with_templates("the {}"), candidate_words=None)
    other.generate(x, LABELS)
    again = bert_attack(estimator, candidate_words=None, per_image=False)
    again.generate(x, LABELS)
    assert other.cost.forwards > 0 == again.cost.forwards


@pytest.mark.parametrize("per_image", [False, True])
def test_prompts_that_the_classifier_has_embedded_are_not_embedded_again(per_image, monkeypatch):
    x, first = images(6), character_attack(zero_shot(), per_image=per_image)
    wanted = first.generate(x, LABELS)
    estimator = zero_shot()
    estimator.predict(x)
    model = estimator.dual_encoder
    prompts = model.tokenize([text for entry in estimator.prompts for text in entry]).tolist()
    encoded, encode = [], model.encode_text
    monkeypatch.setattr(model, "encode_text", lambda t, **more: encoded.extend(t.tolist()) or encode(t, **more))
    attack = character_attack(estimator, per_image=per_image)
    np.testing.assert_array_equal(attack.generate(x, LABELS), wanted)
    assert len(encoded) == attack.cost.forwards == first.cost.forwards - len(prompts)
    # So little memory that a question makes room for its texts by forgetting all others.
    monkeypatch.setattr(memory, "_MOST_TEXTS", 50)
    character_attack(estimator, per_image=per_image, alphabet="qu").generate(x, LABELS)
    again = character_attack(estimator, per_image=per_image)
    np.testing.assert_array_equal(again.generate(x, LABELS), wanted)
    assert again.cost.forwards == attack.cost.forwards
    assert not any(row in prompts for row in encoded)


@pytest.mark.parametrize("change", ["in place", "data while training", "loaded", "replaced"])
def test_changed_weights_are_asked_anew(change):
    estimator, x = zero_shot(), images(6)
    bert_attack(estimator, candidate_words=None).generate(x, LABELS)
    weight = estimator.dual_encoder.text.weight
    if change == "in place":
        with torch.no_grad():
            weight.mul_(-0.5).add_(0.1)
    elif change == "data while training":
        estimator.model.train()
        weight.data.mul_(-0.5).add_(0.1)
    elif change == "loaded":
        state = {name: part.clone() for name, part in estimator.dual_encoder.state_dict().items()}
        state["text.weight"] = state["text.weight"] * -0.5 + 0.1
        estimator.dual_encoder.load_state_dict(state)
    else:
        weight.data = weight.data * -0.5 + 0.1
    found = bert_attack(estimator, candidate_words=None)
    fresh = zero_shot()
    with torch.no_grad():
        fresh.dual_encoder.text.weight.mul_(-0.5).add_(0.1)
    np.testing.assert_array_equal(
        found.generate(x, LABELS), bert_attack(fresh, candidate_words=None).generate(x, LABELS)
    )
    assert found.cost.forwards > 0


def test_little_memory_changes_the_cost_alone(monkeypatch):
    x = images(6)
    roomy = character_attack(zero_shot(), max_edits=2)
    wanted = roomy.generate(x, LABELS)
    monkeypatch.setattr(memory, "_MOST_TEXTS", 50)
    tight = character_attack(zero_shot(), max_edits=2)
    np.testing.assert_array_equal(tight.generate(x, LABELS), wanted)
    assert tight.cost.forwards > roomy.cost.forwards
    assert len(memory.memory_of(tight.estimator.dual_encoder).row_of) < len(
        memory.memory_of(roomy.estimator.dual_encoder).row_of
    )


def test_texts_that_the_model_refuses_are_not_tried_again(monkeypatch):
    prompts = ["red" + " " * (62 - len("red cat")) + "cat", "a dog", "boat"]
    estimator, x = zero_shot().with_prompts(prompts), images(3)
    attack = bert_attack(estimator, candidate_words=None)
    adversarial = attack.generate(x, LABELS[:3])
    assert all(len(entry[0][0]) <= 62 for entry in adversarial)
    tokenized = []
    plain = estimator.dual_encoder.tokenize
    monkeypatch.setattr(estimator.dual_encoder, "tokenize", lambda t, **k: tokenized.extend(t) or plain(t, **k))
    attack.generate(x, LABELS[:3])
    # Nor those that were embedded.
    assert not tokenized
