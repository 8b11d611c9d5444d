"""``art-multimodal certify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from art_multimodal.cli.audit_results import print_reports
from art_multimodal.cli.certify_display import CertifyDisplay, print_results
from art_multimodal.cli.common import (
    KEEP,
    RUN,
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
    Rule,
    Strict,
    Templates,
    Votes,
    attack_steps,
)
from art_multimodal.cli.display import say
from art_multimodal.cli.names import DEVICES, data_spec, model_spec, resize_name
from art_multimodal.cli.options import (
    check_one_of,
    parse_names,
    print_notes,
    quiet_libraries,
    smoothing_of,
)
from art_multimodal.errors import InputError
from art_multimodal.processes import failing_together, gathered, is_main_process

if TYPE_CHECKING:
    from art_multimodal.evaluations.certification import Certification, CertificationLog

#: The exit code.
GATE_FAILED = 1

EXAMPLES = """\
art-multimodal certify demo:digits --data demo:digits --keep image=4 \\
  --limit 100
art-multimodal certify demo:shapes/late --data demo:shapes \\
  --keep image=8,text=2 --elements image=blocks:8 \\
  --budget image=1,text=1 --attack-steps 10
art-multimodal certify demo:views/late --data demo:views \\
  --keep pix=8,fou=20,kar=20 --masks independent --samples 200 \\
  --fail-under certified.pix=1=0.3
art-multimodal certify checkpoint:ablated --data folder:photos \\
  --keep image=7 --masks design --budget sticker:image=32 --resume"""

# Group of --help.
_WHAT = "What is certified"


def certify(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            rich_help_panel=_WHAT,
            help="demo:digits, demo:shapes, checkpoint:FOLDER, open_clip:ARCH/TAG_OR_PATH, ...: see list models",
            show_default=False,
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            metavar="DATA",
            rich_help_panel=_WHAT,
            help="data:NAME, folder:PATH (a folder per class), csv:PATH or demo:NAME",
        ),
    ],
    keep: Annotated[str, KEEP],
    budget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BUDGET",
            rich_help_panel=_WHAT,
            help="edits of an attacker, such as image=1,text=1, or sticker:image=8 for a patch of 8 x 8 pixels; "
            "repeat; tables have all budgets up to the largest",
            show_default="one element of each modality",
        ),
    ] = None,
    elements: Elements = None,
    edits: Edits = None,
    protect: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS",
            rich_help_panel=_WHAT,
            help="words that no attack is taken to change, and no mask hides, besides those that the data name; "
            "separated by commas, or a text file",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", rich_help_panel=_WHAT, help="most samples, drawn with the seed", show_default="all"),
    ] = None,
    masks: MasksName = None,
    layout: Layout = None,
    samples: Votes = None,
    choosing: Choosing = None,
    alpha: Alpha = None,
    rule: Rule = None,
    attack_steps: Annotated[int, attack_steps("none")] = 0,
    templates: Templates = None,
    classes: Classes = None,
    data_root: DataRoot = None,
    native_size: NativeSize = False,
    resize: Resize = None,
    strict: Strict = False,
    max_skipped: MaxSkipped = 0.5,
    out: Annotated[Path, typer.Option(metavar="FOLDER", rich_help_panel=RUN, help="folder for log and reports")] = Path(
        "certificate"
    ),
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", rich_help_panel=RUN, help="go on with the run in --out; another --budget costs no votes"
        ),
    ] = False,
    overwrite: Overwrite = False,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROW.BUDGET=LEAST",
            rich_help_panel=RUN,
            help="e.g. certified.image=1,text=1=0.3, or certified.accuracy=0.8; exit code 1 below; repeat",
        ),
    ] = None,
    batch_size: Annotated[
        int,
        typer.Option(metavar="N", rich_help_panel=RUN, help="most votes the model casts at once; changes no result"),
    ] = 128,
    device: Device = "auto",
    seed: Annotated[
        int, typer.Option(metavar="N", rich_help_panel=RUN, help="of the choice of samples, and of random masks")
    ] = 0,
) -> None:
    """Certify what no attack within a budget of edits can change about a model; write report.html, .json and .md.

    The model is smoothed: it votes about parts of each sample, and whoever edits few elements reaches few votes. Beside
    the certificates stand controls that do not see a modality at all. Train a model for it by the method ablation.

    Exit codes: 0 fine, 1 a --fail-under gate failed, 2 bad input, 3 an error that was not expected.
    """
    check_one_of(resume, overwrite)
    quiet_libraries()
    from art_multimodal.datasets.named.spec import with_root
    from art_multimodal.datasets.reading import skipped_too_many
    from art_multimodal.evaluations.certification import (
        Certification,
        CertificationSettings,
        CertifiedGate,
        write_reports,
    )
    from art_multimodal.evaluations.certification.replacing import check_replaceable, remove_run
    from art_multimodal.evaluations.smoothing.budgets import budget_name
    from art_multimodal.out_folders import check_no_strangers
    from art_multimodal.store import check_folder

    name = model_spec(model)
    if overwrite:
        check_replaceable(out)
    else:
        check_no_strangers(out)
        check_folder(out, resume=resume)
    gates = [CertifiedGate.parse(text) for text in fail_under or []]
    settings = CertificationSettings(
        model=name,
        data=with_root(data_spec(data), data_root),
        **smoothing_of(
            keep,
            masks,
            elements,
            edits=edits,
            layout=layout,
            samples=samples,
            choosing=choosing,
            alpha=alpha,
            rule=rule,
        ),
        budgets=tuple(budget or ()),
        attack_steps=attack_steps,
        protected_words=parse_names(protect, "--protect", ",") or (),
        limit=limit,
        batch_size=batch_size,
        seed=seed,
        templates=parse_names(templates, "--templates", None),
        classes=parse_names(classes, "--classes", ","),
        native_size=native_size,
        resize=resize_name(resize),
    )
    job = Certification(settings, out, DEVICES.find(device), strict, max_skipped)
    named = [job.add_budget(gate.budget, "--fail-under") if gate.budget is not None else None for gate in gates]
    for gate in gates:
        gate.check_row(job.report_rows)
    main = is_main_process()
    if overwrite:
        # Not before everything that was given has been found good.
        with failing_together():
            if main:
                remove_run(out)
    if main:
        print_notes(job.subject.notes)
    log = _run(job, resume)
    failures: list[str] = []
    too_many: InputError | None = None
    if main:
        report = write_reports(log)
        print_results(report)
        print_reports(job.out)
        found = zip(gates, named, strict=True)
        names = ((gate, None if resolved is None else budget_name(resolved)) for gate, resolved in found)
        failures = [failure for gate, of in names if (failure := gate.failure(report["results"], of))]
        if gates and not report["complete"]:
            failures.append("the run is not complete, so its numbers cannot pass")
        too_many = skipped_too_many(report, max_skipped)
    for failure in failures:
        say(f"gate failed: {failure}", error=True)
    # Every process ends as the main one does.
    with failing_together():
        if too_many is not None:
            raise too_many
    if gathered(len(failures))[0]:
        raise typer.Exit(GATE_FAILED)


def _run(job: Certification, resume: bool) -> CertificationLog:
    """Run a certification behind its plan and how far it has come."""
    from art_multimodal.evaluations.certification.plan import plan_of

    where = f"{job.settings.model} on {job.estimator.device}"
    with CertifyDisplay(plan_of(job), where, visible=is_main_process()) as display:
        return job.evaluate(resume=resume, watch=display.passed)
