"""Whether the package ``art`` is the Adversarial Robustness Toolbox: another of that name overwrites its files."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

#: In both of ART's files that the package of ASCII art, which installs into the same folder, brings, too.
_FIRST = {"__init__.py": "Adversarial Robustness Toolbox", "utils.py": "Adversarial Robustness Toolbox"}


def problem_with_art() -> str | None:
    """What is wrong with the package ``art``, and what to do; ``None`` if it is ART. Nothing is imported."""
    try:
        spec = importlib.util.find_spec("art")
    except (ImportError, ValueError):  # it is being imported, or was put there by hand
        return None
    if spec is None:
        return "The Adversarial Robustness Toolbox is not there: pip install adversarial-robustness-toolbox."
    if not spec.has_location or spec.origin is None or Path(spec.origin).suffix != ".py":
        # Without its __init__.py it is a mere folder; from an archive it cannot be looked at.
        return None if spec.origin else _advice(str(next(iter(spec.submodule_search_locations or ()), "?")))
    first = Path(spec.origin)
    for name, words in _FIRST.items():
        try:
            text = (first.parent / name if first.name == "__init__.py" else first).read_bytes()
        except OSError:
            text = b""
        if words.encode() not in text:
            return _advice(str(first))
    return None


def _advice(place: str) -> str:
    from art_multimodal.shown import shown

    return (
        f"The package art at {shown(place)} is not the Adversarial Robustness Toolbox, or another package called art "
        "(ASCII art) has overwritten it: pip uninstall art; pip install --force-reinstall --no-deps "
        "adversarial-robustness-toolbox. If it is a file or folder of your own, rename it."
    )


def _keep_data_at(folder: str) -> None:
    """Let ART keep its configuration and data below a folder instead of in the home.

    Its module of settings writes to the home as it is imported, and knows no variable: it is run here, before the rest.
    """
    spec = importlib.util.find_spec("art")
    if spec is None or spec.origin is None or "art.config" in sys.modules:
        return
    found = importlib.util.spec_from_file_location("art.config", Path(spec.origin).parent / "config.py")
    if found is None or found.loader is None:
        return
    module = importlib.util.module_from_spec(found)
    home = os.environ.get("HOME")
    os.environ["HOME"] = str(Path(folder).expanduser().absolute())
    try:
        Path(os.environ["HOME"]).mkdir(parents=True, exist_ok=True)
        found.loader.exec_module(module)
        module.set_data_path(str(Path(os.environ["HOME"]) / "data"))
    finally:
        if home is None:
            del os.environ["HOME"]
        else:
            os.environ["HOME"] = home
    sys.modules["art.config"] = module


def check_art() -> None:
    """Let nobody go on without ART: the command line ends with one line and code 2, an import with an error.

    ``ART_DATA_PATH`` in the environment is where ART keeps what it writes.

    :raises ImportError: Saying what to do.
    """
    problem = problem_with_art()
    if problem is None and (folder := os.environ.get("ART_DATA_PATH")):
        try:
            _keep_data_at(folder)
        except (OSError, ValueError) as error:
            problem = f"ART_DATA_PATH cannot be used ({str(error)!a}): give a folder that can be written to."
    if problem is None:
        return
    as_module = sys.argv[:1] == ["-m"] and "art_multimodal" in sys.orig_argv
    if as_module or Path(sys.argv[0] if sys.argv else "").stem == "art-multimodal":
        print(f"error: {problem}", file=sys.stderr)
        raise SystemExit(2)
    raise ImportError(problem)
