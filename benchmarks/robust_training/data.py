"""The experiment's images at 32 x 32 pixels, and what may be said of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.robust_training.captions import (
    CHANGES,
    CIFAR_CLASSES,
    CIFAR_SYNONYMS,
    CLOTHING_SYNONYMS,
    caption,
)

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"


@dataclass(frozen=True)
class Split:
    """Images ``(N, 3, 32, 32)`` in [0, 1] with labels ``(N,)``.

    :param class_names: What the labels mean.
    :param names: Further names of each image.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.images)


def _images(array: np.ndarray) -> np.ndarray:
    images = torch.from_numpy(array).permute(0, 3, 1, 2).float() / 255
    if images.shape[-1] != 32:
        images = F.interpolate(images, size=(32, 32), mode="area")
    return images.numpy()


def _named(labels: np.ndarray, classes: tuple[str, ...], synonyms: dict[str, tuple[str, ...]]) -> tuple:
    # The class's own name comes up as often as all of its synonyms.
    names = [(name,) * max(1, len(synonyms.get(name, ()))) + synonyms.get(name, ()) for name in classes]
    return tuple(names[label] for label in labels)


def cifar(part: str, data: Path = DATA) -> Split:
    """CIFAR-10: ``"train"``, 10,000 images, or ``"test"``, 2,000."""
    with np.load(data / "cifar10.npz") as file:
        images, labels = _images(file[f"x_{part}"]), file[f"y_{part}"].astype(np.int64)
    return Split(images, labels, CIFAR_CLASSES, _named(labels, CIFAR_CLASSES, CIFAR_SYNONYMS))


def clothing(part: str, data: Path = DATA) -> Split:
    """Ten kinds of clothing: ``"train"``, 3,068 photos, or ``"test"``, 372."""
    with np.load(data / "clothing64.npz") as file:
        images, labels = _images(file[f"x_{part}"]), file[f"y_{part}"].astype(np.int64)
        classes = tuple(file["classes"].tolist())
    return Split(images, labels, classes, _named(labels, classes, CLOTHING_SYNONYMS))


def emoji(part: str, data: Path = DATA) -> Split:
    """Emoji by category: ``"train"``, three quarters of 1,906, or ``"test"``, the others."""
    with np.load(data / "emoji64.npz") as file:
        rows = np.random.default_rng(0).permutation(len(file["x"]))
        count = len(rows) // 4
        rows = np.sort(rows[:count] if part == "test" else rows[count:])
        images, labels = _images(file["x"][rows]), file["category"][rows].astype(np.int64)
        classes = tuple(name.lower().replace(" & ", " and ") for name in file["classes"].tolist())
        own = [
            (classes[label], classes[label], name.lower())
            for label, name in zip(labels, file["name"][rows], strict=True)
        ]
    return Split(images, labels, classes, tuple(own))


class Captioned:
    """All training images together, drawn with changes and captions that say so."""

    def __init__(self, data: Path = DATA) -> None:
        self.parts = [cifar("train", data), clothing("train", data), emoji("train", data)]
        self.images = torch.from_numpy(np.concatenate([part.images for part in self.parts]))
        self.names = [names for part in self.parts for names in part.names]
        self.drawn = np.repeat([False, False, True], [len(part) for part in self.parts])
        firsts = np.cumsum([0, *(len(part.class_names) for part in self.parts)])
        self.classes = np.concatenate(
            [part.labels + first for part, first in zip(self.parts, firsts[:-1], strict=True)]
        )

    def __len__(self) -> int:
        return len(self.images)

    def epoch(self, batch_size: int, rng: np.random.Generator) -> Iterator[tuple[Tensor, list[str], Tensor]]:
        """Yield images, captions and which of these belong together (boolean ``[N, N]``), whole batches only."""
        order = rng.permutation(len(self))
        for start in range(0, len(self) - batch_size + 1, batch_size):
            rows = order[start : start + batch_size]
            changes = np.where(rng.random(batch_size) < 0.5, rng.integers(len(CHANGES), size=batch_size), -1)
            images = _moved(self.images[rows], rng)
            texts, nouns = [], []
            for place, (row, change) in enumerate(zip(rows.tolist(), changes.tolist(), strict=True)):
                names = self.names[row]
                noun = names[rng.integers(len(names))]
                # Emoji by their own name are a class of their own.
                nouns.append(f"{self.classes[row]}" if not self.drawn[row] or noun == names[0] else noun)
                if change >= 0:
                    images[place] = CHANGES[change][0](images[place])
                texts.append(caption(noun, change if change >= 0 else None, bool(self.drawn[row]), rng))
            _, numbers = np.unique(
                np.array([f"{noun} {c}" for noun, c in zip(nouns, changes, strict=True)]), return_inverse=True
            )
            yield images, texts, torch.from_numpy(numbers[:, None] == numbers)

    def random_caption(self, rng: np.random.Generator) -> str:
        """Draw a caption alone, for language models."""
        row = int(rng.integers(len(self)))
        names = self.names[row]
        change = int(rng.integers(-len(CHANGES) // 2, len(CHANGES)))
        return caption(names[rng.integers(len(names))], change if change >= 0 else None, bool(self.drawn[row]), rng)


def _moved(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Images shifted by up to four pixels, half of them mirrored."""
    padded = F.pad(images, (4, 4, 4, 4), mode="reflect")
    shifts = rng.integers(9, size=(len(images), 2)).tolist()
    moved = torch.stack([p[:, t : t + 32, left : left + 32] for p, (t, left) in zip(padded, shifts, strict=True)])
    mirrored = torch.from_numpy(rng.random(len(images)) < 0.5)
    return torch.where(mirrored.view(-1, 1, 1, 1), moved.flip(-1), moved)


def part_of(split: Split, rows: range | np.ndarray) -> Split:
    """Some rows of a split."""
    rows = np.asarray(rows)
    names = tuple(split.names[row] for row in rows)
    return Split(split.images[rows], split.labels[rows], split.class_names, names)
