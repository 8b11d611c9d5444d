"""What a plan says: its entries, and which of them do not go together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from art_multimodal.evaluations.audit.radii import name_of, nested
from art_multimodal.evaluations.audit.settings import TASKS, AuditSettings
from art_multimodal.evaluations.plans.attacks import check_row, selection
from art_multimodal.evaluations.plans.parts import (
    Budgets,
    Part,
    Samples,
    as_distance,
    as_share,
    as_tuple,
    attacks_by_family,
    budget_of,
    or_empty,
    several,
)
from art_multimodal.plugins import check_declared
from art_multimodal.shown import brief, shown

#: The form of plans that this version reads.
VERSION = 1
#: Of limits: the row, and of each radius (``""`` is the largest) the share.
Limits = dict[str, dict[str, float]]


def _limits(what: str) -> BeforeValidator:
    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"{what}s are entries such as 'image: 0.3', not {brief(repr(value), 60)}.")
        found: dict[str, dict[str, float]] = {}
        for row, given in value.items():
            at = given if isinstance(given, dict) else {"": given}
            found[str(row)] = {
                str(radius): as_share(share, f"the {what} of {brief(row, 60)}") for radius, share in at.items()
            }
        return found

    return BeforeValidator(read)


class Detectors(Part):
    """Of what tells attacked samples from clean ones: how many clean ones it may take for attacked."""

    false_positives: Annotated[float, BeforeValidator(lambda value: as_share(value, "detectors.false_positives"))]


@dataclass(frozen=True)
class Limit:
    """A number that was declared.

    :param kind: ``"floor"`` of an accuracy, ``"ceiling"`` of a success rate, or ``"false_positives"``.
    :param row: Of the report.
    :param radius: Name of the radius; empty for the largest.
    :param share: The number.
    """

    kind: str
    row: str
    radius: str
    share: float


class Plan(Part):
    """A plan of an audit.

    >>> attacks, floors = {"image": ["pgd"]}, {"clean": 0.9, "image": 0.3}
    >>> plan = Plan(plan=1, models=["demo:digits"], data="demo:digits", attacks=attacks, floors=floors)
    >>> {limit.row: limit.share for limit in plan.limits()}
    {'clean': 0.9, 'image': 0.3}

    :raises InputError: Where entries do not go together.
    """

    plan: Literal[1]
    models: Annotated[list[str], BeforeValidator(several), Field(min_length=1)]
    data: str
    task: Literal[TASKS] = "classification"  # type: ignore[valid-type]
    samples: Annotated[Samples, or_empty({})] = Samples()
    attacks: Annotated[dict[str, list[str] | str], BeforeValidator(attacks_by_family), Field(min_length=1)]
    budgets: Annotated[Budgets, or_empty({})] = Budgets()
    defences: Annotated[list[str], or_empty([])] = []
    ablate_defences: bool = False
    draws: Annotated[int, Field(ge=1, le=10_000)] = 10
    templates: list[str] | None = None
    classes: list[str] | None = None
    native_size: bool = False
    resize: str | None = None
    universal: str | None = None
    surrogates: Annotated[list[str], BeforeValidator(several), or_empty([])] = []
    transfer: str | None = None
    plugins: Annotated[list[str], BeforeValidator(several), or_empty([])] = []
    floors: Annotated[Limits, _limits("floor"), or_empty({})] = {}
    ceilings: Annotated[Limits, _limits("ceiling"), or_empty({})] = {}
    detectors: Annotated[Detectors | None, or_empty(None)] = None
    warn_margin: Annotated[float, BeforeValidator(lambda value: as_share(value, "warn_margin"))] = 0.0

    @model_validator(mode="after")
    def _fit_together(self) -> Plan:
        # Before names are looked for that they bring.
        check_declared(self.plugins, "the plan")
        for model in self.models:
            if self.models.count(model) > 1:
                raise ValueError(f"the model {brief(model, 80)} is named twice.")
        for one in self.surrogates:
            if one.startswith("python:"):
                raise ValueError(
                    f"the surrogate {brief(one, 80)} would run code, and a file that is loaded runs none: give it with "
                    "--surrogate, and leave it out here."
                )
        if self.ablate_defences and not self.defences:
            raise ValueError("ablate_defences leaves each defence out once, and there is none: name some in defences.")
        selection(self.attacks)
        # Ranges are checked where they are declared.
        self.settings(self.models[0])
        for name in ("floors", "ceilings"):
            kind, limits = name[:-1], getattr(self, name)
            for row, at in limits.items():
                check_row(row, self.attacks, kind)
                limits[row] = self._by_radius(row, at, kind)
                self._check_order(row, limits[row], kind)
        for row in self.floors.keys() & self.ceilings.keys():
            for radius in self.floors[row].keys() & self.ceilings[row].keys():
                self._check_both(row, radius)
        return self

    def _by_radius(self, row: str, at: Mapping[str, float], kind: str) -> dict[str, float]:
        """Limits by the names of the plan's radii, that of the largest being empty."""
        names, found = self.radii(), {}
        for given, share in at.items():
            name = _matching(given, names) if given else ""
            if name is None:
                known = f"The radii of the plan are {', '.join(names)}" if names else "budgets.eps names no radius"
                raise ValueError(
                    f"the {kind} of {brief(row, 60)} is at {brief(given, 60)}, no radius of the plan. {shown(known)}."
                )
            name = "" if names and name == names[-1] else name
            if name in found:
                raise ValueError(
                    f"{brief(row, 60)} has two {kind}s at {shown(name or 'the largest radius')}. Keep one."
                )
            if name and row == "clean":
                raise ValueError("without an attack there is no radius: write one floor of clean.")
            found[name] = share
        return found

    def _check_order(self, row: str, at: Mapping[str, float], kind: str) -> None:
        """Whoever may change more may change less, so accuracy falls with the radius, and success rises."""
        names = self.radii()
        keys = ["" if name == names[-1] else name for name in names]
        known = [(name, at[key]) for name, key in zip(names, keys, strict=True) if key in at]
        for (smaller, first), (larger, second) in pairwise(known):
            if (second > first) if kind == "floor" else (second < first):
                how, what = ("rises", "accuracy falls") if kind == "floor" else ("falls", "success rises")
                raise ValueError(
                    f"the {kind} of {brief(row, 60)} {how} with the radius, from {first:g} at {shown(smaller)} to "
                    f"{second:g} at {shown(larger)}, and {what}: whoever may change more may change less. The one at "
                    f"{shown(larger)} contradicts the other; write them the other way round, or that one alone."
                )

    def _check_both(self, row: str, radius: str) -> None:
        floor, ceiling = self.floors[row][radius], self.ceilings[row][radius]
        if floor > 1 - ceiling + 1e-12:
            raise ValueError(
                f"the floor and the ceiling of {brief(row, 60)} contradict one another: an accuracy of at least "
                f"{floor:g} allows attacks to succeed on {1 - floor:g} at most, and the ceiling allows {ceiling:g}."
            )

    def radii(self) -> list[str]:
        """Names of the radii, ascending; none where the plan leaves them to the defaults."""
        if self.budgets.eps is None:
            return []
        largest, smaller = nested(self.budgets.eps)
        return [name_of(eps, self.budgets.norm or "inf") for eps in (*smaller, largest)]

    def limits(self) -> list[Limit]:
        """All numbers that were declared."""
        found = [
            Limit(kind, row, radius, share)
            for kind, limits in (("floor", self.floors), ("ceiling", self.ceilings))
            for row, at in limits.items()
            for radius, share in at.items()
        ]
        if self.detectors is not None:
            found.append(Limit("false_positives", "detectors", "", self.detectors.false_positives))
        return found

    def settings(self, model: str) -> AuditSettings:
        """What an audit of one of the models does.

        :param model: Its name.
        :raises InputError: For settings that cannot be used.
        """
        attacks, on_samples = selection(self.attacks)
        return AuditSettings(
            model,
            self.data,
            attacks,
            self.task,
            self.samples.limit,
            seed=self.samples.seed,
            templates=as_tuple(self.templates),
            classes=as_tuple(self.classes),
            native_size=self.native_size,
            resize=self.resize,
            universal=self.universal,
            defences=tuple(self.defences),
            draws=self.draws,
            attacks_on_samples=on_samples,
            surrogates=tuple(self.surrogates),
            transfer=self.transfer,
            **budget_of(self.budgets),
        )

    def as_json(self) -> dict[str, Any]:
        """The plan in JSON types, with its own defaults, and without what it leaves to those of audits."""
        found = self.model_dump(mode="json", exclude_none=True)
        for name in ("surrogates", "plugins", "ablate_defences"):
            # As runs had it before there could be any.
            if not found[name]:
                del found[name]
        return found


#: By the place in a plan, the entries that there may be.
PARTS: dict[tuple[Any, ...], type[BaseModel]] = {
    (): Plan,
    ("samples",): Samples,
    ("budgets",): Budgets,
    ("detectors",): Detectors,
}


def _matching(given: str, names: Sequence[str]) -> str | None:
    """The radius that is meant: by its name, or by its size."""
    if given in names:
        return given
    try:
        size = as_distance(given, "")
        return next((name for name in names if math.isclose(as_distance(name, ""), size, rel_tol=1e-3)), None)
    except ValueError:
        return None
