"""Every attack that an audit can run, by name: ours and ART's.

An entry turns correctly classified samples into what the model says about them after the attack. Another attack is one
function and one entry in a module of this folder; the command line, the audit, its report and the docs read it from
here.
"""

# Imported in the order of a report's rows.
from art_multimodal.attacks.registry.entry import (
    ATTACKS,
    PAIRS,
    RETRIEVAL,
    ZERO_SHOT,
    Attacked,
    AttackEntry,
    Budget,
    Estimator,
    TextBudget,
    select_attacks,
)

from art_multimodal.attacks.registry import image, text, exhaustive, multimodal, typographic, worst, decoupling  # isort: skip

__all__ = [
    "ATTACKS",
    "PAIRS",
    "RETRIEVAL",
    "ZERO_SHOT",
    "AttackEntry",
    "Attacked",
    "Budget",
    "Estimator",
    "TextBudget",
    "decoupling",
    "exhaustive",
    "image",
    "multimodal",
    "select_attacks",
    "text",
    "typographic",
    "worst",
]
