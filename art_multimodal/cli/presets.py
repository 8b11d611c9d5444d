"""``--preset``: options that go together, by the time that one has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from art_multimodal.cli.names import Names
from art_multimodal.evaluations.presets import PRESETS, Preset

NAMES = Names("preset", "--preset", tuple(PRESETS), {"fast": "quick", "default": "standard", "full": "worst"})


@dataclass(frozen=True)
class Filled:
    """What a preset has set.

    :param preset: The preset; ``None`` without one.
    :param names: Of the options that it has set.
    """

    preset: Preset | None = None
    names: tuple[str, ...] = ()

    def as_options(self, of_samples: bool = False) -> str:
        """These as they are written on a command line; empty without a preset."""
        return "" if self.preset is None else self.preset.as_options(self.names, of_samples)

    @property
    def attacks_on_samples(self) -> str | None:
        """The attacks where samples have other modalities, if the preset has set them."""
        return self.preset.on_samples if self.preset is not None and "attacks" in self.names else None


def with_preset(name: str | None, given: Mapping[str, Any]) -> tuple[dict[str, Any], Filled]:
    """Options where a preset, if any, fills in what was not given.

    :param name: As the user wrote it.
    :param given: Values by option; ``None`` for those that were not given.
    :return: The values, and what the preset has set.
    :raises InputError: For an unknown preset.
    """
    if name is None:
        return dict(given), Filled()
    preset = PRESETS[NAMES.find(name)]
    filled = tuple(option for option in preset.values if given.get(option) is None)
    return {**given, **{option: preset.values[option] for option in filled}}, Filled(preset, filled)


def _said(preset: Preset) -> str:
    """What --help says of a preset; the spaces let a long list of attacks be wrapped."""
    on_samples = preset.on_samples.replace(",", ", ")
    return f"{preset.summary}: {preset.as_options()} (on samples of other modalities: {on_samples})"


#: Of --help.
SECTION = ("Presets", tuple((name, _said(preset)) for name, preset in PRESETS.items()))
