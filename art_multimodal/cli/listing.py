"""``art-multimodal list``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from art_multimodal.cli.help import entry
from art_multimodal.cli.names import Names
from art_multimodal.cli.options import quiet_libraries
from art_multimodal.shown import brief

EXAMPLES = """\
art-multimodal list models
art-multimodal list attacks"""


def _models() -> Iterable[tuple[str, str, str]]:
    from art_multimodal.models.loading import MODEL_SOURCES

    for _, source in MODEL_SOURCES.items():
        yield "", source.form, source.summary


def _data() -> Iterable[tuple[str, str, str]]:
    from art_multimodal.datasets import DATA_SOURCES

    for _, source in DATA_SOURCES.items():
        yield "", source.form, source.summary
    yield from _named_data()


def _named_data() -> Iterable[tuple[str, str, str]]:
    """Data sets by name, and whether they are under the root that the environment names."""
    from art_multimodal.datasets.named import NAMED_DATA
    from art_multimodal.datasets.named.place import VARIABLE, splits_found

    root = os.environ.get(VARIABLE, "")
    heading = f"data sets by name, in {brief(root)}" if root else f"data sets by name ({VARIABLE} names no folder)"
    for name, known in NAMED_DATA.items():
        said = known.title + (f", {known.classes} classes" if known.classes else ", for --task retrieval")
        said += f"; split {', '.join(known.splits)}"
        if root:
            found = splits_found(known, Path(root))
            said += f"; found: {', '.join(found)}" if found else "; not found"
        yield heading, f"data:{name}", said


def _attacks() -> Iterable[tuple[str, str, str]]:
    from art_multimodal.evaluations.suite import ATTACKS

    # Those that there are for each modality last, together.
    for of_each in (False, True):
        for name, attack in ATTACKS.items():
            if (attack.of_each and not attack.of_surrogates) == of_each:
                heading = _OF_EACH if of_each else attack.modality
                yield heading, name, f"{attack.summary}; {attack.knowledge}"


#: Above attacks that there are for each modality of a model.
_OF_EACH = "each modality of a model over several (NAME@MODALITY; NAME: all of them)"


def _methods() -> Iterable[tuple[str, str, str]]:
    from art_multimodal.defences.trainer import METHODS

    for name, method in METHODS.items():
        options = ", ".join(f"{option}={default}" for option, default in method.options.items())
        yield "", name, method.summary + (f" ({options})" if options else "")


def _fusions() -> Iterable[tuple[str, str, str]]:
    from art_multimodal.models.fusions import FUSIONS, WHOLE_MODELS

    for heading, registry in (("", FUSIONS), ("whole models, in Python by their class", WHOLE_MODELS)):
        for name, kind in registry.items():
            yield heading, name, kind.summary + (f" ({kind.paper})" if kind.paper else "")


def _defences() -> Iterable[tuple[str, str, str]]:
    from art_multimodal.defences.registry import DEFENCES

    for name, defence in DEFENCES.items():
        yield defence.modality, defence.form(name), defence.summary


def _formats() -> Iterable[tuple[str, str, str]]:
    from art_multimodal.evaluations.formats import FORMATS

    for name, one in FORMATS.items():
        yield "", name, f"{one.summary}; {one.file}"


def _standards() -> Iterable[tuple[str, str, str]]:
    from art_multimodal.evaluations.standards import STANDARDS

    for standard in STANDARDS.values():
        for one, title in standard.titles.items():
            yield standard.name, one, title


def _masks() -> Iterable[tuple[str, str, str]]:
    from art_multimodal.estimators.certification import MASKS

    for counted, heading in ((True, "all votes are counted"), (False, "votes are drawn at random")):
        for name, kind in MASKS.items():
            if kind.exact == counted:
                said = " ".join((kind.__doc__ or "").partition("\n\n")[0].replace("``", "").split())
                edits = "; also against additions and deletions" if kind.any_edits else ""
                yield heading, name, said.rstrip(".") + edits


def _resizes() -> Iterable[tuple[str, str, str]]:
    from art_multimodal.functional.resizing import RESIZERS

    for name, resizer in RESIZERS.items():
        yield "", name, resizer.summary


#: What can be listed: how it is read, and how one of it is used.
_LISTINGS: dict[str, tuple[Callable[[], Iterable[tuple[str, str, str]]], str]] = {
    "models": (_models, "art-multimodal audit MODEL --data DATA"),
    "data": (_data, "art-multimodal audit MODEL --data DATA"),
    "attacks": (_attacks, "--attacks NAME,NAME: names, or the modalities over them"),
    "defences": (_defences, "--defence NAME, or NAME:OPTION=VALUE"),
    "formats": (_formats, "art-multimodal export FOLDER --as NAME,NAME"),
    "fusions": (_fusions, "in Python, ModularModel(towers, NAME, class_names)"),
    "masks": (_masks, "art-multimodal certify MODEL --data DATA --keep NAME=K --masks NAME"),
    "methods": (_methods, "art-multimodal train METHOD MODEL --data DATA --out FOLDER"),
    "resizes": (_resizes, "--resize NAME"),
    "standards": (_standards, "in reports and exports, for each row; docs/threat_models.md"),
}
_NAMES = Names(
    "listing",
    "list",
    tuple(_LISTINGS),
    {
        "model": "models",
        "datasets": "data",
        "attack": "attacks",
        "format": "formats",
        "fusion": "fusions",
        "mask": "masks",
        "method": "methods",
        "resize": "resizes",
        "standard": "standards",
        "trainers": "methods",
    }
    | dict.fromkeys(("defence", "defense", "defenses"), "defences"),
)


def list_entries(
    what: Annotated[str, typer.Argument(metavar="|".join(_LISTINGS), help="what to list", show_default=False)],
) -> None:
    """List what can be named: models, data, attacks, defences, masks, training methods, formats, ids of standards."""
    quiet_libraries()
    entries, usage = _LISTINGS[_NAMES.find(what)]
    group: str | None = None
    for modality, name, summary in entries():
        if modality and modality != group:
            typer.echo(("" if group is None else "\n") + typer.style(modality, bold=True))
        group = modality
        typer.echo("\n".join(entry(name, summary)))
    typer.echo(f"\nUse: {usage}")
