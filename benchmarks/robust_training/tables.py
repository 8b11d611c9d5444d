"""The experiment's results as tables of Markdown cells."""

from __future__ import annotations

from typing import Any

#: Columns of CIFAR-10, as the cells are called, with their titles.
COLUMNS = {
    "clean": "clean",
    "image_1": "image 1/255",
    "image_2": "image 2/255",
    "image_4": "image 4/255",
    "text_kl": "text, KL",
    "text_margin": "text, margin",
    "text_margin_unseen": "text, unseen",
    "text_kl_unprotected": "text, KL, class words too",
    "joint": "joint 2/255",
}
#: In the results, not in the tables: the worst words for each image are other class names.
FURTHER = {"text_margin_unprotected": "text, margin, class words too"}
TRANSFER = {
    "clothing_clean": "clothing",
    "clothing_image": "clothing, image 2/255",
    "emoji_clean": "emoji",
    "emoji_image": "emoji, image 2/255",
}
OURS = "joint-anchored"

Table = dict[str, Any]


def tables(methods: dict[str, Any], claims: dict[str, Any]) -> list[Table]:
    """What the page of measurements shows."""
    main = {name: entry for name, entry in methods.items() if not name.startswith(f"{OURS}-")}
    ablation = {name: entry for name, entry in methods.items() if name.startswith(OURS)}
    found = [
        _accuracies("CIFAR-10: accuracy in % and half the width of its interval", main, COLUMNS),
        _transfer("Transfer: balanced accuracy in %, and the share of the class that is said most", main),
    ]
    if "mmcoa_less_image_only_on_texts" in claims:
        found.append(_differences("MMCoA less others, in points", claims["mmcoa_less_image_only_on_texts"], methods))
    if "ours_less_best" in claims:
        found.append(_against_best(claims["ours_less_best"], methods))
        others = {name: entry for name, entry in claims["ours_less_others"].items() if not name.startswith(OURS)}
        found.append(_differences("Joint-anchored less others, in points", others, methods))
    if len(ablation) > 1:
        found.append(_accuracies("Joint-anchored and its parts", ablation, {**COLUMNS, **TRANSFER}))
    return found


def _accuracies(title: str, methods: dict[str, Any], columns: dict[str, str]) -> Table:
    rows = [
        [entry["title"], *(_with_width(entry["columns"][column]) for column in columns)] for entry in methods.values()
    ]
    return {"title": title, "header": ["trained with", *columns.values()], "rows": rows}


def _transfer(title: str, methods: dict[str, Any]) -> Table:
    rows = []
    for entry in methods.values():
        cells = []
        for column in TRANSFER:
            counts = entry["prediction_counts"][column]
            cells.append(f"{_with_width(entry['columns'][column])} ({max(counts) / sum(counts):.0%})")
        rows.append([entry["title"], *cells])
    return {"title": title, "header": ["trained with", *TRANSFER.values()], "rows": rows}


def _differences(title: str, of_method: dict[str, dict[str, Any]], methods: dict[str, Any]) -> Table:
    columns = list(next(iter(of_method.values()), {}))
    titles = {**COLUMNS, **FURTHER, **TRANSFER}
    rows = [
        [methods[name]["title"], *(_signed(entry[column]) for column in columns if column not in FURTHER)]
        for name, entry in of_method.items()
    ]
    return {"title": title, "header": ["than", *(titles[c] for c in columns if c not in FURTHER)], "rows": rows}


def _against_best(of_column: dict[str, dict[str, Any]], methods: dict[str, Any]) -> Table:
    titles = {**COLUMNS, **FURTHER, **TRANSFER}
    rows = []
    for column, entry in of_column.items():
        if column not in FURTHER:
            low, high = entry["ci95"]
            says = "above" if low > 0 else "below" if high < 0 else "not told apart"
            rows.append([titles[column], methods[entry["best"]]["title"], _signed(entry), says])
    return {
        "title": "Joint-anchored less the best other method of each column, in points",
        "header": ["column", "best other", "difference", "so ours is"],
        "rows": rows,
    }


def _with_width(entry: dict[str, Any]) -> str:
    low, high = entry["ci95"]
    return f"{100 * entry['value']:.1f} \u00b1{50 * (high - low):.1f}"


def _signed(entry: dict[str, Any]) -> str:
    low, high = entry["ci95"]
    return f"{100 * entry['value']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
