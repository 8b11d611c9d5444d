"""What a certification is going to do: votes at most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from art_multimodal.evaluations.audit.plan import Plan, PlannedPass
from art_multimodal.evaluations.suite.costs import Cost

if TYPE_CHECKING:
    from art_multimodal.evaluations.certification.run import Certification


def plan_of(job: Certification) -> Plan:
    """The plan of a certification: each row with the largest number of votes about a sample."""
    samples = len(job.order)
    rows = [PlannedPass(row.name, samples, Cost(float(job.votes[row.name]))) for row in job.rows]
    return Plan((*rows, *(PlannedPass(row.name, samples, None) for row in job.attacked)))
