"""How the decoupling attack asks a model: removals in, answers out, in full batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_multimodal.attacks.evasion.decoupling.numbers import Numbers
from art_multimodal.attacks.evasion.decoupling.search import Linearisation, Probe
from art_multimodal.attacks.searching import Answer
from art_multimodal.estimators.asking import Asking
from art_multimodal.estimators.asking.asking import joined
from art_multimodal.estimators.image_classifier import finite_labels
from art_multimodal.functional.losses import margin_loss
from art_multimodal.functional.points import Costs, Layout, Removal
from art_multimodal.models.multimodal import Part

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


class Removals:
    """Answers removals on a batch of samples of one estimator.

    Where towers are separate, it never computes that of an untouched modality again; elsewhere a probe costs the whole
    model.

    :param asking: How the estimator is asked.
    :param fields: Of the samples, by name.
    :param fills: What removed points become, by name of the modality of numbers.
    :param names: Of the modalities from which points may be removed.
    :param targets: Wanted labels ``(N,)``, or ``None`` for any other than the clean one.
    :param decision: What a change of decision is.
    :param cost: ``"points"``, or ``"modalities"``.
    :param rank: Of the other class that margins are taken over, 1 for the largest.
    """

    def __init__(
        self,
        asking: Asking,
        fields: Mapping[str, np.ndarray],
        fills: Mapping[str, np.ndarray],
        names: Sequence[str],
        targets: np.ndarray | None = None,
        decision: Decision | None = None,
        cost: str = "points",
        rank: int = 1,
    ) -> None:
        self.asking = asking
        self.targets, self.rank = targets, rank
        self.decision = decision or Decision()
        modalities = asking.modalities
        self.numbers = {
            name: Numbers(modalities[name], fields[name], fills[name], asking.batch_size)
            for name in modalities
            if modalities[name].numeric
        }
        self.texts = {name: list(fields[name]) for name in modalities if not modalities[name].numeric}
        self.count = len(next(iter(fields.values())))
        self._words = [[asking.words_in(texts[row]) for texts in self.texts.values()] for row in range(self.count)]
        self.layouts = [self._layout(row, names) for row in range(self.count)]
        self.costs = [self._costs(row, names, cost) for row in range(self.count)]
        self._touchable = names
        self._shorter: dict[tuple[int, tuple[int, ...]], dict[str, Any]] = {}
        self._reference = np.zeros(0, dtype=np.int64)
        self._clean_scores = np.zeros((0, 0), dtype=np.float32)
        self._clean_fused = torch.zeros(0)
        #: What the model makes of the intact samples.
        self._intact = {name: asking.see_texts(name, texts) for name, texts in self.texts.items()}
        if asking.separate:
            self._intact |= {name: asking.see_field(name, fields[name]) for name in self.numbers}

    def clean(self) -> list[Answer]:
        """Answers to the intact samples; also makes them what margins and decisions are measured against."""
        asked = [(sample, Removal()) for sample in range(self.count)]
        with torch.no_grad():
            self._clean_fused = self._fused(asked)
            scores = self.asking.scores(self._clean_fused)
        self._clean_scores = self.asking.predicted(scores)
        self._reference = self._clean_scores.argmax(axis=1)
        return self._answers(scores, self._clean_fused, asked)

    def rivals(self, sample: int) -> tuple[int, ...]:
        """The other classes of an intact sample, those with the largest scores first."""
        order = np.argsort(-self._clean_scores[sample], kind="stable")
        return tuple(int(label) for label in order if label != self._reference[sample])

    def ask(self, probes: list[tuple[int, Probe]]) -> list[Answer]:
        """Answer probes ``(index of the sample, removal)``."""
        answers: dict[int, Answer] = {}
        slopes = [row for row, (_, probe) in enumerate(probes) if isinstance(probe, Linearisation)]
        plain = [(row, (sample, probe)) for row, (sample, probe) in enumerate(probes) if isinstance(probe, Removal)]
        if plain:
            some = [asked for _, asked in plain]
            with torch.no_grad():
                fused = self._fused(some)
                scores = self.asking.scores(fused)
            answers |= zip((row for row, _ in plain), self._answers(scores, fused, some), strict=True)
        for start in range(0, len(slopes), self.asking.batch_size):
            rows = slopes[start : start + self.asking.batch_size]
            answers |= zip(rows, self._linearise([probes[row] for row in rows]), strict=True)
        return [answers[row] for row in range(len(probes))]

    def remaining_words(self, sample: int, words: Sequence[int]) -> dict[str, list[int]]:
        """Of each text the indices of its removed words, from their numbers among the words of all texts."""
        found: dict[str, list[int]] = {}
        start = 0
        for name, count in zip(self.texts, self._words[sample], strict=True):
            if name in self._touchable:
                found[name] = [word - start for word in words if start <= word < start + count]
                start += count
        return found

    def shares(self, sample: int, removal: Removal) -> dict[str, float]:
        """Which share of the points of each modality a removal takes from a sample, by name."""
        layout, words = self.layouts[sample], self.remaining_words(sample, removal.words)
        gone = layout.grids(removal.mask(layout))
        counts = {name: int(grid.sum()) for name, grid in zip(self.numbers, gone, strict=True)}
        counts |= {name: len(set(words.get(name, ()))) for name in self.texts}
        sizes = self._sizes(sample)
        return {name: counts[name] / sizes[name] if sizes[name] else 0.0 for name in self.asking.modalities}

    def _layout(self, sample: int, names: Sequence[str]) -> Layout:
        """The points that may be removed from a sample."""
        shapes = tuple(numbers.shape_of(sample) if name in names else () for name, numbers in self.numbers.items())
        words = sum(count for name, count in zip(self.texts, self._words[sample], strict=True) if name in names)
        return Layout(shapes, words)

    def _costs(self, sample: int, names: Sequence[str], cost: str) -> Costs:
        """What each point of a sample costs; with ``"modalities"`` in points of a modality of mean size."""
        sizes = self._sizes(sample)
        total = sum(sizes.values())
        there = [name for name, size in sizes.items() if size]
        each = {name: 1.0 if cost == "points" else total / (len(there) * size) for name, size in sizes.items() if size}
        numbers, words = (
            np.concatenate(
                [np.zeros(0), *(np.full(sizes[name], each[name]) for name in kind if sizes[name] and name in names)]
            )
            for kind in (self.numbers, self.texts)
        )
        return Costs(numbers, words, float(total))

    def _sizes(self, sample: int) -> dict[str, int]:
        """How many points each modality of a sample has, whether they may be removed or not."""
        shapes = {name: numbers.shape_of(sample) for name, numbers in self.numbers.items()}
        sizes = {name: int(np.prod(shape)) if shape else 0 for name, shape in shapes.items()}
        return sizes | dict(zip(self.texts, self._words[sample], strict=True))

    def _fused(self, asked: list[Asked]) -> Tensor:
        """Fused vectors ``(n, D)`` of samples with removals; untouched towers come from memory."""
        if not self.asking.separate:
            return torch.cat(
                [
                    self.asking.fused(self._seen(asked[start : start + self.asking.batch_size]))
                    for start in range(0, len(asked), self.asking.batch_size)
                ]
            )
        samples = torch.tensor([sample for sample, _ in asked], device=self.asking.device)
        seen = {name: part.take(samples) for name, part in self._intact.items()}
        for number, (name, numbers) in enumerate(self.numbers.items()):
            touched = [
                row
                for row, (sample, removal) in enumerate(asked)
                if removal.touches_numbers and numbers.touched(removal, number, self.layouts[sample])
            ]
            if touched:
                parts = list(self._occluded(number, [asked[row] for row in touched]))
                seen[name] = seen[name].put(torch.tensor(touched, device=self.asking.device), joined(parts))
        return self.asking.fused(self._with_texts(seen, asked))

    def _seen(self, asked: list[Asked]) -> dict[str, Part]:
        """All modalities of samples with removals, at most a batch."""
        samples = torch.tensor([sample for sample, _ in asked], device=self.asking.device)
        seen = {name: part.take(samples) for name, part in self._intact.items()}
        for number, name in enumerate(self.numbers):
            (seen[name],) = self._occluded(number, asked)
        return self._with_texts(seen, asked)

    def _with_texts(self, seen: dict[str, Part], asked: list[Asked]) -> dict[str, Part]:
        """The same with removed words gone."""
        touched = [row for row, (_, removal) in enumerate(asked) if removal.words]
        if not touched:
            return seen
        changed = [self._texts_without(asked[row][0], asked[row][1].words) for row in touched]
        for name in self.texts:
            rows = [(row, texts[name]) for row, texts in zip(touched, changed, strict=True) if name in texts]
            if rows:
                places = torch.tensor([row for row, _ in rows], device=self.asking.device)
                seen[name] = seen[name].put(places, self.asking.see_texts(name, [text for _, text in rows]))
        return seen

    def _texts_without(self, sample: int, words: tuple[int, ...]) -> dict[str, Any]:
        """The texts of a sample that lose words, without these; the same removal is asked about many times."""
        if (sample, words) not in self._shorter:
            left = self.remaining_words(sample, words)
            self._shorter[sample, words] = {
                name: self.asking.without_words(self.texts[name][sample], gone) for name, gone in left.items() if gone
            }
        return self._shorter[sample, words]

    def _occluded(self, number: int, asked: list[Asked]) -> Iterator[Part]:
        """One modality with points removed, as the model sees it behind the defences, batch by batch."""
        name, numbers = list(self.numbers.items())[number]
        for start in range(0, len(asked), self.asking.batch_size):
            batch = asked[start : start + self.asking.batch_size]
            with_layouts = [(sample, removal, self.layouts[sample]) for sample, removal in batch]
            values = self.asking.defended(name, numbers.without(number, with_layouts))
            with torch.no_grad():
                yield self.asking.see(name, values, self._lengths(numbers, [sample for sample, _ in batch]))

    def _lengths(self, numbers: Numbers, samples: list[int]) -> Tensor | None:
        return None if numbers.lengths is None else torch.from_numpy(numbers.lengths[samples]).to(self.asking.device)

    def _linearise(self, probes: Sequence[tuple[int, Probe]]) -> list[Answer]:
        """Answers with the derivative of the margin by how much of each point is there, at most a batch."""
        asked: list[Asked] = [(sample, probe.removal) for sample, probe in probes if isinstance(probe, Linearisation)]
        toward = [probe.toward for _, probe in probes if isinstance(probe, Linearisation)]
        samples = [sample for sample, _ in asked]
        rows = torch.tensor(samples, device=self.asking.device)
        seen = {name: part.take(rows) for name, part in self._intact.items()}
        there: dict[str, Tensor] = {}
        for number, (name, numbers) in enumerate(self.numbers.items()):
            if name not in self._touchable:
                if not self.asking.separate:
                    (seen[name],) = self._occluded(number, asked)
                continue
            there[name] = self._presence(number, numbers, asked)
            mixed = self._mixed(numbers, samples, there[name])
            seen[name] = self.asking.see(
                name, self.asking.through_defences(name, mixed), self._lengths(numbers, samples)
            )
        fused = self.asking.fused(self._with_texts(seen, asked))
        scores = self.asking.scores(fused)
        rivals = torch.tensor([-1 if label is None else label for label in toward], device=self.asking.device)
        margins = self._margins(scores, samples, rivals)
        # A model may not look at a modality at all: then nothing depends on what is there.
        gradients: Sequence[Tensor | None] = [None] * len(there)
        if margins.requires_grad:
            gradients = torch.autograd.grad(margins.sum(), list(there.values()), allow_unused=True)
        maps = {
            name: np.zeros(tuple(there[name].shape), np.float32) if gradient is None else gradient.cpu().numpy()
            for name, gradient in zip(there, gradients, strict=True)
        }
        answers = self._answers(scores.detach(), fused.detach(), asked)
        return [
            replace(answer, saliency=self._saliency(sample, {name: of[row] for name, of in maps.items()}))
            for row, (sample, answer) in enumerate(zip(samples, answers, strict=True))
        ]

    def _presence(self, number: int, numbers: Numbers, asked: list[Asked]) -> Tensor:
        """How much of each point is there, ``[n, ...]``: 1, or 0 where it is removed."""
        present = []
        for sample, removal in asked:
            layout = self.layouts[sample]
            mask = layout.grids(removal.mask(layout))[number]
            if not layout.sizes[number]:
                mask = np.zeros((0,) * len(numbers.modality.point_axes), dtype=bool)
            present.append(~numbers.spread(mask))
        return torch.from_numpy(np.stack(present).astype(np.float32)).to(self.asking.device).requires_grad_(True)

    def _mixed(self, numbers: Numbers, samples: list[int], there: Tensor) -> Tensor:
        """Values of which only so much is there, and the fill in place of the rest."""
        values = torch.from_numpy(numbers.values[samples]).to(self.asking.device)
        fill = torch.from_numpy(numbers.fill).to(self.asking.device)
        mixed = fill + there * (values - fill)
        # Rounding would make it another sample than the one that is returned; the derivative is that of the mixture.
        return torch.where(there > 0, values, fill).detach() + (mixed - mixed.detach())

    def _saliency(self, sample: int, maps: Mapping[str, np.ndarray]) -> np.ndarray:
        """One value for each point of a sample, in the order of its layout."""
        layout = self.layouts[sample]
        parts = [
            numbers.gathered(maps[name], layout.shapes[number]).ravel()
            for number, (name, numbers) in enumerate(self.numbers.items())
            if layout.sizes[number]
        ]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)

    def _answers(self, scores: Tensor, fused: Tensor, asked: list[Asked]) -> list[Answer]:
        processed = self.asking.predicted(scores)
        samples = [sample for sample, _ in asked]
        labels = finite_labels(processed)
        # In the precision of the model, where what it predicts are its scores.
        exact = scores.detach().cpu()
        same = processed.shape == exact.shape and bool(np.array_equal(processed, exact.numpy().astype(np.float32)))
        margins = self._margins(exact if same else torch.from_numpy(processed), samples)
        own = np.take_along_axis(processed, self._reference[samples][:, None], axis=1)
        ranks = 1 + (processed > own).sum(axis=1)
        return [
            Answer(label=int(label), margin=float(margin), rank=int(rank), decision=decision)
            for decision, label, margin, rank in zip(
                self._decisions(fused, samples), labels, margins, ranks, strict=True
            )
        ]

    def _decisions(self, fused: Tensor, samples: list[int]) -> Sequence[int | None]:
        if self.decision.kind == "label":
            return [None] * len(samples)
        if self.decision.threshold is None:
            return fused.argmax(dim=1).tolist()
        similarity = torch.cosine_similarity(fused.cpu().double(), self._clean_fused[samples].cpu().double(), dim=1)
        return (1 - similarity > self.decision.threshold + _ROUNDING).int().tolist()

    def _margins(self, scores: Tensor, samples: list[int], rivals: Tensor | None = None) -> Tensor:
        """Score of the clean label less the largest other one; targeted: largest other score less the target's."""
        wanted = (self._reference if self.targets is None else self.targets)[samples]
        labels = torch.from_numpy(wanted).to(scores.device)
        rivals = torch.full_like(labels, -1) if rivals is None else rivals
        if self.rank > 1:
            others = scores.detach().scatter(1, labels[:, None], -torch.inf)
            last = others.topk(self.rank, dim=1).indices[:, -1]
            rivals = torch.where(rivals < 0, last, rivals)
        return -margin_loss(scores, labels, self.targets is not None, rivals)
