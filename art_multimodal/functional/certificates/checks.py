"""Numbers that callers give: whole numbers and probabilities, of Python's types or of numpy's."""

from __future__ import annotations

from fractions import Fraction
from math import inf
from numbers import Rational
from operator import index
from typing import Any

from art_multimodal.errors import LARGEST_COUNT, InputError, check_count
from art_multimodal.shown import brief

#: What can be decided exactly, or else a float.
Number = Fraction | float


def whole(name: str, value: Any, least: int = 0, most: int = LARGEST_COUNT) -> int:
    """A whole number, numpy's included, as Python's.

    :raises InputError: If it is none, or outside the range.
    """
    try:
        value = index(value)
    except TypeError:
        raise InputError(f"{name} must be a whole number, not {brief(value)}.") from None
    check_count(name, value, least, most)
    return value


def probability(name: str, value: Any, least: int = 0) -> Number:
    """A number up to 1: rational numbers as fractions, everything else as a float.

    :param least: 0, or -1 for a difference of probabilities.
    :raises InputError: If it is no number of the range.
    """
    number: Number
    try:
        number = Fraction(value) if isinstance(value, Rational) else float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be a number from {least} to 1, not {brief(value)}.") from None
    if not least <= number <= 1:
        raise InputError(f"{name} must lie from {least} to 1, not at {brief(value)}.")
    return number


def level(alpha: float) -> float:
    """A probability of error, strictly between 0 and 1.

    :raises InputError: If it is none.
    """
    if not 0 < float(alpha) < 1:
        raise InputError(f"alpha must lie between 0 and 1, not at {brief(alpha)}; .001 is common.")
    return float(alpha)


def positive(name: str, value: float, most: float = inf) -> float:
    """A finite number above 0.

    :raises InputError: If it is none.
    """
    if not 0 < float(value) <= most or float(value) == inf:
        raise InputError(
            f"{name} must be above 0{'' if most == inf else f' and at most {most:g}'}, not {brief(value)}."
        )
    return float(value)
