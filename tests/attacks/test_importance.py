"""Labels with a whole modality removed, against the torch models asked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from attacks.removal_models import make, make_pairs
from tiny import TinyEncoder, TinyFusion, TinyJointFusion
from torch.nn import functional as F

from art_multimodal import ZeroShotClassifier
from art_multimodal.attacks.evasion.decoupling.importance import labels_without
from art_multimodal.models.fusion import FusionModel

CLASSES = ("cat", "dog", "bird", "fish")
TEMPLATES = ["an old photo of a {}.", "{} here", "the {}"]
MEAN = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)


@pytest.mark.parametrize("model_class", [TinyFusion, TinyJointFusion])
@pytest.mark.parametrize("size", [(8, 8), (12, 5)])
def test_fusion(model_class: type[FusionModel], size: tuple[int, int]) -> None:
    classifier, pairs = make(model_class), make_pairs(30, size)
    before = pairs.copy()
    model = classifier.model

    @torch.no_grad()
    def label(image: torch.Tensor, text: str) -> int:
        return int(model(image[None], model.tokenize([text]))[0].argmax())

    grey = MEAN.expand(3, *size)
    no_image = [label(grey, pair["text"]) for pair in pairs]
    no_text = [label(torch.from_numpy(pair["image"].copy()), "") for pair in pairs]
    for batch_size in (1, 7, 128):
        assert labels_without(classifier, pairs, "image", batch_size=batch_size).tolist() == no_image
        assert labels_without(classifier, pairs, "text", batch_size=batch_size).tolist() == no_text
    np.testing.assert_array_equal(pairs["image"], before["image"])
    assert pairs["text"].tolist() == before["text"].tolist()
    intact = classifier.predict_labels(pairs).tolist()
    assert intact != no_image and intact != no_text and no_image != no_text


def test_zero_shot() -> None:
    model = TinyEncoder(seed=2).eval()
    classifier = ZeroShotClassifier(model, CLASSES, TEMPLATES, device_type="cpu")
    images = np.random.default_rng(0).random((30, 3, 9, 8), dtype=np.float32)
    before = images.copy()

    @torch.no_grad()
    def labels(shown: torch.Tensor, templates: list[str]) -> list[int]:
        texts = [[model.encode_text(model.tokenize([t.format(name)]))[0] for t in templates] for name in CLASSES]
        classes = torch.stack([F.normalize(torch.stack(row).mean(dim=0), dim=0) for row in texts])
        return (model.encode_image(shown) @ classes.T).argmax(dim=1).tolist()

    shown = torch.from_numpy(images)
    intact, no_text = labels(shown, TEMPLATES), labels(shown, ["{}.", "{}", "{}"])
    no_image = labels(MEAN.expand(30, 3, 9, 8), TEMPLATES)
    assert classifier.predict_labels(images).tolist() == intact
    for batch_size in (7, 128):
        assert labels_without(classifier, images, "image", batch_size=batch_size).tolist() == no_image
        assert labels_without(classifier, images, "text", batch_size=batch_size).tolist() == no_text
    np.testing.assert_array_equal(images, before)
    assert classifier.templates == tuple(TEMPLATES)
    assert len(set(no_image)) == 1 and intact != no_image and intact != no_text
    # Of prompts as they stand no word is known to be no class name.
    as_they_stand = classifier.with_prompts(["a cat", "a dog", "a bird", "a fish"])
    assert labels_without(as_they_stand, images, "text").tolist() == as_they_stand.predict_labels(images).tolist()


@pytest.mark.parametrize("ignored", ["image", "text"])
def test_what_a_model_ignores_is_of_no_importance(ignored: str) -> None:
    classifier, pairs = make(seed=3), make_pairs(30)
    with torch.no_grad():
        classifier.model.text.weight *= 3
        (classifier.model.image_projection if ignored == "image" else classifier.model.text).weight.zero_()
    intact = classifier.predict_labels(pairs).tolist()
    other = "text" if ignored == "image" else "image"
    assert labels_without(classifier, pairs, ignored).tolist() == intact
    assert labels_without(classifier, pairs, other).tolist() != intact


def test_no_samples_and_no_such_modality() -> None:
    assert labels_without(make(), make_pairs(5)[:0], "image").shape == (0,)
    with pytest.raises(ValueError, match="'image' or 'text', not 'audio'"):
        labels_without(make(), make_pairs(5), "audio")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_weights_of_any_dtype(dtype: torch.dtype) -> None:
    classifier = make(TinyFusion)
    classifier.model.to(dtype)
    assert labels_without(classifier, make_pairs(4), "image").shape == (4,)
    zero_shot = ZeroShotClassifier(TinyEncoder(seed=2).eval().to(dtype), CLASSES, TEMPLATES, device_type="cpu")
    assert labels_without(zero_shot, make_pairs(4)["image"], "image").shape == (4,)
