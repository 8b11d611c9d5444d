"""From the log of a run to ``report.json``, ``report.md`` and ``report.html``."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from art_multimodal.attacks.registry import ATTACKS
from art_multimodal.evaluations.audit.log import RunLog, write_atomically
from art_multimodal.evaluations.audit.pictures import picture_name
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
        "samples": list(_pictured(log)),
        "summaries": {name: entry.summary for name, entry in ATTACKS.items()},
    }
    for name, escape in (("report.md", False), ("report.html", True)):
        summary = _sentences(report, quote=str if escape else md)
        page = _environment(escape).get_template(f"{name}.j2").render(context, summary=summary)
        write_atomically(log.folder / name, page)
    return report


def _environment(escape: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("art_multimodal.evaluations.audit", "templates"),
        autoescape=escape,  # noqa: S701 (the Markdown report escapes with `md`)
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "interval": interval, "budget": budget_text, "number": number, "md": md}
    return environment


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as a percentage, ``n/a`` for ``None``; one that would round to nothing keeps two digits."""
    if value is None:
        return "n/a"
    tiny = 0 < 100 * value < 10.0**-digits
    return f"{100 * value:.2g} %" if tiny else f"{100 * value:.{digits}f} %"


def interval(ends: tuple[float, float] | None, digits: int = 1) -> str:
    """An interval of fractions in percent; empty for ``None``."""
    return "" if ends is None else f"{100 * ends[0]:.{digits}f} to {100 * ends[1]:.{digits}f}"


def number(value: float | None) -> str:
    """A count or a mean, short; a dash for ``None``."""
    return "–" if value is None else f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:.1f}"


def budget_text(budget: dict[str, Any]) -> str:
    """A budget in one phrase."""
    if float(budget["norm"]) == float("inf"):
        norm, eps, step = "l_inf", in_255ths(budget["eps"]), in_255ths(budget["eps_step"])
    else:
        norm, eps, step = "l_2", f"{budget['eps']:.4g}", f"{budget['eps_step']:.4g}"
    return f"{norm}, eps {eps}, step {step}, {budget['steps']} steps"


def in_255ths(value: float) -> str:
    """A distance in units of 8-bit images where that is how one would write it: ``4/255``."""
    steps = value * 255
    return f"{steps:.4g}/255" if 0.01 <= steps <= 255 else f"{value:.4g}"


def md(text: Any) -> str:
    """Make text from data harmless in Markdown: one line, no markup, no HTML."""
    flat = " ".join(str(text).split())
    return "".join(
        "\\" + c if c in "\\`*_{}[]()#+!|~" else {"<": "&lt;", ">": "&gt;", "&": "&amp;"}.get(c, c) for c in flat
    )


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
    sentences = [
        f"Without an attack the model names {percent(clean['accuracy'])} of {clean['n']} images correctly "
        f"(95 % interval {interval(clean['accuracy_ci95'])})."
    ]
    most = max(clean["prediction_counts"])
    if most > 0.8 * clean["n"] and max(clean["label_counts"]) < 0.6 * clean["n"]:
        name = quote(report["data"]["class_names"][clean["prediction_counts"].index(most)])
        sentences.append(
            f"It answers “{name}” for {percent(most / clean['n'])} of them, so it hardly tells the classes apart."
        )
    image = results.get("image") or _weakest(results, "image")
    if image and image["attacked"]:
        hard_to_see = ", which is hard to see" if budget["eps"] <= 8.5 / 255 else ""
        limit = (
            f"each pixel may change by at most {in_255ths(budget['eps'])} of its range{hard_to_see}"
            if float(budget["norm"]) == float("inf")
            else f"an image may change by at most {budget['eps']:g} in Euclidean length"
        )
        sentences.append(
            f"When {limit}, {percent(image['accuracy'])} remain correct: the attacks mislead the model on "
            f"{percent(image['attack_success_rate'])} of the images that it had right."
        )
    removal = results.get("decoupling")
    if removal and removal["attacked"]:
        if removal["share_removed_mean"] is None:
            sentences.append("Removing parts of the input never changed the answer.")
        else:
            sentences.append(
                f"Removing parts of the image or words of the prompt changes the answer for "
                f"{percent(removal['attack_success_rate'])} of the images that it had right, by taking away "
                f"{percent(removal['share_removed_mean'], 2)} of the input on average and "
                f"{percent(removal['share_removed_min'], 2)} at best."
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


def _weakest(results: dict[str, Any], modality: str) -> dict[str, Any] | None:
    rows = [row for row in results.values() if row.get("modality") == modality and row["accuracy"] is not None]
    return min(rows, key=lambda row: row["accuracy"], default=None)


def _pictured(log: RunLog) -> Any:
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
                yield {
                    "prompts": _struck(log.header["data"]["templates"], sample.get("removed_words") or []),
                    "attack": line["attack"],
                    "before": names[sample["label"]],
                    "after": names[sample["predicted"]],
                    **{key: sample.get(key) for key in ("name", "size", "blocks", "share_removed")},
                    **urls,
                }


def _struck(templates: list[str], removed: list[list[int]]) -> list[list[tuple[str, bool]]]:
    """The templates that lost words, as (word, whether it was removed)."""
    return [
        [(word, [number, index] in removed) for index, word in enumerate(template.split())]
        for number, template in enumerate(templates)
        if any(place[0] == number for place in removed)
    ]


def _data_url(path: Path) -> str | None:
    try:
        return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
    except OSError:
        return None
