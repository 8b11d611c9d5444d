"""The summary of a report: what happened, in words that need no knowledge of attacks."""

from __future__ import annotations

from typing import Any

from art_multimodal.evaluations.audit.flags import both_known, sentences_of
from art_multimodal.evaluations.audit.lines import CLEAN
from art_multimodal.evaluations.audit.rendering import interval, percent
from art_multimodal.evaluations.audit.threats import Quote, threats_of
from art_multimodal.evaluations.suite import PAIRS, RETRIEVAL, SAMPLES


def sentences(report: dict[str, Any], quote: Quote) -> list[str]:
    """Return the summary of a report.

    :param report: What ``report.json`` holds.
    """
    if not report["results"][CLEAN]["n"]:
        return ["No sample could be evaluated."]
    said = [] if report["complete"] else ["This run is not finished: the numbers cover what was evaluated so far."]
    said += _before(report, quote) + _defences(report, quote)
    for name, threat in threats_of(report).items():
        row = report["results"].get(name)
        # What is certified needs no attack.
        if row and row.get("attacked", row["n"]) and name not in report["attacks"]:
            said.append(threat.sentence(report, row, quote))
    without = report["without_modality"]
    if without:
        said.append(
            f"With all of the image removed {percent(without['image']['accuracy'])} of its answers are correct, with "
            f"all of the text removed {percent(without['text']['accuracy'])}."
        )
    for name, row in report["results"].items():
        if row.get("not_applicable"):
            said.append(f"{name} cannot work on {row['not_applicable']} of the images; its row leaves them out.")
        said += sentences_of(report, name)
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


def _before(report: dict[str, Any], quote: Quote) -> list[str]:
    clean = report["results"][CLEAN]
    share, ends = percent(clean["accuracy"]), interval(clean["accuracy_ci95"])
    if report["task"] == RETRIEVAL:
        back = clean["recall"]["text_to_image"]["1"]
        return [
            f"Without an attack the model finds a caption of the image first for {share} of {clean['n']} images "
            f"(95 % interval {ends}), and the image first for {percent(back['accuracy'])} of {back['n']} captions."
        ]
    does = {PAIRS: "answers {} of {} questions about images", SAMPLES: "names {} of {} samples"}.get(
        report["task"], "names {} of {} images"
    )
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
    rows = {name: row for name, row in report["results"].items() if both_known(row) and row["naive"]["attacked"]}
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
    clean = report["results"]["clean"]["accuracy"]
    published = {
        name: row["naive"]["published"]["accuracy"] for name, row in rows.items() if "published" in row["naive"]
    }
    if published:
        shown = ", ".join(f"{percent(share)} ({name})" for name, share in published.items() if share is not None)
        said += (
            f" Papers on such defences attack the bare model and count all samples, also those that are wrong without "
            f"an attack. That would give {shown}, with {percent(clean)} before."
        )
    return [said]
