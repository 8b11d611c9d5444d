"""``--preset``: options that go together, by the time that one has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from art_multimodal.cli.names import Names


@dataclass(frozen=True)
class Preset:
    """Values of options.

    :param summary: What it is for.
    :param values: By the names of parameters of ``audit``.
    """

    summary: str
    values: Mapping[str, Any]

    def as_options(self, names: tuple[str, ...] | None = None) -> str:
        """The values as they are written on a command line.

        :param names: Only these.
        """
        chosen = {name: value for name, value in self.values.items() if names is None or name in names}
        return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in chosen.items())


#: The only place of these numbers: the docs' table and the tests read it. The attacks work on every kind of model.
PRESETS = {
    "quick": Preset(
        "a first look: minutes for a ViT-B/32 on a few cores; understates what an attacker can do",
        {
            "attacks": "apgd,bert_attack_margin,decoupling_image",
            "steps": 5,
            "max_queries": 40,
            "limit": 50,
        },
    ),
    "standard": Preset(
        "all modalities, with the default budgets, on enough samples for an interval of some 7 points",
        {"attacks": "image,text,multimodal,decoupling", "steps": 10, "max_queries": 500, "limit": 200},
    ),
    "worst": Preset(
        "the number to quote: ensembles that go on where others fail; hours on a GPU for a large model",
        {"attacks": "worst", "steps": 100, "max_queries": 5000, "limit": 500},
    ),
}
NAMES = Names("preset", "--preset", tuple(PRESETS), {"fast": "quick", "default": "standard", "full": "worst"})


def with_preset(name: str | None, given: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Options where a preset, if any, fills in what was not given.

    :param name: As the user wrote it.
    :param given: Values by option; ``None`` for those that were not given.
    :return: The values, and what the preset set as it is written on a command line; empty without one.
    :raises InputError: For an unknown preset.
    """
    if name is None:
        return dict(given), ""
    preset = PRESETS[NAMES.find(name)]
    filled = tuple(option for option in preset.values if given.get(option) is None)
    return {**given, **{option: preset.values[option] for option in filled}}, preset.as_options(filled)


#: Of --help.
SECTION = ("Presets", tuple((name, f"{preset.summary}: {preset.as_options()}") for name, preset in PRESETS.items()))
