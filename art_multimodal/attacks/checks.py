"""Checks of parameters that attacks share."""

from __future__ import annotations

from typing import Any

import numpy as np


def check_whole_number(attack: Any, name: str, least: int) -> None:
    """Check a parameter of an attack.

    :raises ValueError: If it is no whole number of at least ``least``.
    """
    value = getattr(attack, name)
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}.")
