"""The suite: every attack that an audit can run, by name, ours and ART's.

An entry turns correctly classified samples into what the model says about them after the attack. Another attack is one
class, or one function that makes an attack of ART, and one entry in a module of this folder, an old or a new one; the
command line, the audit, its report and the docs read it from here.
"""

from art_multimodal.attacks.budget import Budget, TextBudget
from art_multimodal.evaluations.suite.detail import Detail
from art_multimodal.evaluations.suite.entry import (
    ATTACKS,
    PAIRS,
    RETRIEVAL,
    SAMPLES,
    ZERO_SHOT,
    Attacked,
    AttackEntry,
    Estimator,
    PreparedAttack,
    entry_of,
    register,
)
from art_multimodal.evaluations.suite.selection import select_attacks
from art_multimodal.registry import import_all

# In the order of a report's rows, and then whatever else there is.
_FIRST = ("image", "defended", "text", "exhaustive", "samples", "multimodal", "typographic", "noise", "transfer")
import_all(__name__, __path__, (*_FIRST, "decision", "worst", "decoupling"))

__all__ = [
    "ATTACKS",
    "PAIRS",
    "RETRIEVAL",
    "SAMPLES",
    "ZERO_SHOT",
    "AttackEntry",
    "Attacked",
    "Budget",
    "Detail",
    "Estimator",
    "PreparedAttack",
    "TextBudget",
    "entry_of",
    "register",
    "select_attacks",
]
