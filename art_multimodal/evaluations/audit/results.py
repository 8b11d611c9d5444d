"""The numbers of a report's rows, from what their lines add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from art_multimodal.evaluations.audit.lines import SampleRecord
from art_multimodal.evaluations.audit.passes import entry_of, is_naive
from art_multimodal.evaluations.audit.rows import Ranks, Row, accuracy_of, robustness, robustness_of, worst_of
from art_multimodal.evaluations.audit.word_curve import points_of, survivors
from art_multimodal.evaluations.suite.detail import Detail
from art_multimodal.functional.statistics import mean_ci95, proportion_ci95

RECALL_AT = (1, 5, 10)


def clean_result(row: Row, labels: dict[int, int], predictions: dict[int, int], nb_classes: int) -> dict[str, Any]:
    accuracy = accuracy_of(sum(row.correct.values()), len(row.correct))
    if not nb_classes:
        return {**accuracy, "recall": _recall(row.ranks.values()), "seconds": row.seconds}
    truth = np.array(list(labels.values()), dtype=np.int64)
    guesses = np.array(list(predictions.values()), dtype=np.int64)
    there = np.bincount(truth, minlength=nb_classes)
    hits = np.bincount(truth[truth == guesses], minlength=nb_classes)
    return {
        **accuracy,
        "balanced_accuracy": float((hits[there > 0] / there[there > 0]).mean()) if len(truth) else None,
        "prediction_counts": np.bincount(guesses, minlength=nb_classes).tolist(),
        "label_counts": there.tolist(),
        "seconds": row.seconds,
    }


def attack_result(name: str, row: Row, clean: dict[int, bool]) -> dict[str, Any]:
    entry = entry_of(name)
    result = {
        "modality": entry.modality,
        "knowledge": entry.knowledge,
        **(_outage(row.correct, clean) if entry.of_everyone else robustness_of(row, clean)),
        "queries": row.queries / len(row.asked) if row.asked else None,
        "gradients": row.gradients / len(row.asked) if row.asked else None,
        "seconds": row.seconds,
        "not_applicable": len(row.not_applicable),
        **_further([row], row.asked),
    }
    # In retrieval what was wrong before is attacked, too: nobody broke that.
    broken_by = Counter(who for index, who in row.broken_by.items() if clean[index])
    if broken_by:
        result["broken_by"] = dict(broken_by.most_common())
    if row.flags:
        result["flags"] = row.flags
    if entry.modality == "decoupling":
        result |= _removals(row.removals)
    return result


def worst_case(modality: str, attacks: list[str], rows: dict[str, Row], clean: dict[int, bool]) -> dict[str, Any]:
    attacked, survived = worst_of([rows[name] for name in attacks])
    asked = set.intersection(*(rows[name].asked | rows[name].not_applicable for name in attacks))
    asked &= {index for name in attacks for index in rows[name].asked}
    smallest: dict[int, SampleRecord] = {}
    for sample in (one for name in attacks for one in rows[name].removals if one.index in attacked):
        other = smallest.get(sample.index)
        if not sample.right and (other is None or _share(sample) < _share(other)):
            smallest[sample.index] = sample
    return {
        "modality": modality,
        "knowledge": "worst case of "
        + ", ".join(name for name in attacks if not is_naive(name))
        + (", each also without knowing of the defences" if any(map(is_naive, attacks)) else ""),
        **robustness(survived, attacked, clean),
        "queries": sum(rows[name].queries for name in attacks) / len(asked) if asked else None,
        "gradients": sum(rows[name].gradients for name in attacks) / len(asked) if asked else None,
        "seconds": sum(rows[name].seconds for name in attacks),
        **_further([rows[name] for name in attacks], asked),
        **(_removals(list(smallest.values())) if modality == "decoupling" else {}),
    }


def outages(name: str, members: list[str], rows: dict[str, Row], clean: dict[int, bool]) -> dict[str, Any]:
    """The worst of several outages: a sample is right if it is whichever of them happens."""
    found = set.intersection(*(set(rows[member].correct) for member in members))
    worst = {index: all(rows[member].correct[index] for member in members) for index in sorted(found)}
    asked = len(found)
    return {
        "modality": name,
        "knowledge": f"worst case of {', '.join(members)}",
        **_outage(worst, clean),
        "queries": sum(rows[member].queries for member in members) / asked if asked else None,
        "gradients": sum(rows[member].gradients for member in members) / asked if asked else None,
        "seconds": sum(rows[member].seconds for member in members),
    }


def word_curve_of(row: Row, clean: dict[int, bool], sizes: Iterable[int]) -> list[dict[str, Any]]:
    """What is left at each number of words that compete for a place; never more than at a smaller one."""
    keep = ("n", "accuracy", "accuracy_ci95")
    points = []
    for words, tried in points_of(tuple(sizes), min(row.words_tried, default=None)):
        left = robustness(survivors(row.correct, row.fell_at, words), set(row.correct), clean)
        points.append({"words": words, "tried": tried, **{key: left[key] for key in keep}})
    return points


def _outage(correct: Mapping[int, bool], clean: Mapping[int, bool]) -> dict[str, Any]:
    """Numbers of what is no attack: accuracy over all samples, and how many of those that were right are not."""
    right_before = [index for index in correct if clean.get(index)]
    fooled = sum(not correct[index] for index in right_before)
    return {
        **accuracy_of(sum(correct.values()), len(correct)),
        "attacked": len(right_before),
        "attack_success_rate": fooled / len(right_before) if right_before else None,
        "attack_success_rate_ci95": proportion_ci95(fooled, len(right_before)),
    }


def _further(rows: list[Row], asked: set[int]) -> dict[str, Any]:
    """What only attacks on texts have, and what only retrieval has."""
    further: dict[str, Any] = {}
    if any(row.text_queries for row in rows):
        tried = sum(row.text_queries.get(index, 0) for row in rows for index in asked)
        further["text_queries"] = tried / len(asked) if asked else None
    if all(row.ranks for row in rows):
        found = set.intersection(*(set(row.ranks) for row in rows))
        ranks = {index: rows[0].ranks[index] for index in sorted(found)}
        for row in rows[1:]:
            ranks = {index: worse(worst, row.ranks[index]) for index, worst in ranks.items()}
        further["recall"] = _recall(ranks.values())
    return further


def worse(ranks: Ranks, others: Ranks) -> Ranks:
    return tuple(max(pair) for pair in zip(ranks, others, strict=True))


def _recall(ranks: Iterable[Ranks]) -> dict[str, dict[str, dict[str, Any]]]:
    """Shares of images that find one of their captions, and of captions that find their image, among the k best."""
    of_images, of_texts = [], []
    for image_rank, *text_ranks in ranks:
        of_images.append(image_rank)
        of_texts += text_ranks
    return {
        direction: {str(k): accuracy_of(sum(rank <= k for rank in found), len(found)) for k in RECALL_AT}
        for direction, found in (("image_to_text", of_images), ("text_to_image", of_texts))
    }


def _removals(samples: list[SampleRecord]) -> dict[str, Any]:
    """The measures of MUROAN (arXiv:2112.12792) over the successes."""
    successes = [sample.detail for sample in samples if not sample.right]
    shares = [detail.share_removed or 0.0 for detail in successes]
    counts = [(detail.pixels or 0, detail.words or 0) for detail in successes]
    named = dict.fromkeys(name for detail in successes for name in detail.removed or {})
    return {
        "share_removed_mean": float(np.mean(shares)) if shares else None,
        "share_removed_mean_ci95": mean_ci95(shares, (0, 1)),
        "share_removed_median": float(np.median(shares)) if shares else None,
        "share_removed_min": min(shares, default=None),
        "pixels_mean": float(np.mean([pixels for pixels, _ in counts])) if successes else None,
        "words_mean": float(np.mean([words for _, words in counts])) if successes else None,
        "image_only": sum(pixels > 0 and words == 0 for pixels, words in counts),
        "text_only": sum(pixels == 0 and words > 0 for pixels, words in counts),
        "both": sum(pixels > 0 and words > 0 for pixels, words in counts),
        **({"removed_mean": {name: _mean_removed(successes, name) for name in named}} if named else {}),
    }


def _mean_removed(details: Sequence[Detail], modality: str) -> float:
    return float(np.mean([(detail.removed or {}).get(modality, 0.0) for detail in details]))


def _share(sample: SampleRecord) -> float:
    return sample.detail.share_removed or 0.0
