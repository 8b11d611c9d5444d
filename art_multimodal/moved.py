"""Names that have moved: the old ones work on for two minor versions, and warn."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

#: The version in which the old names of this one are gone.
REMOVED_IN = "0.3"


def moved(old: str, *homes: str, removed_in: str = REMOVED_IN) -> Callable[[str], Any]:
    """Make the ``__getattr__`` of a module whose names have moved to others (PEP 562).

    Whoever asks for a name gets it from its new module, with a ``DeprecationWarning`` that says where it is now and in
    which version the old name is gone.

    :param old: Name of the module that the names have left (``__name__``).
    :param homes: Names of the modules that they are in now; the first one that has a name counts.
    :param removed_in: The version without the old names.
    """

    def find(name: str) -> Any:
        # Python asks for names with underscores by itself, as of every module.
        for home in () if name.startswith("_") else homes:
            found = getattr(import_module(home), name, find)
            if found is not find:
                warnings.warn(
                    f"{old}.{name} has moved: write from {home} import {name}. The old name is gone in version "
                    f"{removed_in}.",
                    DeprecationWarning,
                    stacklevel=2,
                )
                return found
        raise AttributeError(f"module {old!r} has no attribute {name!r}")

    return find
