"""The lines of a log: what is said of a batch of samples, before an attack and after each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from art_multimodal.evaluations.suite.detail import Count, Detail
from art_multimodal.evaluations.typed_json import Matching, Within

#: What the name of a file of a drawing ends with, behind the attack and the sample: a modality, and what is in it.
SUFFIX = r"[^\W\d]\w*\.(?:(?:clean|attacked|difference)\.png|(?:plot|text|missing)\.json)"
#: What the line before any attack is called.
CLEAN = "clean"


@dataclass(frozen=True)
class Classified:
    """What a classifier says of a sample.

    :param label: The true class.
    :param predicted: What is said; -1 where a smoothed model says nothing.
    """

    label: Count
    predicted: Annotated[int, Within(-1)]

    @property
    def right(self) -> bool:
        """Whether the true class is predicted."""
        return self.predicted == self.label

    @property
    def fixed(self) -> int:
        """What no attack changes."""
        return self.label


@dataclass(frozen=True)
class Ranked:
    """Where a retriever finds an image and its captions; 1 is the top.

    :param image_rank: Rank of the best of its captions, for the image.
    :param text_ranks: Rank of the image, for each of its captions.
    """

    image_rank: Annotated[int, Within(1)]
    text_ranks: tuple[Annotated[int, Within(1)], ...]

    @property
    def right(self) -> bool:
        """Whether one of its captions is found first."""
        return self.image_rank == 1

    @property
    def fixed(self) -> int:
        """What no attack changes: the number of captions."""
        return len(self.text_ranks)

    @property
    def ranks(self) -> tuple[int, ...]:
        """All ranks, that of the image first."""
        return (self.image_rank, *self.text_ranks)


@dataclass(frozen=True)
class Pictured:
    """Of a sample that is shown in the report: what the pictures beside the log do not say.

    :param size: Height and width of the image, where a sample has one.
    :param text: The text that belongs to it.
    :param files: Of samples of other modalities, what the names of their files end with.
    """

    size: tuple[Annotated[int, Within(1, 1 << 20)], Annotated[int, Within(1, 1 << 20)]] | None = None
    text: str | None = None
    files: tuple[Annotated[str, Matching(SUFFIX)], ...] = ()


@dataclass(frozen=True)
class SampleRecord:
    """What is said of one sample.

    :param index: Its place in the data.
    :param name: What it is called there.
    :param verdict: What the model says.
    :param detail: What the attack says.
    :param without: What is predicted where all of a modality is removed, by its name; before an attack only.
    :param pictured: Of one that is shown.
    """

    index: int
    name: str
    verdict: Classified | Ranked
    detail: Detail = field(default_factory=Detail)
    without: Mapping[str, int] = field(default_factory=dict)
    pictured: Pictured | None = None

    @property
    def right(self) -> bool:
        """Whether the model is right about it."""
        return self.verdict.right


@dataclass(frozen=True)
class Skipped:
    """A sample that could not be read, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class CleanLine:
    """A batch before any attack.

    :param batch: Its number.
    :param listed: Samples of the batch, those that could not be read among them.
    :param seconds: What it took.
    :param samples: Those that could be read.
    :param skipped: Those that could not.
    :param pixels_hash: By which a resumed run knows the batch again.
    :param gallery_hash: Likewise all samples, where answers depend on them; else empty.
    :param queries: Behind a defence that computes at test time, images that its answers asked the model about.
    :param gradients: Those among them that a gradient was taken for.
    """

    batch: Count
    listed: Count
    seconds: float
    samples: tuple[SampleRecord, ...]
    skipped: tuple[Skipped, ...]
    pixels_hash: str
    gallery_hash: str = ""
    attack: str = CLEAN
    queries: float = 0
    gradients: float = 0

    @property
    def part(self) -> tuple[int, str]:
        """Which part of the work it is about."""
        return self.batch, self.attack


@dataclass(frozen=True)
class AttackLine:
    """A batch after an attack.

    :param batch: Its number.
    :param attack: Name of the pass: the attack, made with or without knowing of the defences.
    :param listed: Samples of the batch, those that could not be read among them.
    :param seconds: What it took.
    :param samples: Those that were attacked.
    :param queries: Questions to the model.
    :param gradients: Those among them that a gradient was taken for.
    :param not_applicable: Samples that the attack cannot work on.
    :param flags: What makes the numbers suspicious, and how many samples show it.
    """

    batch: Count
    attack: str
    listed: Count
    seconds: float
    samples: tuple[SampleRecord, ...]
    queries: float
    gradients: float
    not_applicable: tuple[Count, ...]
    flags: Mapping[str, Count] = field(default_factory=dict)

    @property
    def part(self) -> tuple[int, str]:
        """Which part of the work it is about."""
        return self.batch, self.attack


Line = CleanLine | AttackLine
