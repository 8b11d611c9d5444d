"""Groups of samples that are attacked together, as they are read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from art_multimodal.datasets import UnreadableSample
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.lines import Skipped
from art_multimodal.evaluations.audit.subject import Subject


@dataclass(frozen=True)
class Batch:
    """A group of readable samples, by their position in the audit's order.

    :param number: Of the group.
    :param indices: Of the samples in the data.
    :param samples: As the subject reads them.
    :param skipped: Those that could not be read.
    :param pixels_hash: By which a resumed run knows the batch again.
    """

    number: int
    indices: list[int]
    samples: list[Any]
    skipped: tuple[Skipped, ...]
    pixels_hash: str

    @classmethod
    def read(cls, subject: Subject, number: int, positions: np.ndarray, strict: bool) -> Batch:
        """Read a group.

        :param positions: Indices of its samples.
        :param strict: Stop at a sample that cannot be read instead of skipping it.
        :raises InputError: If it is strict and there is one.
        """
        indices, samples, skipped = [], [], []
        digest = hashlib.blake2b(digest_size=16)
        for index in map(int, positions):
            try:
                samples.append(subject.read(index))
            except UnreadableSample as error:
                if strict:
                    raise InputError(f"{error.name}: {error.reason}. Without --strict it would be skipped.") from None
                skipped.append(Skipped(error.name, error.reason))
                continue
            indices.append(index)
            for part in subject.contents(index, samples[-1]):
                digest.update(part)
        return cls(number, indices, samples, tuple(skipped), digest.hexdigest())

    @property
    def listed(self) -> int:
        """Samples of the group, those that could not be read among them."""
        return len(self.samples) + len(self.skipped)

    def take(self, rows: np.ndarray) -> tuple[list[int], list[Any]]:
        """Indices and samples of some rows."""
        return [self.indices[row] for row in rows], [self.samples[row] for row in rows]

    def check_same(self, pixels_hash: str | None) -> None:
        """A batch that is logged in part must be the same images, or its rows would speak of different ones.

        :param pixels_hash: What the log says; ``None`` where it says nothing.
        :raises InputError: If it is not.
        """
        if pixels_hash is not None and pixels_hash != self.pixels_hash:
            raise InputError(
                f"Images of the run to resume have changed since, in batch {self.number} "
                f"({', '.join(sample.name for sample in self.samples[:3])}, ...). Put them back, or choose another "
                "--out."
            )
