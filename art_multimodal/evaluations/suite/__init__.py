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

# Imported in the order of a report's rows.
from art_multimodal.evaluations.suite import image, text, exhaustive, samples, multimodal  # isort: skip
from art_multimodal.evaluations.suite import typographic, noise, transfer, decision  # isort: skip
from art_multimodal.evaluations.suite import worst, decoupling  # isort: skip

# And whatever else there is.
import_all(__name__, __path__)

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
    "decision",
    "decoupling",
    "entry_of",
    "exhaustive",
    "image",
    "multimodal",
    "noise",
    "register",
    "samples",
    "select_attacks",
    "text",
    "transfer",
    "typographic",
    "worst",
]
