"""What identifies a certification: settings, exact model and data, protocol, versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from art_multimodal.evaluations.certification.lines import WITHOUT
from art_multimodal.evaluations.certification.log import KIND, CertificationLog
from art_multimodal.evaluations.smoothing.budgets import budget_name
from art_multimodal.evaluations.suite import SAMPLES
from art_multimodal.functional.resizing import RESIZERS
from art_multimodal.plugins import made_with, plugins_of_run

if TYPE_CHECKING:
    from art_multimodal.evaluations.certification.run import Certification


def header_of(job: Certification) -> dict[str, Any]:
    """Return the header of a run in JSON types."""
    settings, subject = job.settings, job.subject
    plugins = plugins_of_run((settings.model,), settings.data, (subject.model,), subject.data)
    return {
        "schema_version": CertificationLog.schema_version,
        "kind": KIND,
        "settings": settings.as_json(),
        "task": subject.task,
        # By row the modalities whose edits are counted.
        "rows": {row.name: list(row.names) for row in job.all_rows},
        "elements": job.counted.described(settings.keep, job.ensemble.masks),
        "seen_whole": job.counted.seen_whole,
        # Of a model that is certified by itself, too: a bound of each tower.
        **({} if job.radii is None else {"constants": job.radii.constants}),
        "exact": settings.exact,
        "model": subject.describe(settings.model),
        "data": {
            "spec": settings.data,
            "listed": len(subject.data),
            "selected": len(job.order),
            "class_names": list(subject.class_names),
            "templates": list(subject.templates),
            "fingerprint": subject.data.fingerprint(),
        },
        "budget": {
            "asked": [
                {"spec": budget.spec, "said": budget.words, "name": budget_name(resolved), "edits": resolved}
                for budget, resolved in zip(job.budgets, job.resolved, strict=True)
            ],
            "largest": job.grid[-1],
        },
        "protocol": _protocol(job),
        "notes": list(subject.notes),
        "seed": settings.seed,
        "device": str(subject.estimator.device),
        **made_with(plugins),
    }


def _protocol(job: Certification) -> dict[str, str]:
    settings = job.settings
    said = {
        "certified_accuracy": (
            "share of all evaluated samples whose answer is right and stays so whatever an attacker does within the "
            "budget; one without an answer counts as wrong"
        ),
        "attacker": (
            "knows the model, its weights and all masks; changes as many elements as the budget says, of all named "
            "modalities at once, anywhere and to anything"
        ),
        "budgets": (
            "an attack within a budget is also one within every larger one; a sample with fewer elements than the "
            "budget has all of them changed"
            if settings.edits == "modify"
            else "edits are changes, additions and deletions together, at their worst mixture"
        ),
        "controls": (
            "the same votes without seeing anything of one modality, and the best answer that looks at nothing: a "
            "model that ignores a modality is certified against any change of it, so a certificate is worth what it "
            "has over these"
        ),
        "intervals": "95 % over samples: Wilson's with continuity correction",
    }
    if not settings.exact:
        said["confidence"] = (
            "votes are drawn at random: the certificate of each sample may be wrong with a chance of "
            f"{settings.alpha:g}"
        )
    if any(getattr(of, "protected", ()) for of in job.counted.elements.values()):
        said["protected_words"] = (
            "are never hidden, and no attack is taken to change, add or remove one: they carry what is asked"
        )
    if job.subject.task != SAMPLES and not settings.native_size:
        said["images"] = (
            "photos larger than the model's resolution are reduced to it first; elements are those of the reduced "
            "ones, which the attacker changes (--native-size counts on the photo itself)"
        )
    if settings.resize is not None:
        said["resize"] = f"{settings.resize}: {RESIZERS[settings.resize].summary}; instead of the model's own"
    if job.radii is not None:
        said["radii"] = job.radii.protocol
    for row in job.all_rows:
        if not row.name.startswith(WITHOUT):
            said[row.name] = row.protocol
    return said
