"""The options of the budget, from where its settings are declared."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from art_multimodal.cli.names import NORMS
from art_multimodal.cli.options import parse_distances, parse_names, parse_radii
from art_multimodal.evaluations.budget_settings import Setting, settings

#: What was given, by the names of the settings.
Budget = dict[str, Any]

#: How what was given is read, where it is not what it is.
_READ: dict[str, Callable[[Any, str], Any]] = {
    "eps": parse_radii,
    "eps_step": parse_distances,
    "norm": lambda text, option: NORMS.find(text),
    "protected_words": lambda text, option: parse_names(text, option, ",") or (),
}


def taking_budget(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the options of the budget in place of its parameter ``budget``.

    It gets those that were given, by the names of the settings.
    """
    signature = inspect.signature(command, eval_str=True)
    parameters = [
        one
        for parameter in signature.parameters.values()
        for one in ([_parameter(s) for s in settings().values()] if parameter.name == "budget" else [parameter])
    ]

    @wraps(command)
    def with_budget(**given: Any) -> None:
        from art_multimodal.evaluations.audit.radii import nested

        budget: Budget = {}
        for name, setting in settings().items():
            value = given.pop(setting.parameter)
            if setting.switched is not None:
                value = setting.switched if value else None
            if value is not None:
                read = _READ.get(name)
                budget[name] = value if read is None else read(value, setting.option)
        if "eps" in budget:
            budget["eps"], smaller = nested(budget["eps"])
            # What is not given stays out.
            budget |= {"smaller_eps": smaller} if smaller else {}
        command(**given, budget=budget)

    vars(with_budget)["__signature__"] = signature.replace(parameters=parameters)
    with_budget.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_budget


def _parameter(setting: Setting) -> inspect.Parameter:
    """An option as typer reads it; what is not given stays out."""
    switch = setting.switched is not None
    option = typer.Option(
        setting.option,
        metavar=setting.metavar or None,
        rich_help_panel=setting.group,
        help=setting.help,
        show_default=setting.default or False,
    )
    kind: Any = bool if switch else (list[str] if setting.repeated else setting.kind) | None
    return inspect.Parameter(
        setting.parameter,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=False if switch else None,
        annotation=Annotated[kind, option],
    )
