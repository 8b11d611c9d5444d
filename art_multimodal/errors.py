"""The one exception for input that a user can correct."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from art_multimodal.shown import shown


class InputError(ValueError):
    """Something that the user gave cannot be used.

    The message names what was given, what is allowed and what to do. The command line prints it on one line and exits
    with code 2.

    >>> try:
    ...     load_model("demo:nothing")
    ... except InputError as error:
    ...     print(str(error).split(".")[0])
    ...
    Unknown demo model 'nothing'
    """


#: Most that a count may be: what is counted in 32 bits somewhere below must not overflow there.
LARGEST_COUNT = 2**31 - 1


def check_count(name: str, value: int | None, least: int = 1, most: int = LARGEST_COUNT) -> None:
    """Refuse a number of things that nobody can have meant, or that a library below could not count.

    :param name: Of the setting.
    :param value: ``None`` is let through.
    :raises InputError: If it is no whole number of the range.
    """
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and least <= value <= most):
        return
    if isinstance(value, int) and not isinstance(value, bool) and value > most:
        raise InputError(f"{name} must be at most {most:,}, not {value if value < 10**20 else 'more than 10^20'}.")
    raise InputError(f"{name} must be at least {least}, not {value}.")


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """Return the error for a name that is not known, suggesting the nearest ones.

    :param kind: What is named, in singular ("attack").
    :param name: The name given.
    :param known: All names that would have been accepted.
    """
    known = sorted(known)
    by_lower_case = {entry.lower(): entry for entry in known}
    near = [by_lower_case[entry] for entry in difflib.get_close_matches(name.lower(), by_lower_case, n=3, cutoff=0.5)]
    if near:
        hint = f"Did you mean {' or '.join(near)}?"
    elif len(known) <= 20:
        hint = f"Known: {', '.join(known)}."
    else:
        hint = f"There are {len(known)} known names, for example {', '.join(known[:5])}."
    return InputError(f"Unknown {kind} {name!r}. {hint}")


def one_line(error: BaseException, most: int = 200) -> str:
    """What another library's exception says, on one line without control characters, cut to ``most`` characters."""
    return shown(" ".join(str(error).split()))[:most]


@contextmanager
def noting(note: str) -> Iterator[None]:
    """Add to an error on its way out where it happened; tracebacks and the command line show it."""
    try:
        yield
    except Exception as error:
        # As BaseException.add_note, which came with Python 3.11.
        error.__notes__ = [*notes_of(error), note]
        raise


def notes_of(error: BaseException) -> tuple[str, ...]:
    """What was added to an error by :func:`noting`, from the inside out."""
    return tuple(getattr(error, "__notes__", ()))
