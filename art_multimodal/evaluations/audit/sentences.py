"""The summary of a report: what happened, in words that need no knowledge of attacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from art_multimodal.attacks.gradient_checks import suspicions
from art_multimodal.attacks.registry import PAIRS, RETRIEVAL
from art_multimodal.attacks.registry.exhaustive import CUT
from art_multimodal.evaluations.audit.rendering import in_255ths, interval, percent
from art_multimodal.evaluations.audit.summary import CLEAN
from art_multimodal.evaluations.audit.word_curve import CURVED, points_in_words

#: Makes a string from data harmless in the format at hand.
Quote = Callable[[str], str]


def sentences(report: dict[str, Any], quote: Quote) -> list[str]:
    """Return the summary of a report.

    :param report: What ``report.json`` holds.
    """
    if not report["results"][CLEAN]["n"]:
        return ["No sample could be evaluated."]
    said = [] if report["complete"] else ["This run is not finished: the numbers cover what was evaluated so far."]
    said += _before(report, quote) + _defences(report, quote)
    for name, say in (
        ("image", _image),
        ("text", _text),
        ("multimodal", _multimodal),
        ("typographic", _typographic),
        ("worst", _worst),
        ("decoupling", _decoupling),
    ):
        row = report["results"].get(name)
        if row and row["attacked"]:
            said.append(say(report, row, quote))
    without = report["without_modality"]
    if without:
        said.append(
            f"With all of the image removed {percent(without['image']['accuracy'])} of its answers are correct, with "
            f"all of the text removed {percent(without['text']['accuracy'])}."
        )
    for name, row in report["results"].items():
        naive = row.get("naive", {}).get("accuracy_ci95")
        if naive and row["accuracy"] > naive[1]:
            said.append(
                f"{name} leaves more when it is made through the defences than when it does not know of them. It is a "
                "weak attack there, and its number is not robustness: raise the steps, the queries or the draws."
            )
        if row.get("not_applicable"):
            said.append(f"{name} cannot work on {row['not_applicable']} of the images; its row leaves them out.")
        if left_out := row.get("flags", {}).get(CUT):
            said.append(
                f"{name} could not try all texts on {left_out} of {row['attacked']} samples: its number may be above "
                "the robustness there is. The protocol says how many are tried."
            )
        said += _suspicions_of(row)
    if report["skipped"]:
        said.append(f"{len(report['skipped'])} samples could not be read and are not counted; they are listed below.")
    said += guessing(report)
    return said + [f"Note: {quote(note)}" for note in report.get("notes", ())]


def guessing(report: dict[str, Any]) -> list[str]:
    """Says so where the model is no better than guessing without any attack: then no other number means much."""
    clean = report["results"][CLEAN]
    choices = clean["n"] if report["task"] == RETRIEVAL else len(report["data"]["class_names"])
    if not clean["n"] or not choices or clean["accuracy_ci95"] is None or clean["accuracy_ci95"][0] > 1 / choices:
        return []
    how = "is no better than" if clean["accuracy"] <= 1 / choices else "cannot be told from"
    what = "images" if report["task"] == RETRIEVAL else "classes"
    return [
        f"Without an attack the accuracy {how} guessing among {choices} {what} ({percent(1 / choices)}): look at class "
        "names, templates and labels before anything else, or give more samples."
    ]


def gradient_warnings(report: dict[str, Any]) -> list[str]:
    """Why numbers of a report should not be trusted, since gradients are hidden; nothing where nothing is suspicious.

    :param report: What ``report.json`` holds.
    """
    return [sentence for row in report["results"].values() for sentence in _suspicions_of(row)]


def _suspicions_of(row: dict[str, Any]) -> list[str]:
    return suspicions(row.get("flags", {}), row.get("attacked", 0))


def _before(report: dict[str, Any], quote: Quote) -> list[str]:
    clean = report["results"][CLEAN]
    share, ends = percent(clean["accuracy"]), interval(clean["accuracy_ci95"])
    if report["task"] == RETRIEVAL:
        back = clean["recall"]["text_to_image"]["1"]
        return [
            f"Without an attack the model finds a caption of the image first for {share} of {clean['n']} images "
            f"(95 % interval {ends}), and the image first for {percent(back['accuracy'])} of {back['n']} captions."
        ]
    does = "answers {} of {} questions about images" if report["task"] == PAIRS else "names {} of {} images"
    said = [f"Without an attack the model {does.format(share, clean['n'])} correctly (95 % interval {ends})."]
    most = max(clean["prediction_counts"])
    if most > 0.8 * clean["n"] and max(clean["label_counts"]) < 0.6 * clean["n"]:
        name = quote(report["data"]["class_names"][clean["prediction_counts"].index(most)])
        said.append(
            f"It answers “{name}” for {percent(most / clean['n'])} of them, so it hardly tells the classes apart."
        )
    return said


def _defences(report: dict[str, Any], quote: Quote) -> list[str]:
    """What stands in front of the model, and how much better it looks to an attacker who does not know of it."""
    if not report.get("defences"):
        return []
    said = f"In front of the model, also without an attack: {quote('; '.join(report['defences']))}."
    rows = {name: row for name, row in report["results"].items() if row.get("naive", {}).get("attacked")}
    left = [
        f"{percent(row['naive']['accuracy'])} instead of {percent(row['accuracy'])} ({name})"
        for name, row in rows.items()
        if name not in report["attacks"] and row["naive"]["accuracy"] > row["accuracy"]
    ]
    if left:
        said += (
            " The numbers are those of attackers who know it. Attacks made without knowing of it leave "
            f"{', '.join(left)}; that is not robustness, since attackers can adapt."
        )
    elif rows:
        said += " Attacks made without knowing of it do as much damage as those that know it."
    return [said]


def _consequence(report: dict[str, Any], row: dict[str, Any]) -> str:
    """What an attack leaves."""
    if report["task"] == RETRIEVAL:
        return (
            f"{percent(row['accuracy'])} of the images still find a caption of theirs first: the attacks mislead the "
            f"model on {percent(row['attack_success_rate'])} of those that did before"
        )
    samples = "samples" if report["task"] == PAIRS else "images"
    return (
        f"{percent(row['accuracy'])} remain correct: the attacks mislead the model on "
        f"{percent(row['attack_success_rate'])} of the {samples} that it had right"
    )


def _limit(budget: dict[str, Any]) -> str:
    if float(budget["norm"]) == float("inf"):
        return f"each pixel may change by at most {in_255ths(budget['eps'])} of its range"
    return f"an image may change by at most {budget['eps']:g} in Euclidean length"


def _words(report: dict[str, Any]) -> str:
    budget = report["budget"]
    words = "one word" if budget["max_words"] == 1 else f"up to {budget['max_words']} words"
    edits = "one typing error" if budget["max_edits"] == 1 else f"up to {budget['max_edits']} typing errors"
    where = {PAIRS: "the text", RETRIEVAL: "every caption"}.get(report["task"], "every class prompt")
    return f"{words} of {where} may be replaced, or {edits} made"


def _image(report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
    budget = report["budget"]
    hard_to_see = float(budget["norm"]) == float("inf") and budget["eps"] <= 8.5 / 255
    said = f"When {_limit(budget)}{', which is hard to see' if hard_to_see else ''}, {_consequence(report, row)}."
    if not {"pgd_targeted", "worst_image"} & set(report["attacks"]):
        said += " Only quick attacks were made: pgd_targeted, or --attacks worst, may leave less."
    return said


def _text(report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
    budget = report["budget"]
    kept = budget["protected_words"] or (budget["protect_class_names"] and report["task"] != RETRIEVAL)
    safe = (
        ", without touching the words that make the difference"
        if kept
        else " (nothing is protected, so a replaced word may change what is asked)"
    )
    return f"When {_words(report)}{safe}, {_consequence(report, row)}."


def _multimodal(report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
    return f"When image, text or both are attacked within these limits, {_consequence(report, row)}."


def _typographic(report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
    share = percent(report["budget"]["max_share"], 0)
    return f"When a word is written on a label that covers at most {share} of the image, {_consequence(report, row)}."


def _worst(report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
    threats = (("worst_image", "the image"), ("worst_text", "the text"), ("worst_multimodal", "either or both"))
    left = [
        f"{percent(report['results'][name]['accuracy'])} when {what} may be attacked"
        for name, what in threats
        if name in report["results"]
    ]
    how, what = "each of which goes on where the ones before it failed", "what remains correct"
    if report["task"] == RETRIEVAL:
        how, what = "of which the worst rank counts", "the share of images that still find a caption of theirs first"
    said = f"Against ensembles of attacks, {how}, {what} is {', '.join(left)}. These are the numbers to quote."
    curve = report["results"].get(CURVED, {}).get("word_curve")
    if curve:
        points = ", ".join(f"{left} {words}" for words, left in points_in_words(report["results"][CURVED], report))
        said += (
            f" On texts how many words are tried in each place, beside all typing errors, decides: {points} remain "
            "correct."
        )
    return said


def _decoupling(report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
    if row["share_removed_mean"] is None:
        return "Removing parts of the input never changed the answer."
    if report["task"] == RETRIEVAL:
        return (
            f"Removing pixels puts another caption first for {percent(row['attack_success_rate'])} of the images that "
            f"found theirs, by taking away {percent(row['share_removed_mean'], 2)} of the image on average."
        )
    pairs = report["task"] == PAIRS
    return (
        f"Removing pixels or words of the {'text' if pairs else 'prompt'} changes the answer for "
        f"{percent(row['attack_success_rate'])} of the {'samples' if pairs else 'images'} that it had right, by taking "
        f"away {percent(row['share_removed_mean'], 2)} of the input on average and "
        f"{percent(row['share_removed_min'], 2)} at best."
    )
