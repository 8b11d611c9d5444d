"""The universal perturbation that an audit is given: read once, checked against the budget, and named in the header."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from art_multimodal.attacks.budget import Budget
from art_multimodal.attacks.evasion.universal import UniversalPerturbation, digest_of, load_perturbation
from art_multimodal.attacks.evasion.universal.perturbation import ROUNDING
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.settings import AuditSettings
from art_multimodal.evaluations.budget_settings import in_255ths
from art_multimodal.evaluations.suite import SAMPLES
from art_multimodal.shown import shown


def with_universal(settings: AuditSettings, budget: Budget, task: str) -> Budget:
    """The budget with the perturbation that settings name.

    It is one of the images' own row: that is the worst case within the radius, so that a perturbation outside of it is
    refused. Within smaller radii it is projected into each.

    :raises InputError: If it cannot be read, is larger than the radius, or samples are no images.
    """
    if settings.universal is None:
        return budget
    if task == SAMPLES:
        raise InputError(f"{settings.model} takes arrays and no images: leave out --universal.")
    found = load_perturbation(settings.universal, settings.norm)
    length = found.length(budget.norm)
    if length > budget.eps * (1 + ROUNDING):
        lengths = [in_255ths(one) if budget.norm == "inf" else f"{one:.4g}" for one in (length, budget.eps)]
        raise InputError(
            f"The perturbation in {shown(settings.universal)} moves images by {lengths[0]} in norm {budget.norm}, and "
            f"--eps is {lengths[1]}: audit within {lengths[0]}, or choose a smaller perturbation."
        )
    return replace(budget, universal=found)


def universal_facts(found: UniversalPerturbation) -> dict[str, Any]:
    """What identifies a perturbation in a header, in JSON types."""
    return {
        "sha256": digest_of(found),
        "norm": found.norm,
        "eps": found.eps,
        "size": list(found.size),
        "surrogates": list(found.surrogates),
        "target": found.target,
    }
