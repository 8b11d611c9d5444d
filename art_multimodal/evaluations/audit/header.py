"""What identifies a run: settings, exact model and data, protocol, versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from art_multimodal.defences.entry import DEFENCES
from art_multimodal.evaluations.audit.defence_files import HEADER as DEFENCE_FILES
from art_multimodal.evaluations.audit.log import RunLog
from art_multimodal.evaluations.audit.published import HEADER as PUBLISHED
from art_multimodal.evaluations.audit.radii import within_a_radius
from art_multimodal.evaluations.audit.settings import AuditSettings
from art_multimodal.evaluations.audit.subject import Subject
from art_multimodal.evaluations.audit.threats import THREATS, Circumstances, off_the_grid
from art_multimodal.evaluations.audit.threats.samples import protocol_of_samples
from art_multimodal.evaluations.audit.universal import universal_facts
from art_multimodal.evaluations.audit.word_curve import CURVED
from art_multimodal.evaluations.suite import ATTACKS, PAIRS, RETRIEVAL, SAMPLES, ZERO_SHOT, Budget, entry_of
from art_multimodal.evaluations.suite.entry import registered_as
from art_multimodal.evaluations.suite.exhaustive import word_curve
from art_multimodal.functional.resizing import RESIZERS
from art_multimodal.plugins import made_with, plugins_of_run

_DECISION = {
    ZERO_SHOT: "top-1 of the logits over the class prompts",
    PAIRS: "top-1 of the model's answers",
    RETRIEVAL: "rank by cosine similarity; equal scores count against the model",
}
_TEXTS = {
    ZERO_SHOT: (
        "text attacks change words of the class prompts, by embeddings the same for all images, by margin and in joint "
        "for each image by itself; decoupling removes words from the templates, never the class name"
    ),
    PAIRS: (
        "text attacks change words of each sample's own text, decoupling removes words; image attacks leave it as it is"
    ),
    RETRIEVAL: "text attacks change every caption of an image; image attacks leave them as they are",
}


def header_of(
    settings: AuditSettings,
    subject: Subject,
    attacks: tuple[str, ...],
    budget: Budget,
    selected: int,
    smaller: Mapping[str, Budget] | None = None,
) -> dict[str, Any]:
    """Return the header of a run in JSON types.

    :param selected: Number of samples.
    :param smaller: Budgets of smaller radii by their names.
    """
    protocol = _protocol(settings, subject, dict.fromkeys(entry_of(name).modality for name in attacks), budget)
    curved = CURVED in attacks and subject.task != RETRIEVAL
    if smaller:
        protocol["radii"] = (
            f"{', '.join(smaller)} and the largest: attacks whose budget is a radius are made within each by "
            "themselves, with steps in proportion; the rows are those of the largest. The area under a curve of "
            "accuracy is the trapezoid's, from radius 0 on, over the largest radius"
        )
    if curved:
        protocol["word_curve"] = _word_curve(budget)
    plugins = plugins_of_run(
        (settings.model, *settings.surrogates),
        settings.data,
        (subject.model,),
        subject.data,
        [
            *((ATTACKS, registered_as(name)) for name in attacks),
            *((DEFENCES, spec.partition(":")[0]) for spec in settings.defences),
        ],
    )
    return {
        "schema_version": RunLog.schema_version,
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": settings.as_json(),
        "task": subject.task,
        "attacks": list(attacks),
        "defences": list(settings.defences),
        **({DEFENCE_FILES: [dict(one) for one in subject.defence_files]} if subject.defence_files else {}),
        "model": subject.describe(settings.model),
        "data": {
            "spec": settings.data,
            "listed": len(subject.data),
            "selected": selected,
            "class_names": list(subject.class_names),
            "templates": list(subject.templates),
            "fingerprint": subject.data.fingerprint(),
            **({"modalities": _modalities(subject)} if subject.task == SAMPLES else {}),
        },
        "budget": {
            **settings.budget_as_json(),
            # As they came out of what was asked for.
            "norm": str(budget.norm),
            "eps": budget.eps,
            "eps_step": budget.eps_step,
            "protected_words": list(budget.text.protected_words),
            "word_curve": list(word_curve(budget)) if curved else [],
            **({"modalities": _balls(subject, budget)} if budget.balls else {}),
        },
        **({PUBLISHED: True} if subject.at_test_time else {}),
        **({"surrogates": {one.name: one.as_json() for one in subject.surrogates}} if subject.surrogates else {}),
        **({"plan": dict(settings.declared)} if settings.declared is not None else {}),
        **({"universal": universal_facts(budget.universal)} if budget.universal is not None else {}),
        **({"smaller": _smaller(smaller, attacks, subject)} if smaller else {}),
        "protocol": protocol,
        "notes": list(subject.notes),
        "seed": settings.seed,
        "device": str(subject.estimator.device),
        **made_with(plugins),
    }


def _smaller(budgets: Mapping[str, Budget], attacks: tuple[str, ...], subject: Subject) -> list[dict[str, Any]]:
    """Smaller radii, ascending, with what is run within them, in JSON types."""
    return [
        {
            "name": name,
            "eps": budget.eps,
            "eps_step": budget.eps_step,
            **({"modalities": _balls(subject, budget)} if budget.balls else {}),
            "attacks": list(within_a_radius(attacks, budget)),
        }
        for name, budget in budgets.items()
    ]


def _modalities(subject: Subject) -> list[dict[str, Any]]:
    """What samples consist of, in JSON types."""
    found = []
    for name, modality in subject.estimator.modalities.items():
        facts: dict[str, Any] = {
            "name": name,
            "kind": modality.kind,
            "point": modality.point,
            "colour": modality.colour,
        }
        if modality.numeric:
            low, high = (float(np.min(modality.clip_values[0])), float(np.max(modality.clip_values[1])))
            facts |= {"shape": list(modality.shape), "variable": modality.variable, "low": low, "high": high}
        found.append(facts)
    return found


def _balls(subject: Subject, budget: Budget) -> dict[str, dict[str, Any]]:
    """How far each modality may move, in JSON types."""
    known = subject.estimator.modalities
    return {
        # Of images in [0, 1] one counts in steps of 8 bits.
        name: {
            "eps": ball.eps,
            "eps_step": ball.eps_step,
            "eight_bit": known[name].kind == "image" and known[name].clip_values == (0.0, 1.0),
        }
        for name, ball in budget.balls.items()
    }


def _protocol(settings: AuditSettings, subject: Subject, modalities: Iterable[str], budget: Budget) -> dict[str, str]:
    task, modalities = subject.task, list(modalities)
    if task == SAMPLES:
        return protocol_of_samples(settings, subject.estimator, modalities, budget)
    said = {
        "decision": _DECISION[task],
        "accuracy": "over all evaluated samples; a sample that is wrong before the attack counts as wrong",
        "attack_success_rate": "over the samples that are right before the attack; only these are attacked",
        "modality_rows": (
            "worst case per sample over the attacks of the modality; of multimodal over those on images, on texts and "
            "on both, since whoever may change both may change one alone"
        ),
        "intervals": (
            "95 % over samples: Wilson's with continuity correction for accuracies and success rates; for means of "
            "shares the wider of Student's t and the studentised bootstrap"
        ),
        "queries": (
            "mean forward evaluations of images per attacked sample; gradients counts those with a backward pass; of "
            "decoupling, probes of the model, words included and a gradient counted as two"
        ),
        "images": (
            "photos at their own size; the model resizes"
            if settings.native_size
            else "photos larger than the model's resolution are reduced to it first; perturbations live there"
        ),
        "texts": _TEXTS[task],
        "random_numbers": (
            "of the seed, the attack and the image, whatever --batch-size; ART's attacks (art_pgd, apgd, apgd_dlr, "
            f"square) draw for {settings.together} samples together, by their place in the order (--group-size)"
        ),
    }
    if settings.resize is not None:
        said["resize"] = f"{settings.resize}: {RESIZERS[settings.resize].summary}; instead of the model's own"
    said |= off_the_grid(budget)
    if task == RETRIEVAL:
        said |= {
            "accuracy": "recall@1, image to text: share of images whose most similar caption is one of theirs",
            "attack_success_rate": "over the images that find their caption first before the attack; all are attacked",
            "recall": (
                "share of images that find one of their captions, and of captions that find their image, among the k "
                "most similar ones; the worse of clean and attacked, since an attacker may do nothing"
            ),
            "image_attacks": (
                "pgd, apgd, apgd_dlr, pgd_targeted, square and decoupling know the captions of all samples, which they "
                "take for classes; the others know an image's own captions"
            ),
            "gallery": (
                "all evaluated samples; an attacked image stands with its own attacked captions among the clean "
                "others; equal captions of other images neither help nor harm"
            ),
        }
    for name in (name for name in THREATS if name in modalities):
        said |= THREATS[name].protocol(Circumstances(task, budget))
    if settings.defences:
        said["defences"] = (
            f"{'; '.join(settings.defences)}, in front of the model in this order, before and under attack; attacks "
            "are made through them, by the gradient that a defence has, or straight through one that has none"
        )
        if subject.defence_files:
            digests = (f"{one['option']} of {one['defence']} {one['sha256'][:16]}" for one in subject.defence_files)
            said["defence_files"] = f"SHA-256 of files that defences were made from: {', '.join(digests)}"
        said["naive"] = (
            "the same attacks made on the model without its defences, and scored with them; the row of a modality is "
            "the worst case of both kinds"
        )
        if subject.at_test_time:
            said["naive"] += (
                '; they are made on all samples, and "published" is the share of all that are right then, as papers '
                "report it: one that was wrong without an attack may be right"
            )
            said["test_time"] = _test_time(subject.estimator.test_time_defence, settings.draws)
        if subject.views.draws > 1:
            said["random_defences"] = (
                f"{settings.draws} draws: attacks are made on the mean embedding over them, gradients included, each "
                "draw counts as a query; "
                + (
                    "what is found is found by the mean"
                    if task == RETRIEVAL
                    else "the answer is what most of as many other draws say, a tie counts against the model"
                )
            )
    return said


def _test_time(defence: Any, draws: int) -> str:
    how = (
        "its steps count as constant for attacks that know of it (BPDA)"
        if defence.gradient == "bpda"
        else "attacks that know of it follow its steps, with smooth stand-ins for signs and thresholds"
    )
    random = (
        f", in expectation over {draws} draws; it answers once, with other draws, which belong to the pixels and the "
        "seed"
        if defence.random
        else ""
    )
    passes = defence.passes()
    return (
        f"{type(defence).__name__} computes at test time, {passes.forward} forward and {passes.backward} backward "
        f"passes of the image tower for each answer; {how}{random}"
    )


def _word_curve(budget: Budget) -> str:
    *some, every = word_curve(budget)
    return (
        f"worst_text is read with {', '.join(map(str, some))} proposals for each word and with all {every} entries of "
        "the language model's vocabulary, whatever top_k says; each point has the ones before, and all typing errors"
    )
