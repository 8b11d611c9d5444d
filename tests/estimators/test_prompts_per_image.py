"""Predictions with other prompts: shared by all images, and a set for each."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from art.defences.preprocessor import FeatureSqueezing
from tiny import TinyEncoder
from torch.nn import functional as F

from art_multimodal import InputError, ZeroShotClassifier

NAMES = ("cat", "dog", "bird")
TEMPLATES = ("a photo of a {}", "the {}")


@pytest.fixture
def classifier(tiny: TinyEncoder) -> ZeroShotClassifier:
    return ZeroShotClassifier(tiny, NAMES, TEMPLATES, device_type="cpu")


def sets(rows: int) -> np.ndarray:
    """A set of prompts for each image; classes have different numbers of them."""
    prompts = np.empty((rows, len(NAMES)), dtype=object)
    for row in range(rows):
        for index, name in enumerate(NAMES):
            prompts[row, index] = tuple(f"{row} {name} {n}" for n in range(1 + (row + index) % 2)) + (f"one {name}",)
    return prompts


def by_hand(model: TinyEncoder, images: np.ndarray, prompts: np.ndarray) -> np.ndarray:
    logits = np.zeros((len(images), len(NAMES)))
    with torch.no_grad():
        for row, image in enumerate(images):
            unit = F.normalize(model.encode_image(torch.from_numpy(image)[None]).double(), dim=1)
            for index, texts in enumerate(prompts[row]):
                mean = (
                    torch.stack([model.encode_text(model.tokenize([text]))[0] for text in texts]).double().mean(dim=0)
                )
                logits[row, index] = float(model.logit_scale.exp() * (unit @ F.normalize(mean, dim=0))[0])
    return logits


def test_each_image_meets_its_own_prompts(classifier, tiny, tiny_images) -> None:
    prompts = sets(6)
    found = classifier.predict_on(tiny_images, prompts, batch_size=4)
    np.testing.assert_allclose(found, by_hand(tiny, tiny_images, prompts), rtol=1e-4, atol=1e-4)
    alone = classifier.predict_on(tiny_images[2:3], prompts[2:3])
    np.testing.assert_allclose(found[2:3], alone, rtol=1e-5, atol=1e-5)
    assert np.abs(found - classifier.predict_on(tiny_images, prompts[::-1])).max() > 0.1
    features = classifier.prompt_features(prompts)
    assert features.shape == (6, 3, 6) and not features.requires_grad


def test_shared_prompts_are_those_of_with_prompts(classifier, tiny_images) -> None:
    prompts = sets(6)[1]
    expected = classifier.with_prompts(prompts.tolist()).predict(tiny_images)
    np.testing.assert_allclose(classifier.predict_on(tiny_images, prompts), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(classifier.predict_on(tiny_images, prompts.tolist()), expected, rtol=1e-5, atol=1e-5)
    own = classifier.predict_on(tiny_images, classifier.prompts)
    np.testing.assert_allclose(own, classifier.predict(tiny_images), rtol=1e-5, atol=1e-5)
    assert classifier.prompt_features(prompts).shape == (3, 6)


def test_defences_and_probabilities_stay(tiny, tiny_images) -> None:
    squeezing = FeatureSqueezing(clip_values=(0, 1), bit_depth=1)
    defended = ZeroShotClassifier(tiny, NAMES, TEMPLATES, preprocessing_defences=squeezing, device_type="cpu")
    view = defended.with_probabilities()
    found = view.predict_on(tiny_images, view.prompts)
    np.testing.assert_allclose(found, view.predict(tiny_images), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


def test_nothing_and_what_does_not_fit(classifier, tiny_images) -> None:
    assert classifier.predict_on(tiny_images[:0], sets(0)).shape == (0, 3)
    assert classifier.prompt_features(sets(0)).shape == (0, 3, 6)
    with pytest.raises(InputError, match="4 sets of prompts came for 6 images"):
        classifier.predict_on(tiny_images, sets(4))
    with pytest.raises(InputError, match="2 prompts were given for 3 classes"):
        classifier.predict_on(tiny_images, ["a", "b"])
    with pytest.raises(InputError, match="Images must have shape"):
        classifier.predict_on(tiny_images[0], sets(6))
