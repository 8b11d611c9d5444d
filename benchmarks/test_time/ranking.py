"""Who is above whom: paired differences on the same images and seeds, corrected for their number."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np

from art_multimodal.functional.statistics import holm_adjusted, mean_of_means_ci95, stratified_sign_test
from benchmarks.fusions.tables import share_of
from benchmarks.robust_training.statistics import Share
from benchmarks.test_time.cells import ADAPTIVE
from benchmarks.test_time.defences import BARE

#: By seed, the cells of a defence on a model, with what attacks leave together.
Cells = dict[int, dict[str, np.ndarray]]
Estimate = dict[str, Any]
#: Level of a test, and how far apart the numbers of two attacks are that agree.
ALPHA, AGREE = 0.05, 0.03
#: What a defence may cost of the answers to images that nobody attacked, and differences that say nothing.
CLEAN_COST, SLACK = 0.02, 0.01
#: More is right under an attack than before; noise or a black box does better than descents through the defence; who
#: does not know it does better than all who do, together; the two strongest attacks disagree; labels depend on draws.
DOUBTS = ("above_clean", "black_box", "unaware", "apart", "lottery")


def paired(one: Cells, other: Cells, column: str) -> tuple[Share, float] | None:
    """The difference of two defences or models on the images and seeds that both have, and p of no difference.

    Images are the unit: under no difference an image's difference, summed over the seeds, is as likely to have either
    sign. Seeds count as given.
    """
    seeds = sorted(one.keys() & other.keys())
    if not seeds:
        return None
    count = min(len(cells[seed][column]) for cells in (one, other) for seed in seeds)
    these, those = ([{column: cells[seed][column][:count]} for seed in seeds] for cells in (one, other))
    sums = sum(a[column].astype(int) - b[column].astype(int) for a, b in zip(these, those, strict=True))
    sizes = range(1, len(seeds) + 1)
    # A stratum for each size of a sum, whose weight is that size: weights are over "n".
    p = stratified_sign_test(
        [int((sums == size).sum()) for size in sizes],
        [int((sums == -size).sum()) for size in sizes],
        [math.lcm(*sizes) // size for size in sizes],
    )
    return share_of(these, column) - share_of(those, column), p


def ranking(cells: dict[str, Cells]) -> list[dict[str, Any]]:
    """Defences on a model by what is left in the worst case, each against the bare model and against every other.

    All pairs of the model are one family (Holm).
    """
    pairs = {pair: found for pair in combinations(cells, 2) if (found := paired(*map(cells.get, pair), "worst"))}
    corrected = dict(zip(pairs, holm_adjusted([p for _, p in pairs.values()]).tolist(), strict=True)) if pairs else {}
    rows = []
    for name, of in cells.items():
        row: dict[str, Any] = {"defence": name, "worst": share_of(list(of.values()), "worst").estimate()}
        row["like"] = [
            other for pair, p in corrected.items() if name in pair and p >= ALPHA for other in pair if other != name
        ]
        if name != BARE and (BARE, name) in pairs:
            gain = pairs[BARE, name][0].estimate()
            low, high = gain["ci95"]
            row["gain"] = {"value": 0.0 - gain["value"], "ci95": [0.0 - high, 0.0 - low]}
            row["p"] = round(corrected[BARE, name], 5)
        rows.append(row)
    return sorted(rows, key=lambda row: -row["worst"]["value"])


def overall(of_models: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Defences by what they add to the bare model's worst case, the mean over the models.

    Those that all models were measured with have a place. A mean over fewer models compares with none of theirs, so
    the others follow without one.
    """
    gains: dict[str, dict[str, Estimate]] = {}
    for model, rows in of_models.items():
        for row in rows:
            if "gain" in row:
                gains.setdefault(row["defence"], {})[model] = row["gain"]
    found: list[dict[str, Any]] = []
    models = len({model for by_model in gains.values() for model in by_model})
    for name, by_model in gains.items():
        values = [gain["value"] for gain in by_model.values()]
        ends = mean_of_means_ci95(values, [tuple(gain["ci95"]) for gain in by_model.values()], (-1.0, 1.0))
        assert ends is not None
        mean = {"value": round(float(np.mean(values)), 4), "ci95": [round(end, 4) for end in ends]}
        found.append({"defence": name, "models": len(values), "gain": mean})
    found.sort(key=lambda row: (row["models"] < models, -row["gain"]["value"]))
    return [{**row, "place": place if row["models"] == models else None} for place, row in enumerate(found, 1)]


def doubts(columns: dict[str, Estimate], lottery: Estimate | None) -> list[str]:
    """What makes the numbers of a defence suspicious, of :data:`DOUBTS`."""
    value = {name: of["value"] for name, of in columns.items()}
    gradients = min(value[attack] for attack in ("cross_entropy", "margin") if attack in value)
    said = {
        "above_clean": max(value[attack] for attack in ("naive", *ADAPTIVE) if attack in value)
        > value["clean"] + SLACK,
        "black_box": min(value[attack] for attack in ("square", "noise", "universal")) < gradients - SLACK,
        "unaware": value["naive"] < value["informed"] - SLACK,
        "apart": not agreement(columns)["agree"],
        "lottery": lottery is not None and lottery["value"] > SLACK,
    }
    return [doubt for doubt in DOUBTS if said[doubt]]


def agreement(columns: dict[str, Estimate]) -> dict[str, Any]:
    """The two attacks that leave the least alone, of those that know the defence and the naive one."""
    left = sorted((columns[attack]["value"], attack) for attack in ("naive", *ADAPTIVE) if attack in columns)
    (first, strongest), (second, next_to) = left[:2]
    return {"strongest": strongest, "second": next_to, "agree": bool(second - first <= AGREE)}


def effects(cells: dict[str, Cells]) -> dict[str, Estimate]:
    """What each defence adds under the naive attack: the effect that papers report."""
    found = {name: paired(of, cells[BARE], "naive") for name, of in cells.items() if name != BARE and BARE in cells}
    return {name: difference[0].estimate() for name, difference in found.items() if difference is not None}


def standing(
    cells: dict[str, Cells], values: dict[str, Any], rows: list[dict[str, Any]], reference: Cells
) -> dict[str, dict[str, bool | None]]:
    """Of each defence on a model what it would have to be to survive, and whether it is.

    :param reference: The model that was trained under attack, without a defence; empty where there is none.
    """
    ranked, shown = {row["defence"]: row for row in rows}, effects(cells)
    found: dict[str, dict[str, bool | None]] = {}
    for name, of in values.items():
        if name == BARE or BARE not in cells:
            continue
        clean = paired(cells[name], cells[BARE], "clean")
        trained = paired(cells[name], reference, "worst")
        row, said = ranked[name], of["doubts"]
        found[name] = {
            "effect": shown[name]["ci95"][0] > 0 if name in shown else None,
            "gain": None if "gain" not in row else row["gain"]["value"] > 0 and row["p"] < ALPHA,
            "gradients": not {"above_clean", "black_box", "unaware"} & set(said),
            "agree": "apart" not in said,
            "verdicts": "lottery" not in said,
            "clean": None if clean is None else clean[0].value >= -CLEAN_COST,
            "training": None if trained is None else trained[0].value > 0 and trained[1] < ALPHA,
        }
    return found


def against_training(
    cells: dict[str, dict[str, Cells]], values: dict[str, Any], plain: str, trained: str
) -> list[dict[str, Any]]:
    """Defences of the plain model against training without any: what is left, and how many answers cost as much.

    All differences to the trained model are one family (Holm).
    """
    reference = cells.get(trained, {}).get(BARE)
    if not reference:
        return []
    seconds = [cell["seconds/training"] for cell in reference.values() if "seconds/training" in cell]
    bare = values.get(plain, {}).get(BARE, {}).get("seconds")
    rows = []
    for name, of in cells.get(plain, {}).items():
        found = paired(of, reference, "worst")
        if found is None:
            continue
        more = None if bare is None else values[plain][name]["seconds"] - bare
        even = None if not seconds or not more or more <= 0 else round(float(np.mean(seconds)) / more)
        rows.append({"defence": name, "difference": found[0].estimate(), "p": found[1], "even": even})
    for row, p in zip(rows, holm_adjusted([row["p"] for row in rows]).tolist(), strict=True):
        row["p"] = round(p, 5)
    return rows
