"""What identifies a run: settings, exact model and data, protocol, versions."""

from __future__ import annotations

import math
from typing import Any

from art_multimodal.attacks.evasion.decoupling.search import MOST_BLOCKS, MOST_COMBINATIONS
from art_multimodal.attacks.gradient_checks import CHECKED_SAMPLES
from art_multimodal.attacks.registry import ATTACKS, PAIRS, RETRIEVAL, ZERO_SHOT, Budget
from art_multimodal.attacks.registry.exhaustive import MOST_TEXTS, MOST_TEXTS_OF_A_SAMPLE, word_curve
from art_multimodal.attacks.registry.targeted import LEAST_STEPS_TOGETHER, MOST_TARGETS
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.log import SCHEMA_VERSION, other_version
from art_multimodal.evaluations.audit.rendering import percent
from art_multimodal.evaluations.audit.settings import AuditSettings
from art_multimodal.evaluations.audit.subject import Subject
from art_multimodal.evaluations.audit.word_curve import CURVED
from art_multimodal.functional.perturbations import norm_of
from art_multimodal.shown import shown
from art_multimodal.versions import library_versions

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
    settings: AuditSettings, subject: Subject, attacks: tuple[str, ...], budget: Budget, selected: int
) -> dict[str, Any]:
    """Return the header of a run in JSON types.

    :param selected: Number of samples.
    """
    protocol = _protocol(settings, subject, {ATTACKS[name].modality for name in attacks}, budget)
    curved = CURVED in attacks and subject.task != RETRIEVAL
    if curved:
        protocol["word_curve"] = _word_curve(budget)
    return {
        "schema_version": SCHEMA_VERSION,
        "settings": settings.as_json(),
        "task": subject.task,
        "attacks": list(attacks),
        "defences": list(settings.defences),
        "model": subject.describe(settings.model),
        "data": {
            "spec": settings.data,
            "listed": len(subject.data),
            "selected": selected,
            "class_names": list(subject.class_names),
            "templates": list(subject.templates),
            "fingerprint": subject.data.fingerprint(),
        },
        "budget": {
            "norm": str(budget.norm),
            "eps": budget.eps,
            "eps_step": budget.eps_step,
            "steps": budget.max_iter,
            "max_queries": budget.max_queries,
            "language_model": budget.text.language_model,
            "max_words": budget.text.max_words,
            "max_edits": budget.text.max_edits,
            "top_k": budget.text.top_k,
            "word_curve": list(word_curve(budget)) if curved else [],
            "protect_class_names": budget.text.protect_class_names,
            "protected_words": list(budget.text.protected_words),
            "max_share": budget.max_share,
        },
        "protocol": protocol,
        "notes": list(subject.notes),
        "seed": settings.seed,
        "device": str(subject.estimator.device),
        "versions": library_versions(),
    }


def _protocol(settings: AuditSettings, subject: Subject, modalities: set[str], budget: Budget) -> dict[str, str]:
    task = subject.task
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
    if norm_of(budget.norm) == float("inf") and abs(255 * budget.eps - round(255 * budget.eps)) > 1e-6:
        said["eps"] = (
            f"{255 * budget.eps:g}/255 is no multiple of 1/255: saved as 8-bit files, as the report's pictures are, "
            f"attacked images may differ by {math.ceil(255 * budget.eps)}/255; what is scored are floats"
        )
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
    if "image" in modalities:
        said["quick"] = (
            f"pgd, art_pgd, apgd and apgd_dlr take {budget.max_iter} steps from one random start: quick looks, which "
            "leave some samples that more steps would mislead; pgd_targeted goes from the image towards each of the "
            f"{MOST_TARGETS} most likely other classes, with as many steps for each, and at least "
            f"{LEAST_STEPS_TOGETHER} for all: the row of images rests on it"
        )
    if modalities & {"image", "multimodal", "worst"}:
        said["hidden_gradients"] = (
            f"up to {CHECKED_SAMPLES} samples of each batch are looked at; what that asks the model is counted in the "
            "row that names what was seen"
        )
    if modalities & {"text", "multimodal", "worst"}:
        said["text_budget"] = _text_budget(budget, task)
        said["text_search"] = _text_search(task)
        said["text_queries"] = "mean number of changed texts tried per attacked sample; shared ones count for each"
    if settings.defences:
        said["defences"] = (
            f"{'; '.join(settings.defences)}, in front of the model in this order, before and under attack; attacks "
            "are made through them, by the gradient that a defence has, or straight through one that has none"
        )
        said["naive"] = (
            "the same attacks made on the model without its defences, and scored with them; the row of a modality is "
            "the worst case of both kinds"
        )
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
    if "worst" in modalities:
        how = "one attack after the other, each on what is still right; worst_multimodal goes on after the two others"
        if task == RETRIEVAL:
            how = "all attacks on all samples, of all ranks the worst counts; worst_multimodal takes in the two others"
        said["worst"] = f"{how}, and its queries come on top of theirs; gradient attacks take 50 steps at least"
    if "typographic" in modalities:
        said["typographic"] = f"a word on a label that covers at most {percent(budget.max_share, 0)} of the image"
    if "decoupling" in modalities:
        said |= {
            "decoupling_guided": "ours, within the limit of queries, a gradient counted as two",
            "decoupling_image": "the same on the image alone: words are nearly free and hide it otherwise",
            "decoupling_exhaustive": (
                f"the published search, label decision, at most {MOST_BLOCKS:,} blocks, each word, and "
                f"{MOST_COMBINATIONS} combinations, whatever the limit of queries: the report says how many it asked"
            ),
            "removal": "removed pixels take the model's mean colour; a removed word is deleted",
            "modality_importance": (
                "accuracy with every pixel removed, and with "
                + ("every word removed" if task == PAIRS else "every word but the class names removed")
            ),
        }
    return said


def _text_search(task: str) -> str:
    where = (
        f"up to {MOST_TEXTS:,} texts for all class prompts together"
        if task == ZERO_SHOT
        else f"up to {MOST_TEXTS_OF_A_SAMPLE:,} texts for each sample's text"
    )
    return (
        "text_exhaustive, worst_text and joint let all words and all edits compete, for each sample by itself: exact "
        f"{where}, counted before the work (with several prompts per class, each is replaced in turn, which may miss "
        "combinations); above it the likeliest are tried and texts_left_out is flagged. Other text attacks are quick"
    )


def _word_curve(budget: Budget) -> str:
    *some, every = word_curve(budget)
    return (
        f"worst_text is read with {', '.join(map(str, some))} proposals for each word and with all {every} entries of "
        "the language model's vocabulary, whatever top_k says; each point has the ones before, and all typing errors"
    )


def _text_budget(budget: Budget, task: str) -> str:
    text = budget.text
    words = "one word is" if text.max_words == 1 else f"at most {text.max_words} words are"
    edits = "one character is" if text.max_edits == 1 else f"at most {text.max_edits} characters are"
    kept = [] if task == RETRIEVAL or not text.protect_class_names else ["the words of all class names"]
    kept += [", ".join(text.protected_words)] if text.protected_words else []
    unconstrained = "nothing is protected, so a replaced word may change what is asked"
    return (
        f"{words} replaced by one of {text.top_k} that {text.language_model} proposes (all words compete), or {edits} "
        f"edited; {'protected: ' + '; '.join(kept) if kept else unconstrained}"
    )


def check_same_run(logged: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Compare all that numbers depend on; another device or library version is let through and stays as logged.

    :raises InputError: Naming what differs.
    """
    if logged.get("schema_version") != SCHEMA_VERSION:
        raise other_version(logged.get("schema_version"))
    differences: dict[str, str] = {}
    for part in ("settings", "budget", "model", "data"):
        for key in sorted({*logged.get(part, {}), *wanted[part]}):
            before, now = logged.get(part, {}).get(key), wanted[part].get(key)
            # Like the device, how many samples a pass holds is the machine's affair.
            if before != now and key != "batch_size":
                differences.setdefault(key, f"{key}: {_short(before)} then, {_short(now)} now")
    if differences:
        raise InputError(
            f"The run to resume had other settings ({'; '.join(differences.values())}). "
            "Give the same ones, or another --out."
        )


def _short(value: Any) -> str:
    text = shown(value)
    return text if len(text) <= 40 else text[:37] + "..."
