"""What the rows of the matrix run on: a zero-shot classifier, a fusion classifier, and a plain CNN as the control.

All three are trained here, in about a second each, to tell three kinds of images apart. The fusion model answers
another class for another text, so an attack that meets a wrong text fails.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.estimators.classification import PyTorchClassifier
from attacks.art_attacks import Witness
from tiny import TinyEncoder, TinyFusion
from torch import Tensor, nn
from torch.nn import functional as F

from art_multimodal import FusionClassifier, ZeroShotClassifier, image_text_pairs
from art_multimodal.attacks.evasion import for_each_pair
from art_multimodal.estimators.image_classifier import NLLFromProbabilities

SIDE = 12
NAMES = ("red", "green", "blue")
CLASSES = len(NAMES)
#: Text ``i`` turns class ``k`` into the answer ``k + i``, modulo three.
QUESTIONS = ("what is it?", "which is next?", "which is last?", "say what", "say the next", "say the last")
SUBJECTS = ("control", "zero-shot", "fusion")

AttackFactory = Callable[[PyTorchClassifier], EvasionAttack]


def make_images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images ``(N, 3, 12, 12)``, noise over one of three patterns of large blocks, and the pattern of each."""
    patterns = np.random.default_rng(7).choice([-1.0, 1.0], (CLASSES, 3, 3, 3)).repeat(4, axis=2).repeat(4, axis=3)
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    images = 0.5 + 0.08 * patterns[labels] + 0.05 * generator.standard_normal((count, 3, SIDE, SIDE))
    return images.clip(0, 1).astype(np.float32), labels


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.eye(CLASSES, dtype=np.float32)[labels]


class PlainCNN(nn.Module):
    """The control's model; a softmax at its end where probabilities are wanted."""

    def __init__(self, probabilities: bool = False) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(8 * 9, CLASSES)
        self.probabilities = probabilities

    def forward(self, images: Tensor) -> Tensor:
        # As in all models of this size: ART may hand over float64.
        logits = self.head(self.features(images.to(self.head.weight.dtype) - 0.5))
        return logits.softmax(dim=1) if self.probabilities else logits


def _train(model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], steps: int) -> nn.Module:
    images, labels = map(torch.from_numpy, make_images(192, seed=1))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(steps):
            rows = torch.randint(len(images), (32,), generator=generator)
            optimizer.zero_grad()
            loss(images[rows], labels[rows]).backward()
            optimizer.step()
    return model.eval()


@cache
def trained(subject: str) -> nn.Module:
    """The model of a subject. Shared: copy it before it is changed."""
    if subject == "control":
        cnn = untrained(subject)
        return _train(cnn, lambda x, y: F.cross_entropy(cnn(x), y), 100)
    if subject == "zero-shot":
        encoder = untrained(subject)
        tokens = encoder.tokenize([f"a photo of a {name}." for name in NAMES])
        return _train(encoder, lambda x, y: F.cross_entropy(encoder(x, tokens), y), 100)
    fusion = untrained(subject)
    tokens = fusion.tokenize(QUESTIONS)
    generator = torch.Generator().manual_seed(5)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        asked = torch.randint(len(QUESTIONS), (len(x),), generator=generator)
        return F.cross_entropy(fusion(x, tokens[asked]), (y + asked) % CLASSES)

    return _train(fusion, loss, 400)


def untrained(subject: str) -> nn.Module:
    """The model of a subject before training."""
    if subject == "control":
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return PlainCNN().eval()
    model = TinyEncoder(side=SIDE) if subject == "zero-shot" else TinyFusion(side=SIDE)
    # At their own scale these saturate on images of this size, and a single gradient then finds little.
    model.visual[1].weight.data *= 0.1 if subject == "zero-shot" else 0.3
    return model.eval()


@dataclass
class Subject:
    """One of the three, with images that it answers rightly.

    :param question: What the fusion model is asked where all images have one text.
    """

    name: str
    question: int = 1
    #: Images that a row works on, and their one-hot labels: right answers to :attr:`question`.
    x: np.ndarray = field(init=False)
    labels: np.ndarray = field(init=False)
    #: What was evaluated with a text that is not its own, over all attacks on this subject.
    wrong_texts: int = 0
    evaluated: int = 0

    def __post_init__(self) -> None:
        self.x, labels = make_images(48, seed=2)
        self.labels = (labels + self.question) % CLASSES if self.name == "fusion" else labels

    @property
    def y(self) -> np.ndarray:
        return one_hot(self.labels)

    def classifier(
        self, model: nn.Module | None = None, probabilities: bool = False, **settings: Any
    ) -> PyTorchClassifier:
        """A classifier of images around the trained model, or another one."""
        # ART leaves hooks behind in models.
        model = copy.deepcopy(trained(self.name)) if model is None else model
        settings = {"device_type": "cpu", **settings}
        if self.name == "zero-shot":
            classifier = ZeroShotClassifier(model, NAMES, **settings)
            return classifier.with_probabilities() if probabilities else classifier
        if self.name == "fusion":
            return FusionClassifier(model, **settings).image_view(QUESTIONS[self.question], probabilities)
        if probabilities:
            weights, model = model.state_dict(), PlainCNN(probabilities=True).eval()
            model.load_state_dict(weights)
        return PyTorchClassifier(
            model,
            loss=NLLFromProbabilities() if probabilities else nn.CrossEntropyLoss(),
            input_shape=(3, SIDE, SIDE),
            nb_classes=CLASSES,
            clip_values=(0.0, 1.0),
            **settings,
        )

    def trainable(self, fresh: bool = True, rate: float = 0.01, **settings: Any) -> PyTorchClassifier:
        """A classifier of its own with an optimizer, around an untrained model or a copy of the trained one."""
        model = untrained(self.name) if fresh else copy.deepcopy(trained(self.name))
        return self.classifier(model, optimizer=torch.optim.Adam(model.parameters(), rate), **settings)

    def attack(self, factory: AttackFactory, count: int, targets: bool = False, **kwargs: Any) -> Attacked:
        """Attack images; on the fusion classifier pairs, each with a text of its own.

        :param targets: Give the attack labels to reach, instead of the right ones.
        """
        x, labels = self.x[:count], self.labels[:count]
        if self.name != "fusion":
            classifier = self.classifier()
            wanted = (labels + 1) % CLASSES if targets else labels
            adversarial = factory(classifier).generate(x, one_hot(wanted), **kwargs)
            return Attacked(x, adversarial, labels, classifier.predict(adversarial))
        model = copy.deepcopy(trained(self.name))
        classifier = FusionClassifier(model, device_type="cpu")
        asked = np.arange(count) % len(QUESTIONS)
        pairs = image_text_pairs(x, [QUESTIONS[index] for index in asked])
        labels = (labels - self.question + asked) % CLASSES
        wanted = (labels + 1) % CLASSES if targets else labels
        witness = Witness(model, pairs)
        adversarial = for_each_pair(witness.noting(factory), classifier, pairs, one_hot(wanted), **kwargs)
        self.evaluated += witness.rows
        self.wrong_texts += witness.wrong
        assert witness.rows, "the witness saw nothing"
        return Attacked(x, adversarial["image"], labels, classifier.predict(adversarial))


@dataclass(frozen=True)
class Attacked:
    """What an attack did to images that had been answered rightly."""

    before: np.ndarray
    after: np.ndarray
    labels: np.ndarray
    scores: np.ndarray

    @property
    def answers(self) -> np.ndarray:
        return self.scores.argmax(axis=1)

    @property
    def lead(self) -> np.ndarray:
        """How far the right answer is ahead of the others, in scores; below 0 where it lost."""
        rows = np.arange(len(self.labels))
        others = self.scores.copy()
        others[rows, self.labels] = -np.inf
        return self.scores[rows, self.labels] - others.max(axis=1)

    def size(self, norm: float) -> float:
        """The largest perturbation of an image in a norm."""
        return float(np.linalg.norm((self.after - self.before).reshape(len(self.before), -1), norm, axis=1).max())
