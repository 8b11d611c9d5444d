"""SGA on a trained model: stronger than its parts, than chance, than fewer steps, than fewer scales."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from attacks.test_set_level_guidance import own_logits, sga
from torch.nn import functional as F

from art_multimodal import ImageTextRetriever, image_text_pairs, load_model
from art_multimodal.attacks.evasion import CharacterAttack


@pytest.fixture(scope="module")
def captioned_digits(digits, digits_images) -> tuple[ImageTextRetriever, np.ndarray]:
    """An image of each digit, with two captions."""
    images, labels = digits_images
    rows = [row for digit in range(10) for row in np.flatnonzero(labels == digit)[:1]]
    templates = ("a photo of the digit {}.", "a picture of the number {}.")
    texts = [template.format(digits.class_names[labels[row]]) for row in rows for template in templates]
    retriever = ImageTextRetriever(load_model("demo:digits"), device_type="cpu")
    return retriever, image_text_pairs(np.repeat(images[rows], 2, axis=0), texts)


BUDGET = {"eps": 8 / 255, "eps_step": 2 / 255, "max_iter": 8}


def test_stronger_than_either_part_and_than_one_after_the_other(digits, captioned_digits) -> None:
    retriever, pairs = captioned_digits
    names = digits.class_names
    text_attack = CharacterAttack(retriever, loss="similarity", protected_words=names, candidate_words=1, verbose=False)
    images = sga(retriever, **BUDGET).generate(pairs)
    attacked = {
        "nothing": pairs,
        "images": images,
        "texts": text_attack.generate(pairs),
        "one after the other": text_attack.generate(images),
        "together": sga(retriever, text_attack, **BUDGET).generate(pairs),
    }
    similar = {name: own_logits(retriever, rows).mean() for name, rows in attacked.items()}
    found = {name: retriever.recall(rows, pairs, ks=(1,)) for name, rows in attacked.items()}
    assert similar["together"] < min(similar[name] for name in attacked if name != "together") - 0.2
    assert similar["images"] < similar["nothing"] - 1
    for name in ("nothing", "images"):
        assert found["together"].image_to_text[1] < found[name].image_to_text[1] - 0.3
        assert found["together"].text_to_image[1] < found[name].text_to_image[1] - 0.3
    assert found["images"].image_to_text[1] < found["nothing"].image_to_text[1] == 1


def test_the_image_moves_further_than_by_chance_and_than_by_fewer_steps(captioned_digits) -> None:
    retriever, pairs = captioned_digits
    similar = [own_logits(retriever, sga(retriever, **{**BUDGET, "max_iter": n}).generate(pairs)) for n in (0, 2, 12)]
    noisy = pairs.copy()
    # One pattern for both rows of an image.
    noise = np.repeat(
        np.random.default_rng(0).choice([-BUDGET["eps"], BUDGET["eps"]], pairs["image"][::2].shape), 2, axis=0
    )
    noisy["image"] = np.clip(pairs["image"] + noise, 0, 1)
    assert similar[2].mean() < similar[1].mean() < similar[0].mean()
    assert own_logits(retriever, noisy).mean() - similar[2].mean() > 5 * abs(
        own_logits(retriever, pairs).mean() - own_logits(retriever, noisy).mean()
    )


def test_several_scales_hold_at_other_sizes(captioned_digits) -> None:
    retriever, pairs = captioned_digits

    def similar_when_smaller(pairs: np.ndarray) -> float:
        images = torch.from_numpy(pairs["image"].copy())
        smaller = F.interpolate(images, (20, 20), mode="bicubic", antialias=True).clamp(0, 1).numpy()
        return float(own_logits(retriever, image_text_pairs(smaller, pairs["text"])).mean())

    one = sga(retriever, scales=(1.0,), **BUDGET).generate(pairs)
    several = sga(retriever, **BUDGET).generate(pairs)
    assert similar_when_smaller(several) < similar_when_smaller(one) - 0.04 < similar_when_smaller(pairs) - 0.08
