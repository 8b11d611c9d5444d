"""What an audit attacks: a model as an estimator, with the data that it is asked about."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from art_multimodal.attacks.art_context import global_seed
from art_multimodal.datasets.reading import check_readable
from art_multimodal.estimators.modules import is_repeated
from art_multimodal.evaluations.audit.defending import Views
from art_multimodal.evaluations.audit.lines import Pictured, SampleRecord
from art_multimodal.evaluations.audit.passes import entry_of, is_naive
from art_multimodal.evaluations.audit.pictures import save_pictures
from art_multimodal.evaluations.audit.surrogates import Surrogate
from art_multimodal.evaluations.suite import Attacked, Budget, Estimator, PreparedAttack
from art_multimodal.evaluations.suite.looking import AlsoLooking
from art_multimodal.models.base import ImageTextModel
from art_multimodal.models.saving import weights_sha256


class Subject(ABC):
    """A model and its data; a subclass for each kind of task knows what an answer is."""

    #: What the model is asked to do: :data:`ZERO_SHOT`, :data:`PAIRS` or :data:`RETRIEVAL`.
    task: str
    #: Whether only samples that are right before are attacked.
    only_right = True

    model: Any
    estimator: Estimator
    #: The estimator that answers, and those that are attacked.
    views: Views[Any]
    #: Of random defences.
    seed: int
    data: Any
    #: Names of the classes that are predicted; none in retrieval.
    class_names: tuple[str, ...] = ()
    #: Prompt templates of a zero-shot classifier.
    templates: tuple[str, ...] = ()
    #: What a user should know about samples that were left out, or in part.
    own_notes: tuple[str, ...] = ()
    #: Names of the attacks that also look whether gradients are hidden.
    looks: tuple[str, ...] = ()
    #: What attackers have of their own.
    surrogates: tuple[Surrogate, ...] = ()
    #: Files that defences are made from, as ``files_of`` says them.
    defence_files: tuple[dict[str, str], ...] = ()
    #: Modalities whose importance is measured: what is predicted when all of one is removed.
    weighed: tuple[str, ...] = ()

    @property
    def at_test_time(self) -> bool:
        """Whether a defence computes at test time, so that an answer costs more than one pass."""
        return getattr(self.estimator, "test_time_defence", None) is not None

    @abstractmethod
    def read(self, index: int) -> Any:
        """Read a sample, its label among the estimator's classes.

        :raises UnreadableSample: If it cannot be read.
        """

    def check_readable(self, order: np.ndarray, max_skipped: float) -> None:
        """Find out, without opening each, whether enough samples can be read.

        :raises InputError: If none can, or more than a share of them are not there.
        """
        check_readable(self.data, order, max_skipped, self.read)

    @abstractmethod
    def stack(self, samples: Sequence[Any]) -> np.ndarray:
        """Samples of one shape as the estimator takes them."""

    @abstractmethod
    def labels(self, samples: Sequence[Any]) -> np.ndarray:
        """Labels of what :meth:`stack` makes of the samples."""

    def prepare_pass(self, name: str, budget: Budget) -> PreparedAttack:
        """Make what runs a pass: an attack on who it is made on, scored on who answers.

        :param name: From :func:`passes_of`.
        """
        victim = self.views.naive if is_naive(name) else self.views.adaptive
        prepared = entry_of(name).prepare(victim, budget)
        return AlsoLooking(prepared) if name in self.looks else prepared

    def attacked(self, prepared: PreparedAttack, naive: bool, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        """Attack a batch, and score it on who answers.

        :param prepared: From :meth:`prepare_pass`.
        :param naive: Whether it was made without knowing of the defences.
        :param seed: Of the attack. Who answers draws anew, so that whoever has the samples alone gets the same answers.
        """
        with self.seeded(seed):
            attacked = prepared(x, y, seed)
            if naive:
                # What hides gradients from one who does not meet it is nobody's concern.
                attacked = replace(attacked, flags={})
            elif self.views.draws > 1:
                # Attacked in expectation already, which is all that is said about random answers.
                flags = {flag: number for flag, number in attacked.flags.items() if flag != "random"}
                attacked = replace(attacked, flags=flags)
        if prepared.estimator is self.views.evaluated:
            return attacked
        with self.seeded(*answering(seed)):
            return self.scored(attacked, y, prepared.budget.batch_size)

    def scores(self, attacked: Attacked, batch_size: int) -> np.ndarray:
        """Scores ``(N, K)`` of the one that answers, of one draw.

        :raises NotImplementedError: In retrieval, where ranks are found by :meth:`judged`.
        """
        raise NotImplementedError

    def voted(self, predict: Callable[[], np.ndarray], truth: np.ndarray) -> np.ndarray:
        """Labels ``(N,)`` that most draws of random defences give; without those the only ones."""
        return predict()

    def scored(self, attacked: Attacked, y: np.ndarray, batch_size: int) -> Attacked:
        """What was attacked on another estimator, with the labels of the one that answers."""
        return attacked

    def seeded(self, *seed: int) -> AbstractContextManager[None]:
        """Random defences draw from the global generators, which are seeded, and restored."""
        if self.views.draws == 1:
            return nullcontext()
        return global_seed(int(np.random.SeedSequence([self.seed, *seed]).generate_state(1, np.uint32)[0]))

    def image_rows(self, samples: Sequence[Any]) -> np.ndarray:
        """Which rows of what :meth:`stack` makes of the samples hold their images, one for each."""
        return np.arange(len(samples))

    @abstractmethod
    def answers(self, indices: Sequence[int], samples: Sequence[Any], batch_size: int) -> list[SampleRecord]:
        """What is said of samples of one shape before an attack."""

    @abstractmethod
    def judged(
        self, indices: Sequence[int], samples: Sequence[Any], attacked: Attacked, batch_size: int
    ) -> list[SampleRecord]:
        """What is said of samples after an attack, with its details."""

    def counted(self) -> AbstractContextManager[dict[str, int]]:
        """Count what the model is asked: ``queries``, and ``gradients`` among them."""
        return counted_queries(self.model)

    def contents(self, index: int, sample: Any) -> Iterator[bytes | memoryview]:
        """All pixels and texts of a sample, by which a resumed run knows it again."""
        text = "" if sample.text is None else f" {sample.text!r}"
        text += f" {sample.captions!r}" if sample.captions else ""
        yield f"{index} {sample.image.shape}{text}".encode()
        yield np.ascontiguousarray(sample.image).data

    def shape_of(self, sample: Any) -> tuple[int, ...]:
        """Samples of one shape fit into one array."""
        return sample.image.shape

    def by_shape(self, samples: Sequence[Any]) -> list[np.ndarray]:
        """Rows of samples that fit into one array, in the order in which their shapes appear."""
        rows: dict[tuple[int, ...], list[int]] = {}
        for row, sample in enumerate(samples):
            rows.setdefault(self.shape_of(sample), []).append(row)
        return [np.array(group) for group in rows.values()]

    def show(
        self, folder: Path, attack: str, record: SampleRecord, sample: Any, attacked: Attacked, row: int
    ) -> Pictured:
        """Keep pictures of a sample before and after an attack.

        :param folder: Of the pictures.
        :param row: Of the sample among those that were attacked.
        """
        modality = entry_of(attack).modality
        save_pictures(folder, attack, record.index, sample.image, attacked.images[row], modality)
        height, width = sample.image.shape[1:]
        return Pictured((height, width), sample.text)

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

    def look(self, order: np.ndarray) -> None:  # noqa: B027 (most models need none)
        """Find out by asking, before any work, what nobody knows of the model otherwise; here there is nothing.

        :param order: Of the samples that will be asked for.
        :raises InputError: If its answers cannot be used.
        """

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about how data and model were understood, one line each, fit to be shown."""
        return tuple(dict.fromkeys((*self.data.notes, *getattr(self.model, "notes", ()), *self.own_notes)))

    def describe(self, spec: str) -> dict[str, Any]:
        """What identifies the model in a log."""
        facts: dict[str, Any] = {
            "spec": spec,
            "kind": self.model.kind,
            "adapter": getattr(type(self.model), "undefended", type(self.model)).__name__,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "weights_sha256": weights_sha256(self.model),
            **self.model.facts(),
        }
        if self.model.source_sha256 is not None:
            facts["source_sha256"] = self.model.source_sha256
        return facts


def answering(seed: int) -> tuple[int, int]:
    """Numbers that seed the answers after an attack.

    :param seed: Of the attack.
    """
    return seed, 1


@contextmanager
def counted_queries(model: ImageTextModel) -> Iterator[dict[str, int]]:
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
