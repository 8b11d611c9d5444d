"""From the log of a run to its numbers: pure, and the only place where they are computed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from art_multimodal.attacks.registry import ATTACKS
from art_multimodal.functional.statistics import bootstrap_ci95, proportion_ci95

CLEAN = "clean"


@dataclass
class _Row:
    """What the lines of one attack add up to."""

    correct: dict[int, bool] = field(default_factory=dict)
    details: list[dict[str, Any]] = field(default_factory=list)
    not_applicable: set[int] = field(default_factory=set)
    queries: float = 0
    gradients: float = 0
    seconds: float = 0


def summary_rows(attacks: Iterable[str]) -> list[str]:
    """Names of a report's rows: clean, each attack, and the worst case of every modality."""
    attacks = list(attacks)
    worst = [m for m in dict.fromkeys(ATTACKS[name].modality for name in attacks) if m not in attacks]
    return [CLEAN, *attacks, *worst]


def weighed_modalities(attacks: Iterable[str]) -> tuple[str, ...]:
    """Modalities whose importance is measured: beside a decoupling attack, both."""
    return ("image", "text") if any(ATTACKS[name].modality == "decoupling" for name in attacks) else ()


def summarise(header: dict[str, Any], lines: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Compute a run's numbers.

    Robust accuracy is over all samples: one that is wrong already is not robust. The success rate of an attack is over
    the samples that were right before it. The row of a modality is the worst case: a sample counts as right only if it
    survived every attack of the modality. Every sample counts once.

    :param header: The log's header.
    :param lines: The log's lines.
    :return: ``complete``, ``skipped`` (unreadable samples), ``results`` by row, and ``without_modality``: accuracy with
        all of a modality removed.
    """
    attacks: list[str] = header["attacks"]
    nb_classes = len(header["data"]["class_names"])
    rows = {name: _Row() for name in (CLEAN, *attacks)}
    skipped: list[dict[str, str]] = []
    labels: dict[int, int] = {}
    predictions: dict[int, int] = {}
    without: dict[str, dict[int, bool]] = {modality: {} for modality in weighed_modalities(attacks)}
    for line in lines:
        row = rows[line["attack"]]
        row.seconds += line["seconds"]
        row.queries += line.get("queries", 0)
        row.gradients += line.get("gradients", 0)
        skipped += line.get("skipped", [])
        row.not_applicable.update(line.get("not_applicable", []))
        for sample in line["samples"]:
            row.correct[sample["index"]] = sample["predicted"] == sample["label"]
            if line["attack"] == CLEAN:
                labels[sample["index"]] = sample["label"]
                predictions[sample["index"]] = sample["predicted"]
                for modality, right in without.items():
                    if (guess := sample.get(f"without_{modality}")) is not None:
                        right[sample["index"]] = guess == sample["label"]
            elif "share_removed" in sample:
                row.details.append(sample)
    clean = rows[CLEAN].correct
    results: dict[str, Any] = {CLEAN: _clean_result(rows[CLEAN], labels, predictions, nb_classes)}
    for name in attacks:
        results[name] = _attack_result(name, rows[name], clean)
    for modality in summary_rows(attacks)[1 + len(attacks) :]:
        results[modality] = _worst_case(modality, [a for a in attacks if ATTACKS[a].modality == modality], rows, clean)
    importance = {m: _accuracy(sum(right.values()), len(right)) for m, right in without.items()}
    expected = header["data"]["selected"]
    done = len(clean) + len(skipped) == expected and all(
        sum(clean.values()) == len(rows[name].correct) + len(rows[name].not_applicable) for name in attacks
    )
    return {"complete": done, "skipped": skipped, "results": results, "without_modality": importance}


def _accuracy(right: int, n: int) -> dict[str, Any]:
    return {"n": n, "accuracy": right / n if n else None, "accuracy_ci95": proportion_ci95(right, n)}


def _clean_result(row: _Row, labels: dict[int, int], predictions: dict[int, int], nb_classes: int) -> dict[str, Any]:
    truth = np.array(list(labels.values()), dtype=np.int64)
    guesses = np.array(list(predictions.values()), dtype=np.int64)
    there = np.bincount(truth, minlength=nb_classes)
    hits = np.bincount(truth[truth == guesses], minlength=nb_classes)
    return {
        **_accuracy(sum(row.correct.values()), len(row.correct)),
        "balanced_accuracy": float((hits[there > 0] / there[there > 0]).mean()) if len(truth) else None,
        "prediction_counts": np.bincount(guesses, minlength=nb_classes).tolist(),
        "label_counts": there.tolist(),
        "seconds": row.seconds,
    }


def _robustness(survived: set[int], attacked: set[int], clean: dict[int, bool]) -> dict[str, Any]:
    """Numbers of an attack that was run on ``attacked``, all of them right before."""
    # While a run is unfinished, right samples that were not attacked yet are left out rather than counted either way.
    n = len(attacked) + sum(not right for right in clean.values())
    fooled = len(attacked) - len(survived)
    return {
        **_accuracy(len(survived), n),
        "attacked": len(attacked),
        "attack_success_rate": fooled / len(attacked) if attacked else None,
        "attack_success_rate_ci95": proportion_ci95(fooled, len(attacked)),
    }


def _attack_result(name: str, row: _Row, clean: dict[int, bool]) -> dict[str, Any]:
    attacked = set(row.correct)
    result = {
        "modality": ATTACKS[name].modality,
        "knowledge": ATTACKS[name].knowledge,
        **_robustness({i for i, right in row.correct.items() if right}, attacked, clean),
        "queries": row.queries / len(attacked) if attacked else None,
        "gradients": row.gradients / len(attacked) if attacked else None,
        "seconds": row.seconds,
        "not_applicable": len(row.not_applicable),
    }
    if ATTACKS[name].modality == "decoupling":
        result |= _removals(row.details)
    return result


def _removals(details: list[dict[str, Any]]) -> dict[str, Any]:
    """The measures of MUROAN (arXiv:2112.12792) over the successes."""
    successes = [d for d in details if d["predicted"] != d["label"]]
    shares = [d["share_removed"] for d in successes]
    return {
        "share_removed_mean": float(np.mean(shares)) if shares else None,
        "share_removed_mean_ci95": bootstrap_ci95(shares),
        "share_removed_median": float(np.median(shares)) if shares else None,
        "share_removed_min": min(shares, default=None),
        "pixels_mean": float(np.mean([d["pixels"] for d in successes])) if successes else None,
        "words_mean": float(np.mean([d["words"] for d in successes])) if successes else None,
        "image_only": sum(d["pixels"] > 0 and d["words"] == 0 for d in successes),
        "text_only": sum(d["pixels"] == 0 and d["words"] > 0 for d in successes),
        "both": sum(d["pixels"] > 0 and d["words"] > 0 for d in successes),
    }


def _worst_case(modality: str, attacks: list[str], rows: dict[str, _Row], clean: dict[int, bool]) -> dict[str, Any]:
    # Attacked is what every attack is done with; one that cannot work on a sample says nothing about it.
    attacked = set.intersection(*(set(rows[name].correct) | rows[name].not_applicable for name in attacks))
    attacked &= {index for name in attacks for index in rows[name].correct}
    survived = {i for i in attacked if all(rows[name].correct.get(i, True) for name in attacks)}
    smallest: dict[int, dict[str, Any]] = {}
    for detail in (d for name in attacks for d in rows[name].details if d["index"] in attacked):
        other = smallest.get(detail["index"])
        if detail["predicted"] != detail["label"] and (
            other is None or detail["share_removed"] < other["share_removed"]
        ):
            smallest[detail["index"]] = detail
    return {
        "modality": modality,
        "knowledge": "worst case of " + ", ".join(attacks),
        **_robustness(survived, attacked, clean),
        "queries": sum(rows[name].queries for name in attacks) / len(attacked) if attacked else None,
        "gradients": sum(rows[name].gradients for name in attacks) / len(attacked) if attacked else None,
        "seconds": sum(rows[name].seconds for name in attacks),
        **(_removals(list(smallest.values())) if modality == "decoupling" else {}),
    }
