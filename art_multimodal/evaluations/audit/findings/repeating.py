"""The command that repeats a run, from its header. Pure functions."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from art_multimodal.evaluations.audit.defence_files import HEADER as DEFENCE_FILES
from art_multimodal.evaluations.audit.gate import Gate
from art_multimodal.evaluations.audit.settings import NATIVE_TOGETHER, AuditSettings
from art_multimodal.evaluations.budget_settings import as_json, in_255ths
from art_multimodal.evaluations.budget_settings import settings as budget_settings
from art_multimodal.evaluations.smoothing.settings import AuditedSmoothing
from art_multimodal.evaluations.suite.entry import SAMPLES_TOGETHER
from art_multimodal.plugins import options_for
from art_multimodal.shown import shown

#: Folder of the run that repeats it.
OUT = "again"
#: Files that hold what does not fit on a command line.
PLAN_FILE, TEMPLATES_FILE, CLASSES_FILE = "plan.yaml", "templates.txt", "classes.txt"
#: Begins the name of what had none.
_LOADED = "loaded:"
_PLAIN = {name: f"--{name}" for name in ("task", "limit", "seed", "draws", "resize", "universal", "transfer")}
#: Begins the names of settings of the smoothed model.
_SMOOTHING = "smoothing_"
#: Options of the smoothed model that are not called as the settings are.
_RENAMED = {"budget": "--certify-budget"}


def repeat_of(header: Mapping[str, Any], gates: Sequence[Gate] = ()) -> dict[str, Any]:
    """How a run is repeated.

    >>> repeat_of(log.header)["command"].split()[:3]
    ['art-multimodal', 'audit', 'demo:digits']

    :param header: Of the run.
    :param gates: Of the command line.
    :return: ``command``, or ``None`` for a run of Python on objects without a name; and ``said``: what it needs.
    """
    settings = header["settings"]
    if _unnamed(settings):
        said = "It was run from Python, on a model or data that have no name: no command repeats it."
        return {"command": None, "said": said}
    asked = [part for gate in gates for part in ("--fail-under", f"{gate.row}.{gate.metric}={gate.threshold:g}")]
    if "plan" in header:
        digest = str(header["plan"]["sha256"])[:16]
        said = f"{PLAN_FILE} is the plan of the run (SHA-256 of its text {digest})."
        arguments = ["--plan", PLAN_FILE, *options_for(header), "--out", OUT, *asked]
        command = shlex.join(["art-multimodal", "audit", *arguments])
        return {"command": command, "said": " ".join([said, *_files(header), *_installed(header)])}
    command = audit_command(header, str(settings.get("model", "")), OUT, asked)
    needed = [name for name in (TEMPLATES_FILE, CLASSES_FILE) if name in command.split()]
    files = [f"{' and '.join(needed)}: those under Protocol, one on a line."] if needed else []
    return {"command": command, "said": " ".join([*files, *_files(header), *_installed(header)])}


def _files(header: Mapping[str, Any]) -> list[str]:
    """Which files of defences have to be there, a sentence each."""
    return [
        f"{shown(one['file'])} is {one['option']} of {one['defence']} (SHA-256 {one['sha256'][:16]})."
        for one in header.get(DEFENCE_FILES, ())
    ]


def _installed(header: Mapping[str, Any]) -> list[str]:
    """What has to be installed besides, in a sentence."""
    found = [f"{one['name']} {one['version']}" for one in header.get("plugins", ()) if one["installed"]]
    return [f"Installed has to be {' and '.join(found)}."] if found else []


def audit_command(header: Mapping[str, Any], model: str, out: str, further: Sequence[str] = ()) -> str:
    """The command of an audit with the settings of a run.

    :param header: Of the run.
    :param model: What is audited.
    :param out: Folder of the new run.
    :param further: More options.
    """
    options = [part for option in _options(header["settings"]) for part in option]
    return shlex.join(["art-multimodal", "audit", model, *options, *options_for(header), *further, "--out", out])


def _unnamed(settings: Mapping[str, Any]) -> bool:
    names = [settings.get("model", _LOADED), settings.get("data", _LOADED), *settings.get("surrogates", ())]
    return any(str(name).startswith(_LOADED) for name in names)


def _options(settings: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The options that are not as they are by default; data, attacks and radius also where they are."""
    yield "--data", str(settings.get("data", ""))
    if settings.get("attacks") is not None:
        yield "--attacks", str(settings["attacks"])
    yield from _radii(settings)
    defaults = {one.name: as_json(one.default) for one in fields(AuditSettings) if one.default is not MISSING}
    changed = {name: value for name, value in settings.items() if name in defaults and value != defaults[name]}
    for name, option in _PLAIN.items():
        if name in changed:
            yield option, str(changed[name])
    together = NATIVE_TOGETHER if settings.get("native_size") else SAMPLES_TOGETHER
    if settings.get("group_size", together) not in (None, together):
        yield "--group-size", str(settings["group_size"])
    if changed.get("native_size"):
        yield ("--native-size",)
    yield from (("--defence", str(one)) for one in changed.get("defences", ()))
    yield from (("--surrogate", str(one)) for one in changed.get("surrogates", ()))
    if templates := changed.get("templates"):
        yield "--templates", templates[0] if _fits(templates) else TEMPLATES_FILE
    if classes := changed.get("classes"):
        inline = ",".join(classes)
        fits = not any("," in name or name != name.strip() for name in classes) and not inline.endswith(".txt")
        yield "--classes", inline if fits else CLASSES_FILE
    yield from _budget(changed)
    yield from _smoothing(settings)


def _fits(templates: Sequence[str]) -> bool:
    """Whether templates can stand on the command line: one by itself."""
    return len(templates) == 1 and templates[0] == templates[0].strip() and not templates[0].endswith(".txt")


def _radii(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """All radii: numbers in one list, those of modalities by themselves."""
    radii = [one for one in (*settings.get("smaller_eps", ()), settings.get("eps")) if one is not None]
    if radii and not any(isinstance(one, Mapping) for one in radii):
        yield "--eps", ",".join(map(distance_text, radii))
    else:
        yield from (("--eps", distance_text(one)) for one in radii)


def distance_text(value: Any) -> str:
    """A distance, or those of modalities, as the command line takes it: it reads the same number again."""
    if isinstance(value, Mapping):
        return ",".join(f"{name}={distance_text(one)}" for name, one in value.items())
    decimal, short = repr(float(value)), in_255ths(float(value))
    numerator, slash, _ = short.partition("/")
    same = slash and float(numerator) / 255 == value
    return short if same and len(short) < len(decimal) else decimal


def _budget(changed: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, setting in budget_settings().items():
        if name not in changed or name == "eps":
            continue
        value = changed[name]
        if setting.switched is not None:
            yield (setting.option,)
        elif name == "eps_step":
            yield setting.option, distance_text(value)
        else:
            yield setting.option, ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _smoothing(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    own = {name.removeprefix(_SMOOTHING): value for name, value in settings.items() if name.startswith(_SMOOTHING)}
    if "keep" not in own:
        return
    # What is filled in by itself stays out: some of it may not be given.
    chosen = {name: own[name] for name in ("masks", "rule") if own.get(name) is not None}
    plain = AuditedSmoothing(keep=own["keep"], **chosen).as_json()
    for name, value in own.items():
        if name != "keep" and name not in chosen and value == plain[name]:
            continue
        text = ",".join(f"{key}={one}" for key, one in value.items()) if isinstance(value, Mapping) else str(value)
        yield _RENAMED.get(name, f"--{name.replace('_', '-')}"), text
