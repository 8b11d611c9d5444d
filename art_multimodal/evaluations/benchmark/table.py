"""The table of a benchmark: a pure function of what its finished cells have found.

Per data set, and averaged over those of a role: accuracy before any attack and under those of each column, with 95 %
intervals, and what sets each model apart from the first one, sample by sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from art_multimodal.datasets.named.protocols import IN_DISTRIBUTION, ZERO_SHOT
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.outcomes import Outcomes
from art_multimodal.evaluations.benchmark.measured import Measured, in_order
from art_multimodal.functional.statistics import (
    holm_adjusted,
    mcnemar,
    mean_of_means_ci95,
    paired_difference_ci95,
    proportion_ci95,
    stratified_sign_test,
)
from art_multimodal.shown import shown

#: Averages are over the data sets of a role, and over all.
ALL = "all"
#: Differences from the first model whose corrected p is below are marked.
ALPHA = 0.05


@dataclass(frozen=True)
class Difference:
    """What sets a model apart from the first one.

    >>> Difference(0.1, ci95=(0.02, 0.18), n=100, gained=12, lost=2, p=0.013, p_holm=0.026).significant
    True

    :param difference: Its accuracy less that of the first, over the samples of both; a share.
    :param ci95: 95 % interval of it, in pairs.
    :param n: Samples of both; of an average over all data sets.
    :param gained: Samples that it alone has right.
    :param lost: Samples that the first alone has right.
    :param p: Two-sided: of McNemar's exact test on a data set; of coins for each pair that differs on several.
    :param p_holm: The same, corrected by Holm for the data sets of the column, or for its averages.
    """

    difference: float
    ci95: tuple[float, float]
    n: int
    gained: int
    lost: int
    p: float
    p_holm: float = 1.0

    @property
    def significant(self) -> bool:
        """Whether chance alone would hardly do that."""
        return self.p_holm < ALPHA


@dataclass(frozen=True)
class Number:
    """A number of the table.

    >>> digits = {"model": "mine", "data": "digits", "role": "zero-shot", "column": "clean", "right": 9, "n": 10}
    >>> number = Number("4/255", "4/255", **digits, accuracy=0.9, ci95=(0.6, 1.0))
    >>> table = BenchmarkTable(("mine",), {"digits": "zero-shot"}, {}, {}, ("clean",), ("zero-shot",), (number,))
    >>> table.find("4/255", "4/255", "mine", "clean", data="digits").accuracy
    0.9

    :param budget: Name of the budget.
    :param radius: Name of the radius within it.
    :param model: Name of the model.
    :param data: Name of the data set; empty of an average.
    :param role: Of the data set; of an average over which ones it is.
    :param column: ``"clean"``, ``"image"``, ...
    :param right: Samples that are right; of an average over all data sets.
    :param n: Samples that count.
    :param accuracy: The share; of an average the plain mean over data sets, each with the same weight.
    :param ci95: 95 % interval over samples.
    :param sets: Data sets that it is of.
    :param versus: What sets the model apart from the first one; ``None`` of the first, and where they have no sample in
        common.
    """

    budget: str
    radius: str
    model: str
    data: str
    role: str
    column: str
    right: int
    n: int
    accuracy: float
    ci95: tuple[float, float]
    sets: int = 1
    versus: Difference | None = None


@dataclass(frozen=True)
class BenchmarkTable:
    """All numbers of a benchmark.

    :param models: Their names, the first being the one that others are compared with.
    :param data: Names of the data sets, each with its role.
    :param budgets: Of each budget, by its name, the names of its radii, ascending; the last is the largest.
    :param shares: Of each budget how large its radii are, the largest being 1.
    :param columns: In their order.
    :param roles: Over which data sets there are averages.
    :param numbers: On data sets and averages: by budget, radius, column, data set and model.
    """

    models: tuple[str, ...]
    data: Mapping[str, str]
    budgets: Mapping[str, tuple[str, ...]]
    shares: Mapping[str, tuple[float, ...]]
    columns: tuple[str, ...]
    roles: tuple[str, ...]
    numbers: tuple[Number, ...]

    def find(self, budget: str, radius: str, model: str, column: str, data: str = "", role: str = "") -> Number | None:
        """A number: on a data set, or an average over a role; ``None`` where there is none."""
        return self._by_place.get((budget, radius, model, column, data, "" if data else role))

    @property
    def _by_place(self) -> dict[tuple[str, ...], Number]:
        found = self.__dict__.get("_places")
        if found is None:
            found = {
                (one.budget, one.radius, one.model, one.column, one.data, "" if one.data else one.role): one
                for one in self.numbers
            }
            object.__setattr__(self, "_places", found)
        return found


def table_of(measured: Sequence[Measured], models: Sequence[str], data: Mapping[str, str | None]) -> BenchmarkTable:
    """Make the table.

    >>> table = table_of([], ["mine", "theirs"], {"digits": "zero-shot"})
    >>> isinstance(table, BenchmarkTable), table.models, table.numbers
    (True, ('mine', 'theirs'), ())

    :param measured: Finished cells.
    :param models: Names of all models, in order.
    :param data: Names of all data sets with their roles, in order.
    :raises InputError: If the cells of a model are of several models, or those of a data set of several.
    """
    _check_same(measured)
    by_place = {(one.cell.budget, one.cell.data, one.cell.model): one for one in measured}
    columns = in_order([columns for one in measured for columns in one.columns.values()])
    roles = [role for role in (IN_DISTRIBUTION, ZERO_SHOT) if role in data.values()]
    if len(roles) != 1 or set(data.values()) != set(roles):
        roles.append(ALL)
    budgets = {one.cell.budget: one.radii for one in reversed(measured)}
    budgets = {name: budgets[name] for name in dict.fromkeys(one.cell.budget for one in measured)}
    shares = {one.cell.budget: one.shares for one in reversed(measured)}
    numbers: list[Number] = []
    for budget, radii in budgets.items():
        for radius in radii:
            for column in columns:
                outcomes = {
                    (name, model): by_place[budget, name, model].columns[radius][column]
                    for name in data
                    for model in models
                    if column in by_place.get((budget, name, model), _NOTHING).columns.get(radius, {})
                }
                place = _Place(budget, radius, column, models[0], by_place)
                numbers += place.on_data_sets(outcomes, models, data)
                numbers += place.averages(outcomes, models, data, roles)
    roles_of = {name: role or "" for name, role in data.items()}
    return BenchmarkTable(tuple(models), roles_of, budgets, shares, tuple(columns), tuple(roles), tuple(numbers))


def _check_same(measured: Sequence[Measured]) -> None:
    """Refuse numbers of one row, or of one column, that are of different things under one name."""
    for key, what, of in (
        ("weights_sha256", "weights of the model", lambda one: (one.cell.model, one.header["model"])),
        ("fingerprint", "data set", lambda one: (one.cell.data, one.header["data"])),
    ):
        first: dict[str, Measured] = {}
        for one in measured:
            name, facts = of(one)
            before = first.setdefault(name, one)
            if of(before)[1].get(key) != facts.get(key):
                raise InputError(
                    f"The {what} {shown(name)} changed between two cells, {before.cell.id} and {one.cell.id}: remove "
                    "the folder of the one that is out of date, and run the benchmark again."
                )


class _Nothing:
    """In place of a cell that is not finished."""

    columns: Mapping[str, Mapping[str, Outcomes]] = {}


_NOTHING: Any = _Nothing()
#: By data set and model.
_Found = Mapping[tuple[str, str], Outcomes]


@dataclass(frozen=True)
class _Pair:
    """A model and the first one, on the samples of both."""

    these: list[bool]
    others: list[bool]

    @property
    def gained(self) -> int:
        return sum(this and not other for this, other in zip(self.these, self.others, strict=True))

    @property
    def lost(self) -> int:
        return sum(other and not this for this, other in zip(self.these, self.others, strict=True))

    @property
    def difference(self) -> float:
        return (self.gained - self.lost) / len(self.these)

    @property
    def ci95(self) -> tuple[float, float]:
        found = paired_difference_ci95(self.these, self.others)
        assert found is not None
        return found


@dataclass(frozen=True)
class _Place:
    """A column within a radius."""

    budget: str
    radius: str
    column: str
    first: str
    by_place: Mapping[tuple[str, str, str], Measured]

    def on_data_sets(self, outcomes: _Found, models: Sequence[str], data: Mapping[str, str | None]) -> list[Number]:
        """The numbers of each model on each data set."""
        found = []
        for model in models:
            row = [self._number(name, model, role, outcomes) for name, role in data.items()]
            found += _corrected([one for one in row if one is not None])
        return found

    def averages(
        self, outcomes: _Found, models: Sequence[str], data: Mapping[str, str | None], roles: Sequence[str]
    ) -> list[Number]:
        """Means over data sets, of each model that has a number on all of them."""
        found = []
        for model in models:
            row = []
            for role in roles:
                names = [name for name, own in data.items() if role in (ALL, own)]
                if all(outcomes.get((name, model)) for name in names):
                    row.append(self._average(names, model, role, outcomes))
            found += _corrected(row)
        return found

    def _number(self, data: str, model: str, role: str | None, outcomes: _Found) -> Number | None:
        own = outcomes.get((data, model))
        if not own:
            return None
        right, n = sum(own.values()), len(own)
        interval = proportion_ci95(right, n)
        assert interval is not None
        versus = None
        if (pair := self._pair(data, model, outcomes)) is not None:
            p = mcnemar(pair.gained, pair.lost)
            versus = Difference(pair.difference, pair.ci95, len(pair.these), pair.gained, pair.lost, p)
        return Number(
            self.budget, self.radius, model, data, role or "", self.column, right, n, right / n, interval, 1, versus
        )

    def _average(self, names: Sequence[str], model: str, role: str, outcomes: _Found) -> Number:
        own = [outcomes[name, model] for name in names]
        right, n = [sum(one.values()) for one in own], [len(one) for one in own]
        means = [share / size for share, size in zip(right, n, strict=True)]
        intervals = [proportion_ci95(share, size) or (0.0, 1.0) for share, size in zip(right, n, strict=True)]
        interval = mean_of_means_ci95(means, intervals)
        assert interval is not None
        pairs = [self._pair(name, model, outcomes) for name in names]
        there = [pair for pair in pairs if pair is not None]
        versus = None
        if there and len(there) == len(names):
            differences = [pair.difference for pair in there]
            ends = mean_of_means_ci95(differences, [pair.ci95 for pair in there], (-1.0, 1.0))
            assert ends is not None
            gained, lost = [pair.gained for pair in there], [pair.lost for pair in there]
            sizes = [len(pair.these) for pair in there]
            # On a single data set it is the same question as there.
            p = mcnemar(gained[0], lost[0]) if len(there) == 1 else stratified_sign_test(gained, lost, sizes)
            versus = Difference(sum(differences) / len(there), ends, sum(sizes), sum(gained), sum(lost), p)
        mean = sum(means) / len(means)
        place = (self.budget, self.radius, model, "", role, self.column)
        return Number(*place, sum(right), sum(n), mean, interval, len(names), versus)

    def _pair(self, data: str, model: str, outcomes: _Found) -> _Pair | None:
        """A model and the first one, on samples of both; ``None`` of the first itself, and where there are none."""
        others, these = outcomes.get((data, self.first)), outcomes[data, model]
        if model == self.first or not others:
            return None
        names, own = (self.by_place[self.budget, data, one].names for one in (self.first, model))
        both = [index for index in own if index in these and index in others and names.get(index) == own[index]]
        return _Pair([these[index] for index in both], [others[index] for index in both]) if both else None


def _corrected(row: list[Number]) -> list[Number]:
    """The same with p corrected for their number by Holm."""
    tested = [one.versus for one in row if one.versus is not None]
    corrected = iter(holm_adjusted([versus.p for versus in tested]).tolist())
    return [
        one if one.versus is None else replace(one, versus=replace(one.versus, p_holm=next(corrected))) for one in row
    ]
