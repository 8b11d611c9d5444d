"""What an audit attacks: a model as an estimator, with the data that it is asked about."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from art_multimodal.attacks.registry import Estimator
from art_multimodal.datasets import LabelledImages, Sample, open_data
from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.evaluations.audit.settings import AuditSettings
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.fusion import FusionModel
from art_multimodal.models.loading import load_model
from art_multimodal.pairs import image_text_pairs
from art_multimodal.prompts import check_templates

_TEXTS_PER_BATCH = 256


@dataclass(frozen=True)
class Subject:
    """A model and its data.

    :param model: What was loaded.
    :param estimator: It as a classifier: of images for a dual encoder, of pairs for a fusion model.
    :param data: Labelled samples; with texts for a fusion model.
    :param labels: For each class of the data its index among the estimator's classes.
    :param templates: Prompt templates of a dual encoder.
    """

    model: DualEncoder | FusionModel
    estimator: Estimator
    data: LabelledImages
    labels: tuple[int, ...]
    templates: tuple[str, ...] = ()

    @property
    def on_pairs(self) -> bool:
        """Whether samples are image-text pairs."""
        return isinstance(self.estimator, FusionClassifier)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes that are predicted."""
        return self.estimator.class_names

    def read(self, index: int) -> Sample:
        """Read a sample, its label among the estimator's classes.

        :raises UnreadableSample: If it cannot be read.
        """
        sample = self.data.read(index)
        return Sample(sample.name, sample.image, self.labels[sample.label], sample.text if self.on_pairs else None)

    def stack(self, samples: list[Sample]) -> np.ndarray:
        """Samples of one shape as the estimator takes them."""
        images = np.stack([sample.image for sample in samples])
        return image_text_pairs(images, [sample.text or "" for sample in samples]) if self.on_pairs else images

    def check_texts(self, indices: Iterable[int]) -> None:
        """Refuse texts that the model cannot read, before any work.

        :raises InputError: Naming the first.
        """
        if isinstance(self.model, FusionModel):
            texts = list(dict.fromkeys(self.data.text_of(int(index)) or "" for index in indices))
            for start in range(0, len(texts), _TEXTS_PER_BATCH):
                self.model.tokenize(texts[start : start + _TEXTS_PER_BATCH])

    def describe(self, spec: str) -> dict[str, Any]:
        """What identifies the model in a log."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        facts: dict[str, Any] = {
            "spec": spec,
            "kind": "fusion model" if self.on_pairs else "dual encoder",
            "adapter": type(self.model).__name__,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "weights_sha256": digest.hexdigest(),
            "image_size": list(self.model.image_size),
        }
        if isinstance(self.model, DualEncoder):
            facts |= {
                "context_length": self.model.context_length,
                "logit_scale": float(self.model.logit_scale.detach().float().exp()),
            }
        return facts


def open_subject(settings: AuditSettings, device_type: str) -> Subject:
    """Load the model and open the data that settings name.

    :raises InputError: If either cannot be used, or they do not fit together.
    """
    model = load_model(settings.model)
    transform = None if settings.native_size else model.preprocess.reduce_photo
    if isinstance(model, DualEncoder):
        data = open_data(settings.data, classes=settings.classes, transform=transform)
        if not (settings.templates or data.templates):
            raise InputError(
                f"{settings.data} asks questions about its images, which a dual encoder does not read. Use a fusion "
                "model, such as demo:shapes, or give --templates."
            )
        templates = check_templates(settings.templates or data.templates)
        estimator = ZeroShotClassifier(model, data.class_names, templates, device_type=device_type)
        return Subject(model, estimator, data, tuple(range(len(data.class_names))), templates)
    if settings.templates is not None:
        raise InputError(f"{settings.model} is a fusion model: it reads the texts of the data, not --templates.")
    answers = ", ".join(repr(name) for name in model.class_names[:8])
    answers += f", ... ({len(model.class_names)})" if len(model.class_names) > 8 else ""
    in_file = settings.data.startswith("csv:")
    try:
        # A file's labels may be indices into the model's answers.
        data = open_data(settings.data, settings.classes or (model.class_names if in_file else None), transform)
    except InputError as error:
        if not in_file:
            raise
        raise InputError(
            f"{error} {settings.model} needs the columns image, text and label, with its answers as labels: {answers}."
        ) from error
    if len(data) and data.text_of(0) is None:
        raise InputError(
            f"{settings.model} is a fusion model, which needs a text with every image, and {settings.data} has none. "
            "Use demo:shapes, or csv:PATH with the columns image, text and label."
        )
    missing = [name for name in data.class_names if name not in model.class_names]
    if missing:
        raise InputError(f"The label {missing[0]!r} is none of the answers of {settings.model}: {answers}.")
    return Subject(
        model,
        FusionClassifier(model, device_type=device_type),
        data,
        tuple(model.class_names.index(name) for name in data.class_names),
    )


@contextmanager
def counted_queries(model: DualEncoder | FusionModel) -> Iterator[dict[str, int]]:
    """Count the images that a model is asked about, and those among them that a gradient is taken for."""
    count = {"queries": 0, "gradients": 0}

    def hook(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        count["queries"] += len(inputs[0])
        # Not whether the output requires one: the parameters may do so where no gradient is taken.
        count["gradients"] += len(inputs[0]) * inputs[0].requires_grad

    # Whatever views of the model an attack makes, every image passes its preprocessing.
    handle = model.preprocess.register_forward_hook(hook)
    try:
        yield count
    finally:
        handle.remove()
