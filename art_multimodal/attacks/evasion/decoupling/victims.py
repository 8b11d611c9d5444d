"""How the decoupling attack asks a model: removals in, answers out, in full batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from art_multimodal.attacks.evasion.decoupling.search import Answer, Linearisation, Probe
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.functional.occlusion import Block, Removal, fill_removed, without_words
from art_multimodal.prompts import PLACEHOLDER


def removable_words(templates: Sequence[str] | None) -> list[tuple[int, int]]:
    """Return (template, word) of every word that may be removed: all of the templates' words but the class name's own.

    Removing the class name would change the question instead of attacking the model. Prompts that were given as they
    stand have no words that are known to be shared by all classes, hence none to remove. A word that is alone besides
    the placeholder's is removable; the prompt then is the class name.
    """
    return [
        (number, index)
        for number, template in enumerate(templates or ())
        for index, word in enumerate(template.split())
        if PLACEHOLDER not in word
    ]


def templates_without(templates: Sequence[str], words: Sequence[int]) -> tuple[str, ...]:
    """Return templates with removable words deleted.

    :param words: Indices into :func:`removable_words`.
    """
    places = removable_words(templates)
    return tuple(
        without_words(template, [places[word][1] for word in words if places[word][0] == number])
        for number, template in enumerate(templates)
    )


#: Classifiers with words removed, kept from batch to batch; each embeds its prompts again only when weights change.
_VARIANTS: WeakKeyDictionary[ZeroShotClassifier, dict[tuple[str, ...], ZeroShotClassifier]] = WeakKeyDictionary()


class ZeroShotVictim:
    """Answers removals on a :class:`ZeroShotClassifier`.

    The text of every sample is the set of templates, shared by all classes. The towers are separate, so the untouched
    one is never computed again: the intact images are embedded once, and the class prompts once per set of removed
    words.

    :param estimator: The classifier.
    :param images: Shape ``(N, C, H, W)``.
    :param fill: The colour of removed pixels, shape ``(C, 1, 1)``.
    :param batch_size: Images per forward pass.
    """

    def __init__(
        self,
        estimator: ZeroShotClassifier,
        images: np.ndarray,
        fill: np.ndarray,
        batch_size: int,
        targets: np.ndarray | None = None,
    ) -> None:
        self.estimator = estimator
        self.images = images
        self.fill = fill
        self.batch_size = batch_size
        self.words = len(removable_words(estimator.templates))
        self._class_features: dict[frozenset[int], Tensor] = {frozenset(): estimator.class_features()}
        self.targets = targets
        self._reference = np.zeros(0, dtype=np.int64)
        self._intact = estimator.image_features(images, batch_size)
        # One buffer for all probes: a row is copied only when its sample changes, otherwise just its blocks are
        # restored.
        self._buffer = np.empty((batch_size, *images.shape[1:]), dtype=np.float32)
        self._holds: list[tuple[int, tuple[Block, ...]] | None] = [None] * batch_size

    def clean(self) -> list[Answer]:
        """Answers to the intact samples; also makes them what margins are measured against."""
        scores = self.estimator.scores(self._intact, self._class_features[frozenset()])
        self._reference = scores.argmax(axis=1)
        return self._answers(scores, range(len(scores)))

    def ask(self, probes: list[tuple[int, Probe]]) -> list[Answer]:
        """Answer probes ``(index of the sample, removal)``."""
        removals = [(sample, probe.removal if isinstance(probe, Linearisation) else probe) for sample, probe in probes]
        features = self._intact[torch.tensor([sample for sample, _ in removals])]
        saliencies: dict[int, np.ndarray] = {}
        linearised = [row for row, (_, probe) in enumerate(probes) if isinstance(probe, Linearisation)]
        for rows in self._batches(linearised):
            features[rows], maps = self._linearise([removals[row] for row in rows])
            saliencies.update(zip(rows, maps, strict=True))
        touched = [row for row, (_, r) in enumerate(removals) if r.touches_image and row not in saliencies]
        for rows in self._batches(touched):
            for slot, row in enumerate(rows):
                self._write(slot, *removals[row])
            features[rows] = self.estimator.image_features(self._buffer[: len(rows)], self.batch_size)
        answers: list[Answer | None] = [None] * len(probes)
        rows_of: dict[frozenset[int], list[int]] = {}
        for row, (_, removal) in enumerate(removals):
            rows_of.setdefault(frozenset(removal.words), []).append(row)
        for words, rows in rows_of.items():
            scores = self.estimator.scores(features[rows], self._features_without(words))
            samples = [removals[row][0] for row in rows]
            for row, answer in zip(rows, self._answers(scores, samples), strict=True):
                answers[row] = replace(answer, saliency=saliencies.get(row))
        return [answer for answer in answers if answer is not None]

    def _batches(self, rows: list[int]) -> list[list[int]]:
        return [rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)]

    def _answers(self, scores: np.ndarray, samples: Sequence[int]) -> list[Answer]:
        # The fused vector of a dual encoder is the similarity to the prompts: its largest coordinate is the label.
        labels = scores.argmax(axis=1)
        margins = self._margin(torch.from_numpy(scores), torch.as_tensor(list(samples)))
        return [
            Answer(decision=int(label), label=int(label), margin=float(margin))
            for label, margin in zip(labels, margins, strict=True)
        ]

    def _margin(self, scores: Tensor, samples: Tensor) -> Tensor:
        """Score of the clean label less the largest other one; targeted: largest other score less the target's."""
        wanted = self._reference if self.targets is None else self.targets
        labels = torch.from_numpy(wanted).to(scores.device)[samples.to(scores.device)].view(-1, 1)
        own = scores.gather(1, labels)[:, 0]
        others = scores.scatter(1, labels, -torch.inf).max(dim=1).values
        return own - others if self.targets is None else others - own

    def _linearise(self, removals: list[tuple[int, Removal]]) -> tuple[Tensor, np.ndarray]:
        """Image embeddings ``(n, D)``, and the derivative of the margin by how much of each pixel is there."""
        device = self.estimator.device
        samples = torch.tensor([sample for sample, _ in removals])
        images = torch.from_numpy(self.images[samples.numpy()]).to(device)
        fill = torch.from_numpy(self.fill).to(device)
        present = np.stack([~removal.mask(*images.shape[2:]) for _, removal in removals])[:, None]
        there = torch.from_numpy(present.astype(np.float32)).to(device).requires_grad_(True)
        inputs, _ = self.estimator._apply_preprocessing(fill + there * (images - fill), None, fit=False, no_grad=False)
        features = self.estimator.model.image_features(inputs)
        classes = torch.stack([self._features_without(frozenset(removal.words)) for _, removal in removals])
        scores = self.estimator.model.head.similarity(features, classes)
        (gradient,) = torch.autograd.grad(self._margin(scores, samples).sum(), there)
        return features.detach(), gradient[:, 0].cpu().numpy()

    def _features_without(self, words: frozenset[int]) -> Tensor:
        if words not in self._class_features:
            templates = templates_without(self.estimator.templates or (), sorted(words))
            variants = _VARIANTS.setdefault(self.estimator, {})
            if templates not in variants:
                variants[templates] = self.estimator.with_templates(templates)
            self._class_features[words] = variants[templates].class_features()
        return self._class_features[words]

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
