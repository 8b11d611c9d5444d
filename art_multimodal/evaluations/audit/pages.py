"""``report.md`` and ``report.html``: what ``report.json`` holds, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from art_multimodal.evaluations.audit.curve import drawn, radii_of
from art_multimodal.evaluations.audit.drawing.curves import curves_svg, dashes_of
from art_multimodal.evaluations.audit.findings.brief import brief_of
from art_multimodal.evaluations.audit.findings.classes import shown_classes, shown_confusions
from art_multimodal.evaluations.audit.findings.weakest import family_of_row
from art_multimodal.evaluations.audit.lines import CLEAN
from art_multimodal.evaluations.audit.rendering import md, render
from art_multimodal.evaluations.audit.results import RECALL_AT
from art_multimodal.evaluations.audit.sentences import sentences
from art_multimodal.evaluations.audit.threats import threats_of
from art_multimodal.evaluations.standards import STANDARDS
from art_multimodal.evaluations.suite import RETRIEVAL, entry_of
from art_multimodal.evaluations.suite.selection import SMOOTHED, SMOOTHED_ROWS
from art_multimodal.evaluations.threat_models import ACCESS, threat_model_of
from art_multimodal.store import write_atomically

#: Of the bar without an attack.
_CLEAN_COLOUR = "#3b7dd8"


def write_pages(folder: Path, report: dict[str, Any], samples: Sequence[Mapping[str, Any]]) -> None:
    """Write both pages.

    :param folder: Of the run.
    :param report: What ``report.json`` holds.
    :param samples: Those that are shown, with their pictures.
    :raises InputError: If they cannot be written.
    """
    for name, text in pages_of(report, samples):
        write_atomically(folder / name, text)


def pages_of(report: dict[str, Any], samples: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Both pages, each with the name of its file.

    :param report: What ``report.json`` holds.
    :param samples: Those that are shown, with their pictures.
    """
    rows = _rows(report)
    context: dict[str, Any] = {
        "report": report,
        "rows": rows,
        "alone": [row for row in rows if not row["apart"]],
        "apart": [row for row in rows if row["apart"]],
        "samples": samples,
        "recall_at": RECALL_AT,
        "has_texts": any("text_queries" in row for row in report["results"].values()),
        "broken_by": [
            (name, attack, count)
            for name, row in report["results"].items()
            for attack, count in row.get("broken_by", {}).items()
        ],
        "curves": _curves(report, rows),
        "verdicts": report.get("verdicts"),
        "documents": STANDARDS,
        "summaries": {name: entry_of(name).summary for name in report["attacks"]},
        "threats": _threats(report),
        "own": _own_points(report),
        "contents": _contents(report),
        **_classes(report),
    }
    for name, quote in (("report.md", md), ("report.html", str)):
        said = {"summary": sentences(report, quote), "brief": brief_of(report, quote)}
        yield name, render(name, {**context, **said})


def _rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of the table, with what the plot needs.

    ``apart`` are those that are no single attack: clean, and what stands for several.
    """
    threats = threats_of(report)
    single = {CLEAN, *report["attacks"], *SMOOTHED_ROWS}
    return [
        {
            "name": name,
            "colour": _CLEAN_COLOUR if name == CLEAN else threats[result["modality"]].colour,
            "worst_case": name not in single,
            "apart": name not in report["attacks"],
            **result,
        }
        for name, result in report["results"].items()
    ]


def _curves(report: dict[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The plot of accuracy over the radius, where there are several."""
    if "curves" not in report:
        return None
    names = drawn(report)
    colours = {row["name"]: row["colour"] for row in rows if row["name"] in names}
    return {
        "plot": curves_svg({name: report["curves"][name] for name in colours}, colours),
        "legend": [(name, colours[name], dashes) for name, dashes in dashes_of(colours).items()],
        "radii": ["0", *(radius.name for radius in radii_of(report))],
    }


def _classes(report: Mapping[str, Any]) -> dict[str, Any]:
    """The worst classes and the most frequent confusions, of the weakest row."""
    row = report["weakest"] if report["weakest"] != CLEAN else None
    if report["by_class"] is None:
        return {"classes": None, "confusions": None, "of_row": row}
    # Of a smoothed model nothing is known of classes.
    row = row if row in report["by_class"] else None
    confusions = shown_confusions(report, CLEAN if row is None else row)
    return {"classes": shown_classes(report, row), "confusions": confusions, "of_row": row}


def _own_points(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The row that published figures stand beside, at each radius that one is of."""
    row, known = report["references"]["row"], {one["eps"] for one in report["references"]["comparable"]}
    *smaller, largest = radii_of(report)
    if row is None:
        return []
    points = report.get("curves", {}).get(row, {"points": []})["points"]
    found = [{**report["results"][row], "radius": largest.name}]
    found += [point for point in points if point["radius"] in {radius.name for radius in smaller}]
    return [
        {"eps": one["radius"], "accuracy": one["accuracy"], "accuracy_ci95": one["accuracy_ci95"]}
        for one in found
        if one["radius"] in known
    ]


def _contents(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The parts of the page that there are: id and title."""
    results = report["results"]
    parts = {
        "verdicts": ("Verdicts", "verdicts" in report),
        "happened": ("What happened", True),
        "next": ("What to do next", True),
        "rows": ("Clean and under attack", True),
        "classes": ("Classes", True),
        "references": ("Published figures", True),
        "threats": ("Who could mount these attacks", True),
        "recall": ("Recall", report["task"] == RETRIEVAL),
        "ensembles": ("Inside the ensembles", any("broken_by" in row for row in results.values())),
        "radius": ("Over the radius", "curves" in report),
        "words": ("How many words", any(row.get("word_curve") for row in results.values())),
        "modalities": ("Each modality by itself", bool(report.get("by_modality"))),
        "removals": ("What had to be removed", "decoupling" in results),
        "samples": ("Samples", True),
        "protocol": ("Protocol, and how to repeat it", True),
        "skipped": ("Skipped samples", bool(report["skipped"])),
    }
    return [(name, title) for name, (title, there) in parts.items() if there]


def _threats(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """Who could mount the attacks of each row that stands for a family, and when it may be left aside."""
    modalities = tuple(report.get("by_modality", ()))
    found = []
    for name, result in report["results"].items():
        if name in (CLEAN, SMOOTHED) or (name in report["attacks"] and result["modality"] in report["results"]):
            continue
        model = threat_model_of(family_of_row(report, name), modalities)
        attacks = [one for one in report["attacks"] if report["results"][one]["modality"] == result["modality"]]
        knowledge = dict.fromkeys(report["results"][one]["knowledge"] for one in attacks)
        access = "; ".join(f"{one}: {ACCESS[one]}" for one in knowledge if one in ACCESS)
        found.append(
            {"row": name, "attacker": model.attacker, "access": access or "–", "ignore": f"Where {model.ignore}"}
        )
    return found
