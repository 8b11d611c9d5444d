"""``art-multimodal list``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from art_multimodal.cli.help import STAY, entry
from art_multimodal.cli.names import Names
from art_multimodal.cli.options import quiet_libraries
from art_multimodal.plugins import load_plugins, origin_of
from art_multimodal.registry import Registry
from art_multimodal.shown import brief, shown

EXAMPLES = """\
art-multimodal list models
art-multimodal list attacks"""


def _said(registry: Registry, name: str, text: str) -> str:
    """What is said of an entry, with the plug-in that it came with."""
    origin = origin_of(registry, name).replace(" ", STAY)
    return f"{text} [{shown(origin)}]" if origin else text


def _models() -> Iterable[tuple[str, str, str]]:
    from art_multimodal.models.loading import MODEL_SOURCES

    for name, source in MODEL_SOURCES.items():
        yield "", source.form, _said(MODEL_SOURCES, name, source.summary)


def _data() -> Iterable[tuple[str, str, str]]:
    from art_multimodal.datasets import DATA_SOURCES

    for name, source in DATA_SOURCES.items():
        yield "", source.form, _said(DATA_SOURCES, name, source.summary)
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
        yield heading, f"data:{name}", _said(NAMED_DATA, name, said)


def _attacks() -> Iterable[tuple[str, str, str]]:
    from art_multimodal.evaluations.suite import ATTACKS

    # Those that there are for each modality last, together.
    for of_each in (False, True):
        for name, attack in ATTACKS.items():
            if (attack.of_each and not attack.of_surrogates) == of_each:
                heading = _OF_EACH if of_each else attack.modality
                yield heading, name, _said(ATTACKS, name, f"{attack.summary}; {attack.knowledge}")


#: Above attacks that there are for each modality of a model.
_OF_EACH = "each modality of a model over several (NAME@MODALITY; NAME: all of them)"


def _methods() -> Iterable[tuple[str, str, str]]:
    from art_multimodal.defences.trainer import METHODS

    for name, method in METHODS.items():
        options = ", ".join(f"{option}={default}" for option, default in method.options.items())
        yield "", name, _said(METHODS, name, method.summary + (f" ({options})" if options else ""))


def _inner_attacks() -> Iterable[tuple[str, str, str]]:
    from art_multimodal.defences.trainer import IMAGE_ATTACKS, TEXT_ATTACKS

    headed: tuple[tuple[str, Registry], ...] = (("image", IMAGE_ATTACKS), ("text", TEXT_ATTACKS))
    for heading, registry in headed:
        for name, attack in registry.items():
            yield heading, name, _said(registry, name, _first_line(type(attack)))


def _modalities() -> Iterable[tuple[str, str, str]]:
    from art_multimodal.modalities import KINDS

    for name, kind in KINDS.items():
        yield "", name, _said(KINDS, name, _first_line(kind))


def _fusions() -> Iterable[tuple[str, str, str]]:
    from art_multimodal.models.fusions import FUSIONS, WHOLE_MODELS

    for heading, registry in (("", FUSIONS), ("whole models, in Python by their class", WHOLE_MODELS)):
        for name, kind in registry.items():
            yield heading, name, _said(registry, name, kind.summary + (f" ({kind.paper})" if kind.paper else ""))


def _defences() -> Iterable[tuple[str, str, str]]:
    from art_multimodal.defences.registry import DEFENCES

    for name, defence in DEFENCES.items():
        yield defence.modality, defence.form(name), _said(DEFENCES, name, defence.summary)


def _formats() -> Iterable[tuple[str, str, str]]:
    from art_multimodal.evaluations.formats import FORMATS

    for name, one in FORMATS.items():
        yield "", name, _said(FORMATS, name, f"{one.summary}; {one.file}")


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
                edits = "; also against additions and deletions" if kind.any_edits else ""
                yield heading, name, _first_line(kind) + edits


def _first_line(kind: type) -> str:
    """What the documentation of a class begins with."""
    return " ".join((kind.__doc__ or "").partition("\n\n")[0].replace("``", "").split()).rstrip(".")


def _resizes() -> Iterable[tuple[str, str, str]]:
    from art_multimodal.functional.resizing import RESIZERS

    for name, resizer in RESIZERS.items():
        yield "", name, _said(RESIZERS, name, resizer.summary)


def _plugins() -> Iterable[tuple[str, str, str]]:
    loaded = load_plugins()
    if not loaded:
        yield "", "none", "no package that is installed declares one"
    for one in loaded:
        heading = "installed" if one.installed else "named by --plugin"
        said = f"left out: {one.fault}" if one.fault else ", ".join(one.brings)
        yield heading, f"{one.name} {one.version}", shown(f"module {one.module}: {said or 'registers nothing'}")


#: What can be listed: how it is read, and how one of it is used.
_LISTINGS: dict[str, tuple[Callable[[], Iterable[tuple[str, str, str]]], str]] = {
    "models": (_models, "art-multimodal audit MODEL --data DATA"),
    "data": (_data, "art-multimodal audit MODEL --data DATA"),
    "attacks": (_attacks, "--attacks NAME,NAME: names, or the modalities over them"),
    "defences": (_defences, "--defence NAME, or NAME:OPTION=VALUE"),
    "formats": (_formats, "art-multimodal export FOLDER --as NAME,NAME"),
    "fusions": (_fusions, "in Python, ModularModel(towers, NAME, class_names)"),
    "inner-attacks": (_inner_attacks, "in Python, Method(objective, summary, NAME)"),
    "masks": (_masks, "art-multimodal certify MODEL --data DATA --keep NAME=K --masks NAME"),
    "methods": (_methods, "art-multimodal train METHOD MODEL --data DATA --out FOLDER"),
    "modalities": (_modalities, "in Python, and in models over several"),
    "plugins": (_plugins, "pip install PACKAGE, or --plugin MODULE; docs/plugins.md"),
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
        "modality": "modalities",
        "plugin": "plugins",
        "resize": "resizes",
        "standard": "standards",
        "trainers": "methods",
    }
    | dict.fromkeys(("defence", "defense", "defenses"), "defences"),
)


def list_entries(
    what: Annotated[str, typer.Argument(metavar="|".join(_LISTINGS), help="what to list", show_default=False)],
) -> None:
    """List what can be named: models, data, attacks, defences, masks, training methods, formats, ids of standards.

    What came with a plug-in says so in brackets: the package and its version, or the module.
    """
    quiet_libraries()
    entries, usage = _LISTINGS[_NAMES.find(what)]
    groups: dict[str, list[str]] = {}
    for heading, name, summary in entries():
        # What a plug-in adds stands with its like.
        groups.setdefault(heading, []).extend(entry(name, summary))
    for number, (heading, lines) in enumerate(groups.items()):
        if heading:
            typer.echo(("\n" if number else "") + typer.style(heading, bold=True))
        typer.echo("\n".join(lines))
    typer.echo(f"\nUse: {usage}")
