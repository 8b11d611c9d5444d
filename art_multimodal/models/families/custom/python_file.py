"""``python:FILE:FUNCTION`` and ``python:MODULE:FUNCTION``: a model of the user's own code, which runs because the user
names it."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from art_multimodal.errors import InputError, one_line, unknown_name
from art_multimodal.models.checks import check_dual_encoder
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.families.custom.answers import AnsweringModel, Limits, required_parameters
from art_multimodal.models.families.custom.given import as_dual_encoder
from art_multimodal.models.fusion import FusionModel
from art_multimodal.models.multimodal import MultimodalModel
from art_multimodal.registry import look_here_last
from art_multimodal.shown import shown

_FORM = "python:FILE:FUNCTION, such as python:my_model.py:load, or python:MODULE:FUNCTION, such as python:my.api:ask"


def load_python(rest: str) -> DualEncoder | FusionModel | MultimodalModel | AnsweringModel:
    """Run a Python file, or import a module, and take one of its functions for a model, or let it make one.

    A file is run as a script would be: with your rights, and its folder among those that imports look in. A module is
    imported as any is, the current folder being looked in last. Nothing but the name given here makes either run. The
    model knows the digest of the file, so that an audit that is resumed notices another one; not those of what the file
    imports.

    >>> from pathlib import Path
    >>> code = "def brightness(images): return (images.mean(axis=(1, 2, 3)) > 0.5).astype(int)"
    >>> written = Path("answering.py").write_text(code, encoding="utf-8")
    >>> type(load_python("answering.py:brightness")).__name__
    'AnsweringModel'

    :param rest: ``FILE:FUNCTION``, the file relative to the current folder, or ``MODULE:FUNCTION``: what ends in
        ``.py``, holds a slash or is the name of a file here is a file. Behind a function that answers itself there may
        be limits: ``my.api:ask:batch=8,rate=5,timeout=30,size=224``.
    :return: The model in evaluation mode. A function without arguments returns it: a :class:`DualEncoder`, a
        :class:`FusionModel`, a :class:`MultimodalModel`, an :class:`AnsweringModel`, or a tuple (model, tokenizer,
        processor) for :func:`as_dual_encoder`. One that takes images, or images and texts, is the model itself: an
        :class:`AnsweringModel`.
    :raises InputError: If the file, module or function is not there, either fails, or no model comes back.
    """
    rest, limits = _limits(rest)
    name, colon, function = rest.rpartition(":")
    if not colon or not name or not function:
        raise InputError(f"python:{shown(rest)} does not name a file and a function. Write {_FORM}.")
    if _is_module(name):
        module, path, source = _imported(name)
    else:
        path = Path(name).expanduser()
        source = _read(path)
        module = _run(path, source)
    made = _function(module, path, function)
    if required_parameters(made):
        return AnsweringModel(made, limits, f"{function}() in {shown(path)}", source).eval()
    if limits is not None:
        raise InputError(f"{function}() in {shown(path)} makes a model: limits are for a function that takes images.")
    returned = _guarded(path, f"{function}()", made)
    model = _as_model(returned, f"{function}() in {shown(path)}")
    model.source_sha256 = hashlib.sha256(source).hexdigest()
    return model.eval()


def _limits(rest: str) -> tuple[str, Limits | None]:
    """What is named, and the limits behind it."""
    named, colon, options = rest.rpartition(":")
    if colon and ":" in named and "=" in options:
        return named, Limits.parse(options)
    return rest, None


def _is_module(name: str) -> bool:
    if name.endswith(".py") or not all(part.isidentifier() for part in name.split(".")):
        return False
    try:
        return not Path(name).exists()
    except OSError:  # too long a name for a file
        return True


def _imported(name: str) -> tuple[Any, Path, bytes]:
    """A module, where its code is, and its text."""
    look_here_last()
    importlib.invalidate_caches()
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        found = None
    except Exception as error:
        raise InputError(
            f"The module {shown(name)[:200]} cannot be imported ({type(error).__name__}: {one_line(error)}). Write "
            f"{_FORM}."
        ) from error
    if found is None:
        raise InputError(
            f"There is no module {shown(name)}, neither installed nor in {shown(Path.cwd())}, and no file of that "
            f"name. Write {_FORM}."
        )
    path = Path(found.origin or name)
    module = _guarded(path, "it", lambda: importlib.import_module(name))
    return module, path, path.read_bytes() if path.is_file() else name.encode()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"There is no file {shown(path)} (in {shown(Path.cwd())}). Write {_FORM}.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{shown(path)} cannot be read ({type(error).__name__}). Write {_FORM}.") from None


def _run(path: Path, source: bytes) -> Any:
    """Run a file as a module of a name that nothing else has."""
    path = path.resolve()
    # Behind everything else: a file beside it that is called like a library must not take its place.
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    name = f"art_multimodal_python_{hashlib.sha256(str(path).encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
    spec = importlib.util.spec_from_loader(name, loader=None, origin=str(path))
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(path)
    # Under its name, so that dataclasses and pickle find it.
    sys.modules[name] = module
    # The text that was read, and whose digest is kept: not what an import finds compiled.
    _guarded(path, "it", lambda: exec(compile(source, str(path), "exec"), vars(module)))  # noqa: S102
    return module


def _function(module: Any, path: Path, function: str) -> Callable[[], Any]:
    found = getattr(module, function, None)
    if not callable(found):
        own = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise unknown_name(f"function of {shown(path)}", function, own or ["(it defines none)"])
    return found


def _guarded(path: Path, what: str, call: Callable[[], Any]) -> Any:
    """Call the user's code; whatever it raises becomes one line with the place in the user's file."""
    try:
        return call()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        message = shown(" ".join(str(error).split()))
        resolved = str(path.resolve())
        if isinstance(error, SyntaxError) and error.filename == resolved:
            raise InputError(f"{shown(path)}, line {error.lineno}, is no Python: {shown(error.msg)}.") from error
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == resolved]
        place = f", line {lines[-1]}" if lines else ""
        raise InputError(
            f"{shown(path)}{place}: {what} ends with {type(error).__name__}{': ' if message else ''}{message:.200}"
        ) from error


def _as_model(returned: Any, what: str) -> DualEncoder | FusionModel | MultimodalModel | AnsweringModel:
    if isinstance(returned, (FusionModel, MultimodalModel, AnsweringModel)):
        return returned
    parts = returned if isinstance(returned, tuple) and 1 <= len(returned) <= 3 else (returned,)
    try:
        model = as_dual_encoder(*parts)
        check_dual_encoder(model)
    except InputError as error:
        raise InputError(
            f"What {what} returns cannot be used: {error} It may return a DualEncoder, a FusionModel, a "
            "MultimodalModel, an AnsweringModel, or a tuple (model, tokenizer, processor); one that takes images is "
            "asked itself."
        ) from error
    return model
