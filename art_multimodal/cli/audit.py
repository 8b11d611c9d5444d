"""``art-multimodal audit``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from art_multimodal.cli.audit_display import AuditDisplay
from art_multimodal.cli.audit_results import failed_limits, print_reports, print_results
from art_multimodal.cli.audit_settings import settings_from, smoothing_from
from art_multimodal.cli.budget import Budget, taking_budget
from art_multimodal.cli.common import (
    KEEP,
    RUN,
    SMOOTHED,
    Alpha,
    Choosing,
    Classes,
    DataRoot,
    Device,
    Edits,
    Elements,
    Layout,
    MasksName,
    MaxSkipped,
    NativeSize,
    Overwrite,
    Resize,
    Resume,
    Rule,
    Strict,
    Templates,
    UniversalFile,
    Votes,
    attack_steps,
)
from art_multimodal.cli.declared import FAIL_ON, given_options, limits_without_rows, models_of, settings_of
from art_multimodal.cli.display import say
from art_multimodal.cli.evidence import print_estimate, write_evidence
from art_multimodal.cli.names import DEVICES, TASKS, attack_names, data_spec, defence_spec, model_spec, resize_name
from art_multimodal.cli.options import check_one_of, parse_names, print_notes, quiet_libraries
from art_multimodal.cli.presets import PRESETS, Filled
from art_multimodal.errors import InputError
from art_multimodal.processes import failing_together, gathered, is_main_process
from art_multimodal.shown import shown

if TYPE_CHECKING:
    from art_multimodal.evaluations.audit import Audit, RunLog

#: The exit code.
GATE_FAILED = 1

EXAMPLES = """\
art-multimodal audit demo:digits --data demo:digits --eps 4/255
art-multimodal audit open_clip:ViT-B-32/openai --data folder:photos \\
  --preset quick
art-multimodal audit hf:openai/clip-vit-base-patch32 --data csv:captions.csv \\
  --task retrieval --limit 100
art-multimodal audit demo:digits demo:digits/robust --data demo:digits \\
  --attacks worst_image --fail-under worst_image.accuracy=0.3 --out both
art-multimodal audit python:my_api:ask --data folder:photos \\
  --surrogate open_clip:ViT-B-32/openai --max-queries 200
art-multimodal audit demo:views/late --data demo:views --keep pix=4,fou=20 \\
  --certify-budget pix=1 --fail-under certified.accuracy=0.3
art-multimodal audit --plan plan.yaml"""

# Groups of --help.
_WHAT, _DEFENCES = "What is attacked, and how", "Defences"


@taking_budget
def audit(
    ctx: typer.Context,
    model: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            rich_help_panel=_WHAT,
            help="demo:digits, demo:shapes, open_clip:ARCH/TAG_OR_PATH, hf:ID_OR_PATH, ...: see list models; one or "
            "several",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            rich_help_panel=_WHAT,
            help="data:NAME, folder:PATH (a folder per class), csv:PATH or demo:NAME; needed unless a plan names it",
            show_default=False,
        ),
    ] = None,
    plan: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_WHAT,
            help="models, data, attacks, budgets and limits declared in a file: see art-multimodal plan; other options "
            "may not contradict it",
            show_default=False,
        ),
    ] = None,
    attacks: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            rich_help_panel=_WHAT,
            help="names or modalities, separated by commas: see list attacks",
            show_default="image,text,multimodal,decoupling",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(PRESETS),
            rich_help_panel=_WHAT,
            help="sets --attacks, --steps, --max-queries and --limit where they are not given: see below",
            show_default=False,
        ),
    ] = None,
    task: Annotated[
        str,
        typer.Option(
            metavar="classification|retrieval", rich_help_panel=_WHAT, help="retrieval: of captions and images"
        ),
    ] = "classification",
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", rich_help_panel=_WHAT, help="most samples, drawn with the seed", show_default="all"),
    ] = None,
    budget: Budget = {},  # noqa: B006 (stands for the options of the budget)
    templates: Templates = None,
    classes: Classes = None,
    data_root: DataRoot = None,
    native_size: NativeSize = False,
    resize: Resize = None,
    universal: UniversalFile = None,
    strict: Strict = False,
    max_skipped: MaxSkipped = 0.5,
    defence: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_DEFENCES,
            help="in front of the model, e.g. jpeg:quality=75; repeat for several; see list defences",
        ),
    ] = None,
    ablate_defences: Annotated[
        bool,
        typer.Option(
            "--ablate-defences",
            rich_help_panel=_DEFENCES,
            help="audit the model without each defence, too, and without any: a table of what each brings",
        ),
    ] = False,
    surrogate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            rich_help_panel=_WHAT,
            help="of the attackers' own: images are made on it and scored on MODEL, rows transfer@...; repeat",
        ),
    ] = None,
    transfer: Annotated[
        str | None,
        typer.Option(
            metavar="OPTION=VALUE,...",
            rich_help_panel=_WHAT,
            help="how images are made on surrogates: ensemble, decay, diversity, crops, scales; e.g. "
            "crops=1,scales=0.5/0.75",
            show_default=False,
        ),
    ] = None,
    draws: Annotated[
        int,
        typer.Option(metavar="N", rich_help_panel=_DEFENCES, help="of a random defence, for each answer and gradient"),
    ] = 10,
    keep: Annotated[str | None, KEEP] = None,
    certify_budget: Annotated[
        str | None,
        typer.Option(
            metavar="BUDGET",
            rich_help_panel=SMOOTHED,
            help="edits within which it is certified and attacked, such as image=1,text=1, or sticker:image=8",
            show_default="one element of each modality",
        ),
    ] = None,
    masks: MasksName = None,
    elements: Elements = None,
    edits: Edits = None,
    layout: Layout = None,
    samples: Votes = None,
    choosing: Choosing = None,
    alpha: Alpha = None,
    rule: Rule = None,
    attack_steps: Annotated[int | None, attack_steps("10")] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", rich_help_panel=RUN, help="folder for log and reports")] = Path(
        "audit"
    ),
    resume: Resume = False,
    overwrite: Overwrite = False,
    fixtures: Annotated[
        str,
        typer.Option(
            metavar="none|successes|all",
            rich_help_panel=RUN,
            help="attacked samples to keep, in FOLDER/evidence with all that verify needs to ask a model again",
        ),
    ] = "none",
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROW.NUMBER=LEAST", rich_help_panel=RUN, help="e.g. image.accuracy=0.3; exit code 1 below; repeat"
        ),
    ] = None,
    fail_on: Annotated[
        str,
        typer.Option(
            metavar="fail|warn",
            rich_help_panel=RUN,
            help="exit code 1 where a limit of the plan fails, or where it warns or was not run",
        ),
    ] = "fail",
    batch_size: Annotated[
        int,
        typer.Option(metavar="N", rich_help_panel=RUN, help="most samples the model sees at once; changes no result"),
    ] = 32,
    group_size: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            rich_help_panel=RUN,
            help="samples attacked together, a line of the log each time; ART's attacks draw for all of them",
            show_default="32, and 8 with --native-size",
        ),
    ] = None,
    device: Device = "auto",
    seed: Annotated[
        int, typer.Option(metavar="N", rich_help_panel=RUN, help="of the choice of samples and of every attack")
    ] = 0,
    models: Annotated[list[str] | None, typer.Option("--model", hidden=True)] = None,
) -> None:
    """Attack models on labelled images, image-text pairs or captioned images; write report.html, .json and .md.

    Several models are also compared, in a report over their own ones. With --keep there are further rows: the model
    smoothed by votes, an attack on these votes, and what no attack within the same budget can change.

    Exit codes: 0 fine, 1 a limit of the plan or a --fail-under gate failed, 2 bad input, 3 an error that was not
    expected.
    """
    names = [*(model or []), *(models or [])]
    if plan is None:
        _check_there(data, names)
    check_one_of(resume, overwrite)
    quiet_libraries()
    from art_multimodal.datasets.named.spec import with_root
    from art_multimodal.datasets.reading import skipped_too_many
    from art_multimodal.evaluations.audit import Audit, Gate, write_reports
    from art_multimodal.evaluations.audit.comparison import check_folders, run_folders, write_comparison
    from art_multimodal.evaluations.audit.leaving_out import variations_of
    from art_multimodal.evaluations.audit.replacing import check_replaceable, remove_run
    from art_multimodal.evaluations.plans import read_plan
    from art_multimodal.evaluations.suite import SAMPLES
    from art_multimodal.evaluations.suite.selection import UnknownAttack

    given: dict[str, Any] = {
        "model": [model_spec(name) for name in names],
        "attacks": attack_names(attacks, strict=False),
        "preset": preset,
        "task": TASKS.find(task),
        "limit": limit,
        "templates": parse_names(templates, "--templates", None),
        "classes": parse_names(classes, "--classes", ","),
        "native_size": native_size,
        "resize": resize_name(resize),
        "universal": universal,
        "defence": tuple(map(defence_spec, defence or ())),
        "surrogate": tuple(map(model_spec, surrogate or ())),
        "transfer": transfer,
        "draws": draws,
        "seed": seed,
        **({"data": with_root(data_spec(data), data_root)} if data is not None else {}),
    }
    on_warn = FAIL_ON.find(fail_on) == "warn"
    if plan is None:
        settings, set_by_preset = settings_from(given, budget)
    else:
        declared = read_plan(plan)
        there = given_options(ctx, (*given, "models"))
        there |= {"model"} if names else set()
        said = {name: value for name, value in given.items() if name in there} | budget
        settings, set_by_preset = settings_of(declared, said, data_root), Filled()
        given["model"] = models_of(declared.plan, given["model"])
    smoothing = smoothing_from(
        keep,
        masks,
        elements,
        budget=certify_budget,
        edits=edits,
        layout=layout,
        samples=samples,
        choosing=choosing,
        alpha=alpha,
        rule=rule,
        attack_steps=attack_steps,
    )
    settings = replace(settings, batch_size=batch_size, group_size=group_size, smoothing=smoothing)
    each_left_out = ablate_defences or (plan is not None and declared.plan.ablate_defences)
    variations = variations_of(settings, given["model"], each_left_out)
    folders = run_folders([one.label for one in variations], out)
    if overwrite:
        check_replaceable(out)
    else:
        check_folders(folders, out, resume=resume)
    gates = [Gate.parse(text) for text in fail_under or []]
    try:
        jobs = [
            Audit(one.settings, folders[one.label], DEVICES.find(device), strict, max_skipped, fixtures.lower())
            for one in variations
        ]
    except UnknownAttack:
        # With what other tools call attacks among the suggestions.
        attack_names(attacks)
        raise
    for gate in gates:
        for job, one in zip(jobs, variations, strict=True):
            if not one.without:
                gate.check_row(job.report_rows)
    logs, reports, failures = {}, [], []
    main = is_main_process()
    if overwrite:
        # Not before everything that was given has been found good.
        with failing_together():
            for job in jobs:
                job.check_readable()
            if main:
                remove_run(out)
    for job, one in zip(jobs, variations, strict=True):
        if main:
            print_notes([*job.subject.notes, *limits_without_rows(job)])
            print_estimate(job)
        logs[job.out] = _run(job, resume, set_by_preset.as_options(job.subject.task == SAMPLES))
        if not main:
            continue
        # What is there to be compared with has no gates.
        own = [] if one.without else gates
        reports.append(write_reports(logs[job.out], own))
        if len(jobs) > 1:
            print(f"\n{shown(one.label)}")
        print_results(reports[-1])
        print_reports(job.out)
        write_evidence(job, logs[job.out])
        prefix = f"{one.label}: " if len(jobs) > 1 else ""
        failures += [prefix + failure for gate in own if (failure := gate.failure(reports[-1]["results"]))]
        if own and not reports[-1]["complete"]:
            failures.append(prefix + "the run is not complete, so its numbers cannot pass")
        failures += [prefix + said for said in failed_limits(reports[-1], on_warn)]
    if main and len(jobs) > 1:
        write_comparison(out, logs, reports, variations)
        print_reports(out)
    too_many = [error for report in reports if (error := skipped_too_many(report, max_skipped)) is not None]
    for failure in failures:
        say(f"gate failed: {failure}", error=True)
    # Every process ends as the main one does.
    with failing_together():
        if too_many:
            raise too_many[0]
    if gathered(len(failures))[0]:
        raise typer.Exit(GATE_FAILED)


def _check_there(data: str | None, names: Sequence[str]) -> None:
    """Say what is missing of what a plan would name."""
    if data is None:
        raise InputError("Missing option '--data'. For example: --data folder:photos. See art-multimodal audit --help.")
    if not names:
        raise InputError("Missing argument MODEL. For example: art-multimodal audit demo:digits --data demo:digits.")


def _run(job: Audit, resume: bool, preset: str = "") -> RunLog:
    """Run an audit behind its plan and how far it has come."""
    from art_multimodal.evaluations.audit.calibration import calibrate, has_gradients
    from art_multimodal.evaluations.audit.plan import plan_of

    where = f"{job.settings.model} on {job.estimator.device}"
    # Of a function that only answers nothing is asked that no attack asks.
    timed = (lambda: calibrate(job)) if has_gradients(job) else None
    with AuditDisplay(plan_of(job), where, preset, is_main_process(), timed) as display:
        return job.evaluate(resume=resume, watch=display.passed)
