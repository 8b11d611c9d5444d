"""SGA: budgets, its gradient, closed forms, what guides the image and the texts, and strength on trained models."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from art.defences.preprocessor import SpatialSmoothing
from art.exceptions import EstimatorError
from attacks.test_projected_gradient_descent import Blur, assert_within
from attacks.text_attacks import ALL, TEXTS, fusion, language_model, zero_shot
from hypothesis import given
from hypothesis import strategies as st
from tiny import TinyEncoder
from torch.nn import functional as F

from art_multimodal import ImageTextRetriever, InputError, image_text_pairs
from art_multimodal.attacks.evasion import BertAttack, CharacterAttack
from art_multimodal.attacks.evasion.multimodal import SetLevelGuidanceAttack
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.preprocessing import ImagePreprocessing

RETRIEVER = ImageTextRetriever(TinyEncoder(seed=3).eval(), device_type="cpu")


def make_pairs(level: float | None = None, seed: int = 1) -> np.ndarray:
    """Five rows of three images; the third has one caption."""
    rng = np.random.default_rng(seed)
    images = rng.random((3, 3, 8, 8), dtype=np.float32)
    if level is not None:
        images = np.full_like(images, level) + np.float32([0, 2**-10, 2**-11])[:, None, None, None] * (1 - 2 * level)
    return image_text_pairs(images[[0, 1, 0, 2, 1]], TEXTS)


def bert_attack(estimator=RETRIEVER, **settings) -> BertAttack:
    settings = {"loss": "similarity", "top_k": ALL, "verbose": False, **settings}
    return BertAttack(estimator, language_model(), **settings)


def sga(estimator=RETRIEVER, text_attack=None, **settings) -> SetLevelGuidanceAttack:
    settings = {"eps": 0.1, "eps_step": 0.03, "max_iter": 5, "seed": 0, "verbose": False, **settings}
    return SetLevelGuidanceAttack(estimator, text_attack, **settings)


def words_apart(one: str, other: str) -> int:
    return sum(a != b for a, b in zip(one.split(), other.split(), strict=True))


# Guarantees


@given(
    norm=st.sampled_from([np.inf, 2, "inf"]),
    eps=st.floats(0, 3),
    eps_step=st.floats(1e-6, 10),
    max_iter=st.integers(0, 3),
    scales=st.lists(st.floats(1e-3, 3), min_size=1, max_size=3),
    noise=st.sampled_from([0.0, 0.05, 2.0]),
    num_random_init=st.integers(0, 1),
    seed=st.integers(0, 2**31),
    level=st.sampled_from([0.0, 1.0, None]),
    words=st.sampled_from([None, 0, 1, 2]),
)
def test_never_outside_the_budgets(words, level, seed, **settings) -> None:
    pairs = make_pairs(level, seed)
    before = pairs.copy()
    text_attack = None if words is None else bert_attack(max_words=words)
    adversarial = sga(text_attack=text_attack, seed=seed, batch_size=2, **settings).generate(pairs)
    assert adversarial.dtype == pairs.dtype
    np.testing.assert_array_equal(pairs, before)
    assert_within(adversarial["image"], pairs["image"], float(settings["norm"]), settings["eps"])
    for rows in ((0, 2), (1, 4)):
        np.testing.assert_array_equal(*adversarial["image"][list(rows)])
    for clean, attacked in zip(pairs["text"], adversarial["text"], strict=True):
        assert words_apart(clean, attacked) <= (words or 0)


@pytest.mark.parametrize("norm", [np.inf, 2])
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_equal_seeds_give_equal_results(norm, noise: float) -> None:
    attack = sga(text_attack=bert_attack(), norm=norm, noise=noise, seed=7)
    first, pairs = attack.generate(make_pairs()), make_pairs()
    np.testing.assert_array_equal(first, attack.generate(pairs))
    assert not np.array_equal(first["image"], sga(norm=norm, noise=noise, seed=8).generate(pairs)["image"])
    unseeded = sga(norm=norm, noise=noise, seed=None)
    assert not np.array_equal(unseeded.generate(pairs)["image"], unseeded.generate(pairs)["image"])
    quiet = sga(text_attack=bert_attack(), norm=norm, seed=7).generate(pairs)
    assert np.array_equal(first["image"], quiet["image"]) == (noise == 0)


def test_batches_change_nothing_but_rounding() -> None:
    pairs = make_pairs()
    settings = {"norm": 2, "eps": 0.5, "eps_step": 0.1, "noise": 0.05}
    together = sga(**settings, batch_size=100).generate(pairs)["image"]
    for batch_size in (1, 2):
        np.testing.assert_allclose(sga(**settings, batch_size=batch_size).generate(pairs)["image"], together, atol=1e-5)


def test_global_generators_are_left_alone() -> None:
    np.random.seed(3)
    torch.manual_seed(3)
    expected = np.random.rand(), torch.rand(1).item()
    np.random.seed(3)
    torch.manual_seed(3)
    sga(noise=0.1).generate(make_pairs())
    assert (np.random.rand(), torch.rand(1).item()) == expected


# The image


class Pixels(DualEncoder):
    """Two pixels are their own embedding; a text points along the axis that it names."""

    def __init__(self) -> None:
        super().__init__(ImagePreprocessing((1, 2), mean=(0, 0, 0), std=(1, 1, 1)), context_length=3)
        self.logit_scale = torch.nn.Parameter(torch.zeros(()))

    def image_tower(self, pixels):
        return pixels[:, 0, 0]

    def text_tower(self, tokens):
        return F.one_hot(tokens[:, 0] - 1, 2).float()

    def token_ids(self, texts, length):
        return torch.tensor([[{"left": 1, "right": 2}[text]] + [0] * (length - 1) for text in texts])


def test_two_pixels_in_closed_form() -> None:
    retriever = ImageTextRetriever(Pixels().eval(), device_type="cpu")
    image = np.full((1, 3, 1, 2), 0.5, dtype=np.float32)
    image[0, 0, 0] = 0.6, 0.7
    settings = {"eps": 0.3, "eps_step": 0.1, "max_iter": 2, "num_random_init": 0, "scales": (0.5, 1.0)}
    for caption, moved in (("left", (0.4, 0.9)), ("right", (0.8, 0.5))):
        adversarial = sga(retriever, **settings).generate(image_text_pairs(image, [caption]))
        np.testing.assert_allclose(adversarial["image"][0, 0, 0], moved, atol=1e-6)
        # The other channels are not looked at.
        np.testing.assert_array_equal(adversarial["image"][0, 1:], image[0, 1:])
    # From both captions an image is furthest along one of the axes.
    both = image_text_pairs(np.repeat(image, 2, axis=0), ["left", "right"])
    np.testing.assert_allclose(sga(retriever, **settings).generate(both)["image"][:, 0, 0], [(0.4, 0.9)] * 2, atol=1e-6)
    # At half the size both pixels are one, whose direction cannot change.
    attack, images = sga(retriever, scales=(0.5, 0.01)), torch.from_numpy(image)
    assert float(attack._gradient(torch.tensor([[1.0, 0.0]]), [])(images).abs().max()) < 1e-6
    # In l_2 the step goes along the tangent: (0.6, 0.7) turned by a right angle.
    tangent = np.array([-0.7, 0.6]) / math.hypot(0.6, 0.7)
    one = sga(retriever, **{**settings, "norm": 2, "max_iter": 1}).generate(image_text_pairs(image, ["left"]))
    np.testing.assert_allclose(one["image"][0, 0, 0], [0.6, 0.7] + 0.1 * tangent, atol=1e-5)


@pytest.mark.parametrize("size", [(8, 8), (7, 12), (1, 2)])
def test_the_gradient_is_that_of_all_scales_and_captions(size: tuple[int, int]) -> None:
    model = TinyEncoder(seed=3).eval().double()
    scales = (0.5, 0.75, 1.0, 1.25, 1.5)
    attack = sga(ImageTextRetriever(model, device_type="cpu"), scales=scales)
    # A resize must not leave [0, 1], where clamping has a kink.
    images = 0.4 + 0.2 * torch.rand((3, 3, *size), generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        captions = model.encode_text(model.tokenize(["red", "a blue car", "ünd"]))
    owner = [[0, 1], [1], [0, 1, 2]]

    def objective(images: torch.Tensor) -> float:
        total = 0.0
        for image, texts in zip(images, owner, strict=True):
            for scale in scales:
                height, width = (max(1, round(side * scale)) for side in size)
                seen = image[None]
                if (height, width) != size:
                    seen = F.interpolate(seen, (height, width), mode="bicubic", antialias=True, align_corners=False)
                with torch.no_grad():
                    feature = model.encode_image(seen, normalize=False)[0]
                total -= sum(float(F.cosine_similarity(feature, captions[text], dim=0)) for text in texts)
        return total

    guides = torch.stack([captions[texts].sum(dim=0) for texts in owner])
    gradient = attack._gradient(guides, [torch.Generator() for _ in images])(images)
    generator = torch.Generator().manual_seed(1)
    for _ in range(6):
        direction = torch.randn(images.shape, generator=generator).double()
        slope = (objective(images + 1e-5 * direction) - objective(images - 1e-5 * direction)) / 2e-5
        assert slope == pytest.approx(float((gradient * direction).sum()), rel=1e-5, abs=1e-8)


def test_noise_has_the_width_that_was_asked_for_and_is_drawn_anew() -> None:
    attack, draws = sga(noise=0.1), [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    images = torch.full((2, 3, 64, 64), 0.5)
    first, second = (attack._noisy(images, draws) - images for _ in range(2))
    for noise, width in ((first, 0.1), (second, 0.1), (first - second, 0.1 * 2**0.5)):
        assert float(noise.std()) == pytest.approx(width, rel=0.05)
        assert abs(float((noise[0] * noise[1]).mean())) < 1e-3


def test_a_caption_that_stands_twice_counts_once() -> None:
    pairs = make_pairs()
    doubled = np.concatenate([pairs, pairs[[0, 0, 4]]])
    expected = sga().generate(pairs)
    np.testing.assert_array_equal(sga().generate(doubled)["image"], expected["image"][[0, 1, 2, 3, 4, 0, 0, 4]])
    swapped = pairs.copy()
    swapped["text"][2] = pairs["text"][0]
    assert not np.array_equal(sga().generate(swapped)["image"], expected["image"])


@pytest.mark.parametrize("defence", [Blur(), SpatialSmoothing(window_size=3, channels_first=True)])
def test_attacks_go_through_arts_defences(defence) -> None:
    pairs = make_pairs()
    defended = ImageTextRetriever(TinyEncoder(seed=3).eval(), preprocessing_defences=defence, device_type="cpu")
    settings = {"eps": 0.1, "eps_step": 0.02, "max_iter": 15}
    adaptive = sga(defended, **settings).generate(pairs)
    assert_within(adaptive["image"], pairs["image"], np.inf, 0.1)
    noisy = pairs.copy()
    noise = np.random.default_rng(0).choice([-0.1, 0.1], pairs["image"].shape)
    noisy["image"] = np.clip(pairs["image"] + noise, 0, 1)
    assert own_logits(defended, adaptive).mean() < own_logits(defended, noisy).mean() - 1


def own_logits(retriever: ImageTextRetriever, pairs: np.ndarray) -> np.ndarray:
    return retriever.predict(pairs).diagonal()


# Texts


@pytest.mark.parametrize("kind", ["bert", "characters", "embedding"])
def test_the_three_steps(kind: str) -> None:
    pairs = make_pairs()
    text_attack = {
        "bert": bert_attack(),
        "characters": CharacterAttack(RETRIEVER, loss="similarity", verbose=False),
        "embedding": bert_attack(loss="embedding_kl"),
    }[kind]
    attack = sga(text_attack=text_attack)
    adversarial = attack.generate(pairs)
    # 1. and 2.: the images are those that the adversarial captions of the clean ones guide ...
    guided = sga().generate(text_attack.generate(pairs))
    np.testing.assert_array_equal(adversarial["image"], guided["image"])
    # ... which are not those that the captions themselves guide.
    alone = sga().generate(pairs)
    np.testing.assert_array_equal(alone["text"], pairs["text"])
    assert not np.array_equal(adversarial["image"], alone["image"])
    # 3.: the original captions, against the adversarial images.
    moved = pairs.copy()
    moved["image"] = adversarial["image"]
    np.testing.assert_array_equal(adversarial["text"], text_attack.generate(moved)["text"])
    assert [(record.text, record.adversarial) for record in attack.records] == list(
        zip(pairs["text"], adversarial["text"], strict=True)
    )
    if kind != "embedding":
        assert own_logits(RETRIEVER, adversarial).mean() < own_logits(RETRIEVER, alone).mean() - 0.5


# Classifiers


@pytest.mark.parametrize("scales", [(1.0,), (0.5, 1.0, 1.5)])
def test_the_captions_of_a_classifiers_image_are_the_prompts_of_its_label(scales) -> None:
    classifier, y = zero_shot(), np.array([2, 0, 0, 1])
    images = np.random.default_rng(1).random((4, 3, 8, 8), dtype=np.float32)
    captions = [text for label in y for text in classifier.prompts[label]]
    as_pairs = image_text_pairs(np.repeat(images, 2, axis=0), captions)
    attack = sga(classifier, scales=scales)
    np.testing.assert_allclose(
        attack.generate(images, y), sga(scales=scales).generate(as_pairs)["image"][::2], atol=1e-6
    )
    assert tuple(attack.prompts) == classifier.prompts and attack.records == []
    np.testing.assert_array_equal(attack.generate(images, np.eye(3)[y]), attack.generate(images, y))
    own = classifier.predict(images).argmax(axis=1)
    np.testing.assert_array_equal(attack.generate(images), attack.generate(images, own))


def test_equal_images_of_other_labels_go_other_ways() -> None:
    images = np.repeat(np.random.default_rng(1).random((1, 3, 8, 8), dtype=np.float32), 2, axis=0)
    first, second = sga(zero_shot()).generate(images, np.array([0, 2]))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    "settings", [{"loss": "embedding_kl"}, {"loss": "margin"}, {"loss": "margin", "per_image": True}], ids=str
)
def test_the_three_steps_on_a_classifier(settings) -> None:
    classifier, y = zero_shot(), np.array([2, 0, 0, 1])
    images = np.random.default_rng(1).random((4, 3, 8, 8), dtype=np.float32)
    text_attack = bert_attack(classifier, **settings)
    attack = sga(classifier, text_attack)
    adversarial = attack.generate(images, y)
    assert_within(adversarial, images, np.inf, 0.1)

    def prompts_on(images: np.ndarray) -> np.ndarray:
        return text_attack.generate(images, y) if settings["loss"] == "margin" else text_attack.generate()

    prompts = prompts_on(images)
    for number, label in enumerate(y):
        entry = prompts[number] if prompts.ndim == 2 else prompts
        guided = sga(classifier.with_prompts(entry)).generate(images, np.repeat(label, 4))
        np.testing.assert_allclose(adversarial[number], guided[number], atol=1e-6)
    assert attack.prompts.shape == ((4, 3) if settings.get("per_image") else (3,))
    np.testing.assert_array_equal(attack.prompts, prompts_on(adversarial))
    assert attack.records == text_attack.records and attack.records
    assert classifier.predict_on(adversarial, attack.prompts).shape == (4, 3)


# Edges


def test_nothing_to_attack() -> None:
    attack = sga(text_attack=bert_attack())
    assert attack.generate(make_pairs()[:0]).shape == (0,) and attack.records == []
    classifier = zero_shot()
    nothing = np.zeros((0, 3, 8, 8), np.float32)
    for settings, shape in (({"loss": "margin"}, (3,)), ({"loss": "margin", "per_image": True}, (0, 3))):
        attack = sga(classifier, bert_attack(classifier, **settings))
        assert attack.generate(nothing).shape == (0, 3, 8, 8) and attack.prompts.shape == shape


def test_images_of_other_sizes_down_to_a_pixel() -> None:
    for size in ((1, 1), (1, 9), (13, 5)):
        images = np.random.default_rng(0).random((2, 3, *size), dtype=np.float32)
        adversarial = sga(scales=(0.01, 0.5, 2.0)).generate(image_text_pairs(images, TEXTS[:2]))
        assert_within(adversarial["image"], images, np.inf, 0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eps": -1}, "eps must be"),
        ({"eps_step": np.inf}, "eps_step must be"),
        ({"max_iter": 2.5}, "max_iter must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"norm": 1}, "norm must be 2 or inf"),
        ({"scales": ()}, "scales must be"),
        ({"scales": (1.0, 0.0)}, "scales must be"),
        ({"scales": (np.nan,)}, "scales must be"),
        ({"noise": -0.1}, "noise must be"),
        ({"noise": np.inf}, "noise must be"),
        ({"num_random_init": 2}, "num_random_init must be 0 or 1"),
        ({"text_attack": "bert"}, "text_attack must be"),
        ({"text_attack": bert_attack(zero_shot(), loss="margin")}, "another estimator"),
    ],
)
def test_bad_settings(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        sga(**settings)
    with pytest.raises(ValueError, match=message):
        sga().set_params(**settings)


def test_bad_samples() -> None:
    pairs = make_pairs()
    with pytest.raises(InputError, match="takes pairs"):
        sga().generate(pairs["image"])
    with pytest.raises(InputError, match="images, not pairs"):
        sga(zero_shot()).generate(pairs)
    with pytest.raises(InputError, match="Label 3 is out of range"):
        sga(zero_shot()).generate(pairs["image"].copy(), np.array([0, 1, 2, 3, 0]))
    broken = pairs.copy()
    broken["image"][1, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        sga().generate(broken)
    long = pairs.copy()
    long["text"][1] = "very " * 30
    with pytest.raises(InputError, match="more than the 64 tokens"):
        sga().generate(long)
    with pytest.raises(EstimatorError):
        SetLevelGuidanceAttack(fusion())
