"""Whether the package ``art`` is the Adversarial Robustness Toolbox: another of that name overwrites its files."""

from __future__ import annotations

import importlib.util
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


def check_art() -> None:
    """Let nobody go on without ART: the command line ends with one line and code 2, an import with an error.

    :raises ImportError: Saying what to do.
    """
    problem = problem_with_art()
    if problem is None:
        return
    as_module = sys.argv[:1] == ["-m"] and "art_multimodal" in sys.orig_argv
    if as_module or Path(sys.argv[0] if sys.argv else "").stem == "art-multimodal":
        print(f"error: {problem}", file=sys.stderr)
        raise SystemExit(2)
    raise ImportError(problem)
