"""Whether an attacked sample keeps to a budget, measured from the sample itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from art_multimodal.evaluations.evidence.fixtures import IMAGE, TEXT, Arrays, Group, Texts, modality_of, says_length
from art_multimodal.language.words import ProtectedWords, words_of

#: Rounding of a number relative to its size: sixteen roundings of float32, each by half a unit in the last place. A
#: sample is projected onto the ball and clipped, at most in units of the radius, and the radius is rounded itself.
_ROUNDING = 2.0**-20


def changed_fields(before: Arrays, after: Arrays) -> list[str]:
    """Names of the modalities of numbers that are not the same to the last bit.

    :param before: Arrays of one sample, ``(1, ...)``, by field.
    :param after: Likewise.
    """
    return list(dict.fromkeys(modality_of(name) for name in before if not _same(before[name], after.get(name))))


def _same(a: np.ndarray, b: np.ndarray | None) -> bool:
    return b is not None and a.shape == b.shape and np.array_equal(a, b, equal_nan=True)


def distance(before: np.ndarray, after: np.ndarray, norm: float) -> tuple[float, float]:
    """How far a sample was moved, and how much of that may be rounding.

    :param before: Its numbers in one modality.
    :param after: Likewise, of the same shape.
    :param norm: 2 or infinity.
    :return: Both in the units of the numbers; NaN where only one of the two is a number, which is beyond everything.
    """
    old, new = before.astype(np.float64), after.astype(np.float64)
    # What is missing before and after was left alone.
    missing = np.isnan(old) & np.isnan(new)
    moved, size = np.where(missing, 0.0, new - old), np.where(missing, 0.0, np.maximum(np.abs(old), np.abs(new)))
    if norm == float("inf"):
        return float(np.abs(moved).max(initial=0.0)), _ROUNDING * float(size.max(initial=0.0))
    # A norm is summed in float32: the rounding of that grows with the root of the number of terms at most.
    far, terms = float(np.sqrt((moved**2).sum())), np.sqrt(moved.size)
    return far, _ROUNDING * float(np.sqrt((size**2).sum())) + far * float(terms) * 2.0**-24


def beyond(before: Arrays, after: Arrays, budget: Mapping[str, Any]) -> str:
    """What is changed by more than the budget allows, in a phrase; empty where all is within it.

    :param before: The sample as the data have it, by field.
    :param after: The attacked one.
    :param budget: ``norm``, and ``eps`` of images or the radius of each of ``modalities``.
    """
    radii = budget["modalities"] if "modalities" in budget else {IMAGE: budget["eps"]}
    for name, values in before.items():
        of = modality_of(name)
        other = after.get(name)
        if other is None or other.shape != values.shape:
            return f"{of} has another shape"
        if _same(values, other):
            continue
        eps = radii.get(of)
        if eps is None or says_length(name):
            return f"{of} may not be changed"
        far, rounding = distance(values, other, float(budget["norm"]))
        # NaN is beyond everything.
        if not far <= eps + rounding + _ROUNDING * eps:
            return f"{of} is moved by {far:.4g}, more than eps {eps:.4g}"
    return ""


def changes_of(
    group: Group,
    row: int,
    before: tuple[Arrays, Texts],
    prompts: Sequence[Sequence[str]],
    budget: Mapping[str, Any],
    rule: TextRule,
) -> tuple[list[str], str]:
    """Which modalities of an attacked sample are changed, and what of it is beyond the budget, in a phrase.

    :param group: Where the sample is, with all its versions.
    :param row: Its place there.
    :param before: Arrays ``(1, ...)`` and texts of the sample as the data have it, by field.
    :param prompts: Of each class the usual prompts, where the model reads any.
    :param budget: As for :func:`beyond`.
    :param rule: Of texts and prompts.
    """
    (arrays, texts), line = before, group.lines[row]
    changed: list[str] = []
    for number, version in enumerate(group.arrays):
        after = {name: values[row : row + 1] for name, values in version.items()}
        if fault := beyond(arrays, after, budget):
            return changed, fault
        changed += changed_fields(arrays, after)
        said = line.texts if number == 0 else line.versions[number - 1]
        for name, own in texts.items():
            if fault := rule.beyond(own, said.get(name, ())):
                return changed, fault
            changed += [name] if tuple(own) != tuple(said.get(name, ())) else []
    for place, found in (line.prompts or {}).items():
        if fault := rule.beyond(prompts[int(place)], found):
            return changed, fault
        changed.append(TEXT)
    return list(dict.fromkeys(changed)), ""


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
