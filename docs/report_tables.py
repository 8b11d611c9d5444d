"""Tables about reports: the keys of report.json, from its schema, and the published figures they are read against."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from importlib.resources import files

Table = Callable[[Iterable[str], Iterable[Iterable[object]]], str]


def keys(table: Table) -> str:
    """The keys of report.json with what the schema says of each."""
    schema = json.loads((files("art_multimodal.evaluations.audit") / "report.schema.json").read_text(encoding="utf-8"))
    rows = (
        (f"`{name}`", one.get("description", ""), "always" if name in schema["required"] else "where there is one")
        for name, one in schema["properties"].items()
    )
    return table(("key", "what it is", "there"), rows)


def references(table: Table) -> str:
    """The published figures."""
    from art_multimodal.evaluations.audit.findings.references import protocols

    rows = (
        (
            f"{figure['model']}, {one['architecture']}",
            figure["eps"],
            f"{100 * figure['clean']:.1f}",
            f"{100 * figure['robust']:.1f}",
            one["attack"],
            len(one["data"]),
            one["trained_on"] if "undefended" not in figure["model"] else "",
            f"[{one['source']}]({one['url']})",
        )
        for one in protocols()
        for figure in one["figures"]
    )
    return table(("model", "eps", "clean", "robust", "attack", "sets", "defence trained on", "source"), rows)
