"""What the page on defences that compute at test time says of the results: tables and sentences made of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Table = Callable[[Iterable[str], Iterable[Iterable[object]]], str]
BARE = "none"
NOTHING = "Not measured yet.\n"
NAMES = {
    "naive": "naive",
    "cross_entropy": "unrolled, cross-entropy",
    "margin": "unrolled, margin",
    "bpda": "BPDA",
    "alarm": "its alarm",
    "square": "Square",
}
#: What makes numbers suspicious.
DOUBTS = {
    "above_clean": "attacked above clean",
    "black_box": "what asks no gradient beats gradients",
    "unaware": "who does not know it breaks it better",
    "apart": "attacks do not agree",
    "lottery": "random verdicts",
}
#: What differs from the paper, where the published effect is missing; whether it is the reason was not tested.
REASONS = {
    "et3": "the energy is taken over ten classes instead of 21,000 names; step and radius are our choice",
    "ttc": "the paper's threshold is that of a large model: how far noise moves an embedding differs here",
    "ttc_wide": "twice the paper's radius: clean answers are lost, under attack, too",
    "purification": "the models here have no generative model to purify with",
    "dbd": "the transformations are our choice, on images of 32 pixels",
    "r_tpt": "16 views instead of 64, crops instead of AugMix",
    "tapt": "no prompts that were trained under attack, nor statistics under such; 8 views instead of 64",
}
#: What a defence has to be, in the order of the page.
MARKS = {
    "effect": "published effect",
    "gain": "above bare in the worst case",
    "gradients": "gradients are the best guide",
    "agree": "two attacks agree",
    "verdicts": "one verdict",
    "clean": "clean answers kept",
    "training": "above training",
}
#: Of the marks those without which nothing can be called robust.
NEEDED = ("gain", "gradients", "agree", "verdicts")


def _read(results: Path) -> dict[str, Any]:
    return json.loads((results / "test_time.json").read_text(encoding="utf-8"))


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def signed(estimate: dict[str, Any]) -> str:
    """A difference in points with its interval."""
    low, high = estimate["ci95"]
    return f"{100 * estimate['value']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def _of_models(parts: dict[str, str]) -> str:
    return "\n".join(f"**{model}**\n\n{part}" for model, part in parts.items() if part) or NOTHING


def broken(results: Path, table: Table) -> str:
    """For each model which attack breaks each defence, and what all together leave."""
    parts = {}
    for model, defences in _read(results)["values"].items():
        rows = [_broken_row(name, of) for name, of in defences.items() if name != BARE]
        header = (
            "defence",
            "naive",
            "strongest attack",
            "second",
            "luck alone",
            "all together",
            "lost of naive",
            "flags",
        )
        parts[model] = table(header, rows) if rows else ""
    return _of_models(parts)


def _broken_row(name: str, of: dict[str, Any]) -> list[str]:
    value = {column: estimate["value"] for column, estimate in of["columns"].items()}
    first, second = of["agreement"]["strongest"], of["agreement"]["second"]
    agreeing = "agrees" if of["agreement"]["agree"] else "does not agree"
    return [
        f"`{name}`",
        percent(value["naive"]),
        f"{NAMES[first]}: {percent(value[first])}",
        f"{NAMES[second]}: {percent(value[second])}, {agreeing}",
        percent(value["asked"]) if "asked" in value else "",
        percent(value["worst"]),
        f"{100 * (value['naive'] - value['worst']):.1f} points",
        "; ".join(DOUBTS[doubt] for doubt in of["doubts"]) or "none",
    ]


def _misfits(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Models, defences that do not fit them, and why."""
    return [(model, name, why) for model, of in result["misfits"].items() for name, why in of.items()]


def effects(results: Path, table: Table) -> str:
    """Whether the naive attack shows what papers report, and why it may not."""
    result, rows = _read(results), []
    for model, of in result["effects"].items():
        for name, estimate in of.items():
            there = estimate["ci95"][0] > 0
            rows.append(
                [
                    f"`{name}`",
                    model,
                    signed(estimate),
                    "yes" if there else "no",
                    "" if there else REASONS.get(name, "nothing that we know of"),
                ]
            )
    rows += [[f"`{name}`", model, "", "does not fit", why] for model, name, why in _misfits(result)]
    rows.sort(key=lambda row: row[0])
    return table(
        ("defence", "model", "naive, less the bare model's", "shown", "if not: what differs from the paper"), rows
    )


def ranking(results: Path, table: Table) -> str:
    """Defences by what they leave in the worst case, on each model, and what they add on all."""
    result, parts = _read(results), {}
    for model, rows in result["ranking"].items():
        shown = []
        for place, row in enumerate(rows, 1):
            low, high = row["worst"]["ci95"]
            gain = (signed(row["gain"]), f"{row['p']:.2g}") if "gain" in row else ("", "")
            like = ", ".join(f"`{other}`" for other in row["like"]) or "none"
            worst = f"{percent(row['worst']['value'])} ({percent(low)} to {percent(high)})"
            shown.append([place, f"`{row['defence']}`", worst, *gain, like])
        header = ("", "defence", "worst", "less the bare model's", "p", "not told apart from")
        parts[model] = table(header, shown)
    rows = []
    for one in result["overall"]:
        others = ", ".join(model for model, name, _ in _misfits(result) if name == one["defence"])
        models = f"{one['models']}; does not fit {others}" if others else one["models"]
        rows.append([one["place"] or "", f"`{one['defence']}`", models, signed(one["gain"])])
    overall = table(("", "defence", "models", "worst, less the bare model's, mean"), rows) if rows else ""
    return _of_models({**parts, "all models": overall})


def training(results: Path, table: Table) -> str:
    """Defences of the plain model against training without any."""
    result = _read(results)
    if not result["training"]:
        return NOTHING
    plain, trained = "cifar", next(name for name in result["values"] if name.startswith("cifar/"))
    differences = {row["defence"]: row for row in result["training"]}
    rows = []
    for model, name in [(plain, name) for name in result["values"][plain]] + [
        (trained, name) for name in result["values"][trained]
    ]:
        of = result["values"][model][name]
        forward, backward, *_ = of["passes"]
        row = differences.get(name) if model == plain else None
        even = "" if row is None or row["even"] is None else f"{row['even']:,}"
        rows.append(
            [
                model,
                f"`{name}`",
                *(percent(of["columns"][column]["value"]) for column in ("clean", "naive", "worst")),
                "" if row is None else signed(row["difference"]),
                "" if row is None else f"{row['p']:.2g}",
                f"{forward} + {backward}",
                even,
            ]
        )
    header = ("model", "defence", "clean", "naive", "worst", "worst, less training's", "p", "passes", "pays until")
    return table(header, rows)


def survive(results: Path, table: Table) -> str:
    """Of each defence and model which of the marks it has."""
    rows = []
    for model, of in _read(results)["standing"].items():
        for name, marks in of.items():
            said = [{None: "", True: "yes", False: "no"}[marks[mark]] for mark in MARKS]
            rows.append([f"`{name}`", model, *said, "yes" if all(marks[mark] for mark in NEEDED) else "no"])
    rows.sort(key=lambda row: row[0])
    return table(("defence", "model", *MARKS.values(), "all that is needed"), rows)


def summary(results: Path) -> str:
    """The answers in sentences."""
    result = _read(results)
    values, standing = result["values"], result["standing"]
    pairs = [(model, name, of) for model, by in values.items() for name, of in by.items() if name != BARE]
    lines = []
    measured, planned = result["cells"]["measured"], result["cells"]["planned"]
    if measured < planned:
        lines.append(f"{measured} of {planned} cells are measured so far. What follows is said of those.")
    of_models: dict[tuple[str, str], list[str]] = {}
    for model, name, why in _misfits(result):
        of_models.setdefault((name, why), []).append(model)
    for (name, why), models in of_models.items():
        lines.append(f"`{name}` does not fit {' and '.join(models)}, and has no cell there. {why}")
    if pairs:
        shown = [signed_effect["ci95"][0] > 0 for by in result["effects"].values() for signed_effect in by.values()]
        lost = [of["columns"]["naive"]["value"] - of["columns"]["worst"]["value"] for _, _, of in pairs]
        lines.append(
            f"The published effect is there in {sum(shown)} of {len(shown)} pairs of a defence and a model: under the "
            "attack that does not know the defence more is right than without the defence."
        )
        lines.append(
            f"The worst case takes {percent(sum(lost) / len(lost))} points of the naive number on average, and "
            f"{percent(max(lost))} at the most."
        )
        marks = [(model, name, of) for model, by in standing.items() for name, of in by.items()]
        above = [f"`{name}` on {model}" for model, name, of in marks if of["gain"]]
        lines.append(f"Above the bare model in the worst case, beyond chance: {', '.join(above) or 'none'}.")
        through = [f"`{name}` on {model}" for model, name, of in marks if all(of[mark] for mark in NEEDED)]
        caveat = (
            " That is said of the attacks of this table, whose descents take ten steps. "
            "[Longer ones](#longer-descents) may take more, so it is not shown to be robust."
        )
        lines.append(
            f"All that is needed to survive (see below): {', '.join(through) or 'none'}.{caveat * bool(through)}"
        )
    if result["training"]:
        better = [f"`{r['defence']}`" for r in result["training"] if r["difference"]["value"] > 0 and r["p"] < 0.05]
        lines.append(
            "Above training under attack, on the model that was not trained so, in the worst case, beyond chance: "
            f"{', '.join(better) or 'no defence'}."
        )
    return "\n".join(f"- {line}" for line in lines) + "\n"
