"""``audit --plan``: the settings of an audit from a plan, which no other option may contradict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from art_multimodal.cli.names import Names, data_spec, model_spec
from art_multimodal.errors import InputError
from art_multimodal.shown import brief, shown

if TYPE_CHECKING:
    from art_multimodal.evaluations.audit import Audit, AuditSettings
    from art_multimodal.evaluations.plans import DeclaredPlan, Plan

#: What makes the exit code 1, besides --fail-under: a verdict as bad as this.
FAIL_ON = Names("verdict", "--fail-on", ("fail", "warn"))
#: Parameters of the command by the entry of the plan that they would change, where they differ from its settings.
_ENTRIES = {
    "defence": "defences",
    "surrogate": "surrogates",
    "limit": "samples.limit",
    "seed": "samples.seed",
    "model": "models",
}


def given_options(ctx: Any, parameters: Iterable[str]) -> set[str]:
    """Those parameters of a command that stand on the command line.

    :param ctx: Of click.
    """
    # Its enumeration is none that typer exports.
    sources = {name: ctx.get_parameter_source(name) for name in parameters}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}


def models_of(plan: Plan, given: Iterable[str] | None = None) -> list[str]:
    """The models of a plan, as they are loaded.

    :param given: Models of the command line, as they are loaded; ``None`` where nothing will be.
    :raises InputError: If one runs code of its own and stands in the plan alone.
    """
    found = [model_spec(name) for name in plan.models]
    if alone := [name for name in found if given is not None and name.startswith("python:") and name not in given]:
        raise InputError(
            f"The plan names {shown(brief(alone[0], 80))}, which would run code, and a file that is loaded runs none: "
            "name the models of the plan on the command line, too, if you trust them."
        )
    return found


def settings_of(declared: DeclaredPlan, options: Mapping[str, Any], data_root: str | None = None) -> AuditSettings:
    """The settings of a plan, without a model.

    :param declared: As it was read.
    :param data_root: Where named data lie.
    :param options: What else was given on the command line, by parameter, read as settings are.
    :raises InputError: Where one of the options says something else than the plan.
    """
    from dataclasses import replace

    from art_multimodal.datasets.named.spec import with_root
    from art_multimodal.defences.registry import parse_defence
    from art_multimodal.evaluations.audit.radii import name_of

    plan = declared.plan
    settings = replace(declared.settings(plan.models[0]), model="", data=with_root(data_spec(plan.data), data_root))
    options = dict(options)
    if "defence" in options:
        options["defence"] = tuple(parse_defence(spec).spec for spec in options["defence"])
    if "eps" in options:
        radii = (*options.pop("smaller_eps", ()), options["eps"])
        options["eps"] = tuple(name_of(eps, settings.norm) for eps in radii)
    says: dict[str, Any] = {name: getattr(settings, name, None) for name in options}
    says |= {"model": [model_spec(name) for name in plan.models], "defence": settings.defences}
    says["surrogate"] = tuple(model_spec(name) for name in plan.surrogates)
    says["eps"] = tuple(name_of(eps, settings.norm) for eps in (*settings.smaller_eps, settings.eps))
    for name, value in options.items():
        if name == "preset":
            raise InputError("--preset sets what the plan declares: leave it out.")
        if name == "attacks":
            same = _as_set(value) in (_as_set(settings.attacks or ""), _as_set(settings.attacks_on_samples or ""))
        else:
            same = value == says[name]
        if not same:
            option = "MODEL" if name == "model" else f"--{name.replace('_', '-')}"
            entry = _ENTRIES.get(name, f"budgets.{name}" if name in type(plan.budgets).model_fields else name)
            said = "" if name == "attacks" else f", {_short(says[name])}"
            raise InputError(
                f"{option} {_short(value)} contradicts the plan, which declares {entry}{said}. Leave the option out, "
                "or change the plan before the run."
            )
    return settings


def limits_without_rows(job: Audit) -> list[str]:
    """Says so, before the work, where a run will have no row that its plan sets a limit to."""
    plan, rows = (job.settings.declared or {}).get("content", {}), job.report_rows
    missing = [row for row in dict.fromkeys([*plan.get("floors", ()), *plan.get("ceilings", ())]) if row not in rows]
    return [f"the plan has limits of {shown(', '.join(missing))}, rows that this run has not: NOT RUN"] * bool(missing)


def _as_set(names: str) -> set[str]:
    return {name.strip() for name in names.split(",") if name.strip()}


def _short(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return shown(brief(", ".join(map(str, value)) or "none", 60))
    return shown(brief(f"{value:g}" if isinstance(value, float) else value, 60))
