"""The four models, each with images, a radius, and surrogates of those who do not have it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial

import numpy as np
import torch

from art_multimodal import ZeroShotClassifier, load_model
from art_multimodal.attacks.evasion import ProjectedGradientDescentDualEncoder, TransferAttack
from art_multimodal.attacks.evasion.universal import UniversalPerturbationAttack
from art_multimodal.datasets import open_data
from art_multimodal.defences.test_time import TestTimeDefence
from art_multimodal.demo.digits_data import ink_on_paper, load_strokes
from art_multimodal.demo.loading import MLM_FOLDER
from art_multimodal.errors import InputError
from art_multimodal.models.families.hugging_face.loading import load_tokenizer
from benchmarks.robust_training.captions import CIFAR_CLASSES, TEST_TEMPLATES
from benchmarks.robust_training.data import cifar
from benchmarks.robust_training.model import SmallCLIP
from benchmarks.test_time import training
from benchmarks.test_time.defences import IMAGES, defence_of
from benchmarks.universal import convolutional
from benchmarks.universal import trained as trained_tower

SEEDS = 3
#: Steps of descents; those of the transfer attack, and of learning one perturbation for all images.
STEPS, TRANSFER_STEPS, UNIVERSAL_STEPS = 10, 20, 80
#: Images that the latter is learned on, and epochs of a surrogate's tower.
LEARNED_ON, TOWER_EPOCHS = 256, 14
BATCH = 250


@dataclass(frozen=True)
class Problem:
    """A model and what it is asked.

    :param bare: Without any defence.
    :param x: Images that no training has seen, and no choice was made by.
    :param eps: Radius of the l_inf ball, in the units of images in [0, 1].
    :param surrogates: Makes the models of someone who does not have this one.
    :param others: Training images, to learn one perturbation for all on, and what clean images look like.
    :param training_seconds: Of CPU, that made it robust; 0 where nothing did.
    """

    bare: ZeroShotClassifier
    x: np.ndarray
    y: np.ndarray
    eps: float
    seed: int
    surrogates: Callable[[], Sequence[ZeroShotClassifier]]
    others: np.ndarray
    training_seconds: float = 0.0

    @cached_property
    def unaware(self) -> dict[str, np.ndarray]:
        """By the name of an attack that knows of no defence the images that it makes: the same for every defence."""
        step = {"eps": self.eps, "seed": self.seed, "verbose": False}
        naive = ProjectedGradientDescentDualEncoder(
            self.bare, eps_step=self.eps / 4, max_iter=STEPS, batch_size=BATCH, **step
        )
        transfer = TransferAttack(
            self.surrogates(), eps_step=self.eps / 8, max_iter=TRANSFER_STEPS, batch_size=BATCH, **step
        )
        universal = UniversalPerturbationAttack(
            self.bare, eps_step=self.eps / 10, max_iter=UNIVERSAL_STEPS, loss="cross_entropy", **step
        )
        corners = np.random.default_rng(self.seed).integers(2, size=self.x.shape) * 2 - 1
        return {
            "naive": naive.generate(self.x, self.y),
            "transfer": transfer.generate(self.x, self.y),
            "universal": universal.fit(self.others).generate(self.x),
            "noise": np.clip(self.x + np.float32(self.eps) * corners, 0, 1).astype(np.float32),
        }


def digits(name: str, radius: int, seed: int) -> Problem:
    """One of the embedded models, whose weights are the same for every seed, and digits that it has not seen."""
    data = open_data("demo:digits")
    rows = np.random.default_rng(0).permutation(len(data))[:IMAGES]
    x, y = np.stack([data.image(int(row)) for row in rows]), np.array([data.label_of(int(row)) for row in rows])
    other = "demo:digits/robust" if name == "demo:digits" else "demo:digits"

    def surrogates() -> list[ZeroShotClassifier]:
        return [_demo(other), _other_tower(seed)]

    return Problem(_demo(name), x, y, radius / 255, seed, surrogates, _painted()[0][:LEARNED_ON])


@cache
def _demo(name: str) -> ZeroShotClassifier:
    data = open_data("demo:digits")
    return ZeroShotClassifier(load_model(name), data.class_names, data.templates, device_type="cpu")


def _painted() -> tuple[np.ndarray, np.ndarray]:
    """Digits of the training set, black on white, and their labels."""
    strokes, labels = load_strokes("train")
    return ink_on_paper(strokes, np.zeros(3, np.float32), np.ones(3, np.float32)), labels


@cache
def _other_tower(seed: int) -> ZeroShotClassifier:
    """A convolutional tower beside the text tower of the demo, trained under noise: seconds."""
    demo, (x, y) = _demo("demo:digits"), map(torch.from_numpy, _painted())
    classes = demo.class_features().detach()
    torch.manual_seed(seed)
    tower = convolutional(16, classes.shape[1])
    model = trained_tower(demo.dual_encoder, tower, classes, x, y, TOWER_EPOCHS)
    data = open_data("demo:digits")
    return ZeroShotClassifier(model, data.class_names, data.templates, device_type="cpu")


def _of_cifar(model: SmallCLIP) -> ZeroShotClassifier:
    return ZeroShotClassifier(model, CIFAR_CLASSES, TEST_TEMPLATES[:1], device_type="cpu")


def clip(made: Callable[[int], tuple[SmallCLIP, float]], radius: int, seed: int) -> Problem:
    """A small CLIP that was trained with this seed; the surrogate is one that was trained alike with another."""
    test = cifar("test", training.DATA)
    model, seconds = made(seed)

    def surrogates() -> list[ZeroShotClassifier]:
        return [_of_cifar(made((seed + 1) % SEEDS)[0])]

    others = cifar("train", training.DATA).images[:LEARNED_ON]
    x, y = test.images[:IMAGES], test.labels[:IMAGES]
    return Problem(_of_cifar(model), x, y, radius / 255, seed, surrogates, others, seconds)


#: With a radius, in 255ths: of digits one within which the bare model is right about some two fifths of its images, of
#: CIFAR-10 that of the training under attack.
RADII = {"demo:digits": 6, "demo:digits/robust": 20, "cifar": 2, f"cifar/{training.ROBUST}": 2}
PROBLEMS: dict[str, Callable[[int], Problem]] = {
    "demo:digits": partial(digits, "demo:digits", RADII["demo:digits"]),
    "demo:digits/robust": partial(digits, "demo:digits/robust", RADII["demo:digits/robust"]),
    "cifar": partial(clip, training.plain, RADII["cifar"]),
    f"cifar/{training.ROBUST}": partial(clip, training.robust, RADII[f"cifar/{training.ROBUST}"]),
}


@cache
def _built(model: str) -> ZeroShotClassifier:
    """A classifier that is built as that of a problem, trained or not."""
    if model.startswith("demo:"):
        return _demo(model)
    return _of_cifar(SmallCLIP(load_tokenizer(MLM_FOLDER)).eval())


def fitted(model: str, name: str) -> TestTimeDefence | None:
    """A defence as a model has it, but for what it knows of images; no model is trained for that.

    :raises InputError: If it does not fit the model.
    """
    bare = _built(model)
    return defence_of(name, bare, np.zeros((1, 3, *bare.dual_encoder.image_size), np.float32))


@cache
def misfit(model: str, name: str) -> str:
    """Why a defence does not fit a model; empty where it does."""
    try:
        fitted(model, name)
    except InputError as error:
        return str(error)
    return ""
