"""What is said of attacks on images, on texts and on both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from art_multimodal.attacks.budget import Budget
from art_multimodal.attacks.gradient_checks import CHECKED_SAMPLES
from art_multimodal.evaluations.audit.rendering import percent
from art_multimodal.evaluations.audit.threats.threat import Circumstances, Quote, Threat, consequence
from art_multimodal.evaluations.audit.word_curve import CURVED, points_in_words
from art_multimodal.evaluations.budget_settings import in_255ths, is_l_inf
from art_multimodal.evaluations.suite import PAIRS, RETRIEVAL, ZERO_SHOT
from art_multimodal.evaluations.suite.exhaustive import MOST_TEXTS, MOST_TEXTS_OF_A_SAMPLE
from art_multimodal.evaluations.suite.noise import DRAWS
from art_multimodal.evaluations.suite.targeted import LEAST_STEPS_TOGETHER, MOST_TARGETS
from art_multimodal.functional.perturbations import norm_of


class OnImages(Threat):
    """Pixels within a ball."""

    name = "image"
    colour = "#c8452f"

    def sentence(self, report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
        budget = report["budget"]
        hard_to_see = is_l_inf(budget) and budget["eps"] <= 8.5 / 255
        limit = (
            f"each pixel may change by at most {in_255ths(budget['eps'])} of its range"
            if is_l_inf(budget)
            else f"an image may change by at most {budget['eps']:g} in Euclidean length"
        )
        said = f"When {limit}{', which is hard to see' if hard_to_see else ''}, {consequence(report, row)}."
        if not {"pgd_targeted", "worst_image"} & set(report["attacks"]):
            said += " Only quick attacks were made: pgd_targeted, or --attacks worst, may leave less."
        return said

    def protocol(self, of: Circumstances) -> dict[str, str]:
        return {
            "quick": (
                f"pgd, art_pgd, apgd and apgd_dlr take {of.budget.max_iter} steps from one random start: quick looks, "
                "which leave some samples that more steps would mislead; pgd_targeted goes from the image towards each "
                f"of the {MOST_TARGETS} most likely other classes, with as many steps for each, and at least "
                f"{LEAST_STEPS_TOGETHER} for all: the row of images rests on it"
            ),
            **hidden_gradients(),
        }


def words_and_edits(budget: Mapping[str, Any]) -> tuple[str, str]:
    """How much of a text may change, from a budget in JSON types."""
    words = "one word" if budget["max_words"] == 1 else f"up to {budget['max_words']} words"
    edits = "one typing error" if budget["max_edits"] == 1 else f"up to {budget['max_edits']} typing errors"
    return words, edits


class OnTexts(Threat):
    """Words and characters."""

    name = "text"
    colour = "#b98217"

    def sentence(self, report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
        budget = report["budget"]
        kept = budget["protected_words"] or (budget["protect_class_names"] and report["task"] != RETRIEVAL)
        safe = (
            ", without touching the words that make the difference"
            if kept
            else " (nothing is protected, so a replaced word may change what is asked)"
        )
        words, edits = words_and_edits(budget)
        where = {PAIRS: "the text", RETRIEVAL: "every caption"}.get(report["task"], "every class prompt")
        return f"When {words} of {where} may be replaced, or {edits} made{safe}, {consequence(report, row)}."

    def protocol(self, of: Circumstances) -> dict[str, str]:
        return of_words(of)


class OnBoth(Threat):
    """Image, text, or both."""

    name = "multimodal"
    colour = "#a02f6f"

    def sentence(self, report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
        return f"When image, text or both are attacked within these limits, {consequence(report, row)}."

    def protocol(self, of: Circumstances) -> dict[str, str]:
        return {**hidden_gradients(), **of_words(of)}


class WordsInImages(Threat):
    """A word on a label in the image."""

    name = "typographic"

    def sentence(self, report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
        share = percent(report["budget"]["max_share"], 0)
        return (
            f"When a word is written on a label that covers at most {share} of the image, {consequence(report, row)}."
        )

    def protocol(self, of: Circumstances) -> dict[str, str]:
        share = percent(of.budget.max_share, 0)
        return {"typographic": f"a word on a label that covers at most {share} of the image"}


class UniversalOnImages(Threat):
    """One perturbation for all images, from a file."""

    name = "universal"
    colour = "#7a4fb0"

    def sentence(self, report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
        return f"When one and the same perturbation is added to every image, {consequence(report, row)}."

    def protocol(self, of: Circumstances) -> dict[str, str]:
        return {
            "universal": (
                "one perturbation for all images, learned elsewhere and read from a file; brought to the size of each "
                "image bilinearly, and inside the radius; it counts for the row of images, too"
            )
        }


class Noise(Threat):
    """Noise that knows nothing of the model."""

    name = "noise"
    colour = "#6b7785"

    def sentence(self, report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
        left = consequence(report, row)
        return f"Under noise as strong as the attacks may be, which knows nothing of the model, {left}."

    def protocol(self, of: Circumstances) -> dict[str, str]:
        return {"noise": f"of {DRAWS} draws within the radius the worst; half of them go as far as they may everywhere"}


class WorstOfAll(Threat):
    """Ensembles."""

    name = "worst"
    colour = "#3d4652"

    def sentence(self, report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
        threats = (("worst_image", "the image"), ("worst_text", "the text"), ("worst_multimodal", "either or both"))
        left = [
            f"{percent(report['results'][name]['accuracy'])} when {what} may be attacked"
            for name, what in threats
            if name in report["results"]
        ]
        how, what = "each of which goes on where the ones before it failed", "what remains correct"
        if report["task"] == RETRIEVAL:
            how = "of which the worst rank counts"
            what = "the share of images that still find a caption of theirs first"
        said = f"Against ensembles of attacks, {how}, {what} is {', '.join(left)}. These are the numbers to quote."
        curve = report["results"].get(CURVED, {}).get("word_curve")
        if curve:
            points = ", ".join(f"{left} {words}" for words, left in points_in_words(report["results"][CURVED], report))
            said += (
                f" On texts how many words are tried in each place, beside all typing errors, decides: {points} remain "
                "correct."
            )
        return said

    def protocol(self, of: Circumstances) -> dict[str, str]:
        how = "one attack after the other, each on what is still right; worst_multimodal goes on after the two others"
        if of.task == RETRIEVAL:
            how = "all attacks on all samples, of all ranks the worst counts; worst_multimodal takes in the two others"
        worst = f"{how}, and its queries come on top of theirs; gradient attacks take 50 steps at least"
        return {**hidden_gradients(), **of_words(of), "worst": worst}


def hidden_gradients() -> dict[str, str]:
    """How gradients are looked at."""
    return {
        "hidden_gradients": (
            f"up to {CHECKED_SAMPLES} samples of each batch are looked at; what that asks the model is counted in the "
            "row that names what was seen"
        )
    }


def of_words(of: Circumstances) -> dict[str, str]:
    """What may be done to words, and how it is searched."""
    where = (
        f"up to {MOST_TEXTS:,} texts for all class prompts together"
        if of.task == ZERO_SHOT
        else f"up to {MOST_TEXTS_OF_A_SAMPLE:,} texts for each sample's text"
    )
    return {
        "text_budget": _text_budget(of.budget, of.task),
        "text_search": (
            "text_exhaustive, worst_text and joint let all words and all edits compete, for each sample by itself: "
            f"exact {where}, counted before the work (with several prompts per class, each is replaced in turn, which "
            "may miss combinations); above it the likeliest are tried and texts_left_out is flagged. Other text "
            "attacks are quick"
        ),
        "text_queries": "mean number of changed texts tried per attacked sample; shared ones count for each",
    }


def off_the_grid(budget: Budget) -> dict[str, str]:
    """Said of a radius that 8-bit files do not hold."""
    if norm_of(budget.norm) != float("inf") or abs(255 * budget.eps - round(255 * budget.eps)) <= 1e-6:
        return {}
    return {
        "eps": (
            f"{255 * budget.eps:g}/255 is no multiple of 1/255: saved as 8-bit files, as the report's pictures are, "
            f"attacked images may differ by {math.ceil(255 * budget.eps)}/255; what is scored are floats"
        )
    }


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
