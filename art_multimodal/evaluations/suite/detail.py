"""What an attack says of a sample, besides how it is answered then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from art_multimodal.evaluations.typed_json import Within

#: A number of things.
Count = Annotated[int, Within(0)]
#: A block of pixels: row, column, height and width.
Block = tuple[
    Annotated[int, Within(0, 1 << 20)],
    Annotated[int, Within(0, 1 << 20)],
    Annotated[int, Within(0, 1 << 20)],
    Annotated[int, Within(0, 1 << 20)],
]


@dataclass(frozen=True)
class Detail:
    """Facts about one attacked sample; ``None`` where an attack has no such fact.

    >>> Detail(queries=40).after(Detail(queries=2), broken_by="pgd").queries
    42

    :param texts: Of each text that the answer depends on, how it was and how it is.
    :param text_queries: Changed texts that were tried.
    :param queries: Questions to the model, where the attack counts them itself.
    :param broken_by: Who misled the model: a member of an ensemble.
    :param fell_at: Smallest number of proposals for each word with which the model was misled.
    :param word_candidates: How many were tried at the last point.
    :param written: The word that was written into the image.
    :param blocks: Blocks of pixels that were changed or removed.
    :param share_removed: Share of all points that were removed.
    :param pixels: Removed pixels, or other points of numbers.
    :param words: Removed words.
    :param removed_words: Where they stood: number of the text, number of the word.
    :param removed: Of samples of several modalities, which share of the points of each was removed, by name.
    :param certified: Of a smoothed model, whether no attack within the budget of edits changes what it says.
    """

    texts: tuple[tuple[str, str], ...] | None = None
    text_queries: Count | None = None
    queries: float | None = None
    broken_by: str | None = None
    fell_at: Count | None = None
    word_candidates: Count | None = None
    written: str | None = None
    blocks: tuple[Block, ...] | None = None
    share_removed: float | None = None
    pixels: Count | None = None
    words: Count | None = None
    removed_words: tuple[tuple[Count, Count], ...] | None = None
    removed: Mapping[str, float] | None = None
    certified: bool | None = None

    def after(self, before: Detail, broken_by: str | None) -> Detail:
        """The same of a sample that another attack has tried before: what adds up is added, what stays true is kept.

        :param broken_by: Who misled the model, if anybody. One that is an ensemble itself knows better who it was.
        """
        return replace(
            self,
            queries=_sum(before.queries, self.queries),
            text_queries=_sum(before.text_queries, self.text_queries),
            fell_at=before.fell_at if self.fell_at is None else self.fell_at,
            word_candidates=before.word_candidates if self.word_candidates is None else self.word_candidates,
            broken_by=(self.broken_by or broken_by) if broken_by else None,
        )


def _sum(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else a + b
