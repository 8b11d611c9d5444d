"""``art-multimodal audit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from art_multimodal.cli.display import say
from art_multimodal.cli.options import Device, Norm, Task, parse_distance, parse_names, print_notes, quiet_libraries
from art_multimodal.errors import InputError
from art_multimodal.processes import gathered, is_main_process

if TYPE_CHECKING:
    from art_multimodal.evaluations.audit import Audit, RunLog

#: Of retrieval, as a report names them.
_DIRECTIONS = ("image_to_text", "text_to_image")
#: The exit code.
GATE_FAILED = 1


def audit(
    model: Annotated[
        list[str],
        typer.Argument(help="demo:digits, demo:shapes, open_clip:ARCH/TAG_OR_PATH, hf:ID_OR_PATH, ...; one or several"),
    ],
    data: Annotated[str, typer.Option(help="demo:NAME, folder:PATH (a folder per class) or csv:PATH")],
    attacks: Annotated[
        str | None,
        typer.Option(
            help="names or modalities, separated by commas", show_default="image, text, multimodal, decoupling"
        ),
    ] = None,
    task: Annotated[Task, typer.Option(help="retrieval: of captions and images")] = Task.classification,
    eps: Annotated[
        str | None, typer.Option(help="radius for images in [0, 1]", show_default="1/255 for norm inf")
    ] = None,
    eps_step: Annotated[str | None, typer.Option(help="length of a step", show_default="2.5 * eps / steps")] = None,
    norm: Annotated[Norm, typer.Option(help="norm of the budget")] = Norm.inf,
    steps: Annotated[int, typer.Option(help="gradient steps")] = 10,
    max_queries: Annotated[int, typer.Option(help="queries per image of black-box attacks")] = 500,
    limit: Annotated[int | None, typer.Option(help="most samples, drawn with the seed", show_default="all")] = None,
    batch_size: Annotated[int, typer.Option(help="samples per batch")] = 32,
    device: Annotated[Device, typer.Option(help="where the model runs")] = Device.auto,
    seed: Annotated[int, typer.Option(help="of the choice of samples and of every attack")] = 0,
    out: Annotated[Path, typer.Option(help="folder for log and reports")] = Path("audit"),
    templates: Annotated[str | None, typer.Option(help="a prompt with {}, or a text file with one per line")] = None,
    classes: Annotated[str | None, typer.Option(help="names separated by commas, or a text file")] = None,
    native_size: Annotated[
        bool, typer.Option("--native-size", help="do not reduce photos to the model's size")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in --out")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="stop at an unreadable image")] = False,
    language_model: Annotated[
        str, typer.Option(help="proposes words: demo:mlm, or a masked language model by hub name or folder")
    ] = "demo:mlm",
    max_words: Annotated[int, typer.Option(help="words of a text that may be replaced")] = 1,
    max_edits: Annotated[int, typer.Option(help="characters of a text that may be edited")] = 1,
    top_k: Annotated[int, typer.Option(help="proposals tried for each word")] = 10,
    protect: Annotated[
        str | None, typer.Option(help="words that text attacks leave alone, separated by commas, or a text file")
    ] = None,
    unprotected: Annotated[
        bool, typer.Option("--unprotected", help="let text attacks replace class names, as the paper does")
    ] = False,
    max_share: Annotated[float, typer.Option(help="share of the image that a pasted word may cover")] = 0.1,
    defence: Annotated[
        list[str] | None,
        typer.Option(help="in front of the model, e.g. jpeg:quality=75; repeat for several; see list defences"),
    ] = None,
    draws: Annotated[int, typer.Option(help="of a random defence, for each answer and gradient")] = 10,
    fail_under: Annotated[list[str] | None, typer.Option(help="e.g. image.accuracy=0.3; exit code 1 below")] = None,
) -> None:
    """Attack models on labelled images, image-text pairs or captioned images; write report.html, .json and .md.

    Several models are also compared, in a report over their own ones. Exit codes: 0 fine, 1 a --fail-under gate
    failed, 2 bad input.
    """
    quiet_libraries()
    from art_multimodal.evaluations.audit import Audit, AuditSettings, Gate, write_reports
    from art_multimodal.evaluations.audit.comparison import check_folders, run_folders, write_comparison
    from art_multimodal.evaluations.audit.summary import summary_rows

    folders = run_folders(model, out)
    check_folders(folders, out, resume=resume)
    if norm is Norm.two and eps is None:
        raise InputError("With --norm 2 give --eps: a Euclidean length over the whole image, such as 0.5.")
    gates = [Gate.parse(text) for text in fail_under or []]
    jobs = [
        Audit(
            AuditSettings(
                model=name,
                data=data,
                attacks=attacks,
                task=task.value,
                norm=norm.value,
                eps=parse_distance(eps or "1/255"),
                eps_step=None if eps_step is None else parse_distance(eps_step),
                steps=steps,
                max_queries=max_queries,
                limit=limit,
                batch_size=batch_size,
                seed=seed,
                templates=parse_names(templates, "--templates", None),
                classes=parse_names(classes, "--classes", ","),
                native_size=native_size,
                language_model=language_model,
                max_words=max_words,
                max_edits=max_edits,
                top_k=top_k,
                protect_class_names=not unprotected,
                protected_words=parse_names(protect, "--protect", ",") or (),
                max_share=max_share,
                defences=tuple(defence or ()),
                draws=draws,
            ),
            folder,
            device=device.value,
            strict=strict,
        )
        for name, folder in folders.items()
    ]
    for gate in gates:
        for job in jobs:
            gate.check_row(summary_rows(job.attacks))
    logs, reports, failures = {}, [], []
    main = is_main_process()
    for job in jobs:
        if main and len(jobs) > 1:
            say(job.settings.model, error=True, style="bold")
        if main:
            print_notes(job.subject.notes)
        logs[job.out] = _run(job, resume)
        if not main:
            continue
        reports.append(write_reports(logs[job.out]))
        _print_results(reports[-1])
        _print_reports(job.out)
        prefix = f"{job.settings.model}: " if len(jobs) > 1 else ""
        failures += [prefix + failure for gate in gates if (failure := gate.failure(reports[-1]["results"]))]
        if gates and not reports[-1]["complete"]:
            failures.append(prefix + "the run is not complete, so its numbers cannot pass")
    if main and len(jobs) > 1:
        write_comparison(out, logs, reports)
        _print_reports(out)
    for failure in failures:
        say(f"gate failed: {failure}", error=True)
    # Every process ends as the main one does.
    if gathered(len(failures))[0]:
        raise typer.Exit(GATE_FAILED)


def _run(job: Audit, resume: bool) -> RunLog:
    """Run an audit behind one progress bar per attack."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not is_main_process()) as progress:
        total = len(job.order)
        tasks = {name: progress.add_task(name, total=total) for name in ("clean", *job.passes)}
        return job.evaluate(resume=resume, progress=lambda name, count: progress.advance(tasks[name], count))


def _print_results(report: dict[str, Any]) -> None:
    from art_multimodal.evaluations.audit.rendering import budget_text

    table = _recall_table(report) if report["task"] == "retrieval" else _accuracy_table(report)
    console = Console()
    console.print(table, highlight=False)
    if report["task"] == "retrieval":
        images, texts = (report["results"]["clean"]["recall"][way]["1"]["n"] for way in _DIRECTIONS)
        console.print(f"recall in %: text@k of {images} images, image@k of {texts} captions", highlight=False)
    say(f"budget: {budget_text(report['budget'])}")
    if report["defences"]:
        say(f"defences: {'; '.join(report['defences'])}")
        what = "text@1" if report["task"] == "retrieval" else "accuracy"
        console.print(f"naive: {what} under attacks made without knowing of the defences", highlight=False)
    if report["skipped"]:
        first = report["skipped"][0]
        say(f"{len(report['skipped'])} samples could not be read, for example {first['name']}: {first['reason']}")


def _table(*columns: str) -> Table:
    table = Table(title=None, pad_edge=False, box=None)
    table.add_column("", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right")
    return table


def _accuracy_table(report: dict[str, Any]) -> Table:
    from art_multimodal.evaluations.audit.rendering import interval, percent

    # 80 columns do not hold both.
    defended = bool(report["defences"])
    table = _table(
        "n", "accuracy", *(("naive", "95 % interval") if defended else ("95 % interval", "success")), "removed"
    )
    for name, row in report["results"].items():
        ends = interval(row["accuracy_ci95"])
        success = percent(row["attack_success_rate"]) if "attack_success_rate" in row else ""
        naive = percent(row["naive"]["accuracy"]) if "naive" in row else ""
        share = percent(row["share_removed_mean"], 2) if "share_removed_mean" in row else ""
        middle = (naive, ends) if defended else (ends, success)
        table.add_row(name, str(row["n"]), percent(row["accuracy"]), *middle, share)
    return table


def _recall_table(report: dict[str, Any]) -> Table:
    from art_multimodal.evaluations.audit.rendering import percent
    from art_multimodal.evaluations.audit.summary import RECALL_AT

    defended = bool(report["defences"])
    # 80 columns do not hold more.
    shown = (RECALL_AT[0], RECALL_AT[-1]) if defended else RECALL_AT
    columns = [f"{what}@{k}" for what in ("text", "image") for k in shown]
    table = _table(*columns, *(["naive"] if defended else []))
    # Without a readable image there is none.
    for name, row in ((name, row) for name, row in report["results"].items() if "recall" in row):
        found = [row["recall"][way][str(k)] for way in _DIRECTIONS for k in shown]
        shares = [*found, row["naive"]] if "naive" in row else found
        table.add_row(name, *(percent(share["accuracy"]).removesuffix(" %") for share in shares))
    return table


def _print_reports(folder: Path) -> None:
    for name in ("report.html", "report.md", "report.json"):
        say(f"{folder / name}")
