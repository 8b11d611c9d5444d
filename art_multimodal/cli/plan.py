"""``art-multimodal plan init`` and ``plan check``."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from art_multimodal.cli.display import say
from art_multimodal.cli.help import Group
from art_multimodal.cli.names import DEVICES, TASKS, data_spec, model_spec
from art_multimodal.cli.options import quiet_libraries
from art_multimodal.cli.plugins import add_command
from art_multimodal.cli.presets import PRESETS, with_preset
from art_multimodal.errors import InputError
from art_multimodal.shown import shown

EXAMPLES = """\
art-multimodal plan init demo:digits --data demo:digits --out plan.yaml
art-multimodal plan init open_clip:ViT-B-32/openai --data folder:photos \\
  --preset quick
art-multimodal plan check plan.yaml
art-multimodal audit --plan plan.yaml --out audit"""


def init(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="as for audit", show_default=False)],
    data: Annotated[str, typer.Option(metavar="DATA", help="as for audit")],
    task: Annotated[
        str, typer.Option(metavar="classification|retrieval", help="retrieval: of captions and images")
    ] = "classification",
    preset: Annotated[
        str | None,
        typer.Option(metavar="|".join(PRESETS), help="attacks, budget and samples of that preset of audit"),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="of the plan; never over another one")] = Path("plan.yaml"),
) -> None:
    """Write a plan for a model and data, with comments: the attacks that work on them, and limits as suggestions."""
    quiet_libraries()
    from art_multimodal.evaluations.audit import Audit, AuditSettings
    from art_multimodal.evaluations.plans.drafting import draft
    from art_multimodal.store import write_atomically

    _check_free(out)
    chosen, filled = with_preset(preset, {})
    settings = AuditSettings(
        model_spec(model),
        data_spec(data),
        task=TASKS.find(task),
        **chosen,
        attacks_on_samples=filled.attacks_on_samples,
    )
    with TemporaryDirectory() as folder:
        # Nothing is run, and nothing written there.
        text = draft(Audit(settings, Path(folder) / "nothing", DEVICES.find("cpu")))
    _check_free(out)
    write_atomically(out, text)
    say(f"{out} is written. Set its limits, then: art-multimodal plan check {out}; art-multimodal audit --plan {out}")


def check(
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="a file", show_default=False)],
) -> None:
    """Find out whether a plan can be read and its entries go together, without loading its models and data."""
    quiet_libraries()
    from art_multimodal.cli.declared import models_of, settings_of
    from art_multimodal.evaluations.plans import read_plan
    from art_multimodal.evaluations.plans.reading import lines_of

    declared = read_plan(plan)
    settings_of(declared, {"model": models_of(declared.plan)})
    for line in lines_of(declared.plan):
        say(line)
    say(f"{plan} is fine; SHA-256 {declared.sha256}")


def _check_free(out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise InputError(f"{shown(out)} is there already. Choose another --out, or move it away.")


app = typer.Typer(cls=Group, epilog=EXAMPLES, help="Plans of audits, declared before the run.")
add_command(app, init, EXAMPLES)
add_command(app, check, EXAMPLES)
