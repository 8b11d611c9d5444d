"""What a plan says: its entries, and which of them do not go together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model, model_validator

from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.radii import Radius, name_of, nested
from art_multimodal.evaluations.audit.settings import TASKS, AuditSettings
from art_multimodal.evaluations.budget_settings import BudgetSettings, settings
from art_multimodal.evaluations.plans.attacks import ALL, check_row, selection
from art_multimodal.shown import brief, shown

#: The form of plans that this version reads.
VERSION = 1
#: Of limits: the row, and of each radius (``""`` is the largest) the share.
Limits = dict[str, dict[str, float]]


class _Part(BaseModel):
    """Entries, all of them known; nothing is taken for something else."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _number(value: Any) -> float | None:
    """A number that a float can hold; ``None`` for anything else."""
    try:
        return None if isinstance(value, bool) or not isinstance(value, (int, float)) else float(value)
    except OverflowError:
        return None


def _distance(value: Any, where: str) -> float:
    """``1/255`` or a number."""
    if (number := _number(value)) is not None:
        return number
    if isinstance(value, str):
        numerator, slash, denominator = value.partition("/")
        try:
            return float(numerator) / float(denominator) if slash else float(numerator)
        except (ValueError, ZeroDivisionError):
            pass
    raise ValueError(f"{where}: {brief(repr(value), 60)} is no distance. Write a number or a fraction, such as 1/255.")


def _radius(value: Any, where: str) -> Radius:
    if isinstance(value, dict) and value:
        return {str(name): _distance(one, f"{where}.{brief(name, 40)}") for name, one in value.items()}
    return _distance(value, where)


def _radii(value: Any) -> Any:
    if value == []:
        raise ValueError("budgets.eps names no radius. Leave it out, or write some, such as [1/255, 2/255].")
    return [_radius(one, "budgets.eps") for one in (value if isinstance(value, list) else [value])]


def _norm(value: Any) -> Any:
    return {math.inf: "inf", 2: "2"}.get(value, value) if isinstance(value, (int, float)) else value


def _several(value: Any) -> Any:
    """One name as a list of one."""
    return [value] if isinstance(value, str) else value


def _attacks(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    for family, names in value.items():
        if names != ALL and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise ValueError(f"attacks.{brief(family, 60)} is a list of names, or {ALL}; not {brief(repr(names), 60)}.")
    return value


def _or(empty: Any) -> BeforeValidator:
    """An entry under which nothing stands, as where all lines are comments."""
    return BeforeValidator(lambda value: empty if value is None else value)


def _limits(what: str) -> BeforeValidator:
    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"{what}s are entries such as 'image: 0.3', not {brief(repr(value), 60)}.")
        found: dict[str, dict[str, float]] = {}
        for row, given in value.items():
            at = given if isinstance(given, dict) else {"": given}
            found[str(row)] = {
                str(radius): _share(share, f"the {what} of {brief(row, 60)}") for radius, share in at.items()
            }
        return found

    return BeforeValidator(read)


def _share(value: Any, what: str) -> float:
    share = _number(value)
    if share is None or not math.isfinite(share):
        raise ValueError(f"{what} is a share in [0, 1], not {brief(repr(value), 40)}.")
    if not 0 <= share <= 1:
        hint = f" Did you mean {share / 100:g}?" if 1 < share <= 100 else ""
        raise ValueError(f"{what} is a share in [0, 1], not {share:g}.{hint}")
    return share


def _budget_fields() -> dict[str, Any]:
    """An entry for each setting of the budget, as it is declared there; none that is not given."""
    special: dict[str, Any] = {
        "eps": Annotated[list[Any], BeforeValidator(_radii)],
        "eps_step": Annotated[Any, BeforeValidator(lambda value: _radius(value, "budgets.eps_step"))],
        "norm": Annotated[Literal["inf", "2"], BeforeValidator(_norm)],
        "protected_words": list[str],
    }
    return {name: (special.get(name, setting.kind) | None, None) for name, setting in settings().items()}


class Samples(_Part):
    """Which samples: so many, drawn with the seed, which is that of the attacks, too."""

    limit: Annotated[int | None, Field(ge=1)] = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


Budgets: Any = create_model("Budgets", __base__=_Part, __doc__=BudgetSettings.__doc__, **_budget_fields())


class Detectors(_Part):
    """Of what tells attacked samples from clean ones: how many clean ones it may take for attacked."""

    false_positives: Annotated[float, BeforeValidator(lambda value: _share(value, "detectors.false_positives"))]


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


class Plan(_Part):
    """A plan of an audit.

    :raises InputError: Where entries do not go together.
    """

    plan: Literal[1]
    models: Annotated[list[str], BeforeValidator(_several), Field(min_length=1)]
    data: str
    task: Literal[TASKS] = "classification"  # type: ignore[valid-type]
    samples: Annotated[Samples, _or({})] = Samples()
    attacks: Annotated[dict[str, list[str] | str], BeforeValidator(_attacks), Field(min_length=1)]
    budgets: Annotated[Budgets, _or({})] = Budgets()
    defences: Annotated[list[str], _or([])] = []
    draws: Annotated[int, Field(ge=1, le=10_000)] = 10
    templates: list[str] | None = None
    classes: list[str] | None = None
    native_size: bool = False
    floors: Annotated[Limits, _limits("floor"), _or({})] = {}
    ceilings: Annotated[Limits, _limits("ceiling"), _or({})] = {}
    detectors: Annotated[Detectors | None, _or(None)] = None
    warn_margin: Annotated[float, BeforeValidator(lambda value: _share(value, "warn_margin"))] = 0.0

    @model_validator(mode="after")
    def _fit_together(self) -> Plan:
        for model in self.models:
            if self.models.count(model) > 1:
                raise ValueError(f"the model {brief(model, 80)} is named twice.")
        selection(self.attacks)
        # Ranges are checked where they are declared.
        self.settings(self.models[0])
        for name in ("floors", "ceilings"):
            kind, limits = name[:-1], getattr(self, name)
            for row, at in limits.items():
                check_row(row, self.attacks, kind)
                limits[row] = self._by_radius(row, at, kind)
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
        budget = {name: value for name, value in self.budgets if value is not None}
        if "eps" in budget:
            budget["eps"], budget["smaller_eps"] = nested(budget["eps"])
        if "protected_words" in budget:
            budget["protected_words"] = tuple(budget["protected_words"])
        if budget.get("norm") == "2" and "eps" not in budget:
            raise InputError("with the norm 2 give budgets.eps: a Euclidean length over the whole image, such as 0.5.")
        return AuditSettings(
            model,
            self.data,
            attacks,
            self.task,
            self.samples.limit,
            seed=self.samples.seed,
            templates=_tuple(self.templates),
            classes=_tuple(self.classes),
            native_size=self.native_size,
            defences=tuple(self.defences),
            draws=self.draws,
            attacks_on_samples=on_samples,
            **budget,
        )

    def as_json(self) -> dict[str, Any]:
        """The plan in JSON types, with its own defaults, and without what it leaves to those of audits."""
        return self.model_dump(mode="json", exclude_none=True)


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
        size = _distance(given, "")
        return next((name for name in names if math.isclose(_distance(name, ""), size, rel_tol=1e-3)), None)
    except ValueError:
        return None


def _tuple(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)
