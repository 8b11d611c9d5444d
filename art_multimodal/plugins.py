"""Plug-ins: modules of others that register attacks, objectives, fusions, models, data and more when they are imported.

An installed package declares its module as an entry point of the group ``art_multimodal.plugins``; any other module is
named by ``--plugin``. Nothing that is read (a plan, a checkpoint, a report) makes one be imported.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from art_multimodal.errors import InputError, one_line
from art_multimodal.registry import Registry, look_here_last, registries
from art_multimodal.shown import brief, shown

#: Of the entry points that are plug-ins; the variable of the environment that keeps them from being loaded.
GROUP, VARIABLE = "art_multimodal.plugins", "ART_MULTIMODAL_NO_PLUGINS"
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_HERE = str(Path(__file__).parent)


@dataclass(frozen=True)
class Plugin:
    """A plug-in that was loaded, or could not be.

    :param name: Of the installed package; of a module that was named, the module's.
    :param version: Of the package; of a module its ``__version__``, or the digest of its code.
    :param module: What was imported.
    :param installed: Whether an entry point declares it, so that it need not be named.
    :param fault: Why it cannot be used; then nothing of it is registered. Empty of one that works.
    """

    name: str
    version: str
    module: str
    installed: bool = True
    fault: str = ""

    @property
    def brings(self) -> tuple[str, ...]:
        """What it has registered: ``"attack momentum"``, ``"fusion mean"``, ..."""
        return tuple(
            f"{registry.kind} {name}"
            for registry in registries()
            for name in registry
            if (origin := registry.origin(name)) is not None and plugin_of(origin) == self
        )

    def __str__(self) -> str:
        return f"{self.name} {self.version}" if self.installed else f"module {self.module}"


class _Broken(Exception):
    """What a plug-in raised, in one line."""


#: By module, in the order of loading.
_LOADED: dict[str, Plugin] = {}
_searched = _left_out = False


@contextmanager
def without_installed(left_out: bool = True) -> Iterator[None]:
    """In the body installed plug-ins that are not loaded yet stay so; those that are named are loaded as ever.

    :param left_out: Whether that is so.
    """
    global _left_out
    before, _left_out = _left_out, left_out or _left_out
    try:
        yield
    finally:
        _left_out = before


def load_plugins(tell: Callable[[str], None] | None = None) -> list[Plugin]:
    """Import the plug-ins of all installed packages, once; the command line does so before it runs a command.

    >>> [plugin.name for plugin in load_plugins() if not isinstance(plugin, Plugin)]
    []

    One that fails is named, what it had registered is taken out again, and the others are loaded. With
    ``ART_MULTIMODAL_NO_PLUGINS=1`` in the environment, or ``--no-plugins`` on the command line, none is.

    :param tell: Is told what is wrong with one, in one line; without it that is a warning.
    :return: All that were loaded so far, those that cannot be used among them.
    """
    global _searched
    if not (_searched or _left_out) and os.environ.get(VARIABLE, "") in ("", "0"):
        # Not before: help must not wait for it.
        from importlib.metadata import entry_points

        _searched = True
        for point in sorted(entry_points(group=GROUP), key=lambda point: (point.value, point.name)):
            named = point.value.strip()
            package, version = (point.dist.name, point.dist.version) if point.dist is not None else (point.name, "")
            if named in _LOADED:
                continue
            fault = ""
            try:
                if not _MODULE.fullmatch(named):
                    raise _Broken(f"its entry point names {brief(named, 60)}, which is no module")
                _import(named)
            except _Broken as error:
                fault = str(error)
            plugin = Plugin(shown(package), shown(version), shown(named), fault=fault)
            _LOADED[named] = plugin
            if fault:
                (tell or _warn)(f"the plug-in {plugin} (module {plugin.module}) is left out: {fault}")
    return list(_LOADED.values())


def load_plugin(module: str) -> Plugin:
    """Import a module as a plug-in, also from the current folder.

    >>> load_plugin("nowhere")
    Traceback (most recent call last):
    art_multimodal.errors.InputError: --plugin nowhere cannot be used: ModuleNotFoundError: No module named 'nowhere'

    :param module: Its name, as ``import`` takes it.
    :raises InputError: If it cannot be imported, registers nothing, or registers what cannot be; then nothing of it is.
    """
    if module.endswith(".py") or not _MODULE.fullmatch(module):
        hint = Path(module).stem if module.endswith(".py") else "my_plugin"
        raise InputError(
            f"--plugin takes the name of a module, such as {shown(hint)}, which is installed or lies in the current "
            f"folder; not {shown(brief(module, 80))}."
        )
    known = _LOADED.get(module)
    if known is not None and not known.fault:
        return known
    look_here_last()
    try:
        _import(module)
    except _Broken as error:
        raise InputError(f"--plugin {shown(module)} cannot be used: {error}") from error
    plugin = known and Plugin(known.name, known.version, known.module)
    _LOADED[module] = plugin = plugin or _named(module)
    if not plugin.brings:
        del _LOADED[module]
        raise InputError(f"--plugin {shown(module)} registers nothing: it is no plug-in of art-multimodal.")
    return plugin


def plugin_of(origin: str) -> Plugin:
    """The plug-in that a module belongs to; of one that was imported otherwise, as from Python, the module itself.

    :param origin: The module, see :meth:`Registry.origin`.
    """
    top = origin.partition(".")[0]
    working = [plugin for plugin in _LOADED.values() if not plugin.fault]
    above = [one for one in working if _below(origin, one)]
    beside = [one for one in working if one.module.partition(".")[0] == top]
    return max(above, key=lambda one: len(one.module)) if above else beside[0] if beside else _named(origin)


def origin_of(registry: Registry, name: str) -> str:
    """What stands behind an entry in listings: the package or module that it came with; empty for our own."""
    origin = registry.origin(name)
    return "" if origin is None else str(plugin_of(origin))


def plugins_used(registered: Iterable[tuple[Registry, str]], objects: Iterable[object] = ()) -> list[dict[str, Any]]:
    """The plug-ins that a run needs, by name, as its header keeps them, in JSON types.

    :param registered: What the run uses by name, and where it is registered.
    :param objects: What else it uses, such as the parts of a model: their classes are looked at.
    """
    found: dict[Plugin, list[str]] = {}
    for registry, name in registered:
        if (origin := registry.origin(name)) is not None:
            found.setdefault(plugin_of(origin), []).append(f"{registry.kind} {name}")
    origins = {
        origin for registry in registries() for name in registry if (origin := registry.origin(name)) is not None
    }
    for module in {base.__module__ for one in objects for base in type(one).__mro__}:
        if module in origins or any(not one.fault and _below(module, one) for one in _LOADED.values()):
            found.setdefault(plugin_of(module), [])
    return [
        {
            "name": one.name,
            "version": one.version,
            "module": one.module,
            "installed": one.installed,
            "brings": sorted(set(brings)),
        }
        for one, brings in sorted(found.items(), key=lambda item: item[0].module)
    ]


def plugins_of_run(
    models: Iterable[str],
    data: str,
    loaded: Iterable[Any],
    source: object,
    further: Iterable[tuple[Registry, str]] = (),
) -> list[dict[str, Any]]:
    """The plug-ins that a run needs, as :func:`plugins_used` returns them.

    :param models: As they are named.
    :param data: As they are named.
    :param loaded: The models that are asked or trained.
    :param source: The data.
    :param further: What else the run uses by name, and where it is registered.
    """
    from art_multimodal.datasets.loading import DATA_SOURCES
    from art_multimodal.datasets.named import NAMED_DATA
    from art_multimodal.models.fusions import FUSIONS
    from art_multimodal.models.loading import MODEL_SOURCES

    scheme, _, rest = data.partition(":")
    named: list[tuple[Registry, str]] = [(DATA_SOURCES, scheme), (NAMED_DATA, rest.partition(":")[0])]
    for spec in models:
        named += [(MODEL_SOURCES, spec.partition(":")[0]), (FUSIONS, spec.removeprefix("modular:"))]
    parts = [source]
    for model in loaded:
        parts += [*model.modules(), *getattr(model, "modalities", {}).values()]
    return plugins_used([*named, *further], parts)


def made_with(plugins: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What a file says of the code behind its numbers: ``versions`` of libraries, and ``plugins`` where there are any.

    :param plugins: As :func:`plugins_of_run` returned them.
    """
    # Not before: help must not wait for what it imports.
    from art_multimodal.versions import library_versions

    used = [dict(one) for one in plugins]
    versions = library_versions() | {one["name"]: one["version"] for one in used}
    return {"versions": versions, **({"plugins": used} if used else {})}


def options_for(header: Mapping[str, Any]) -> list[str]:
    """The options that load the plug-ins of a run which are no installed packages.

    :param header: Of the run.
    """
    modules = [str(one["module"]) for one in header.get("plugins", ()) if not one["installed"]]
    return [part for module in modules for part in ("--plugin", module)]


def check_loaded(used: Iterable[Mapping[str, Any]], what: str = "The run") -> None:
    """Refuse to go on without a plug-in that something was made with. Nothing is imported.

    :param used: As :func:`plugins_used` returned it; it may come from others.
    :param what: Needs them, for the message.
    :raises InputError: Naming what is missing, and what to do.
    """
    for one in used:
        module = str(one.get("module"))
        if module in sys.modules and (module not in _LOADED or not _LOADED[module].fault):
            continue
        brings = ", ".join(map(str, one.get("brings") or ()))
        said = f" ({brief(brings, 120)})" if brings else ""
        raise InputError(
            f"{what} needs the plug-in {brief(one.get('name'), 60)} {brief(one.get('version'), 60)}{said}, which is "
            f"not loaded here. Install it, or give --plugin {brief(module, 80)}, if you trust it."
        )


def check_declared(names: Iterable[str], what: str) -> None:
    """Refuse a file that declares a plug-in which is not loaded. Nothing is imported.

    :param names: Of packages or modules.
    :param what: The file, for the message.
    :raises InputError: Naming the first.
    """
    loaded = {name for one in _LOADED.values() if not one.fault for name in (one.name, one.module)}
    for name in names:
        if name not in loaded:
            raise InputError(
                f"{what} needs the plug-in {brief(name, 80)}, which is not loaded, and a file imports nothing. Install "
                f"it, or give --plugin MODULE, if you trust it."
            )


def _below(module: str, plugin: Plugin) -> bool:
    return module == plugin.module or module.startswith(f"{plugin.module}.")


def _import(module: str) -> None:
    """Import a module; if that fails, take out what it has registered, and forget what it has imported of its own.

    :raises _Broken: With the reason.
    """
    before, top = set(sys.modules), module.partition(".")[0]
    if top == __package__:
        raise _Broken(f"{module} is a part of {top} itself, and no plug-in")
    try:
        import_module(module)
    except (Exception, SystemExit) as error:
        own = {name for name in {*sys.modules} - before if name == top or name.startswith(f"{top}.")} | {module}
        for registry in registries():
            registry.forget(own)
        for name in own:
            sys.modules.pop(name, None)
        raise _Broken(f"{type(error).__name__}{_place(error)}: {one_line(error)}") from error


def _place(error: BaseException) -> str:
    """Where something was raised: the last line of code that is neither ours nor that of imports."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" in {shown(Path(error.filename).name)}, line {error.lineno}"
    frames = [
        one
        for one in traceback.extract_tb(error.__traceback__)
        if not one.filename.startswith(("<frozen", _HERE + os.sep)) and "importlib" not in one.filename
    ]
    return f" in {shown(Path(frames[-1].filename).name)}, line {frames[-1].lineno}" if frames else ""


def _named(module: str) -> Plugin:
    """A module that no entry point declares, as a plug-in."""
    version = getattr(sys.modules.get(module), "__version__", None)
    return Plugin(module, version if isinstance(version, str) else _digest(module), module, installed=False)


def _digest(module: str) -> str:
    """What is equal for equal code of a module, and of all others below it in a package."""
    found = sys.modules.get(module)
    file = getattr(found, "__file__", None)
    if file is None:
        return "of unknown code"
    below = sorted(Path(folder) for folder in getattr(found, "__path__", ()))
    digest = hashlib.sha256()
    for path in [path for folder in below for path in sorted(folder.rglob("*.py"))] or [Path(file)]:
        digest.update(path.read_bytes() + b"\0")
    return f"sha256 {digest.hexdigest()[:16]}"


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=3)
