"""Texts first, then images against them: budgets, objectives, determinism, and what comes back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from art.defences.preprocessor import SpatialSmoothing
from attacks.joint_attacks import (
    ESTIMATORS,
    IMAGE_OF,
    SAMPLES,
    Y,
    bert,
    co_attack,
    many,
    margins,
    pixels,
    strong,
    texts_of,
)
from attacks.text_attacks import fusion, images, kl, pairs, zero_shot
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TinyEncoder, TinyFusion

from art_multimodal import FusionClassifier, ImageTextRetriever, InputError, ZeroShotClassifier
from art_multimodal.attacks.evasion import CharacterAttack
from art_multimodal.groups import first_rows
from art_multimodal.language.words import words_of


@settings(max_examples=25)
@given(
    name=st.sampled_from(sorted(ESTIMATORS)),
    norm=st.sampled_from([np.inf, 2]),
    eps=st.floats(0, 2),
    eps_step=st.floats(1e-6, 5),
    max_iter=st.integers(0, 3),
    starts=st.integers(0, 2),
    loss=st.sampled_from(["embedding_kl", "margin", "cross_entropy"]),
    rounds=st.integers(1, 3),
    max_words=st.integers(0, 2),
    shared=st.booleans(),
    level=st.sampled_from([0.0, 1.0, None]),
)
def test_never_outside_the_budgets(
    name, norm, eps, eps_step, max_iter, starts, loss, rounds, max_words, shared, level
) -> None:
    estimator, x = ESTIMATORS[name], SAMPLES[name].copy()
    if level is not None:
        pixels(x)[:] = level
    if name == "retriever":
        loss = "embedding_kl"
    if loss == "embedding_kl":
        starts, rounds = max(1, starts), 1
    text_attack = bert(
        estimator,
        loss="similarity" if name == "retriever" else "margin",
        per_image=name == "zero_shot" and not shared,
        max_words=max_words,
        protected_words=("hill", "red car"),
    )
    ball = {"norm": norm, "eps": eps, "eps_step": eps_step, "max_iter": max_iter, "num_random_init": starts}
    attack = co_attack(estimator, text_attack, loss=loss, rounds=rounds, **ball)
    found = attack.generate(x, None if name == "retriever" else Y)
    clean, moved = pixels(x), pixels(found)
    assert moved.dtype == np.float32
    assert moved.min() >= 0
    assert moved.max() <= 1
    delta = (moved.astype(np.float64) - clean).reshape(len(clean), -1)
    lengths = np.abs(delta).max(axis=1) if norm == np.inf else np.linalg.norm(delta, axis=1)
    rounding = 2**-24 if norm == np.inf else 2**-24 * np.sqrt(delta.shape[1])
    assert (lengths <= eps * (1 + 1e-6) + rounding).all()
    before, after = x, found
    if name == "zero_shot":
        assert attack.prompts is not None
        sets = np.atleast_2d(attack.prompts)
        before = [text for entry in estimator.prompts * len(sets) for text in entry]
        after = [text for entry in sets.flat for text in entry]
    else:
        before, after = before["text"], after["text"]
    for text, adversarial in zip(before, after, strict=True):
        words, changed = ([word.text.lower() for word in words_of(t)] for t in (text, adversarial))
        assert len(words) == len(changed)
        differing = [index for index in range(len(words)) if words[index] != changed[index]]
        assert len(differing) <= max_words
        protected = {"hill", "red", "car", *estimator.class_names}
        assert not protected & {word for index in differing for word in (words[index], changed[index])}


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
@pytest.mark.parametrize("loss", ["embedding_kl", "margin"])
def test_equal_seeds_give_equal_results(name, loss) -> None:
    if (name, loss) == ("retriever", "margin"):
        return
    estimator, x = ESTIMATORS[name], SAMPLES[name]
    y = None if name == "retriever" else Y
    text_attack = bert(estimator) if name == "retriever" else strong(estimator)
    state = torch.random.get_rng_state(), np.random.get_state()[1].tolist()
    settings = {"loss": loss, "rounds": 1 if loss == "embedding_kl" else 2, "seed": 7}
    first, second = (co_attack(estimator, text_attack, **settings) for _ in range(2))
    found, again = first.generate(x, y), second.generate(x, y)
    np.testing.assert_array_equal(pixels(found), pixels(again))
    assert texts_of(first, found) == texts_of(second, again)
    other = co_attack(estimator, text_attack, **{**settings, "seed": 8}).generate(x, y)
    assert not np.array_equal(pixels(found), pixels(other))
    # Global generators are left alone.
    assert torch.equal(torch.random.get_rng_state(), state[0])
    assert np.random.get_state()[1].tolist() == state[1]


@pytest.mark.parametrize("name", ["zero_shot", "fusion", "joint_fusion"])
@pytest.mark.parametrize("loss", ["embedding_kl", "margin", "cross_entropy"])
def test_no_sample_depends_on_what_the_others_are(name, loss) -> None:
    estimator, x = ESTIMATORS[name], many(name, 24)
    y = estimator.predict(x).argmax(axis=1)
    rounds, eps = (1 if loss == "embedding_kl" else 3), (0.003 if name == "zero_shot" else 0.01)
    ball = {"eps": eps, "eps_step": eps / 2, "num_random_init": 3, "batch_size": 16}
    attack = co_attack(estimator, strong(estimator, top_k=1), loss=loss, rounds=rounds, **ball)
    found = attack.generate(x, y)
    texts = texts_of(attack, found)
    hard = np.flatnonzero(margins(estimator, found, y, attack.prompts) <= 0)[-4:]
    kept = [*hard, *np.setdiff1d(np.arange(8), hard)[:2]]
    assert len(hard) >= 2
    # Other samples beside them, so that others go on to further rounds.
    others, labels = x.copy(), (y + 1) % 3
    pixels(others)[:] = 1 - pixels(others)
    others[kept], labels[kept] = x[kept], y[kept]
    changed = attack.generate(others, labels)
    np.testing.assert_allclose(pixels(changed)[kept], pixels(found)[kept], atol=1e-6)
    assert [texts_of(attack, changed)[row] for row in kept] == [texts[row] for row in kept]


class Slow:
    """The published objective, written down from the model, for double precision."""

    def __init__(self, name: str, alpha: float) -> None:
        self.name, self.alpha = name, alpha
        model = (TinyFusion(seed=5) if name == "fusion" else TinyEncoder(seed=3)).double().eval()
        kinds = {
            "zero_shot": lambda m: ZeroShotClassifier(m, ("cat", "dog", "boat"), ("a {}", "{} on"), device_type="cpu")
        }
        kinds["fusion"] = lambda m: FusionClassifier(m, device_type="cpu")
        kinds["retriever"] = lambda m: ImageTextRetriever(m, device_type="cpu")
        self.estimator = kinds[name](model)

    def __call__(self, clean, moved, clean_texts, texts, label=None) -> float:
        """Of one image, ``(3, 8, 8)`` each; texts are prompts, a text, or several captions."""
        model = self.estimator.image_text_model
        clean, moved = clean[None].double(), moved[None].double()
        with torch.no_grad():
            if self.name == "fusion":
                before, halfway, after = (
                    model.fuse(image, model.tokenize([text]))
                    for image, text in ((clean, clean_texts), (clean, texts), (moved, texts))
                )
                return kl(before, after) + self.alpha * kl(halfway, after)
            before, after = model.encode_image(clean), model.encode_image(moved)
            if self.name == "zero_shot":
                towards = [model.encode_text(model.tokenize(list(texts[label]))).mean(dim=0)]
            else:
                towards = list(model.encode_text(model.tokenize(list(texts))))
        return kl(before, after) + self.alpha * float(np.mean([kl(text, after) for text in towards]))


@pytest.mark.parametrize("name", ["zero_shot", "fusion", "retriever"])
def test_the_published_objective_and_its_gradient(name) -> None:
    slow = Slow(name, alpha=2.5)
    estimator = slow.estimator
    attack = co_attack(estimator, bert(estimator), alpha=2.5)
    x = SAMPLES[name]
    clean = torch.from_numpy(images(3)).double()
    moved = (clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    if name == "zero_shot":
        adversarial = np.empty((3, 3), dtype=object)
        for row in range(3):
            for column in range(3):
                adversarial[row, column] = (f"a thing {row}", f"{column} there")
        clean_texts, labels = attack.texts_of(x), torch.tensor([2, 0, 1])
        expected = [slow(clean[i], moved[i], None, adversarial[i], labels[i]) for i in range(3)]
    elif name == "fusion":
        clean_texts, labels = x["text"][:3], torch.tensor([2, 0, 1])
        adversarial = np.array(["a photo of a cat", "Small hill", "dog"], dtype=object)
        expected = [slow(clean[i], moved[i], clean_texts[i], adversarial[i]) for i in range(3)]
    else:
        clean_texts, labels = x["text"], None
        adversarial = np.array([f"{text} too" for text in clean_texts], dtype=object)
        expected = [slow(clean[i], moved[i], None, adversarial[i == IMAGE_OF]) for i in range(3)]
    asking = estimator.asking(2)
    everything, groups = np.arange(3), asking.groups(pixels(x) if name == "retriever" else images(3))
    held = [asking.rows(asking.hold(texts, groups), everything) for texts in (clean_texts, adversarial)]
    objective = attack._divergence(asking, clean, *held, labels)
    raised, score = objective(moved)
    np.testing.assert_allclose(raised.detach().numpy(), expected, rtol=1e-7)
    assert torch.equal(raised, score)
    some = moved.clone().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda inputs: objective(inputs)[0], (some,))
    assert all(parameter.requires_grad for parameter in estimator.model.parameters())


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_embeddings_move_further_than_by_chance_and_with_alpha_away_from_the_text(name) -> None:
    estimator, x = ESTIMATORS[name], SAMPLES[name]
    text_attack = bert(estimator)
    settings = {"eps": 0.05, "eps_step": 0.01, "max_iter": 15}
    attack = co_attack(estimator, text_attack, **settings)
    found = attack.generate(x, None if name == "retriever" else Y)
    asking = estimator.asking(5)
    groups = asking.groups(pixels(x))
    first = first_rows(groups)
    rows, clean = np.arange(len(first)), pixels(x)[first]
    texts = attack.prompts if name == "zero_shot" else found["text"]
    assert texts is not None
    held = [asking.rows(asking.hold(part, groups), rows) for part in (attack.texts_of(x), texts)]
    labels = None if name == "retriever" else torch.from_numpy(Y)
    objective = attack._divergence(asking, torch.from_numpy(clean), *held, labels)
    with torch.no_grad():
        reached = objective(torch.from_numpy(pixels(found)[first]))[0]
        rng = np.random.default_rng(0)
        for _ in range(20):
            noise = np.clip(clean + 0.05 * rng.choice([-1, 1], clean.shape), 0, 1)
            assert (reached > objective(torch.from_numpy(noise.astype(np.float32)))[0]).all()


def test_in_retrieval_an_image_is_attacked_once_for_all_its_captions() -> None:
    estimator, x = ESTIMATORS["retriever"], SAMPLES["retriever"]
    found = co_attack(estimator, bert(estimator, loss="similarity")).generate(x)
    np.testing.assert_array_equal(found["image"], found["image"][[0, 1, 1, 0, 4]])
    assert (found["image"] != x["image"]).any(axis=(1, 2, 3)).all()
    assert (found["text"] != x["text"]).any()
    assert set(estimator.recall(found, x, ks=(1, 2)).image_to_text) == {1, 2}


@pytest.mark.parametrize("loss", ["embedding_kl", "margin"])
def test_what_does_not_change_is_computed_once(loss) -> None:
    estimator, x = fusion(), pairs()
    texts = []
    text_attack = strong(estimator)
    text_attack.generate(x, Y)

    def calls(max_iter: int) -> int:
        texts.clear()
        hook = estimator.model.text.register_forward_hook(lambda module, inputs, output: texts.append(len(output)))
        co_attack(estimator, text_attack, loss=loss, max_iter=max_iter).generate(x, Y)
        hook.remove()
        return len(texts)

    assert calls(9) == calls(1)


@pytest.mark.parametrize("name", ["zero_shot", "fusion", "joint_fusion"])
def test_a_step_is_one_forward_pass_and_computes_no_gradients_of_parameters(name) -> None:
    estimator, x = ESTIMATORS[name], SAMPLES[name]
    tower = estimator.dual_encoder.visual if name == "zero_shot" else estimator.model.visual
    rows: list[int] = []
    counts = []
    for max_iter in (2, 7):
        rows.clear()
        hook = tower.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
        co_attack(estimator, bert(estimator, max_words=0), max_iter=max_iter, num_random_init=2).generate(x, Y)
        hook.remove()
        counts.append(sum(rows))
    # Two starts of five images each.
    assert counts[1] - counts[0] == (7 - 2) * 2 * 5
    parameters = list(estimator.model.parameters())
    assert all(parameter.requires_grad for parameter in parameters)
    if name != "zero_shot":
        asking = estimator.asking(5)
        inputs = torch.from_numpy(pixels(x)).requires_grad_(True)
        held = asking.hold(x["text"], asking.groups(pixels(x)))
        logits = asking.scores(asking.fused({"image": asking.see("image", inputs), "text": held}))
        # Parameters take no part in the graph, so backward does not pay for them.
        gradients = torch.autograd.grad(logits.sum(), [inputs, *parameters], allow_unused=True)
        assert [gradient is None for gradient in gradients] == [False] + [True] * len(parameters)


@pytest.mark.parametrize("name", ["zero_shot", "fusion"])
@pytest.mark.parametrize("loss", ["embedding_kl", "margin"])
def test_attacks_go_through_arts_defences(name, loss) -> None:
    defence = SpatialSmoothing(window_size=3, channels_first=True)
    if name == "zero_shot":
        estimator = ZeroShotClassifier(
            TinyEncoder(seed=3).eval(), ("cat", "dog", "boat"), preprocessing_defences=defence, device_type="cpu"
        )
    else:
        estimator = FusionClassifier(TinyFusion(seed=5).eval(), preprocessing_defences=defence, device_type="cpu")
    x = SAMPLES[name]
    y = estimator.predict(x).argmax(axis=1)
    text_attack = strong(estimator)
    attack = co_attack(estimator, text_attack, loss=loss, eps=0.1, eps_step=0.02, max_iter=15)
    found = attack.generate(x, y)
    assert np.abs(pixels(found) - pixels(x)).max() <= 0.1 + 1e-6
    reached = margins(estimator, found, y, attack.prompts)
    noise = pixels(x) + np.random.default_rng(0).choice([-0.1, 0.1], pixels(x).shape)
    by_chance = attack.with_images(found, np.clip(noise, 0, 1).astype(np.float32))
    assert reached.mean() > margins(estimator, by_chance, y, attack.prompts).mean() + 0.1


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_labels_are_indices_one_hot_rows_or_the_models_own(name) -> None:
    estimator, x = ESTIMATORS[name], SAMPLES[name]
    if name == "retriever":
        attack = co_attack(estimator, bert(estimator))
        np.testing.assert_array_equal(attack.generate(x)["image"], attack.generate(x, Y)["image"])
        return
    attack = co_attack(estimator, strong(estimator), loss="margin")
    own = estimator.predict(x).argmax(axis=1)
    expected = pixels(attack.generate(x, own))
    np.testing.assert_array_equal(pixels(attack.generate(x)), expected)
    np.testing.assert_array_equal(pixels(attack.generate(x, np.eye(3)[own])), expected)
    with pytest.raises(InputError, match="Label 3 is out of range"):
        attack.generate(x, np.array([0, 1, 2, 3, 0]))


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_no_samples_and_one(name) -> None:
    estimator, x = ESTIMATORS[name], SAMPLES[name]
    losses = ("embedding_kl",) if name == "retriever" else ("embedding_kl", "margin")
    for loss in losses:
        attack = co_attack(estimator, bert(estimator) if name == "retriever" else strong(estimator), loss=loss)
        y = None if name == "retriever" else Y
        assert attack.generate(x[:0], None if y is None else y[:0]).shape == (0, *x.shape[1:])
        assert attack.records == []
        assert attack.generate(x[:1], None if y is None else y[:1]).shape == (1, *x.shape[1:])
        if name == "zero_shot":
            assert attack.prompts is not None
            assert attack.prompts.shape == (1, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eps": -1}, "eps must be"),
        ({"eps_step": 0}, "eps_step must be"),
        ({"max_iter": 1.5}, "max_iter must be"),
        ({"norm": 1}, "norm must be 2 or inf"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"rounds": 0}, "rounds must be"),
        ({"alpha": -0.1}, "alpha must be"),
        ({"alpha": np.nan}, "alpha must be"),
        ({"loss": "embedding_l2"}, "loss must be one of"),
        ({"num_random_init": 0}, "num_random_init must be at least 1"),
        ({"rounds": 2}, "rounds > 1 needs loss='margin'"),
        ({"text_attack": None}, "text_attack must be"),
    ],
)
def test_bad_settings(settings, message) -> None:
    estimator = ESTIMATORS["zero_shot"]
    attack = co_attack(estimator, bert(estimator))
    with pytest.raises(ValueError, match=message):
        attack.set_params(**settings)
    with pytest.raises(ValueError, match=message):
        co_attack(estimator, **{"text_attack": bert(estimator), **settings})


def test_settings_that_do_not_go_together() -> None:
    estimator = ESTIMATORS["zero_shot"]
    with pytest.raises(ValueError, match="another estimator"):
        co_attack(estimator, bert(zero_shot()))
    with pytest.raises(ValueError, match="A targeted attack needs"):
        co_attack(estimator, bert(estimator, loss="margin", targeted=True))
    with pytest.raises(ValueError, match="needs a classifier"):
        co_attack(ESTIMATORS["retriever"], bert(ESTIMATORS["retriever"]), loss="margin")
    attack = co_attack(estimator, CharacterAttack(estimator, verbose=False), loss="margin", num_random_init=0)
    attack.set_params(rounds=2, eps=0.5)
    assert (attack.rounds, attack.eps) == (2, 0.5)
    with pytest.raises(InputError, match="takes images, not pairs"):
        attack.generate(pairs(), Y)
    with pytest.raises(InputError, match="takes pairs"):
        co_attack(ESTIMATORS["fusion"], bert(ESTIMATORS["fusion"])).generate(images(5), Y)
