"""Settings that go together, by the time that one has: for the command line, and for configurations of benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Preset:
    """Values of options.

    :param summary: What it is for.
    :param values: By the names of parameters of ``audit``.
    :param on_samples: The attacks where samples have other modalities than image and text.
    """

    summary: str
    values: Mapping[str, Any]
    on_samples: str

    def as_options(self, names: tuple[str, ...] | None = None, of_samples: bool = False) -> str:
        """The values as they are written on a command line.

        :param names: Only these.
        :param of_samples: Whether samples have other modalities than image and text.
        """
        chosen = {name: value for name, value in self.values.items() if names is None or name in names}
        if of_samples and "attacks" in chosen:
            chosen["attacks"] = self.on_samples
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
        "apgd,modality_missing,modality_removed,decoupling_guided",
    ),
    "standard": Preset(
        "all modalities, with the default budgets, on enough samples for an interval of some 7 points",
        {"attacks": "image,text,multimodal,decoupling", "steps": 10, "max_queries": 500, "limit": 200},
        "single_source,multimodal,modality_swap,modality_missing,modality_removed,decoupling",
    ),
    "worst": Preset(
        "the number to quote: ensembles that go on where others fail; hours on a GPU for a large model",
        {"attacks": "worst", "steps": 100, "max_queries": 5000, "limit": 500},
        "worst",
    ),
}
