"""What an attacker may edit: numbers of elements by modality, and stickers on images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from art_multimodal.ablation import Blocks, Elements, Points
from art_multimodal.errors import LARGEST_COUNT, InputError, unknown_name
from art_multimodal.shown import quoted, shown

#: Budgets of one table.
MOST_BUDGETS = 4096
_STICKER = "sticker:"
_FORM = "is not of the form image=1,text=1, or sticker:image=8,text=1 for a patch of 8 x 8 pixels."


@dataclass(frozen=True)
class EditBudget:
    """How much an attacker may edit at once.

    >>> budget = EditBudget.parse("sticker:image=8,text=1")
    >>> budget.words, budget.spec
    ('a patch of 8 x 8 pixels of image, 1 element of text', 'sticker:image=8,text=1')

    :param edits: Pairs of a modality and how many of its elements may be edited, anywhere and to anything.
    :param stickers: Pairs of a modality and the side of a square patch, in pixels, whose content and place are the
        attacker's choice.
    """

    edits: tuple[tuple[str, int], ...]
    stickers: tuple[tuple[str, int], ...] = ()

    @classmethod
    def parse(cls, text: str, option: str = "--budget") -> EditBudget:
        """Read ``image=1,text=1``, or ``sticker:image=8,text=1``.

        :param option: Where it was given, for the error.
        :raises InputError: If it is of another form, names a modality twice, or a number is none.
        """
        edits: dict[str, int] = {}
        stickers: dict[str, int] = {}
        for entry in text.split(","):
            name, equals, number = (part.strip() for part in entry.partition("="))
            kind = stickers if name.startswith(_STICKER) else edits
            name = name.removeprefix(_STICKER).strip()
            if not (equals and name and number.isascii() and number.isdigit()) or len(number) > 10:
                raise InputError(f"{option} {quoted(text)} {_FORM}")
            if name in edits or name in stickers:
                raise InputError(f"{option} {quoted(text)} names {shown(name)} twice.")
            kind[name] = int(number)
            if kind[name] > LARGEST_COUNT or (kind is stickers and not kind[name]):
                raise InputError(f"{option} {quoted(text)}: nobody can have meant {number}.")
        return cls(tuple(edits.items()), tuple(stickers.items()))

    @property
    def spec(self) -> str:
        """The form that :meth:`parse` reads."""
        parts = [f"{_STICKER}{name}={side}" for name, side in self.stickers]
        return ",".join(parts + [f"{name}={number}" for name, number in self.edits])

    @property
    def words(self) -> str:
        """In plain words: ``a patch of 8 x 8 pixels of image, 1 element of text``."""
        parts = [f"a patch of {side} x {side} pixels of {name}" for name, side in self.stickers]
        parts += [f"{number} element{'s' * (number != 1)} of {name}" for name, number in self.edits if number]
        return ", ".join(parts) or "nothing"

    def resolved(
        self,
        elements: Mapping[str, Elements],
        most: Mapping[str, int],
        known: Iterable[str],
        option: str = "--budget",
    ) -> dict[str, int]:
        """How many elements of each modality that is, by name; 0 where nothing is said.

        A patch counts as all elements that it can touch at the worst place.

        :param elements: Of the modalities that are hidden in part.
        :param most: The largest number of elements of a sample, by modality.
        :param known: All modalities of the model.
        :param option: Where it was given, for errors.
        :raises InputError: For another modality, or a patch of what has no pixels.
        """
        found = dict.fromkeys(elements, 0)
        for name, number in (*self.edits, *self.stickers):
            if name not in elements:
                if name in known:
                    raise InputError(
                        f"{option} {shown(self.spec)}: nothing of {name} is hidden, so no change of it can be "
                        f"certified. Give --keep a number for it, too: {name}=K."
                    )
                raise unknown_name(f"modality for {option}", name, elements)
            is_patch = (name, number) in self.stickers
            found[name] = min(most[name], _touched(elements[name], number, option)) if is_patch else number
        return found


def elements_along(elements: Elements, side: int, option: str) -> int:
    """The most elements of a row, or of a column, that a square patch of pixels can touch.

    :param option: Where the patch was given, for errors.
    :raises InputError: For elements that have no pixels.
    """
    size = _size_of(elements)
    if size is None:
        raise InputError(
            f"{option}: a sticker covers pixels, and elements of {elements.modality.name} are "
            f"{elements.unit}s: give a number of them."
        )
    # Of a row of pixels the worst begins at the last one of a block.
    return (side + size - 2) // size + 1


def _size_of(elements: Elements) -> int | None:
    """Pixels along the side of an element."""
    if isinstance(elements, Blocks):
        return elements.size
    return 1 if isinstance(elements, Points) and len(elements.modality.point_axes) == 2 else None


def _touched(elements: Elements, side: int, option: str) -> int:
    """The most elements that a square patch can touch."""
    along, size = elements_along(elements, side, option), _size_of(elements) or 1
    sides = [elements.modality.shape[axis] for axis in elements.modality.point_axes]
    return prod(along if length is None else min(along, -(-length // size)) for length in sides)


def default_budgets(names: Sequence[str]) -> tuple[EditBudget, ...]:
    """One element of each modality."""
    return (EditBudget(tuple((name, 1) for name in names)),)


def grid(budgets: Iterable[Mapping[str, int]]) -> list[dict[str, int]]:
    """All budgets up to the largest number of each modality, the smallest first.

    :raises InputError: If there are too many for a table.
    """
    largest: dict[str, int] = {}
    for budget in budgets:
        for name, number in budget.items():
            largest[name] = max(number, largest.get(name, 0))
    size = prod(number + 1 for number in largest.values())
    if size > MOST_BUDGETS:
        raise InputError(
            f"All budgets up to {', '.join(f'{name}={number}' for name, number in largest.items())} are {size:,}, more "
            f"than a table holds ({MOST_BUDGETS:,}): give smaller ones with --budget, or fewer modalities."
        )
    ranges = (range(number + 1) for number in largest.values())
    return [dict(zip(largest, numbers, strict=True)) for numbers in product(*ranges)]


def budget_name(budget: Mapping[str, int]) -> str:
    """A budget as tables, the JSON report and ``--fail-under`` name it: ``image=1,text=0``."""
    return ",".join(f"{name}={number}" for name, number in budget.items())
