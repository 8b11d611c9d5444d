"""Tables of the data sets that have a name, from their registry."""

from __future__ import annotations

from collections.abc import Callable


def data_sets(table: Callable[..., str]) -> str:
    """Every data set: what it is for, its splits, where it lies, and where it comes from."""
    from art_multimodal.datasets.named import NAMED_DATA

    rows = []
    for name, entry in NAMED_DATA.items():
        what = f"{entry.title}, {entry.classes} classes" if entry.classes else f"{entry.title}, for `--task retrieval`"
        splits = ", ".join(f"{split} ({known.size:,})" for split, known in entry.splits.items())
        got = f"`{entry.torchvision}`, or its [page]({entry.page})" if entry.torchvision else f"[page]({entry.page})"
        # The root itself is written as a dot.
        folders = ", ".join(f"`{folder}`" if folder != "." else "the root itself" for folder in entry.folders)
        rows.append((f"`data:{name}`", what, splits, folders, got, entry.paper))
    header = ("written", "what it is", "splits (images); the first is the default", "folder", "how to get it", "who")
    notes = [f"- `data:{name}`: {entry.note}." for name, entry in NAMED_DATA.items() if entry.note]
    return table(header, rows) + "\n" + "\n".join(notes) + "\n"


def data_prompts(table: Callable[..., str]) -> str:
    """The prompt templates of every labelled data set."""
    from art_multimodal.datasets.named import NAMED_DATA

    rows = []
    for name, entry in NAMED_DATA.items():
        templates = entry.templates
        if templates:
            first = ", ".join(f"`{template}`" for template in templates[:2])
            rows.append((f"`data:{name}`", len(templates), first, entry.prompts_from))
    return table(("data set", "templates", "the first", "from"), rows)


def data_protocols(table: Callable[..., str]) -> str:
    """Which data sets published evaluations measure on."""
    from art_multimodal.datasets.named import PROTOCOLS

    parts = []
    for name, protocol in PROTOCOLS.items():
        parts.append(f"`{name}`: {protocol.title} ({protocol.paper}).\n")
        of_role: dict[str, list[str]] = {}
        for data, role in protocol.roles.items():
            of_role.setdefault(role, []).append(f"`{data}`")
        parts.append(table(("role", "data sets"), ((role, ", ".join(sets)) for role, sets in of_role.items())))
        parts.append(f"{protocol.note[0].upper()}{protocol.note[1:]}.\n" if protocol.note else "")
    return "\n".join(parts)
