"""Plans of audits: what is attacked, and within which limits it is to stay, declared before the run.

:func:`read_plan` reads and checks a file; :class:`Plan` is what it says; ``Plan.settings`` is what an audit does of it.
"""

from art_multimodal.evaluations.plans.model import Plan
from art_multimodal.evaluations.plans.reading import DeclaredPlan, parse_plan, read_plan

__all__ = ["DeclaredPlan", "Plan", "parse_plan", "read_plan"]
