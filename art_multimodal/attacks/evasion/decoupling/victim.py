"""How the decoupling attack asks a model: removals in, answers out, in full batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from art_multimodal.attacks.evasion.decoupling.search import Answer, Linearisation, Probe
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.image_classifier import finite_labels
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.functional.occlusion import Block, Removal, fill_removed

#: Cosine distances that are no larger come from rounding: the fused vector did not move.
_ROUNDING = 1e-9
#: Index of a sample, and what is removed from it.
Asked = tuple[int, Removal]


@dataclass(frozen=True)
class Decision:
    """What an attack watches in the fused vector ``z``; success is always a change of the label.

    :param kind: ``"label"``: the predicted label. ``"fusion"``: the largest coordinate of ``z``.
    :param threshold: For ``"fusion"``: watch the cosine distance of ``z`` from the intact sample's instead, and whether
        it is larger than this.
    """

    kind: str = "label"
    threshold: float | None = None


class Victim(ABC):
    """Answers removals on a batch of samples of one model.

    A subclass computes states: image embeddings for a dual encoder, fused vectors for a fusion model. Where towers are
    separate, it never computes that of an untouched modality again.

    :param estimator: The classifier.
    :param images: Shape ``(N, C, H, W)``.
    :param fill: The colour of removed pixels, shape ``(C, 1, 1)``.
    :param batch_size: Images per forward pass.
    :param targets: Wanted labels ``(N,)``, or ``None`` for any other than the clean one.
    :param decision: What a change of decision is.
    """

    def __init__(
        self,
        estimator: ZeroShotClassifier | FusionClassifier,
        images: np.ndarray,
        fill: np.ndarray,
        batch_size: int,
        targets: np.ndarray | None = None,
        decision: Decision | None = None,
    ) -> None:
        self.images = images
        self.fill = fill
        self.batch_size = batch_size
        self.targets = targets
        self.decision = decision or Decision()
        self.device = estimator.device
        self._preprocess = estimator._apply_preprocessing
        self._reference = np.zeros(0, dtype=np.int64)
        self._clean_scores = np.zeros((0, 0), dtype=np.float32)
        self._clean_fused = torch.zeros(0)
        # One buffer for all probes: a row is copied only when its sample changes, otherwise just its blocks are
        # restored.
        self._buffer = np.empty((batch_size, *images.shape[1:]), dtype=np.float32)
        self._holds: list[tuple[int, tuple[Block, ...]] | None] = [None] * batch_size

    @abstractmethod
    def words(self, sample: int) -> int:
        """How many words of a sample may be removed."""

    @abstractmethod
    def _states(self, asked: list[Asked]) -> Tensor:
        """States ``(n, D)`` of samples with removals; untouched towers come from memory."""

    @abstractmethod
    def _states_of(self, inputs: Tensor, asked: list[Asked]) -> Tensor:
        """States of images as the model takes them, with a graph to these, and of the texts without the words."""

    @abstractmethod
    def _read(self, states: Tensor, asked: list[Asked]) -> tuple[Tensor, Tensor]:
        """Scores ``(n, K)`` before any postprocessing, and fused vectors ``(n, D)``."""

    @abstractmethod
    def _postprocess(self, scores: Tensor) -> np.ndarray:
        """Scores as the classifier's ``predict`` returns them."""

    def clean(self) -> list[Answer]:
        """Answers to the intact samples; also makes them what margins and decisions are measured against."""
        asked = [(sample, Removal()) for sample in range(len(self.images))]
        with torch.no_grad():
            scores, self._clean_fused = self._read(self._states(asked), asked)
        self._clean_scores = self._postprocess(scores)
        self._reference = self._clean_scores.argmax(axis=1)
        return self._answers(scores, self._clean_fused, asked)

    def rivals(self, sample: int) -> tuple[int, ...]:
        """The other classes of an intact sample, those with the largest scores first."""
        order = np.argsort(-self._clean_scores[sample], kind="stable")
        return tuple(int(label) for label in order if label != self._reference[sample])

    def ask(self, probes: list[tuple[int, Probe]]) -> list[Answer]:
        """Answer probes ``(index of the sample, removal)``."""
        answers: list[Answer | None] = [None] * len(probes)
        asked: list[Asked] = [
            (sample, probe.removal if isinstance(probe, Linearisation) else probe) for sample, probe in probes
        ]
        slopes = [row for row, (_, probe) in enumerate(probes) if isinstance(probe, Linearisation)]
        plain = [row for row, (_, probe) in enumerate(probes) if isinstance(probe, Removal)]
        if plain:
            with torch.no_grad():
                some = [asked[row] for row in plain]
                scores, fused = self._read(self._states(some), some)
            for row, answer in zip(plain, self._answers(scores, fused, some), strict=True):
                answers[row] = answer
        for start in range(0, len(slopes), self.batch_size):
            rows = slopes[start : start + self.batch_size]
            toward = [probes[row][1].toward for row in rows]
            for row, answer in zip(rows, self._linearise([asked[row] for row in rows], toward), strict=True):
                answers[row] = answer
        return [answer for answer in answers if answer is not None]

    def _occluded(self, asked: list[Asked]) -> Iterator[tuple[slice, Tensor]]:
        """The images with pixels removed, behind ART's preprocessing, batch by batch."""
        for start in range(0, len(asked), self.batch_size):
            batch = asked[start : start + self.batch_size]
            for slot, (sample, removal) in enumerate(batch):
                self._write(slot, sample, removal)
            inputs, _ = self._preprocess(self._buffer[: len(batch)], y=None, fit=False)
            yield slice(start, start + len(batch)), torch.from_numpy(np.asarray(inputs)).to(self.device)

    def _write(self, slot: int, sample: int, removal: Removal) -> None:
        image, held = self.images[sample], self._holds[slot]
        if held is not None and held[0] == sample:
            for block in held[1]:
                where = (slice(None), *block.slices)
                self._buffer[slot][where] = image[where]
        else:
            self._buffer[slot] = image
        fill_removed(self._buffer[slot], removal, self.fill)
        # A removal of single pixels is not worth tracing back: the next probe copies the row again.
        self._holds[slot] = None if removal.packed else (sample, removal.blocks)

    def _linearise(self, asked: list[Asked], toward: Sequence[int | None]) -> list[Answer]:
        """Answers with the derivative of the margin by how much of each pixel is there.

        :param toward: For each the class that the margin is taken over; ``None`` for the largest other one.
        """
        images = torch.from_numpy(self.images[[sample for sample, _ in asked]]).to(self.device)
        fill = torch.from_numpy(self.fill).to(self.device)
        present = np.stack([~removal.mask(*images.shape[2:]) for _, removal in asked])[:, None]
        there = torch.from_numpy(present.astype(np.float32)).to(self.device).requires_grad_(True)
        mixed = fill + there * (images - fill)
        # Rounding would make it another image than the one that is returned; the derivative is that of the mixture.
        exact = torch.where(there > 0, images, fill).detach() + (mixed - mixed.detach())
        inputs, _ = self._preprocess(exact, None, fit=False, no_grad=False)
        states = self._states_of(inputs, asked)
        scores, fused = self._read(states, asked)
        margins = self._margin(scores, [sample for sample, _ in asked], toward)
        # A model may not look at the image at all: then nothing depends on what is there.
        gradient = torch.autograd.grad(margins.sum(), there, allow_unused=True)[0] if margins.requires_grad else None
        gradient = torch.zeros_like(there) if gradient is None else gradient
        answers = self._answers(scores.detach(), fused.detach(), asked)
        maps = gradient[:, 0].cpu().numpy()
        return [replace(answer, saliency=saliency) for answer, saliency in zip(answers, maps, strict=True)]

    def _answers(self, scores: Tensor, fused: Tensor, asked: list[Asked]) -> list[Answer]:
        processed = self._postprocess(scores)
        samples = [sample for sample, _ in asked]
        labels = finite_labels(processed)
        margins = self._margin(torch.from_numpy(processed), samples)
        return [
            Answer(decision=int(decision), label=int(label), margin=float(margin))
            for decision, label, margin in zip(self._decisions(labels, fused, samples), labels, margins, strict=True)
        ]

    def _decisions(self, labels: np.ndarray, fused: Tensor, samples: list[int]) -> Sequence[int]:
        if self.decision.kind == "label":
            return labels.tolist()
        if self.decision.threshold is None:
            return fused.argmax(dim=1).tolist()
        similarity = torch.cosine_similarity(fused.cpu().double(), self._clean_fused[samples].cpu().double(), dim=1)
        return (1 - similarity > self.decision.threshold + _ROUNDING).int().tolist()

    def _margin(self, scores: Tensor, samples: list[int], toward: Sequence[int | None] = ()) -> Tensor:
        """Score of the clean label less the largest other one; targeted: largest other score less the target's."""
        wanted = (self._reference if self.targets is None else self.targets)[samples]
        labels = torch.from_numpy(wanted).to(scores.device).view(-1, 1)
        own = scores.gather(1, labels)[:, 0]
        others = scores.scatter(1, labels, -torch.inf)
        rivals = others.argmax(dim=1)
        for row, label in enumerate(toward):
            if label is not None:
                rivals[row] = label
        other = others.gather(1, rivals.view(-1, 1))[:, 0]
        return own - other if self.targets is None else other - own
