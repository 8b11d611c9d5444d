"""Entries that plans and configurations of benchmarks have in common: samples, attacks, budgets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.radii import Radius, nested
from art_multimodal.evaluations.budget_settings import BudgetSettings, settings
from art_multimodal.evaluations.plans.attacks import ALL
from art_multimodal.shown import brief


class Part(BaseModel):
    """Entries, all of them known; nothing is taken for something else."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def as_number(value: Any) -> float | None:
    """A number that a float can hold; ``None`` for anything else."""
    try:
        return None if isinstance(value, bool) or not isinstance(value, (int, float)) else float(value)
    except OverflowError:
        return None


def as_distance(value: Any, where: str) -> float:
    """``1/255`` or a number."""
    if (number := as_number(value)) is not None:
        return number
    if isinstance(value, str):
        numerator, slash, denominator = value.partition("/")
        try:
            return float(numerator) / float(denominator) if slash else float(numerator)
        except (ValueError, ZeroDivisionError):
            pass
    raise ValueError(f"{where}: {brief(repr(value), 60)} is no distance. Write a number or a fraction, such as 1/255.")


def as_radius(value: Any, where: str) -> Radius:
    """A distance, or one for each modality by its name."""
    if isinstance(value, dict) and value:
        return {str(name): as_distance(one, f"{where}.{brief(name, 40)}") for name, one in value.items()}
    return as_distance(value, where)


def _radii(value: Any) -> Any:
    if value == []:
        raise ValueError("budgets.eps names no radius. Leave it out, or write some, such as [1/255, 2/255].")
    return [as_radius(one, "budgets.eps") for one in (value if isinstance(value, list) else [value])]


def _norm(value: Any) -> Any:
    return {math.inf: "inf", 2: "2"}.get(value, value) if isinstance(value, (int, float)) else value


def several(value: Any) -> Any:
    """One name as a list of one."""
    return [value] if isinstance(value, str) else value


def attacks_by_family(value: Any) -> Any:
    """Attacks by family, each a list of names or :data:`ALL`; anything else is left to who asks for a mapping."""
    if not isinstance(value, dict):
        return value
    for family, names in value.items():
        if names != ALL and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise ValueError(f"attacks.{brief(family, 60)} is a list of names, or {ALL}; not {brief(repr(names), 60)}.")
    return value


def or_empty(empty: Any) -> BeforeValidator:
    """An entry under which nothing stands, as where all lines are comments."""
    return BeforeValidator(lambda value: empty if value is None else value)


def as_share(value: Any, what: str) -> float:
    """A number in [0, 1]."""
    share = as_number(value)
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
        "eps_step": Annotated[Any, BeforeValidator(lambda value: as_radius(value, "budgets.eps_step"))],
        "norm": Annotated[Literal["inf", "2"], BeforeValidator(_norm)],
        "protected_words": list[str],
    }
    return {name: (special.get(name, setting.kind) | None, None) for name, setting in settings().items()}


class Samples(Part):
    """Which samples: so many, drawn with the seed, which is that of the attacks, too."""

    limit: Annotated[int | None, Field(ge=1)] = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


Budgets: Any = create_model("Budgets", __base__=Part, __doc__=BudgetSettings.__doc__, **_budget_fields())


def budget_of(budgets: Any) -> dict[str, Any]:
    """What is given of a budget, as :class:`AuditSettings` takes it.

    :param budgets: Of :data:`Budgets`.
    :raises InputError: If radii do not lie inside one another, or the norm 2 has none.
    """
    given = {name: getattr(budgets, name) for name in settings() if getattr(budgets, name) is not None}
    if "eps" in given:
        given["eps"], given["smaller_eps"] = nested(given["eps"])
    if "protected_words" in given:
        given["protected_words"] = tuple(given["protected_words"])
    if given.get("norm") == "2" and "eps" not in given:
        raise InputError("with the norm 2 give budgets.eps: a Euclidean length over the whole image, such as 0.5.")
    return given


def as_tuple(values: Sequence[str] | None) -> tuple[str, ...] | None:
    """A list as settings keep it."""
    return None if values is None else tuple(values)
