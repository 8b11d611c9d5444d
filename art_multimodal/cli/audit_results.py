"""What an audit prints in the end: its table, what is to be known of it, and where the reports are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from art_multimodal.cli.display import say
from art_multimodal.cli.options import print_notes
from art_multimodal.shown import shown

#: Radii that are shown.
_MOST_RADII = 5
#: Of retrieval, as a report names them.
_DIRECTIONS = ("image_to_text", "text_to_image")

#: Of a plan that declares none, for which nothing can be passed.
_NO_LIMIT = "the plan sets no limit"


def print_results(report: dict[str, Any]) -> None:
    from art_multimodal.evaluations.audit.flags import sentences_of
    from art_multimodal.evaluations.audit.sentences import guessing
    from art_multimodal.evaluations.audit.word_curve import CURVED, points_in_words
    from art_multimodal.evaluations.budget_settings import budget_text

    table = _recall_table(report) if report["task"] == "retrieval" else _accuracy_table(report)
    console = Console()
    print_verdicts(report)
    console.print(table, highlight=False)
    if report["task"] == "retrieval":
        images, texts = (report["results"]["clean"]["recall"][way]["1"]["n"] for way in _DIRECTIONS)
        console.print(f"recall in %: text@k of {images} images, image@k of {texts} captions", highlight=False)
    say(f"budget: {budget_text(report['budget'])}")
    if smoothing := report.get("smoothing"):
        say(f"smoothed, vote_flipping, certified: within {smoothing['budget']['name']}, edits of elements")
    curve = report["results"].get(CURVED, {}).get("word_curve")
    if curve:
        points = points_in_words(report["results"][CURVED], report)
        say(f"{CURVED}: {', '.join(f'{left} {words}' for words, left in points)}")
    if report.get("curves"):
        console.print(_curve_table(report), highlight=False)
    if report["defences"]:
        say(f"defences: {'; '.join(report['defences'])}")
        what = "text@1" if report["task"] == "retrieval" else "accuracy"
        console.print(f"naive: {what} under attacks made without knowing of the defences", highlight=False)
    if report.get("published"):
        say("published: the same, of all samples, also those that are wrong without an attack, as papers report it")
    for warning in sentences_of(report):
        console.print(f"warning: {warning}", highlight=False, markup=False, style="yellow")
    if report["skipped"]:
        first = report["skipped"][0]
        say(f"{len(report['skipped'])} samples could not be read, for example {first['name']}: {first['reason']}")
    print_notes(guessing(report))


#: How the terminal shows outcomes.
_STYLES = {"PASS": "green", "WARN": "yellow", "FAIL": "red", "NOT RUN": "yellow"}


def print_verdicts(report: dict[str, Any]) -> None:
    """What was declared and what was found, first of all; nothing where nothing was declared."""
    verdicts = report.get("verdicts")
    if verdicts is None:
        return
    if not verdicts["gates"]:
        say(f"verdict: {verdicts['overall']}, {_NO_LIMIT}")
        return
    table = Table(title=None, pad_edge=False, box=None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for gate in verdicts["gates"]:
        table.add_row(Text(gate["outcome"], style=_STYLES[gate["outcome"]]), Text(shown(gate["said"])))
    say(f"verdict: {verdicts['overall']}")
    Console().print(table, highlight=False)


def failed_limits(report: dict[str, Any], on_warn: bool) -> list[str]:
    """Limits of the plan that make the exit code 1.

    :param on_warn: Whether warnings do, too, and limits that were not run.
    """
    bad = {"FAIL", "WARN", "NOT RUN"} if on_warn else {"FAIL"}
    gates = report.get("verdicts", {"gates": []})["gates"]
    if on_warn and "verdicts" in report and not gates:
        return [_NO_LIMIT]
    # Those of the command line are judged there.
    return [gate["said"] for gate in gates if gate["outcome"] in bad and gate["kind"] != "fail_under"]


def plain_table(*columns: str) -> Table:
    """A table without lines: the first column names the rows, the others are numbers."""
    table = Table(title=None, pad_edge=False, box=None)
    table.add_column("", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right")
    return table


def _accuracy_table(report: dict[str, Any]) -> Table:
    from art_multimodal.evaluations.audit.rendering import interval, percent

    # 80 columns do not hold both.
    defended, published = bool(report["defences"]), bool(report.get("published"))
    table = plain_table(
        "n",
        "accuracy",
        *(("naive", "95 % interval") if defended else ("95 % interval", "success")),
        "published" if published else "removed",
    )
    for name, row in report["results"].items():
        ends = interval(row["accuracy_ci95"])
        success = percent(row["attack_success_rate"]) if "attack_success_rate" in row else ""
        naive = percent(row["naive"]["accuracy"]) if "naive" in row else ""
        share = percent(row["share_removed_mean"], 2) if "share_removed_mean" in row else ""
        middle = (naive, ends) if defended else (ends, success)
        # Behind a defence at test time nothing is removed.
        last = percent(row["naive"]["published"]["accuracy"]) if published and "naive" in row else share
        table.add_row(name, str(row["n"]), percent(row["accuracy"]), *middle, last)
    return table


def _curve_table(report: dict[str, Any]) -> Table:
    """Accuracy at some of the radii and the area, of rows that stand for several attacks; 80 columns hold no more."""
    from art_multimodal.evaluations.audit.curve import drawn, radii_of
    from art_multimodal.evaluations.audit.rendering import percent

    names = ["0", *(radius.name for radius in radii_of(report))]
    # The last ones, and evenly many of the others.
    most = min(_MOST_RADII, len(names))
    kept = sorted({round(number * (len(names) - 1) / (most - 1)) for number in range(most)})
    short = [names[place] if len(names[place]) <= 8 else f"radius {place}" for place in kept]
    table = plain_table(*short, "area")
    table.title, table.title_justify = "accuracy in % over the radius", "left"
    if any(len(names[place]) > 8 for place in kept):
        said = "; ".join(f"radius {place}: {names[place]}" for place in kept if len(names[place]) > 8)
        table.caption, table.caption_justify = shown(said), "left"
    for row in drawn(report):
        curve = report["curves"][row]
        cells = [percent(curve["points"][place]["accuracy"]).removesuffix(" %") for place in kept]
        table.add_row(row, *cells, percent(curve["area"]).removesuffix(" %"))
    return table


def _recall_table(report: dict[str, Any]) -> Table:
    from art_multimodal.evaluations.audit.rendering import percent
    from art_multimodal.evaluations.audit.results import RECALL_AT

    defended = bool(report["defences"])
    # 80 columns do not hold more.
    shown = (RECALL_AT[0], RECALL_AT[-1]) if defended else RECALL_AT
    columns = [f"{what}@{k}" for what in ("text", "image") for k in shown]
    table = plain_table(*columns, *(["naive"] if defended else []))
    # Without a readable image there is none.
    for name, row in ((name, row) for name, row in report["results"].items() if "recall" in row):
        found = [row["recall"][way][str(k)] for way in _DIRECTIONS for k in shown]
        shares = [*found, row["naive"]] if "naive" in row else found
        table.add_row(name, *(percent(share["accuracy"]).removesuffix(" %") for share in shares))
    return table


def print_reports(folder: Path) -> None:
    for name in ("report.html", "report.md", "report.json"):
        say(f"{folder / name}")
