"""The summary of a certification: what was found, in words that need no knowledge of certificates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from art_multimodal.evaluations.audit.rendering import interval, percent
from art_multimodal.evaluations.certification.lines import (
    ATTACKED,
    CERTIFIED,
    CONSTANT,
    MODEL,
    VOTE,
    WITHOUT,
    is_control,
)

#: Writes strings of strangers as a format needs it.
Quote = Callable[[str], str]


def sentences(report: dict[str, Any], quote: Quote) -> list[str]:
    """Return the summary of a report.

    :param report: What ``report.json`` holds.
    """
    results = report["results"]
    if not results[MODEL]["n"]:
        return ["No sample could be evaluated."]
    said = [] if report["complete"] else ["This run is not finished: the numbers cover what was evaluated so far."]
    said += [_before(results), threat(report, quote)]
    for asked in report["budget"]["asked"]:
        row = results[CERTIFIED]["certified"][asked["name"]]
        best, control = best_control(report, asked["name"])
        said.append(
            f"Whatever an attacker does to {quote(asked['said'])}, at least {percent(row['accuracy'])} of the samples "
            f"stay right (95 % interval {interval(row['accuracy_ci95'])}). The best control, {quote(best)}, has "
            f"{percent(control['accuracy'])} there."
        )
    said += _radii(report, quote) + controls(report, quote) + _votes(report, quote) + _attacks(report, quote)
    if not report["exact"]:
        alpha = report["settings"]["alpha"]
        said.append(
            f"Votes were drawn at random: each certificate holds with probability {1 - alpha:g} or more, for each "
            "sample by itself."
        )
    if report["skipped"]:
        said.append(f"{len(report['skipped'])} samples could not be read and are not counted; they are listed below.")
    return said + [f"Note: {quote(note)}" for note in report.get("notes", ())]


def best_control(report: dict[str, Any], budget: str) -> tuple[str, dict[str, Any]]:
    """The control that most is certified about, and its share.

    :param budget: As the report names it.
    """
    shares = {name: row["certified"][budget] for name, row in report["results"].items() if is_control(name)}
    return max(shares.items(), key=lambda one: one[1]["accuracy"] or 0.0)


def _before(results: dict[str, Any]) -> str:
    model, smoothed = results[MODEL], results[CERTIFIED]
    quiet = f", and gives no answer to {percent(smoothed['abstained'])}" if smoothed["abstained"] else ""
    return (
        f"Without an attack the model names {percent(model['accuracy'])} of {model['n']} samples correctly when it "
        "sees them whole. The smoothed model, which votes about parts of them, names "
        f"{percent(smoothed['accuracy'])} correctly (95 % interval {interval(smoothed['accuracy_ci95'])}){quiet}. "
        "Certificates are about the smoothed model alone."
    )


def threat(report: dict[str, Any], quote: Quote) -> str:
    """What an attacker may do, and what not."""
    counted = []
    for name, of in report["elements"].items():
        number = str(of["most"]) if of["least"] == of["most"] else f"{of['least']} to {of['most']}"
        few, many = of["seen"]
        seen = f"{few}" if few == many else f"{few} to {many}"
        counted.append(
            f"{quote(name)} has {number} elements in a sample, each a {quote(of['unit'])}, and a vote sees {seen} of "
            "them"
        )
    does = "change" if report["settings"]["edits"] == "modify" else "change, add or delete"
    said = (
        f"{'; '.join(counted)}. An attacker may {does} as many of them as the budget says"
        f"{', of all of these at once' if len(counted) > 1 else ''}, anywhere and to anything."
    )
    protected = [word for of in report["elements"].values() for word in of["protected"]]
    if protected:
        said += f" {len(protected)} protected words are never hidden, and no attack is taken to touch them."
    if report["seen_whole"]:
        names = ", ".join(map(quote, report["seen_whole"]))
        said += f" {names}: always seen whole, so a change of it is not covered by any certificate."
    return said


def controls(report: dict[str, Any], quote: Quote) -> list[str]:
    """Says which controls are as good as the smoothed model: then what is certified says nothing about a modality."""
    results, said = report["results"], []
    for name, row in results.items():
        if row.get("behind_ci95") is None or row["behind_ci95"][0] > 0:
            continue
        ends = f"95 % interval {interval(row['behind_ci95'])} points"
        seems = "is" if row["behind"] <= 0 else "cannot be told from being"
        if name == CONSTANT:
            said.append(
                f"One and the same answer to every sample is right for {percent(row['accuracy'])}, and no attack "
                f"changes it. The smoothed model {seems} no better ({ends}): its certificates mean nothing."
            )
        elif name.startswith(WITHOUT):
            modality = quote(name.removeprefix(WITHOUT))
            said.append(
                f"Without seeing anything of {modality} the votes are right for {percent(row['accuracy'])}. With it "
                f"the smoothed model {seems} no better ({ends}): where it does not use {modality}, what is certified "
                f"against changes of {modality} is no robustness."
            )
    return said


def _votes(report: dict[str, Any], quote: Quote) -> list[str]:
    said = []
    for name, row in report["results"].items():
        if name.startswith(VOTE) and row["n"]:
            rule = name.removeprefix(VOTE)
            how = "by majority" if rule == "majority" else f"by the {rule} of scores"
            said.append(
                f"A vote of what each modality says alone, {how}, is right for {percent(row['accuracy'])}. Whatever "
                f"becomes of any one modality, all of it, {percent(row['any_one']['accuracy'])} stay right (95 % "
                f"interval {interval(row['any_one']['accuracy_ci95'])}); this costs one pass and needs no masks."
            )
    return said


def _radii(report: dict[str, Any], quote: Quote) -> list[str]:
    """What is certified of the model itself, in Euclidean lengths."""
    found = report["results"][MODEL].get("radii")
    if not found:
        return []
    half = {quote(name): of["0.5"] for name, of in found["alone"].items() if of["0.5"] is not None}
    if not half:
        return ["The model itself has certified radii, but fewer than half of the samples are right."]
    each = ", ".join(f"{name} {radius:.3g}" for name, radius in half.items())
    return [
        "The model itself is certified without any votes, since its heads are orthonormal and its towers bounded. Half "
        f"of the samples stay right when one modality alone moves by less than this Euclidean length: {each}."
    ]


def _attacks(report: dict[str, Any], quote: Quote) -> list[str]:
    said = []
    for name, row in report["results"].items():
        if name.startswith(ATTACKED) and row["n"]:
            attack = quote(name.removeprefix(ATTACKED))
            said.append(
                f"{attack} leaves {percent(row['accuracy'])} of the smoothed model's answers right; "
                f"{percent(row['certified']['accuracy'])} are certified, and the truth lies between."
            )
            if row["broken_certificates"]:
                said.append(
                    f"{attack} changed {row['broken_certificates']} answers that are certified. Votes are drawn at "
                    "random, so a few may be."
                )
    return said
