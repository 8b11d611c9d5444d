"""Tables of the page on fusions, from the registry and from what was measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

#: When to take a fusion, in a few words.
_WHEN = {
    "concat": "all sensors are trusted, or two of which one may be attacked",
    "gated": "the answer lies between the sensors",
    "bilinear": "the answer is a product of what they show; all of them there",
    "late": "some sensors may be missing; with training under attack, three of which one may be attacked",
    "unis_mmc": "as concat, with scores of each modality besides",
    "cross_attention": "the answer lies between the sensors",
    "qmf": "to see how sure each modality is of itself; nobody attacks",
    "mla": "modalities that are learned one by one; nobody attacks",
    "orthogonal": "a certificate is wanted, or few samples of which one table may be attacked",
    "consensus": "one of three or more may be replaced altogether, or is very noisy",
    "median": "as consensus, without weights to attack",
    "deq": "to study equilibria; the dearest",
    "mcmult": "sequences that are not aligned",
    "umurl": "skeletons, few of them with labels",
}
#: Columns of the comparison that the overview shows: how they begin (the last such is taken), and their titles there.
_SHOWN = {
    "clean": "clean",
    "noise": "one view very noisy",
    "one missing": "one view missing",
    "single": "one view attacked",
    "joint": "all attacked",
}

Table = Callable[[Iterable[str], Iterable[Iterable[object]]], str]


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def overview(results: Path, table: Table) -> str:
    """Every fusion: what it does, when to use it, what a pass costs, and what is left of it under what."""
    from art_multimodal.models.fusions import FUSIONS, WHOLE_MODELS

    costs = _read(results / "fusion_costs.json").get("forward", {}).get("concat", {})
    measured = _read(results / "fusions.json").get("problems", {}).get("views", {}).get("values", {})
    rows = []
    for name, fusion in (*FUSIONS.items(), *WHOLE_MODELS.items()):
        columns = measured.get(name, {}).get("columns", {})
        last = {start: [title for title in columns if title.startswith(start)][-1:] for start in _SHOWN}
        shares = [f"{100 * columns[title[0]]['value']:.0f}" if title else "" for title in last.values()]
        cost = f"{costs[name]:.2f}" if name in costs else ""
        rows.append([f"`{name}`", fusion.summary, fusion.paper, _WHEN.get(name, ""), cost, *shares])
    header = ("fusion", "what it does", "paper", "when", "forward / concat", *_SHOWN.values())
    return table(header, rows)


def methods(table: Table) -> str:
    """Every way of training a fusion model."""
    from art_multimodal.defences.trainer import METHODS

    rows = []
    for name, method in METHODS.items():
        if method.of_fusion:
            options = ", ".join(f"`{option}` {default:g}" for option, default in method.options.items())
            said = method.summary.removeprefix("fusion models: ")
            rows.append([f"`{name}`", said, method.paper, options])
    return table(("method", "what it does", "paper", "options"), rows)


def measured(results: Path, table: Table) -> str:
    """What the comparison found, data set by data set."""
    result = _read(results / "fusions.json")
    parts = [result["protocol"] + "\n"]
    for one in result["problems"].values():
        parts.append(f"### {one['title']}\n")
        parts.append(table(one["header"], one["rows"]))
        parts.append(_trust(one, table))
        parts.append(_by_modality(one, table))
        parts.append(_weights(one, table))
    parts.append(f"`{result['command']}`\n")
    return "\n".join(parts)


def claims(results: Path, table: Table) -> str:
    """What papers claim and what was demanded, as differences with intervals, over the data sets."""
    result = _read(results / "fusions.json")
    problems, said = result["problems"], result["claims"]
    parts = [said["noise"] + "\n"]
    levels = [title.removesuffix(", worst") for title in next(iter(problems.values()))["header"] if "noise" in title]
    rows = [
        [f"{name} - late", problem, *map(_points, found)]
        for problem, one in problems.items()
        for name, found in one["noise"].items()
    ]
    parts.append(table(("", "data", *levels), rows))
    parts.append(said["schedules"] + "\n")
    rows = [
        [f"most-vulnerable - {name}", problem, *map(_points, found)]
        for problem, one in problems.items()
        for name, found in one["schedules"].items()
    ]
    parts.append(table(("", "data", "clean", "single", "joint", "single, largest", "joint, largest"), rows))
    parts.append(said["demands"] + "\n")
    rows = []
    for problem in ("views", "rosmap"):
        for name, found in problems[problem]["demands"]["values"].items():
            rows.append([name, problem, *map(_points, found.values())])
    parts.append(table(("fusion", "data", "oracle", "clean", "noise", "missing", "small", "joint"), rows))
    seconds = {name: of["training_seconds"] for name, of in problems["views"]["values"].items()}
    slowest = max(seconds, key=lambda name: seconds[name])
    parts.append(
        f"A training on `demo:views` takes {min(seconds.values()):.0f} to {seconds[slowest]:.0f} seconds of one core; "
        f"the longest is that of {slowest}.\n"
    )
    if steps := _read(results / "fusion_costs.json").get("deq_steps"):
        parts.append(
            f"The solver of `deq` took {min(steps)} to {max(steps)} steps, {sum(steps) / len(steps):.0f} in the mean, "
            "where its forward pass was timed.\n"
        )
    return "\n".join(parts)


def _points(estimate: dict[str, Any]) -> str:
    low, high = (100 * end for end in estimate["ci95"])
    return f"{100 * estimate['value']:+.1f} ({low:+.1f} to {high:+.1f})"


def _trust(one: dict[str, Any], table: Table) -> str:
    rows = []
    for name, costs in one["trust"].items():
        cells: list[str] = []
        for cost in costs:
            low, high = cost["ci95"]
            points = f"{100 * cost['value']:.1f} ± {50 * (high - low):.1f}"
            cells += [cost["modality"], points, f"{100 * cost['kept']:.0f}"]
        rows.append([name, *cells])
    said = (
        "Cost of trust: points that an oracle gains by leaving the attacked modality out, and the share in % of the "
        "oracle's accuracy that is kept without one; at the middle and at the largest radius."
    )
    return f"{said}\n\n" + table(("fusion", *("worst modality", "points", "kept") * 2), rows)


def _by_modality(one: dict[str, Any], table: Table) -> str:
    """Each modality attacked alone, and decoupled."""
    values = one["values"]
    modalities = list(next(iter(values.values()))["single"])
    rows = []
    for name, of in values.items():
        radii = [" / ".join(f"{100 * at['value']:.0f}" for at in of["single"][m].values()) for m in modalities]
        rows.append([name, *radii, *(_decoupled(*of["decoupling"][m]) for m in modalities)])
    said = (
        "Each modality attacked alone: accuracy in % at the three radii. Removed: the share in % of the modality's "
        "points that had to be removed for another answer (decoupling), the mean over the samples for which such were "
        "found, and which part of the samples that were tried these are."
    )
    header = ("fusion", *(f"{m} attacked" for m in modalities), *(f"{m} removed" for m in modalities))
    return f"{said}\n\n" + table(header, rows)


def _decoupled(share: float | None, count: float, tried: float) -> str:
    return "none" if share is None else f"{100 * share:.1f} ({100 * count / tried:.0f} % of them)"


def _weights(one: dict[str, Any], table: Table) -> str:
    rows = [
        [name, modality, *(f"{before[n]:.3f} → {after[n]:.3f}" for n in (0, 1))]
        for name, entry in one["values"].items()
        for modality, (before, after) in entry["weights"].items()
        # Of a mean the weight says nothing.
        if None not in (before[1], after[1])
    ]
    if not rows:
        return ""
    said = (
        "Weight of the attacked modality, and its correlation with the modality's own loss, before and after an attack."
    )
    return f"{said}\n\n" + table(("fusion", "attacked", "weight", "correlation"), rows)
