"""What an audit attacks: a model as an estimator, with the data that it is asked about."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from art_multimodal.attacks.art_context import global_seed
from art_multimodal.attacks.registry import Attacked, Budget, Estimator
from art_multimodal.attacks.registry.entry import Run
from art_multimodal.attacks.registry.looking import also_looking
from art_multimodal.datasets import CaptionedImages, LabelledImages, Sample
from art_multimodal.estimators.modules import is_repeated
from art_multimodal.evaluations.audit.defending import Views
from art_multimodal.evaluations.audit.passes import entry_of, is_naive
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.fusion import FusionModel
from art_multimodal.models.saving import weights_sha256


class Subject(ABC):
    """A model and its data; a subclass for each kind of task knows what an answer is.

    What is said of a sample in the log is a dict of JSON types; :func:`is_right` reads from it whether it was right.
    """

    #: What the model is asked to do: :data:`ZERO_SHOT`, :data:`PAIRS` or :data:`RETRIEVAL`.
    task: str
    #: Whether only samples that are right before are attacked.
    only_right = True

    model: DualEncoder | FusionModel
    estimator: Estimator
    #: The estimator that answers, and those that are attacked.
    views: Views[Any]
    #: Of random defences.
    seed: int
    data: LabelledImages | CaptionedImages
    #: Names of the classes that are predicted; none in retrieval.
    class_names: tuple[str, ...] = ()
    #: Prompt templates of a zero-shot classifier.
    templates: tuple[str, ...] = ()
    #: What a user should know about samples that were left out, or in part.
    own_notes: tuple[str, ...] = ()
    #: Name of the attack that also looks whether gradients are hidden; ``None`` for none.
    looks: str | None = None
    #: Modalities whose importance is measured: what is predicted when all of one is removed.
    weighed: tuple[str, ...] = ()

    @abstractmethod
    def read(self, index: int) -> Sample:
        """Read a sample, its label among the estimator's classes.

        :raises UnreadableSample: If it cannot be read.
        """

    @abstractmethod
    def stack(self, samples: Sequence[Sample]) -> np.ndarray:
        """Samples of one shape as the estimator takes them."""

    @abstractmethod
    def labels(self, samples: Sequence[Sample]) -> np.ndarray:
        """Labels of what :meth:`stack` makes of the samples."""

    def prepare_pass(self, name: str, budget: Budget) -> Run:
        """Make what runs a pass: an attack on who it is made on, scored on who answers.

        :param name: From :func:`passes_of`.
        """
        victim = self.views.naive if is_naive(name) else self.views.adaptive
        prepare = entry_of(name).prepare
        attack = (also_looking(prepare) if name == self.looks else prepare)(victim, budget)

        def run(x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
            with self.seeded(seed):
                attacked = attack(x, y, seed)
                if is_naive(name):
                    # What hides gradients from one who does not meet it is nobody's concern.
                    attacked = replace(attacked, flags={})
                elif self.views.draws > 1:
                    # Attacked in expectation already, which is all that is said about random answers.
                    flags = {flag: number for flag, number in attacked.flags.items() if flag != "random"}
                    attacked = replace(attacked, flags=flags)
                return attacked if victim is self.views.evaluated else self.scored(attacked, y, budget.batch_size)

        return run

    def scored(self, attacked: Attacked, y: np.ndarray, batch_size: int) -> Attacked:
        """What was attacked on another estimator, with the labels of the one that answers."""
        return attacked

    def seeded(self, *seed: int) -> AbstractContextManager[None]:
        """Random defences draw from the global generators, which are seeded, and restored."""
        if self.views.draws == 1:
            return nullcontext()
        return global_seed(int(np.random.SeedSequence([self.seed, *seed]).generate_state(1, np.uint32)[0]))

    def image_rows(self, samples: Sequence[Sample]) -> np.ndarray:
        """Which rows of what :meth:`stack` makes of the samples hold their images, one for each."""
        return np.arange(len(samples))

    @abstractmethod
    def answers(self, indices: Sequence[int], samples: Sequence[Sample], batch_size: int) -> list[dict[str, Any]]:
        """What is said of samples of one shape before an attack."""

    @abstractmethod
    def judged(
        self, indices: Sequence[int], samples: Sequence[Sample], attacked: Attacked, batch_size: int
    ) -> list[dict[str, Any]]:
        """What is said of samples after an attack, with its details."""

    @abstractmethod
    def prepare(self, order: np.ndarray, batch_size: int) -> str:
        """Do what has to be done once before the first batch.

        :return: A hash of the images that answers about other samples depend on; empty where there are none.
        """

    @abstractmethod
    def select(self, order: np.ndarray) -> None:
        """Take notice of the samples that will be asked for, in their order, before any work.

        Texts that the model cannot read in full are left out, with the samples that have no other.
        """

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about how data and model were understood, one line each, fit to be shown."""
        return tuple(dict.fromkeys((*self.data.notes, *getattr(self.model, "notes", ()), *self.own_notes)))

    def describe(self, spec: str) -> dict[str, Any]:
        """What identifies the model in a log."""
        facts: dict[str, Any] = {
            "spec": spec,
            "kind": "dual encoder" if isinstance(self.model, DualEncoder) else "fusion model",
            "adapter": getattr(type(self.model), "undefended", type(self.model)).__name__,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "weights_sha256": weights_sha256(self.model),
            "image_size": list(self.model.image_size),
        }
        if self.model.source_sha256 is not None:
            facts["source_sha256"] = self.model.source_sha256
        if isinstance(self.model, DualEncoder):
            facts |= {
                "context_length": self.model.context_length,
                "logit_scale": float(self.model.logit_scale.detach().float().exp()),
            }
        return facts


def is_right(said: dict[str, Any]) -> bool:
    """Whether the log says that a sample was right: its label predicted, or its caption found first."""
    return said["image_rank"] == 1 if "image_rank" in said else said["predicted"] == said["label"]


@contextmanager
def counted_queries(model: DualEncoder | FusionModel) -> Iterator[dict[str, int]]:
    """Count the images that this thread asks a model about, and those among them that a gradient is taken for."""
    count = {"queries": 0, "gradients": 0}
    counted = threading.get_ident()

    def hook(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if threading.get_ident() != counted:
            return  # another audit of the same model
        count["queries"] += 0 if is_repeated() else len(inputs[0])
        # Not whether the output requires one: the parameters may do so where no gradient is taken.
        count["gradients"] += len(inputs[0]) * inputs[0].requires_grad

    # Whatever views of the model an attack makes, every image passes its preprocessing.
    handle = model.preprocess.register_forward_hook(hook)
    try:
        yield count
    finally:
        handle.remove()
