"""What an audit attacks: a model as an estimator, with the data that it is asked about."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from art_multimodal.attacks.registry import Estimator
from art_multimodal.datasets import LabelledImages, Sample, open_data
from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.text_bound import BoundFusion
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.estimators.zero_shot_module import ImageEncoder
from art_multimodal.evaluations.audit.settings import AuditSettings
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.fusion import FusionModel
from art_multimodal.models.loading import load_model
from art_multimodal.pairs import image_text_pairs
from art_multimodal.prompts import check_templates


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
    # A file's labels may be indices into the model's answers.
    known = model.class_names if settings.data.startswith("csv:") else None
    data = open_data(settings.data, classes=settings.classes or known, transform=transform)
    if len(data) and data.text_of(0) is None:
        raise InputError(
            f"{settings.model} is a fusion model, which needs a text with every image, and {settings.data} has none. "
            "Use demo:shapes, or csv:PATH with the columns image, text and label."
        )
    missing = [name for name in data.class_names if name not in model.class_names]
    if missing:
        answers = ", ".join(repr(name) for name in model.class_names[:8])
        more = f", ... ({len(model.class_names)})" if len(model.class_names) > 8 else ""
        raise InputError(f"The label {missing[0]!r} is none of the answers of {settings.model}: {answers}{more}.")
    return Subject(
        model,
        FusionClassifier(model, device_type=device_type),
        data,
        tuple(model.class_names.index(name) for name in data.class_names),
    )


@contextmanager
def counted_queries() -> Iterator[dict[str, int]]:
    """Count the samples that pass an estimator's model, and those among them that a gradient is taken for."""
    count = {"queries": 0, "gradients": 0}

    def hook(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(module, (ImageEncoder, BoundFusion)):
            count["queries"] += len(output)
            if output.requires_grad:
                count["gradients"] += len(output)

    # Views on a fusion model are made by the attacks: they cannot be hooked one by one.
    handle = torch.nn.modules.module.register_module_forward_hook(hook)
    try:
        yield count
    finally:
        handle.remove()
