"""What clean images look like in the layers of a model, from names: what the command line measures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from art_multimodal.datasets import UnreadableSample, open_images
from art_multimodal.datasets.reading import MAX_SKIPPED, check_max_skipped
from art_multimodal.defences.test_time.layer_statistics import LayerStatistics, layers_of
from art_multimodal.devices import device_type_of
from art_multimodal.errors import InputError, check_count
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.evaluations.universal import images_one_by_one
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.loading import load_model
from art_multimodal.plugins import plugins_of_run
from art_multimodal.prompts import DEFAULT_TEMPLATES


@dataclass(frozen=True, kw_only=True)
class StatisticsSettings:
    """Of which model, and of which images.

    >>> settings = StatisticsSettings(model="demo:digits", data="demo:digits", limit=8)
    >>> settings.seed
    0

    :param model: Name of a dual encoder.
    :param data: As for ``open_data``; labels are not looked at.
    :param limit: Most images, drawn with the seed; ``None`` for all.
    :param seed: Of which images are drawn.
    :param batch_size: Most images in one pass of the model.
    """

    model: str
    data: str
    limit: int | None = None
    seed: int = 0
    batch_size: int = 32

    def __post_init__(self) -> None:
        for name in ("limit", "batch_size"):
            check_count(name.replace("_", " "), getattr(self, name))
        check_count("The seed", self.seed, least=0, most=2**63 - 1)


@dataclass(frozen=True)
class Measured:
    """What was measured.

    :param statistics: Of the images that could be read.
    :param skipped: How many could not.
    :param plugins: Plug-ins that the model and the data come from, in JSON types.
    """

    statistics: LayerStatistics
    skipped: int
    plugins: tuple[dict[str, Any], ...] = ()


def measure_statistics(
    settings: StatisticsSettings,
    device: str = "auto",
    max_skipped: float = MAX_SKIPPED,
    before: Callable[[Sequence[str]], Any] | None = None,
) -> Measured:
    """Load a model, read images one after the other, and measure what they look like in its layers.

    >>> settings = StatisticsSettings(model="demo:digits", data="demo:digits", limit=8)
    >>> measured = measure_statistics(settings, device="cpu")
    >>> isinstance(measured, Measured), measured.statistics.images, measured.statistics.model
    (True, 8, 'demo:digits')

    :param device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    :param max_skipped: Share of images that may be unreadable.
    :param before: Is told, before the work, what a user should know about how model and data were understood.
    :raises InputError: For anything that cannot be used.
    """
    check_max_skipped(max_skipped)
    model = load_model(settings.model)
    if not isinstance(model, DualEncoder):
        raise InputError(f"{settings.model} is a {model.kind}: statistics of layers are of dual encoders.")
    layers_of(model)
    data = open_images(settings.data, None, model.preprocess.reduce_photo)
    classifier = ZeroShotClassifier(
        model, data.class_names, data.templates or DEFAULT_TEMPLATES, device_type=device_type_of(device)
    )
    if before is not None:
        before(list(dict.fromkeys((*data.notes, *model.notes))))
    order = np.random.default_rng(settings.seed).permutation(len(data))[: settings.limit]
    skipped: list[UnreadableSample] = []
    images = images_one_by_one(data, order, model.preprocess, skipped, max_skipped)
    found = LayerStatistics.of(classifier, _stacked(images, settings.batch_size), settings.batch_size)
    named = replace(found, model=settings.model, data=settings.data)
    return Measured(named, len(skipped), tuple(plugins_of_run((settings.model,), settings.data, (model,), data)))


def _stacked(images: Iterator[np.ndarray], number: int) -> Iterator[np.ndarray]:
    while part := list(islice(images, number)):
        yield np.stack(part)
