"""Which attack breaks each defence that computes at test time, and by how much: sentences made of the results."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

Table = Callable[[Iterable[str], Iterable[Iterable[object]]], str]
#: Two attacks agree when their numbers are no further apart.
AGREE = 0.03
ADAPTIVE = ("cross_entropy", "margin", "bpda", "alarm", "square")
NAMES = {
    "naive": "transfer (naive)",
    "cross_entropy": "unrolled, cross-entropy",
    "margin": "unrolled, margin",
    "bpda": "BPDA",
    "alarm": "its alarm",
    "square": "Square",
}


def broken(results: Path, table: Table) -> str:
    """For each model a table of the defences that were measured."""
    values = json.loads((results / "test_time.json").read_text(encoding="utf-8"))["values"]
    parts = []
    for model, defences in values.items():
        bare = defences["none"]["worst"]
        rows = [_row(name, of, bare) for name, of in defences.items() if name != "none"]
        header = ("defence", "bare", "naive", "strongest attack", "second", "all together", "lost of naive", "flags")
        parts.append(f"**{model}**\n\n" + table(header, rows))
    return "\n".join(parts)


def _row(name: str, of: dict[str, float], bare: float) -> list[str]:
    ranked = sorted((value, attack) for attack in ("naive", *ADAPTIVE) if (value := of.get(attack)) is not None)
    (best, first), (other, second) = ranked[:2]
    agreeing = "agrees" if other - best <= AGREE else "does not agree"
    return [
        f"`{name}`",
        percent(bare),
        percent(of["naive"]),
        f"{NAMES[first]}: {percent(best)}",
        f"{NAMES[second]}: {percent(other)}, {agreeing}",
        percent(of["worst"]),
        f"{100 * (of['naive'] - of['worst']):.1f} points",
        "; ".join(flags(of, bare)) or "none",
    ]


def flags(of: dict[str, float], bare: float) -> list[str]:
    """What makes the numbers of a defence suspicious, or shows that it does nothing."""
    found = []
    if max(of["naive"], *(of[attack] for attack in ADAPTIVE if attack in of)) > of["clean"]:
        found.append("attacked above clean")
    if of["naive"] <= bare:
        found.append("no effect even where nobody knows of it")
    if min(of[attack] for attack in ("cross_entropy", "margin")) > of["square"]:
        found.append("a black box beats gradients")
    if of["worst"] >= of["naive"]:
        found.append("nothing got below naive: attacks too weak to tell")
    if of.get("lottery", 0) > 0:
        found.append(f"random verdicts ({percent(of['lottery'])} % of images)")
    return found


def percent(share: float) -> str:
    return f"{100 * share:.1f}"
