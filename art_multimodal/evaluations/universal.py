"""Learning a universal perturbation or patch from names: models, data, budget; what the command line runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from art_multimodal.attacks.evasion.universal import (
    SurrogateRecord,
    UniversalPatch,
    UniversalPatchAttack,
    UniversalPerturbation,
    UniversalPerturbationAttack,
)
from art_multimodal.attacks.evasion.universal.learning import LOSSES
from art_multimodal.datasets import LabelledImages, UnreadableSample, open_images
from art_multimodal.datasets.reading import MAX_SKIPPED, check_max_skipped, check_readable, refusal
from art_multimodal.devices import device_type_of
from art_multimodal.errors import InputError, check_count, unknown_name
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.functional.perturbations import INF, norm_of
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.loading import load_model
from art_multimodal.models.preprocessing import ImagePreprocessing
from art_multimodal.plugins import plugins_of_run
from art_multimodal.prompts import DEFAULT_TEMPLATES


@dataclass(frozen=True, kw_only=True)
class UniversalSettings:
    """What is learned, on what.

    >>> settings = UniversalSettings(models=("demo:digits", "demo:digits/robust"), data="demo:digits", eps=8 / 255)
    >>> settings.steps, settings.patch
    (200, None)

    :param models: Names of dual encoders: the surrogates. Images have the size of the first.
    :param data: As for ``open_data``; labels are not looked at.
    :param norm: ``"inf"`` or ``"2"``.
    :param eps: Radius of the ball, in the units of images in [0, 1].
    :param eps_step: Length of a step; ``None`` for an eighth of ``eps``, and for 8/255 of a patch.
    :param steps: Number of steps.
    :param arms: Surrogates that the bandit chooses for each step.
    :param loss: ``"similarity"`` or ``"cross_entropy"``.
    :param target: A text that images are to be taken for, or with ``"cross_entropy"`` the name of a class.
    :param patch: Side of a patch, which is learned instead of a perturbation; ``None`` for none.
    :param share: Largest share of an image that the patch covers in learning; the least is a third of it.
    :param batch_size: Images of a step.
    :param limit: Most images, drawn with the seed; ``None`` for all.
    :param seed: Of everything that is drawn.
    :param templates: Prompt templates instead of the data's own.
    :param classes: Class names instead of the data's own.
    """

    models: tuple[str, ...]
    data: str
    norm: str = "inf"
    eps: float = 8 / 255
    eps_step: float | None = None
    steps: int = 200
    arms: int = 1
    loss: str = "similarity"
    target: str | None = None
    patch: int | None = None
    share: float = 0.15
    batch_size: int = 32
    limit: int | None = None
    seed: int = 0
    templates: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.models:
            raise InputError("Name at least one model to learn on.")
        if self.loss not in LOSSES:
            raise unknown_name("loss", self.loss, LOSSES)
        for name in ("steps", "arms", "batch_size", "limit"):
            check_count(name.replace("_", " "), getattr(self, name))
        check_count("The side of the patch", self.patch, most=4096)
        check_count("The seed", self.seed, least=0, most=2**63 - 1)
        if self.arms > len(self.models):
            raise InputError(f"arms is {self.arms}, and there are {len(self.models)} models to choose from.")
        if not (math.isfinite(self.eps) and self.eps > 0):
            raise InputError(f"eps must be greater than 0, such as 8/255, not {self.eps:g}.")
        if norm_of(self.norm) == INF and self.eps > 1:
            raise InputError(
                f"eps {self.eps:g} is more than the whole range of images in [0, 1]. Did you mean {self.eps:g}/255?"
            )
        if self.eps_step is not None and not (math.isfinite(self.eps_step) and self.eps_step > 0):
            raise InputError(f"eps-step must be greater than 0, not {self.eps_step:g}.")
        if not 0 < self.share <= 1:
            raise InputError(f"The share that a patch covers lies in (0, 1], not {self.share:g}.")


@dataclass(frozen=True)
class Learned:
    """What was learned.

    :param universal: A perturbation or a patch.
    :param records: What each surrogate had to say.
    :param images: How many images it was learned on.
    :param skipped: How many could not be read.
    :param flips: By surrogate, the share of these images whose answer is another one with it.
    :param plugins: Plug-ins that models and data come from, in JSON types.
    """

    universal: UniversalPerturbation | UniversalPatch
    records: tuple[SurrogateRecord, ...]
    images: int
    skipped: int
    flips: tuple[float, ...] = field(default=())
    plugins: tuple[dict[str, Any], ...] = field(default=())


def learn_universal(
    settings: UniversalSettings,
    device: str = "auto",
    max_skipped: float = MAX_SKIPPED,
    verbose: bool = False,
    before: Callable[[Sequence[str]], Any] | None = None,
) -> Learned:
    """Load models, read images, and learn on them.

    >>> settings = UniversalSettings(models=("demo:digits",), data="demo:digits", limit=8, steps=2)
    >>> learned = learn_universal(settings, device="cpu")
    >>> isinstance(learned, Learned), learned.images, learned.universal.values.shape
    (True, 8, (3, 32, 32))

    :param device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    :param max_skipped: Share of images that may be unreadable.
    :param verbose: Show a progress bar.
    :param before: Is told, before the work, what a user should know about how models and data were understood.
    :raises InputError: For anything that cannot be used.
    """
    check_max_skipped(max_skipped)
    models = [_dual_encoder(name) for name in settings.models]
    first = models[0].preprocess
    data = open_images(settings.data, settings.classes, first.reduce_photo)
    templates = settings.templates or data.templates or DEFAULT_TEMPLATES
    kind = device_type_of(device)
    surrogates = [ZeroShotClassifier(model, data.class_names, templates, device_type=kind) for model in models]
    attack = _attack(settings, surrogates, verbose)
    if before is not None:
        before(list(dict.fromkeys((*data.notes, *(note for model in models for note in model.notes)))))
    order = np.random.default_rng(settings.seed).permutation(len(data))[: settings.limit]
    x, skipped = read_images(data, order, first, max_skipped)
    attack.fit(x)
    found = attack.patch if isinstance(attack, UniversalPatchAttack) else attack.perturbation
    assert found is not None
    changed = attack.generate(x)
    flips = [float((one.predict_labels(changed) != one.predict_labels(x)).mean()) for one in surrogates]
    plugins = plugins_of_run(settings.models, settings.data, models, data)
    return Learned(found, tuple(attack.records), len(x), skipped, tuple(flips), tuple(plugins))


def read_images(
    data: LabelledImages, order: np.ndarray, preprocess: ImagePreprocessing, max_skipped: float = MAX_SKIPPED
) -> tuple[np.ndarray, int]:
    """Read images at the size that a model works on.

    :param order: Which ones.
    :return: ``(N, 3, *size)``, float32, and how many could not be read.
    :raises InputError: If more than a share of them cannot be read.
    """
    skipped: list[UnreadableSample] = []
    return np.stack(list(images_one_by_one(data, order, preprocess, skipped, max_skipped))), len(skipped)


def images_one_by_one(
    data: LabelledImages,
    order: np.ndarray,
    preprocess: ImagePreprocessing,
    skipped: list[UnreadableSample],
    max_skipped: float = MAX_SKIPPED,
) -> Iterator[np.ndarray]:
    """Images ``(3, *size)`` at the size that a model works on, each read when it is asked for.

    :param order: Which ones.
    :param skipped: Those that cannot be read are added.
    :raises InputError: If more than a share of them cannot be read.
    """
    check_readable(data, order, max_skipped, data.image)
    for index in map(int, order):
        try:
            image = data.image(index)
        except UnreadableSample as error:
            skipped.append(error)
            continue
        if image.shape[1:] != preprocess.size:
            with torch.no_grad():
                there = torch.from_numpy(image)[None].to(preprocess.mean.device)
                image = preprocess.resize(there).clamp(0, 1)[0].cpu().numpy()
        yield image
    if skipped:
        refused = refusal(skipped[0].name, skipped[0].reason, len(skipped), len(order), max_skipped)
        if refused is not None:
            raise refused


def _dual_encoder(name: str) -> DualEncoder:
    model = load_model(name)
    if not isinstance(model, DualEncoder):
        raise InputError(f"{name} is a {model.kind}: universal perturbations are learned on dual encoders.")
    return model


def _attack(
    settings: UniversalSettings, surrogates: list[ZeroShotClassifier], verbose: bool
) -> UniversalPerturbationAttack | UniversalPatchAttack:
    shared: dict[str, Any] = {
        "surrogates": surrogates,
        "max_iter": settings.steps,
        "arms": settings.arms,
        "loss": settings.loss,
        "target": settings.target,
        "batch_size": settings.batch_size,
        "seed": settings.seed,
        "surrogate_names": settings.models,
        "verbose": verbose,
    }
    if settings.patch is not None:
        return UniversalPatchAttack(
            surrogates[0],
            side=settings.patch,
            share_min=settings.share / 3,
            share_max=settings.share,
            eps_step=settings.eps_step or 8 / 255,
            **shared,
        )
    return UniversalPerturbationAttack(
        surrogates[0],
        norm=settings.norm,
        eps=settings.eps,
        eps_step=settings.eps_step or settings.eps / 8,
        **shared,
    )
