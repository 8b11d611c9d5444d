"""What a smoothed model says of a sample, and what is certified about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from art_multimodal.estimators.certification import ABSTAINED
from art_multimodal.evaluations.suite.detail import Count
from art_multimodal.evaluations.typed_json import Within


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
    :param radii: Of the model itself, where it has them: the l_2 radius of each modality within which no change of it
        alone changes the answer, in the order of the model.
    :param radius: Likewise of all modalities together.
    """

    index: Count
    name: str
    label: Count
    predicted: Annotated[int, Within(ABSTAINED)]
    votes: Mapping[str, Count] = field(default_factory=dict)
    without_class: Count = 0
    counts: tuple[Count, ...] = ()
    corners: tuple[tuple[Count, ...], ...] = ()
    radii: tuple[float, ...] = ()
    radius: float | None = None

    @property
    def right(self) -> bool:
        """Whether the true class is answered."""
        return self.predicted == self.label

    def holds_within(self, budget: Sequence[int], edits: str) -> bool:
        """Whether no attack within a budget changes the answer.

        :param budget: Number of edits in each modality of the row.
        :param edits: ``"modify"``: of a sample with fewer elements than the budget all are changed, and there are no
            others. Otherwise elements are added, too.
        """
        if not self.corners:
            return False
        if edits == "modify":
            budget = [min(most, count) for most, count in zip(budget, self.counts, strict=True)]
        return self.covers(tuple(budget))

    def covers(self, budget: tuple[int, ...]) -> bool:
        """Whether no attack with so many edits in each modality of the row changes the answer."""
        return any(all(mine <= theirs for mine, theirs in zip(budget, one, strict=True)) for one in self.corners)
