"""Whether an attacked sample keeps to the budget of an entry, measured from the sample itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from art_multimodal.evaluations.evidence.fixtures import IMAGE, Arrays
from art_multimodal.language.words import ProtectedWords, words_of

#: Rounding of float32 at the end of a range of 1.
_ROUNDING = 1e-6


def changed_fields(before: Arrays, after: Arrays) -> list[str]:
    """Names of the modalities of numbers that are not the same to the last bit.

    :param before: Arrays of one sample, ``(1, ...)``, by field.
    :param after: Likewise.
    """
    return list(dict.fromkeys(name.partition(".")[0] for name in before if not _same(before[name], after.get(name))))


def _same(a: np.ndarray, b: np.ndarray | None) -> bool:
    return b is not None and a.shape == b.shape and np.array_equal(a, b, equal_nan=True)


def beyond(before: Arrays, after: Arrays, budget: Mapping[str, Any]) -> str:
    """What is changed by more than the budget allows, in a phrase; empty where all is within it.

    :param before: The sample as the data have it, by field.
    :param after: The attacked one.
    :param budget: Of an entry.
    """
    for name, values in before.items():
        of = name.partition(".")[0]
        other = after.get(name)
        if other is None or other.shape != values.shape:
            return f"{of} has another shape"
        if _same(values, other):
            continue
        eps = budget["modalities"].get(of) if "modalities" in budget else budget["eps"] if of == IMAGE else None
        if eps is None or name.endswith(".length"):
            return f"{of} may not be changed"
        moved = other.astype(np.float64) - values.astype(np.float64)
        far = float(np.abs(moved).max() if float(budget["norm"]) == float("inf") else np.sqrt((moved**2).sum()))
        # NaN is beyond everything.
        if not far <= eps + _ROUNDING * max(1.0, eps):
            return f"{of} is moved by {far:.4g}, more than eps {eps:.4g}"
    return ""


class TextRule:
    """Which changes of a text a budget allows: so many words replaced, or so many typing errors; class names stay.

    :param budget: Of an entry.
    :param class_names: Of its data.
    """

    def __init__(self, budget: Mapping[str, Any], class_names: Sequence[str]) -> None:
        self.words, self.edits = int(budget["max_words"]), int(budget["max_edits"])
        names = class_names if budget.get("protect_class_names", True) else ()
        self.protected = ProtectedWords([*names, *budget.get("protected_words", ())])

    def beyond(self, before: Sequence[str], after: Sequence[str]) -> str:
        """What is changed by more than that, in a phrase; empty where all is within it."""
        if len(before) != len(after):
            return "there are more or fewer texts"
        return next((said for pair in zip(before, after, strict=True) if (said := self._of_one(*pair))), "")

    def _of_one(self, before: str, after: str) -> str:
        if before == after:
            return ""
        old, new = words_of(before), words_of(after)
        replaced = [one for one, other in zip(old, new, strict=False) if one.text != other.text]
        same_between = len(old) == len(new) and _between(before, old) == _between(after, new)
        by_words = same_between and len(replaced) <= self.words
        if not by_words and edit_distance(before, after, self.edits) > self.edits:
            return f"a text is changed by more than {self.words} words or {self.edits} letters"
        kept, there = [old[place].text for place in self.protected.among(old)], [word.text for word in new]
        if any(there.count(word) < kept.count(word) for word in kept):
            return "a word of a class name is changed"
        comes_in = [new[place].text for place in self.protected.among(new)]
        return "a word of a class name comes in" if len(comes_in) > len(kept) else ""


def _between(text: str, words: Sequence[Any]) -> list[str]:
    """What stands around the words."""
    ends = [0, *(word.end for word in words)]
    starts = [*(word.start for word in words), len(text)]
    return [text[end:start] for end, start in zip(ends, starts, strict=True)]


def edit_distance(a: str, b: str, most: int) -> int:
    """Typing errors between two texts: letters put in, left out, replaced, or swapped with their neighbour.

    :param most: Beyond it any larger number comes back.
    """
    if abs(len(a) - len(b)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, start=1):
        earlier, before, row = before, row, [i]
        for j, other in enumerate(b, start=1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
    return row[-1]
