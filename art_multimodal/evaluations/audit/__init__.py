"""The audit: attack a model on data, keep a log, report.

``AuditSettings`` say what to do; :class:`Audit` does it and appends to a :class:`RunLog`; ``summarise`` turns a log
into numbers; ``write_reports`` turns a log into ``report.json``, ``report.html`` and ``report.md``. A report is a pure
function of a log, so a run that was killed and resumed ends with the same one.
"""

from art_multimodal.evaluations.audit.gate import Gate
from art_multimodal.evaluations.audit.log import RunLog
from art_multimodal.evaluations.audit.report import write_reports
from art_multimodal.evaluations.audit.run import Audit
from art_multimodal.evaluations.audit.settings import AuditSettings
from art_multimodal.evaluations.audit.summary import summarise
from art_multimodal.evaluations.smoothing.settings import AuditedSmoothing

__all__ = ["Audit", "AuditSettings", "AuditedSmoothing", "Gate", "RunLog", "summarise", "write_reports"]
