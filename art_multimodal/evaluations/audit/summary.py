"""From the log of a run to its numbers: pure, and the only place where they are computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from art_multimodal.evaluations.audit.certified import is_done, smoothed_results
from art_multimodal.evaluations.audit.curve import curves_of
from art_multimodal.evaluations.audit.flags import flags_of_pairs, flags_of_results
from art_multimodal.evaluations.audit.lines import CLEAN, Classified, CleanLine, Line, SampleRecord
from art_multimodal.evaluations.audit.passes import (
    Pass,
    attacked_alone,
    entry_of,
    goes_on_after,
    is_naive,
    passes_in,
    smoothed_passes,
)
from art_multimodal.evaluations.audit.rows import Ranks, Row, accuracy_of, robustness, robustness_of, worst_of
from art_multimodal.evaluations.audit.word_curve import CURVED, points_of, survivors
from art_multimodal.evaluations.single_source import SourceResult
from art_multimodal.evaluations.suite import PAIRS, RETRIEVAL, SAMPLES, ZERO_SHOT
from art_multimodal.evaluations.suite.detail import Detail
from art_multimodal.evaluations.suite.selection import SINGLE_SOURCE, SMOOTHED_ROWS
from art_multimodal.functional.statistics import mean_ci95, proportion_ci95

RECALL_AT = (1, 5, 10)
#: Modalities whose attacks count for the row of another one, too.
_ALONE_TOO = {"multimodal": ("image", "text", "multimodal")}


def summary_rows(attacks: Iterable[str], smoothed: bool = False) -> list[str]:
    """Names of a report's rows: clean, each attack, and the worst case of every modality.

    :param smoothed: Whether those of a smoothed model follow.
    """
    attacks = list(attacks)
    single = list(dict.fromkeys(modality for name in attacks if (modality := attacked_alone(name))))
    groups = dict.fromkeys([*single, *([SINGLE_SOURCE] if single else []), *(entry_of(n).modality for n in attacks)])
    further = SMOOTHED_ROWS if smoothed else ()
    return [CLEAN, *attacks, *(name for name in groups if name not in attacks), *further]


def members_of(row: str, passes: Iterable[str]) -> list[str]:
    """The passes that count for a row that stands for several: whoever may change more may also change less."""

    def counts(name: str) -> bool:
        if row == SINGLE_SOURCE:
            return bool(attacked_alone(name))
        within = _ALONE_TOO.get(row, (row,))
        return entry_of(name).modality in within or (row == "multimodal" and bool(attacked_alone(name)))

    return [name for name in passes if counts(name)]


def weighed_modalities(attacks: Iterable[str], task: str) -> tuple[str, ...]:
    """Modalities whose importance is measured: beside a decoupling attack on a classifier, both."""
    weighed = task in (ZERO_SHOT, PAIRS) and any(entry_of(name).modality == "decoupling" for name in attacks)
    return ("image", "text") if weighed else ()


def summarise(header: dict[str, Any], lines: Iterable[Line]) -> dict[str, Any]:
    """Compute a run's numbers.

    Robust accuracy is over all samples: one that is wrong already is not robust. The success rate of an attack is over
    the samples that were right before it. The row of a modality is the worst case: a sample counts as right only if it
    survived every attack of the modality. Every sample counts once.

    With defences each result of attacks has, under ``naive``, what is left of those that do not know of the defences.
    Of a smoothed model there are three rows more: clean, under the attack on its votes, and what is certified.

    :param header: The log's header.
    :param lines: The log's lines.
    :return: ``complete``, ``skipped`` (unreadable samples), ``results`` by row, and ``without_modality``: accuracy with
        all of a modality removed. Of samples of several modalities ``by_modality``: what each costs.
    """
    attacks: list[str] = header["attacks"]
    nb_classes = len(header["data"]["class_names"])
    retrieval = header["task"] == RETRIEVAL
    every = passes_in(header)
    # Those within the largest radius are what the rows are of.
    passes = [name for name in every if not Pass.of(name).eps]
    smoothed = smoothed_passes(header.get("smoothing"))
    rows = {name: Row() for name in (CLEAN, *every, *smoothed)}
    skipped: list[dict[str, str]] = []
    labels: dict[int, int] = {}
    predictions: dict[int, int] = {}
    without: dict[str, dict[int, bool]] = {modality: {} for modality in weighed_modalities(attacks, header["task"])}
    for line in lines:
        rows[line.attack].add(line)
        if not isinstance(line, CleanLine):
            continue
        skipped += [{"name": one.name, "reason": one.reason} for one in line.skipped]
        for sample in line.samples:
            if isinstance(sample.verdict, Classified):
                labels[sample.index], predictions[sample.index] = sample.verdict.label, sample.verdict.predicted
                for modality, right in without.items():
                    if (guess := sample.without.get(modality)) is not None:
                        right[sample.index] = guess == sample.verdict.label
    clean = rows[CLEAN].correct
    if retrieval:
        as_an_attacker_would(rows)
    results: dict[str, Any] = {CLEAN: _clean_result(rows[CLEAN], labels, predictions, nb_classes)}
    for name in attacks:
        results[name] = _attack_result(name, rows[name], clean)
        if name == CURVED and (sizes := header.get("budget", {}).get("word_curve")):
            results[name]["word_curve"] = _word_curve(rows[name], clean, sizes)
        if (naive_pass := Pass(name, naive=True).name) in rows:
            results[name]["naive"] = robustness_of(rows[naive_pass], clean)
    groups = {row: members_of(row, passes) for row in summary_rows(attacks)[1 + len(attacks) :]}
    for modality, members in groups.items():
        if all(entry_of(name).of_everyone for name in members):
            results[modality] = _outages(modality, members, rows, clean)
            continue
        results[modality] = _worst_case(modality, members, rows, clean)
        if naive := [name for name in members if is_naive(name)]:
            keep = ("n", "accuracy", "accuracy_ci95", "attacked", "attack_success_rate", "attack_success_rate_ci95")
            worst = _worst_case(modality, naive, rows, clean)
            results[modality]["naive"] = {key: worst[key] for key in keep}
    if smoothed:
        results |= smoothed_results(rows)
    importance = {m: accuracy_of(sum(right.values()), len(right)) for m, right in without.items()}
    expected = header["data"]["selected"]
    to_attack = len(clean) if retrieval else sum(clean.values())
    done = len(clean) + len(skipped) == expected and all(
        (len(clean) if entry_of(name).of_everyone else to_attack)
        == len(rows[name].asked) + len(rows[name].not_applicable)
        for name in every
    )
    done = done and (not smoothed or is_done(rows, clean))
    summary = {"complete": done, "skipped": skipped, "results": results, "without_modality": importance}
    if header.get("smaller"):
        summary["curves"] = curves_of(header, rows, groups)
    summary["flags"] = [asdict(flag) for flag in (*flags_of_results(results), *flags_of_pairs(header, rows))]
    if header["task"] == SAMPLES:
        summary["by_modality"] = _by_modality(header, passes, rows, clean)
    return summary


def as_an_attacker_would(rows: dict[str, Row]) -> None:
    """In retrieval all samples are attacked: of each the worse of its ranks before and after counts.

    :param rows: By the name of the pass; changed here.
    """
    clean = rows[CLEAN]
    for row in rows.values():
        row.ranks = {index: _worse(ranks, clean.ranks[index]) for index, ranks in row.ranks.items()}
        if row is not clean:
            row.correct = {index: row.ranks[index][0] == 1 for index in row.correct if clean.correct[index]}
    for name, row in rows.items():
        for before in reversed(goes_on_after(name, rows)) if name != CLEAN else ():
            if before in rows:
                row.ranks = {i: _worse(r, rows[before].ranks.get(i, r)) for i, r in row.ranks.items()}
                row.broken_by = {**row.broken_by, **rows[before].broken_by}
                row.correct = {i: row.ranks[i][0] == 1 for i in row.correct}


def _worse(ranks: Ranks, others: Ranks) -> Ranks:
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


def _clean_result(row: Row, labels: dict[int, int], predictions: dict[int, int], nb_classes: int) -> dict[str, Any]:
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


def _attack_result(name: str, row: Row, clean: dict[int, bool]) -> dict[str, Any]:
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


def _outages(name: str, members: list[str], rows: dict[str, Row], clean: dict[int, bool]) -> dict[str, Any]:
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


def _by_modality(
    header: dict[str, Any], passes: Sequence[str], rows: dict[str, Row], clean: dict[int, bool]
) -> dict[str, dict[str, Any]]:
    """Of each modality of samples what is left where it is attacked, missing, removed or swapped; what trust costs."""
    found: dict[str, dict[str, Any]] = {}
    for one in header["data"]["modalities"]:
        name = one["name"]
        facts: dict[str, Any] = {"kind": one["kind"]}
        members = [attack for attack in passes if attacked_alone(attack) == name]
        missing = rows.get(f"modality_missing@{name}")
        for what, row in (("missing", missing), ("removed", rows.get(f"modality_removed@{name}"))):
            if row is not None:
                facts[what] = accuracy_of(sum(row.correct.values()), len(row.correct))
        if (swap := rows.get(f"modality_swap@{name}")) is not None:
            robust = robustness_of(swap, clean)
            facts["swapped"] = {key: robust[key] for key in ("n", "accuracy", "accuracy_ci95")}
        if members:
            worst = _worst_case(name, members, rows, clean)
            facts["attacked"] = {key: worst[key] for key in ("n", "accuracy", "accuracy_ci95")}
            if missing is not None:
                facts |= _trust(members, missing, rows, clean)
        found[name] = facts
    return found


def _trust(members: list[str], missing: Row, rows: dict[str, Row], clean: dict[int, bool]) -> dict[str, Any]:
    """What it costs to trust a modality: over the samples that all attacks on it are done with, in pairs."""
    done = [
        index
        for index, right in clean.items()
        if index in missing.correct and (not right or all(index in rows[name].correct for name in members))
    ]
    attacked = [clean[index] and all(rows[name].correct[index] for name in members) for index in done]
    if not done:
        return {"cost_of_trust": None, "cost_of_trust_ci95": None}
    left_out = [missing.correct[index] for index in done]
    source = SourceResult(np.array(attacked), np.array(left_out), np.zeros(0, dtype=bool))
    return {"cost_of_trust": source.cost_of_trust, "cost_of_trust_ci95": source.cost_of_trust_ci95}


def _word_curve(row: Row, clean: dict[int, bool], sizes: Iterable[int]) -> list[dict[str, Any]]:
    """What is left at each number of words that compete for a place; never more than at a smaller one."""
    keep = ("n", "accuracy", "accuracy_ci95")
    points = []
    for words, tried in points_of(tuple(sizes), min(row.words_tried, default=None)):
        left = robustness(survivors(row.correct, row.fell_at, words), set(row.correct), clean)
        points.append({"words": words, "tried": tried, **{key: left[key] for key in keep}})
    return points


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
            ranks = {index: _worse(worst, row.ranks[index]) for index, worst in ranks.items()}
        further["recall"] = _recall(ranks.values())
    return further


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


def _worst_case(modality: str, attacks: list[str], rows: dict[str, Row], clean: dict[int, bool]) -> dict[str, Any]:
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


def _share(sample: SampleRecord) -> float:
    return sample.detail.share_removed or 0.0
