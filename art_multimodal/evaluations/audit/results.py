"""The numbers of a report's rows, from what their lines add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from typing import Any

import numpy as np

from art_multimodal.evaluations.audit.columns import Column
from art_multimodal.evaluations.audit.passes import entry_of, is_naive
from art_multimodal.evaluations.audit.rows import (
    Ranks,
    Removal,
    Row,
    accuracy_of,
    count,
    in_all,
    in_any,
    right_in_all,
    robustness,
    robustness_of,
    share_right,
    worst_of,
    wrong_in,
)
from art_multimodal.evaluations.audit.word_curve import points_of, survivors
from art_multimodal.functional.statistics import mean_ci95, proportion_ci95

RECALL_AT = (1, 5, 10)


def clean_result(row: Row, nb_classes: int) -> dict[str, Any]:
    accuracy = share_right(row.correct)
    if not nb_classes:
        return {**accuracy, "recall": _recall(row.ranks.values()), "seconds": row.seconds}
    truth = row.labels.dense[row.labels.there]
    guesses = np.where(row.correct.dense, row.labels.dense, row.mistaken.dense)[row.labels.there]
    there = np.bincount(truth, minlength=nb_classes)
    hits = np.bincount(truth[truth == guesses], minlength=nb_classes)
    return {
        **accuracy,
        "balanced_accuracy": float((hits[there > 0] / there[there > 0]).mean()) if len(truth) else None,
        "prediction_counts": np.bincount(guesses, minlength=nb_classes).tolist(),
        "label_counts": there.tolist(),
        # Where answers were counted: behind a defence that computes at test time.
        **({name: getattr(row, name) / len(row.correct) for name in ("queries", "gradients")} if row.queries else {}),
        "seconds": row.seconds,
    }


def attack_result(name: str, row: Row, clean: Column[bool]) -> dict[str, Any]:
    entry, asked = entry_of(name), count(row.asked)
    result = {
        "modality": entry.modality,
        "knowledge": entry.knowledge,
        **(_outage(row.correct, clean) if entry.of_everyone else robustness_of(row, clean)),
        "queries": row.queries / asked if asked else None,
        "gradients": row.gradients / asked if asked else None,
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


def worst_case(modality: str, attacks: list[str], rows: dict[str, Row], clean: Column[bool]) -> dict[str, Any]:
    attacked, survived = worst_of([rows[name] for name in attacks])
    through = in_all(rows[name].asked | rows[name].not_applicable.there for name in attacks)
    through &= in_any(rows[name].asked for name in attacks)
    asked = count(through)
    done: Column[bool] = Column(clean.samples, attacked, attacked)
    smallest: dict[int, Removal] = {}
    for one in (one for name in attacks for one in rows[name].removals if one.place in done):
        other = smallest.get(one.place)
        if other is None or one.share < other.share:
            smallest[one.place] = one
    return {
        "modality": modality,
        "knowledge": "worst case of "
        + ", ".join(name for name in attacks if not is_naive(name))
        + (", each also without knowing of the defences" if any(map(is_naive, attacks)) else ""),
        **robustness(count(survived), count(attacked), wrong_in(clean)),
        "queries": sum(rows[name].queries for name in attacks) / asked if asked else None,
        "gradients": sum(rows[name].gradients for name in attacks) / asked if asked else None,
        "seconds": sum(rows[name].seconds for name in attacks),
        **_further([rows[name] for name in attacks], through),
        **(_removals(list(smallest.values())) if modality == "decoupling" else {}),
    }


def outages(name: str, members: list[str], rows: dict[str, Row], clean: Column[bool]) -> dict[str, Any]:
    """The worst of several outages: a sample is right if it is whichever of them happens."""
    worst = right_in_all([rows[member] for member in members])
    asked = len(worst)
    return {
        "modality": name,
        "knowledge": f"worst case of {', '.join(members)}",
        **_outage(worst, clean),
        "queries": sum(rows[member].queries for member in members) / asked if asked else None,
        "gradients": sum(rows[member].gradients for member in members) / asked if asked else None,
        "seconds": sum(rows[member].seconds for member in members),
    }


def word_curve_of(row: Row, clean: Column[bool], sizes: Iterable[int]) -> list[dict[str, Any]]:
    """What is left at each number of words that compete for a place; never more than at a smaller one."""
    keep = ("n", "accuracy", "accuracy_ci95")
    points = []
    for words, tried in points_of(tuple(sizes), row.words_tried):
        left = robustness(survivors(row.correct, row.fell_at, words), len(row.correct), wrong_in(clean))
        points.append({"words": words, "tried": tried, **{key: left[key] for key in keep}})
    return points


def _outage(correct: Column[bool], clean: Column[bool]) -> dict[str, Any]:
    """Numbers of what is no attack: accuracy over all samples, and how many of those that were right are not."""
    right_before = correct.there & clean.dense
    attacked, fooled = count(right_before), count(right_before & ~correct.dense)
    return {
        **share_right(correct),
        "attacked": attacked,
        "attack_success_rate": fooled / attacked if attacked else None,
        "attack_success_rate_ci95": proportion_ci95(fooled, attacked),
    }


def _further(rows: list[Row], asked: np.ndarray) -> dict[str, Any]:
    """What only attacks on texts have, and what only retrieval has."""
    further: dict[str, Any] = {}
    if any(row.text_queries for row in rows):
        tried = sum(sum(map(int, row.text_queries.dense[asked])) for row in rows)
        further["text_queries"] = tried / count(asked) if asked.any() else None
    if all(row.ranks for row in rows):
        further["recall"] = _recall(_worst_ranks(rows))
    return further


def _worst_ranks(rows: list[Row]) -> Iterator[Ranks]:
    """Of each sample that several attacks are done with, the worst of its ranks."""
    found = in_all(row.ranks.there for row in rows)
    for ranks in zip(*(row.ranks.dense[found] for row in rows), strict=True):
        yield reduce(worse, ranks)


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


def _removals(successes: Sequence[Removal]) -> dict[str, Any]:
    """The measures of MUROAN (arXiv:2112.12792) over the successes."""
    shares = [one.share for one in successes]
    counts = [(one.pixels, one.words) for one in successes]
    named = dict.fromkeys(name for one in successes for name in one.removed or {})
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


def _mean_removed(successes: Sequence[Removal], modality: str) -> float:
    return float(np.mean([(one.removed or {}).get(modality, 0.0) for one in successes]))
