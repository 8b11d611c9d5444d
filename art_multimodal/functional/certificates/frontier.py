"""The largest budgets over several modalities for which something holds, as a staircase."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from art_multimodal.errors import InputError, unknown_name
from art_multimodal.functional.certificates.checks import whole

_Corner = tuple[int, ...]


@dataclass(frozen=True)
class Frontier:
    """All budgets that are covered by some of a few largest ones. A budget is a number of edits for each modality.

    >>> stairs = Frontier(("image", "text"), ((2, 0), (1, 1)))
    >>> stairs.covers({"text": 1}), stairs.covers((2, 1)), stairs.count, stairs.radius("image"), stairs.diagonal
    (True, False, 5, 2, 1)

    :param names: Of the modalities.
    :param corners: Budgets, each with a number for each modality. Those that others cover are left out, and the rest
        sorted. Empty if not even the budget of zeros is covered.
    :raises InputError: If names repeat, or a budget has another length or something else than whole numbers from 0.
    """

    names: tuple[str, ...]
    corners: tuple[_Corner, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", _checked_names(self.names))
        corners = {self._budget(corner) for corner in self.corners}
        largest = [one for one in corners if not any(one != other and _within(one, other) for other in corners)]
        object.__setattr__(self, "corners", tuple(sorted(largest)))

    def covers(self, budget: Mapping[str, int] | Sequence[int]) -> bool:
        """Whether a budget lies within the frontier.

        :param budget: By name, a modality without a number being left alone; or a number for each modality in order.
        :raises InputError: If a name is unknown, or numbers are missing, negative or no whole numbers.
        """
        budget = self._budget(budget)
        return any(_within(budget, corner) for corner in self.corners)

    @property
    def count(self) -> int:
        """Number of budgets that are covered."""
        return _count(self.corners)

    def radius(self, name: str) -> int:
        """The largest budget of one modality while the others are left alone; -1 if none is covered.

        :raises InputError: If there is no modality of that name.
        """
        if name not in self.names:
            raise unknown_name("modality", name, self.names)
        return max((corner[self.names.index(name)] for corner in self.corners), default=-1)

    @property
    def diagonal(self) -> int:
        """The largest budget that all modalities may have at once; -1 if none is covered."""
        return max((min(corner) for corner in self.corners), default=-1)

    def as_json(self) -> dict[str, Any]:
        """Lists of names and of corners, as :meth:`from_json` takes them."""
        return {"names": list(self.names), "corners": [list(corner) for corner in self.corners]}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Frontier:
        """The frontier that :meth:`as_json` described.

        :raises InputError: If it is no such description.
        """
        try:
            return cls(tuple(fields["names"]), tuple(tuple(corner) for corner in fields["corners"]))
        except (KeyError, TypeError):
            raise InputError('A frontier is {"names": [...], "corners": [[...], ...]}, not something else.') from None

    def _budget(self, budget: Mapping[str, int] | Sequence[int]) -> _Corner:
        if isinstance(budget, Mapping):
            for name in budget:
                if name not in self.names:
                    raise unknown_name("modality", name, self.names)
            budget = [budget.get(name, 0) for name in self.names]
        if len(budget) != len(self.names):
            raise InputError(f"A budget needs {len(self.names)} numbers ({', '.join(self.names)}), not {len(budget)}.")
        return tuple(whole(f"Budget of {name}", number) for name, number in zip(self.names, budget, strict=True))


def frontier(names: Sequence[str], limits: Sequence[int], certified: Callable[[_Corner], bool]) -> Frontier:
    """Find the frontier of a question whose answer can only turn from yes to no as a budget grows.

    The stairs are walked: where the answer is no, one modality has to give way. With two modalities of radii R_1 and
    R_2 that takes O(R_1 + R_2) questions, and much fewer where stairs are long; limits do not matter. More modalities
    are walked slice by slice.

    >>> frontier(("image", "text"), (100, 100), lambda budget: budget[0] + 2 * budget[1] <= 3).corners
    ((1, 1), (3, 0))

    :param names: Of the modalities.
    :param limits: Of each modality the largest budget that is asked for.
    :param certified: Takes a budget, a tuple with a number for each modality.
    :raises InputError: If names repeat, or limits are not as many, or no whole numbers from 0.
    """
    names = _checked_names(names)
    if len(limits) != len(names):
        raise InputError(f"{len(names)} modalities need as many limits, not {len(limits)}.")
    limits = tuple(whole(f"Limit of {name}", limit) for name, limit in zip(names, limits, strict=True))
    return Frontier(names, tuple(_walk(certified, (), limits)))


def _walk(
    certified: Callable[[_Corner], bool], fixed: _Corner, limits: _Corner, too_much: int | None = None
) -> list[_Corner]:
    """Corners over the modalities that ``fixed`` leaves open.

    :param limits: Of these modalities.
    :param too_much: Of a single modality, a number that is known to be too large by little.
    """
    if len(limits) == 1:
        high = limits[0] + 1 if too_much is None else too_much
        radius = _last(lambda r: certified((*fixed, r)), -1, high, down=too_much is not None)
        return [(radius,)] if radius >= 0 else []

    def all_stand(stairs: list[_Corner], first: int) -> bool:
        return all(certified((*fixed, first, *corner)) for corner in stairs)

    corners: list[_Corner] = []
    first, stairs = 0, _walk(certified, (*fixed, 0), limits[1:])
    while stairs:
        # As far as nothing changes; what the next step loses ends here.
        first = _last(partial(all_stand, stairs), first, limits[0] + 1)
        lower: list[_Corner] = []
        if first < limits[0]:
            most = tuple(map(max, zip(*stairs, strict=True)))
            lower = _walk(certified, (*fixed, first + 1), most, most[0])
        corners += [(first, *corner) for corner in stairs if not any(_within(corner, other) for other in lower)]
        first, stairs = first + 1, lower
    return corners


def _last(true: Callable[[int], bool], low: int, high: int, down: bool = False) -> int:
    """The last number for which something is true, between ``low``, where it is, and ``high``, where it is not.

    Steps double away from where the search begins, then halve: what is near is found in few questions.

    :param down: Begin at ``high``.
    """
    step = 1
    while high - low > step:
        tried = high - step if down else low + step
        holds = true(tried)
        low, high = (tried, high) if holds else (low, tried)
        if holds == down:
            break
        step *= 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if true(middle) else (low, middle)
    return low


def _within(budget: _Corner, other: _Corner) -> bool:
    return all(mine <= theirs for mine, theirs in zip(budget, other, strict=True))


def _count(corners: Sequence[_Corner]) -> int:
    """Number of points that are within some corner: slices along the first axis between corners are alike."""
    if not corners or not corners[0]:
        return len(corners[:1])
    total, below = 0, -1
    for first in sorted({corner[0] for corner in corners}):
        slice_ = {corner[1:] for corner in corners if corner[0] >= first}
        total += (first - below) * _count(sorted(slice_))
        below = first
    return total


def _checked_names(names: Sequence[str]) -> tuple[str, ...]:
    if not names or len(set(names)) < len(names) or isinstance(names, str):
        raise InputError(f"Modalities need names of their own, at least one, not {tuple(names)}.")
    return tuple(names)
