"""The lines of a certification's log: what is said of a batch of samples in each row of the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from art_multimodal.estimators.certification import ABSTAINED
from art_multimodal.evaluations.audit.lines import Skipped
from art_multimodal.evaluations.suite.detail import Count
from art_multimodal.evaluations.typed_json import Within

#: Rows: the model itself on whole samples, and the smoothed one.
MODEL, CERTIFIED = "model", "certified"
#: Begin the names of rows: a control that sees nothing of a modality, a vote of modalities, and an attack.
WITHOUT, VOTE, ATTACKED = "without_", "vote_", "attacked:"
#: Of the table alone: the best answer that does not look at the sample.
CONSTANT = "constant"


def is_control(row: str) -> bool:
    """Whether a row is a control, which does not look at something."""
    return row.startswith(WITHOUT) or row == CONSTANT


@dataclass(frozen=True)
class Verdict:
    """What is said of one sample.

    :param index: Its place in the data.
    :param name: What it is called there.
    :param label: The true class.
    :param predicted: What is answered; -1 for no answer.
    :param votes: Number of votes by class index, without those that have none.
    :param without_class: Votes for no class, since scores were not finite.
    :param counts: How many elements the sample has in each modality of the row.
    :param corners: The largest numbers of edits that do not change the answer, each with a number for each modality of
        the row. Empty where nothing is certified.
    """

    index: Count
    name: str
    label: Count
    predicted: Annotated[int, Within(ABSTAINED)]
    votes: Mapping[str, Count] = field(default_factory=dict)
    without_class: Count = 0
    counts: tuple[Count, ...] = ()
    corners: tuple[tuple[Count, ...], ...] = ()

    @property
    def right(self) -> bool:
        """Whether the true class is answered."""
        return self.predicted == self.label

    def covers(self, budget: tuple[int, ...]) -> bool:
        """Whether no attack with so many edits in each modality of the row changes the answer."""
        return any(all(mine <= theirs for mine, theirs in zip(budget, one, strict=True)) for one in self.corners)


@dataclass(frozen=True)
class Line:
    """A batch in one row.

    :param batch: Its number.
    :param row: Name of the row.
    :param listed: Samples of the batch, those that could not be read among them.
    :param seconds: What it took.
    :param samples: Those that could be read; of an attack, those that were attacked.
    :param passes: How often the model was asked, by what was asked about: votes, and views of each modality.
    :param skipped: Those that could not be read; in the first row only.
    :param pixels_hash: By which a resumed run knows the batch again; in the first row only.
    """

    batch: Count
    row: str
    listed: Count
    seconds: float
    samples: tuple[Verdict, ...]
    passes: Mapping[str, Count] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    pixels_hash: str = ""

    @property
    def part(self) -> tuple[int, str]:
        """Which part of the work it is about."""
        return self.batch, self.row
