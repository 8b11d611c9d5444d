"""From the log of a run to ``report.json``, ``report.md`` and ``report.html``."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from art_multimodal.attacks.registry import ATTACKS
from art_multimodal.evaluations.audit.log import RunLog, write_atomically
from art_multimodal.evaluations.audit.pictures import picture_name
from art_multimodal.evaluations.audit.rendering import in_255ths, interval, md, percent, render
from art_multimodal.evaluations.audit.summary import CLEAN, summarise


def write_reports(log: RunLog) -> dict[str, Any]:
    """Write the three reports into the run's folder and return what ``report.json`` holds.

    :raises InputError: If they cannot be written.
    """
    text = json.dumps(
        {**log.header, **summarise(log.header, log.lines())}, indent=2, ensure_ascii=True, allow_nan=False
    )
    report = json.loads(text)
    write_atomically(log.folder / "report.json", text)
    context = {
        "report": report,
        "rows": _rows(report),
        "samples": list(pictured(log)),
        "summaries": {name: entry.summary for name, entry in ATTACKS.items()},
    }
    for name, quote in (("report.md", md), ("report.html", str)):
        write_atomically(log.folder / name, render(name, {**context, "summary": _sentences(report, quote)}))
    return report


def _rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of the table, with what the plot needs."""
    return [{"name": name, **result} for name, result in report["results"].items()]


def _sentences(report: dict[str, Any], quote: Callable[[str], str]) -> list[str]:
    """The summary: what happened, in words that need no knowledge of attacks.

    :param quote: Makes a string from data harmless in the format at hand.
    """
    results, budget = report["results"], report["budget"]
    clean = results[CLEAN]
    if not clean["n"]:
        return ["No sample could be evaluated."]
    pairs = report["model"]["kind"] == "fusion model"
    does = "answers {} of {} questions about images" if pairs else "names {} of {} images"
    sentences = [
        f"Without an attack the model {does.format(percent(clean['accuracy']), clean['n'])} correctly "
        f"(95 % interval {interval(clean['accuracy_ci95'])})."
    ]
    most = max(clean["prediction_counts"])
    if most > 0.8 * clean["n"] and max(clean["label_counts"]) < 0.6 * clean["n"]:
        name = quote(report["data"]["class_names"][clean["prediction_counts"].index(most)])
        sentences.append(
            f"It answers “{name}” for {percent(most / clean['n'])} of them, so it hardly tells the classes apart."
        )
    samples = "samples" if pairs else "images"
    image = results.get("image")
    if image and image["attacked"]:
        hard_to_see = ", which is hard to see" if budget["eps"] <= 8.5 / 255 else ""
        limit = (
            f"each pixel may change by at most {in_255ths(budget['eps'])} of its range{hard_to_see}"
            if float(budget["norm"]) == float("inf")
            else f"an image may change by at most {budget['eps']:g} in Euclidean length"
        )
        sentences.append(
            f"When {limit}, {percent(image['accuracy'])} remain correct: the attacks mislead the model on "
            f"{percent(image['attack_success_rate'])} of the {samples} that it had right."
        )
    removal = results.get("decoupling")
    if removal and removal["attacked"]:
        if removal["share_removed_mean"] is None:
            sentences.append("Removing parts of the input never changed the answer.")
        else:
            sentences.append(
                f"Removing pixels or words of the {'text' if pairs else 'prompt'} changes the answer for "
                f"{percent(removal['attack_success_rate'])} of the {samples} that it had right, by taking away "
                f"{percent(removal['share_removed_mean'], 2)} of the input on average and "
                f"{percent(removal['share_removed_min'], 2)} at best."
            )
    without = report["without_modality"]
    if without:
        sentences.append(
            f"With all of the image removed {percent(without['image']['accuracy'])} of its answers are correct, with "
            f"all of the text removed {percent(without['text']['accuracy'])}."
        )
    for row_name, row in results.items():
        if row.get("not_applicable"):
            sentences.append(
                f"{row_name} cannot work on {row['not_applicable']} of the images; its row leaves them out."
            )
    if report["skipped"]:
        sentences.append(
            f"{len(report['skipped'])} samples could not be read and are not counted; they are listed below."
        )
    if not report["complete"]:
        sentences.insert(0, "This run is not finished: the numbers cover what was evaluated so far.")
    return sentences


def pictured(log: RunLog) -> Iterator[dict[str, Any]]:
    """Samples with pictures, as data URLs."""
    names = log.header["data"]["class_names"]
    for line in log.lines():
        for sample in line["samples"]:
            if not sample.get("picture"):
                continue
            urls = {
                what: _data_url(log.pictures / picture_name(line["attack"], sample["index"], what))
                for what in ("clean", "attacked", "difference")
            }
            if all(urls.values()):
                text = sample.get("text")
                removed = sample.get("removed_words") or []
                yield {
                    "texts": _struck([text] if text else log.header["data"]["templates"], removed, always=bool(text)),
                    "attack": line["attack"],
                    "before": names[sample["label"]],
                    "after": names[sample["predicted"]],
                    **{key: sample.get(key) for key in ("name", "size", "blocks", "share_removed")},
                    **urls,
                }


def _struck(texts: list[str], removed: list[list[int]], always: bool) -> list[list[tuple[str, bool]]]:
    """Texts as (word, whether it was removed): those that lost words, or all."""
    return [
        [(word, [number, index] in removed) for index, word in enumerate(text.split())]
        for number, text in enumerate(texts)
        if always or any(place[0] == number for place in removed)
    ]


def _data_url(path: Path) -> str | None:
    try:
        return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
    except OSError:
        return None
