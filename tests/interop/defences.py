"""Rows of preprocessors and postprocessors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from art.attacks.evasion import ProjectedGradientDescent
from art.defences import postprocessor as post
from art.defences import preprocessor as pre
from art.estimators.classification import PyTorchClassifier
from art.preprocessing.standardisation_mean_std.numpy import StandardisationMeanStd
from art.preprocessing.standardisation_mean_std.pytorch import StandardisationMeanStdPyTorch
from interop.row import Broken, Row, named
from interop.subjects import CLASSES, QUESTIONS, SIDE, Subject, trained
from torch import Tensor, nn

from art_multimodal import FusionClassifier, image_text_pairs

BOX = (0.0, 1.0)


def seed() -> None:
    np.random.seed(3)
    torch.manual_seed(3)


def defended(subject: Subject, images: np.ndarray, **settings: Any) -> np.ndarray:
    """Predictions behind defences; on the fusion classifier those of pairs have to be the same."""
    seed()
    scores = subject.classifier(**settings).predict(images)
    if subject.name == "fusion":
        seed()
        classifier = FusionClassifier(trained("fusion"), device_type="cpu", **settings)
        pairs = image_text_pairs(images, [QUESTIONS[subject.question]] * len(images))
        np.testing.assert_allclose(classifier.predict(pairs), scores, atol=1e-5)
    return scores


def at_prediction(
    name: str, covers: object, make: Callable[[], list[Any]], count: int = 6, attack: bool = True, **settings: Any
) -> Row:
    """A row of preprocessors in front of predictions.

    What is predicted has to be what the plain classifier predicts on images that went through the defences, and not
    what it predicts without; and an attack has to get a gradient through them.
    """

    def run(subject: Subject) -> str:
        images = subject.x[:count]
        scores = defended(subject, images, preprocessing_defences=make())
        seed()
        processed: Any = images
        for defence in make():
            processed, _ = defence(processed)
        plain = subject.classifier()
        np.testing.assert_allclose(scores, plain.predict(np.asarray(processed, dtype=np.float32)), atol=1e-4)
        change = float(np.abs(scores - plain.predict(images)).max())
        assert change > 1e-3, "the defence changes nothing"
        classifier = subject.classifier(preprocessing_defences=make())
        gradient = classifier.loss_gradient(images, subject.y[:count])
        assert gradient.shape == images.shape
        assert np.isfinite(gradient).all()
        if attack:
            assert np.abs(gradient).max() > 0
            pgd = ProjectedGradientDescent(classifier, eps=0.3, eps_step=0.06, max_iter=10, verbose=False)
            flipped = (
                classifier.predict(pgd.generate(images, subject.y[:count])).argmax(axis=1) != subject.labels[:count]
            )
            assert flipped.mean() >= 0.5, f"PGD flips {flipped.sum()} of {count} behind the defence"
        return f"scores move by up to {change:.2g}"

    covers = covers if isinstance(covers, tuple) else (covers,)
    return Row(name, "preprocessors", named(*covers), run, **settings)


def in_training(name: str, covers: object, make: Callable[[], Any], **settings: Any) -> Row:
    """A row of a preprocessor of training data: it changes them and no predictions, and training lowers the loss."""

    def run(subject: Subject) -> str:
        classifier = subject.trainable(preprocessing_defences=make())
        seed()
        images, labels = classifier._apply_preprocessing(subject.x, subject.y, fit=True)
        same = np.shape(images) == subject.x.shape and np.allclose(images, subject.x) and np.allclose(labels, subject.y)
        assert not same, "the defence changes nothing"
        np.testing.assert_array_equal(classifier._apply_preprocessing(subject.x, None, fit=False)[0], subject.x)
        before = float(classifier.compute_loss(subject.x, subject.y, reduction="mean"))
        classifier.fit(subject.x, subject.y, batch_size=16, nb_epochs=15)
        after = float(classifier.compute_loss(subject.x, subject.y, reduction="mean"))
        assert after < 0.8 * before
        return f"loss {before:.2f} → {after:.2f}"

    return Row(name, "preprocessors", named(covers), run, **settings)


def after_prediction(name: str, covers: object, make: Callable[[], list[Any]], **settings: Any) -> Row:
    """A row of postprocessors: what they make of the plain classifier's probabilities is what is predicted.

    Also by ours that return scores: a postprocessor that is given scores answers, and protects nothing.
    """

    def run(subject: Subject) -> str:
        plain = subject.classifier(probabilities=True).predict(subject.x)
        seed()
        expected = plain
        for defence in make():
            expected = defence(expected)
        if subject.name == "fusion":
            classifier = FusionClassifier(trained("fusion"), device_type="cpu", postprocessing_defences=make())
            view = classifier.image_view(QUESTIONS[subject.question], probabilities=True)
        else:
            view = subject.classifier(probabilities=True, postprocessing_defences=make())
        if subject.name != "control":
            scoring = classifier.image_view(QUESTIONS[subject.question]) if subject.name == "fusion" else None
            scoring = scoring or subject.classifier(postprocessing_defences=make())
            seed()
            np.testing.assert_allclose(scoring.predict(subject.x), expected, atol=1e-5)
        seed()
        scores = view.predict(subject.x)
        np.testing.assert_allclose(scores, expected, atol=1e-5)
        change = float(np.abs(scores - plain).max())
        assert change > 1e-4, "the defence changes nothing"
        return f"probabilities move by up to {change:.2g}"

    covers = covers if isinstance(covers, tuple) else (covers,)
    return Row(name, "postprocessors", named(*covers), run, **settings)


def hard_labels(subject: Subject) -> str:
    """Of each image's scores the largest becomes 1, and the others 0."""
    plain = subject.classifier().predict(subject.x)
    scores = subject.classifier(postprocessing_defences=post.ClassLabels()).predict(subject.x)
    np.testing.assert_array_equal(scores, np.eye(CLASSES)[plain.argmax(axis=1)])
    return "labels in place of scores"


class Greyish(nn.Module):
    """In place of a PixelCNN: holds values that are multiples of 16 for the likely ones."""

    def __init__(self) -> None:
        super().__init__()
        self.likely = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        likely = (torch.arange(256) % 16 == 0).to(images.dtype)
        return self.likely(likely.expand(len(images), 3 * SIDE * SIDE, 256).flatten(1))


def pixel_cnn() -> PyTorchClassifier:
    return PyTorchClassifier(Greyish(), nn.CrossEntropyLoss(), (3, SIDE, SIDE), 256, clip_values=BOX, device_type="cpu")


ROWS = [
    at_prediction(
        "FeatureSqueezing", pre.FeatureSqueezing, lambda: [pre.FeatureSqueezing(clip_values=BOX, bit_depth=3)]
    ),
    at_prediction(
        "JpegCompression",
        pre.JpegCompression,
        lambda: [pre.JpegCompression(clip_values=BOX, quality=30, channels_first=True)],
    ),
    at_prediction(
        "SpatialSmoothing",
        pre.SpatialSmoothing,
        lambda: [pre.SpatialSmoothing(window_size=3, channels_first=True, clip_values=BOX)],
    ),
    at_prediction(
        "SpatialSmoothingPyTorch",
        pre.SpatialSmoothingPyTorch,
        lambda: [pre.SpatialSmoothingPyTorch(window_size=3, channels_first=True, clip_values=BOX, device_type="cpu")],
        needs=("kornia",),
    ),
    at_prediction(
        "TotalVarMin",
        pre.TotalVarMin,
        lambda: [pre.TotalVarMin(prob=0.3, lamb=5.0, max_iter=10, clip_values=BOX)],
        count=1,
        attack=False,
    ),
    at_prediction(
        "PixelDefend",
        pre.PixelDefend,
        lambda: [pre.PixelDefend(eps=16, pixel_cnn=pixel_cnn())],
        count=2,
        attack=False,
        note="Under numpy 2 it fails on values within `eps` of black or white (pixel_defend.py:115 adds in uint8).",
    ),
    at_prediction(
        "GaussianAugmentation at prediction",
        pre.GaussianAugmentation,
        lambda: [pre.GaussianAugmentation(sigma=0.05, augmentation=False, apply_predict=True)],
    ),
    at_prediction(
        "Cutout at prediction",
        pre.Cutout,
        lambda: [pre.Cutout(length=4, channels_first=True, apply_predict=True)],
    ),
    at_prediction(
        "CutoutPyTorch at prediction",
        pre.CutoutPyTorch,
        lambda: [pre.CutoutPyTorch(length=4, channels_first=True, apply_predict=True, device_type="cpu")],
    ),
    at_prediction(
        "StandardisationMeanStd",
        StandardisationMeanStd,
        lambda: [StandardisationMeanStd(mean=0.1, std=0.9)],
        note="Our models normalise inside; give them no second normalisation.",
    ),
    at_prediction(
        "StandardisationMeanStdPyTorch",
        StandardisationMeanStdPyTorch,
        lambda: [StandardisationMeanStdPyTorch(mean=0.1, std=0.9, device_type="cpu")],
        note="Our models normalise inside; give them no second normalisation.",
    ),
    at_prediction(
        "A chain of numpy preprocessors",
        (pre.FeatureSqueezing, pre.JpegCompression, pre.SpatialSmoothing),
        lambda: [
            pre.FeatureSqueezing(clip_values=BOX, bit_depth=4),
            pre.JpegCompression(clip_values=BOX, quality=60, channels_first=True),
            pre.SpatialSmoothing(window_size=3, channels_first=True, clip_values=BOX),
        ],
        note="AutoProjectedGradientDescent and its kin rebuild ART's own classifier, which takes no such chain.",
        broken=Broken(
            "estimators/pytorch.py:214 takes no chain of preprocessors that are not all torch modules",
            NotImplementedError,
            on=("control",),
        ),
    ),
    at_prediction(
        "A chain of torch preprocessors",
        (pre.SpatialSmoothingPyTorch, StandardisationMeanStdPyTorch),
        lambda: [
            pre.SpatialSmoothingPyTorch(window_size=3, channels_first=True, clip_values=BOX, device_type="cpu"),
            StandardisationMeanStdPyTorch(mean=0.1, std=0.9, device_type="cpu"),
        ],
        needs=("kornia",),
    ),
    in_training("Cutout", pre.Cutout, lambda: pre.Cutout(length=3, channels_first=True)),
    in_training(
        "CutoutPyTorch", pre.CutoutPyTorch, lambda: pre.CutoutPyTorch(length=3, channels_first=True, device_type="cpu")
    ),
    in_training("CutMix", pre.CutMix, lambda: pre.CutMix(CLASSES, channels_first=True)),
    in_training(
        "CutMixPyTorch", pre.CutMixPyTorch, lambda: pre.CutMixPyTorch(CLASSES, channels_first=True, device_type="cpu")
    ),
    in_training("Mixup", pre.Mixup, lambda: pre.Mixup(CLASSES)),
    in_training("MixupPyTorch", pre.MixupPyTorch, lambda: pre.MixupPyTorch(CLASSES, device_type="cpu")),
    in_training("LabelSmoothing", pre.LabelSmoothing, lambda: pre.LabelSmoothing(max_value=0.8)),
    in_training(
        "GaussianAugmentation", pre.GaussianAugmentation, lambda: pre.GaussianAugmentation(sigma=0.05, ratio=0.5)
    ),
    Row(
        "ClassLabels",
        "postprocessors",
        named(post.ClassLabels),
        hard_labels,
        broken=Broken(
            "defences/postprocessor/class_labels.py:56 writes the labels of all images of a batch into every row",
            AssertionError,
            "it with one image at a time",
        ),
    ),
    after_prediction("GaussianNoise", post.GaussianNoise, lambda: [post.GaussianNoise(scale=0.1)]),
    after_prediction("HighConfidence", post.HighConfidence, lambda: [post.HighConfidence(cutoff=0.3)]),
    after_prediction("ReverseSigmoid", post.ReverseSigmoid, lambda: [post.ReverseSigmoid(beta=1.0, gamma=0.1)]),
    after_prediction("Rounded", post.Rounded, lambda: [post.Rounded(decimals=1)]),
    after_prediction(
        "A chain of postprocessors",
        (post.ReverseSigmoid, post.Rounded),
        lambda: [post.ReverseSigmoid(beta=1.0, gamma=0.1), post.Rounded(decimals=2)],
    ),
]
