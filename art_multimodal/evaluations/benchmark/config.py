"""What a benchmark does: models × data sets × budgets, each with the same attacks, declared in a YAML file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, create_model, model_validator

from art_multimodal.datasets.named.protocols import PROTOCOLS, Protocol
from art_multimodal.defences.registry import parse_defence
from art_multimodal.errors import unknown_name
from art_multimodal.evaluations.audit.settings import TASKS, AuditSettings
from art_multimodal.evaluations.plans.attacks import selection
from art_multimodal.evaluations.plans.parts import (
    Budgets,
    Part,
    Samples,
    as_tuple,
    attacks_by_family,
    budget_of,
    or_empty,
    several,
)
from art_multimodal.evaluations.presets import PRESETS
from art_multimodal.evaluations.yaml_files import LARGEST, Kind, parse_file
from art_multimodal.shown import brief
from art_multimodal.store import read_text_option

#: The form of configurations that this version reads.
VERSION = 1
#: More are a mistake; each costs as much as an audit.
MOST_CELLS = 100_000
_LONGEST_NAME = 80


def _named(entry: str) -> Any:
    """A list of which each member is a name, or entries."""

    def read(value: Any) -> Any:
        found = several(value)
        if isinstance(found, dict):
            found = [found]
        return [{entry: one} if isinstance(one, str) else one for one in found] if isinstance(found, list) else found

    return BeforeValidator(read)


class ModelEntry(Part):
    """A model, and what stands in front of it."""

    model: str
    name: Annotated[str | None, Field(min_length=1, max_length=_LONGEST_NAME)] = None
    defences: Annotated[list[str] | None, BeforeValidator(several)] = None

    @property
    def shown_name(self) -> str:
        """How tables call it."""
        return self.name or self.model


class DataEntry(Part):
    """A data set, and what it is to the models: of the distribution that they were trained on, or never seen."""

    data: str
    name: Annotated[str | None, Field(min_length=1, max_length=_LONGEST_NAME)] = None
    role: Literal["in-distribution", "zero-shot"] | None = None
    templates: Annotated[list[str] | None, BeforeValidator(several)] = None
    classes: list[str] | None = None

    @property
    def shown_name(self) -> str:
        """How tables call it."""
        return self.name or self.data.removeprefix("data:")


#: Budgets of a plan, with a name where there are several.
NamedBudgets: Any = create_model(
    "NamedBudgets",
    __base__=Budgets,
    __doc__=Budgets.__doc__,
    name=(Annotated[str, Field(min_length=1, max_length=_LONGEST_NAME)] | None, None),
)


def _budgets(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


class BenchmarkConfig(Part):
    """The configuration of a benchmark.

    >>> text = "{benchmark: 1, models: [demo:digits], data: [demo:digits], attacks: {image: [pgd]}}"
    >>> config = parse_config(text)
    >>> isinstance(config, BenchmarkConfig), [entry.role for entry in config.data_sets()]
    (True, [None])

    :raises InputError: Where entries do not go together.
    """

    benchmark: Literal[1]
    title: Annotated[str, Field(min_length=1, max_length=200)] = "Robustness benchmark"
    models: Annotated[list[ModelEntry], _named("model"), Field(min_length=1)]
    data: Annotated[list[DataEntry], _named("data"), or_empty([])] = []
    protocol: str | None = None
    task: Literal[TASKS] = "classification"  # type: ignore[valid-type]
    attacks: Annotated[dict[str, list[str] | str] | None, BeforeValidator(attacks_by_family)] = None
    preset: str | None = None
    samples: Annotated[Samples, or_empty({})] = Samples()
    budgets: Annotated[list[NamedBudgets], BeforeValidator(_budgets), or_empty([{}]), Field(min_length=1)] = [
        NamedBudgets()
    ]
    defences: Annotated[list[str], BeforeValidator(several), or_empty([])] = []
    draws: Annotated[int, Field(ge=1, le=10_000)] = 10
    native_size: bool = False
    batch_size: Annotated[int, Field(ge=1, le=2**31 - 1)] = 32

    @model_validator(mode="after")
    def _fit_together(self) -> BenchmarkConfig:
        if self.attacks is not None and self.preset is not None:
            raise ValueError("preset and attacks contradict one another: a preset names attacks. Keep one of them.")
        if self.attacks is None and self.preset is None:
            known = ", ".join(PRESETS)
            raise ValueError(f"attacks are missing: name them by family, or write a preset ({known}).")
        if self.attacks is not None and not self.attacks:
            raise ValueError("attacks names no family. Write one, such as 'image: all'.")
        if self.preset is not None and self.preset not in PRESETS:
            raise unknown_name("preset", brief(self.preset, 60), PRESETS)
        found = self.protocol_of()
        if found is not None and self.task != "classification":
            raise ValueError(f"the protocol {self.protocol} is of classification, and task is {self.task}. Keep one.")
        if not self.data and found is None:
            raise ValueError(f"data is missing: name data sets, or a protocol ({', '.join(PROTOCOLS)}).")
        for kind, names in (
            ("model", [one.shown_name for one in self.models]),
            ("data set", [one.shown_name for one in self.data_sets()]),
            ("budget", [one.name or "" for one in self.budgets]),
        ):
            _check_once(kind, names)
        if len(self.budgets) > 1 and not all(one.name for one in self.budgets):
            raise ValueError("of several budgets each needs a name: write 'name: small' in it.")
        for entry in self.models:
            for spec in (*self.defences, *(entry.defences or ())):
                parse_defence(spec)
        if self.attacks is not None:
            selection(self.attacks)
        if len(self.models) * len(self.data_sets()) * len(self.budgets) > MOST_CELLS:
            raise ValueError(f"there are more than {MOST_CELLS:,} cells. Make several benchmarks of them.")
        # Ranges are checked where they are declared.
        cells_of(self)
        return self

    def protocol_of(self) -> Protocol | None:
        """The protocol that names data sets.

        :raises InputError: If there is none of that name.
        """
        return None if self.protocol is None else PROTOCOLS[self.protocol]

    def data_sets(self) -> list[DataEntry]:
        """All data sets: those of the protocol first."""
        found = self.protocol_of()
        if found is None:
            return list(self.data)
        named = [
            DataEntry(data=f"data:{name}", role=role, templates=list(found.templates))  # type: ignore[arg-type]
            for name, role in found.roles.items()
        ]
        return [*named, *self.data]

    def as_json(self) -> dict[str, Any]:
        """The configuration in JSON types, without what it leaves to the defaults of audits and of the machine."""
        return self.model_dump(mode="json", exclude_none=True, exclude={"batch_size"})


def _check_once(kind: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            hint = " Give each a name of its own." if kind != "budget" or name else " Give each a name."
            raise ValueError(f"the {kind} {brief(name, 80)} is named twice.{hint}")


_PARTS: dict[tuple[Any, ...], type[BaseModel]] = {
    (): BenchmarkConfig,
    ("models",): ModelEntry,
    ("data",): DataEntry,
    ("samples",): Samples,
    ("budgets",): NamedBudgets,
}
_KIND = Kind("a benchmark", "preset: quick", "docs/benchmark.md shows a whole one.", _PARTS)


def read_config(path: str | Path) -> BenchmarkConfig:
    """Read a configuration from a YAML file.

    >>> text = "{benchmark: 1, models: [demo:digits], data: [demo:digits], attacks: {image: [pgd]}}"
    >>> written = Path("benchmark.yaml").write_text(text, encoding="utf-8")
    >>> read_config("benchmark.yaml").attacks
    {'image': ['pgd']}

    :raises InputError: If it cannot be read, is larger than 64 KiB, or is none: in one line, with what to do.
    """
    return parse_config(read_text_option(path, "CONFIG:", LARGEST), str(path))


def parse_config(text: str, name: str = "the configuration") -> BenchmarkConfig:
    """Read a configuration from its text.

    >>> parse_config("{benchmark: 1, models: [demo:digits], data: [demo:digits], attacks: {image: [pgd]}}").title
    'Robustness benchmark'

    :param name: Begins each error.
    :raises InputError: If it is none.
    """
    return parse_file(BenchmarkConfig, _KIND, text, name)


@dataclass(frozen=True)
class Cell:
    """A model on a data set within a budget: one audit.

    :param model: Name of the model, as tables call it.
    :param data: Name of the data set.
    :param role: What the data set is to the models: ``"in-distribution"``, ``"zero-shot"`` or nothing.
    :param budget: Name of the budget; empty where there is one without.
    :param settings: What the audit does.
    """

    model: str
    data: str
    role: str | None
    budget: str
    settings: AuditSettings

    @property
    def id(self) -> str:
        """The name of its folder: by its end, a digest of all settings that its numbers depend on."""
        settings = self.settings.as_json() | {"attacks_on_samples": self.settings.attacks_on_samples}
        # The machine's affair.
        del settings["batch_size"]
        text = json.dumps(settings, sort_keys=True, ensure_ascii=True, allow_nan=False)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        return "--".join([*map(_slug, (self.settings.model, self.settings.data)), digest])

    def fits(self, header: Mapping[str, Any]) -> bool:
        """Whether a run is of this cell, by its header."""
        wanted, there = self.settings.as_json(), dict(header.get("settings", {}))
        attacks = there.pop("attacks", None)
        for name in ("batch_size", "attacks"):
            wanted.pop(name), there.pop(name, None)
        return there == json.loads(json.dumps(wanted)) and attacks in (
            self.settings.attacks,
            self.settings.attacks_on_samples,
        )

    def __str__(self) -> str:
        of = f", budget {self.budget}" if self.budget else ""
        return f"{self.model} on {self.data}{of}"


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")[-40:].strip("-.") or "x"


def cells_of(config: BenchmarkConfig) -> list[Cell]:
    """The cells of a benchmark: model by model, of each data set by data set.

    :raises InputError: For settings that cannot be used.
    """
    preset = None if config.preset is None else PRESETS[config.preset]
    filled = {} if preset is None else dict(preset.values)
    if config.attacks is None:
        attacks, on_samples = filled.pop("attacks"), None if preset is None else preset.on_samples
    else:
        attacks, on_samples = selection(config.attacks)
    limit = filled.pop("limit", None) if config.samples.limit is None else config.samples.limit
    filled.pop("limit", None)
    found = []
    for model in config.models:
        for data in config.data_sets():
            for budget in config.budgets:
                settings = AuditSettings(
                    model.model,
                    data.data,
                    attacks,
                    config.task,
                    limit,
                    config.batch_size,
                    seed=config.samples.seed,
                    templates=as_tuple(data.templates),
                    classes=as_tuple(data.classes),
                    native_size=config.native_size,
                    defences=tuple(config.defences if model.defences is None else model.defences),
                    draws=config.draws,
                    attacks_on_samples=on_samples,
                    **{**filled, **budget_of(budget)},
                )
                found.append(Cell(model.shown_name, data.shown_name, data.role, budget.name or "", settings))
    return found
