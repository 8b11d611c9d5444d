"""The lines of a certification's log: what is said of a batch of samples in each row of the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from art_multimodal.evaluations.audit.lines import Skipped
from art_multimodal.evaluations.smoothing.verdicts import Verdict
from art_multimodal.evaluations.suite.detail import Count

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
