"""The certification: what no attack within a budget of edits can change about a model's answers.

``CertificationSettings`` say what to do; :class:`Certification` does it and appends to a :class:`CertificationLog`;
``summarise`` turns a log into numbers; ``write_reports`` turns it into ``report.json``, ``report.html`` and
``report.md``. A report is a pure function of a log, so a run that was killed and resumed ends with the same one.
"""

from art_multimodal.evaluations.certification.gate import CertifiedGate
from art_multimodal.evaluations.certification.log import CertificationLog
from art_multimodal.evaluations.certification.report import write_reports
from art_multimodal.evaluations.certification.run import Certification
from art_multimodal.evaluations.certification.settings import CertificationSettings
from art_multimodal.evaluations.certification.summary import summarise
from art_multimodal.evaluations.smoothing.attacked import CertificateBroken, EmpiricalAttack
from art_multimodal.evaluations.smoothing.budgets import EditBudget

__all__ = [
    "CertificateBroken",
    "Certification",
    "CertificationLog",
    "CertificationSettings",
    "CertifiedGate",
    "EditBudget",
    "EmpiricalAttack",
    "summarise",
    "write_reports",
]
