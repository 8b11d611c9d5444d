"""What is known of a defence by its name: its options, and how it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from art_multimodal.errors import InputError
from art_multimodal.registry import Registry


def written(value: Any) -> str:
    """A value of an option as one would write it, which is read as the same number: ``4/255`` and not its digits."""
    steps = round(255 * value) if isinstance(value, float) and 0 < value < 1 else 0
    if steps and value == steps / 255 and len(said := f"{steps}/255") < len(str(value)):
        return said
    return str(value)


@dataclass(frozen=True)
class DefenceOption:
    """A setting of a defence.

    >>> DefenceOption(default=50, low=1, high=100).read("quality", "75")
    75
    >>> DefenceOption(default=0.5, low=0, high=1, kind=float).read("strength", "1/4")
    0.25

    :param default: Used when it is not given; ``None`` for none.
    :param low: Least number that is allowed.
    :param high: Largest one.
    :param kind: ``int``, ``float``, which is also written as a fraction, ``tuple`` for numbers with slashes between
        them, or ``str`` for a path.
    :param choices: Words that are allowed, where it is one of a few.
    :param required: What it is and how one comes by it, where it must be given; empty where it may be left out.
    """

    default: Any
    low: float = 0
    high: float = float("inf")
    kind: type = int
    choices: tuple[str, ...] = ()
    required: str = ""

    def read(self, name: str, text: str) -> Any:
        """Return what a user wrote as a value.

        :raises InputError: If it is none, or out of range.
        """
        if self.choices:
            if text not in self.choices:
                raise InputError(f"{name} must be {' or '.join(self.choices)}, not {text!r}.")
            return text
        if self.kind is str:
            return text
        if self.kind is tuple:
            return tuple(replace(self, kind=float).read(name, part.strip()) for part in text.split("/"))
        try:
            value = float(Fraction(text)) if self.kind is float and "/" in text else self.kind(text)
        except (ValueError, ZeroDivisionError):
            what = "a whole number" if self.kind is int else "a number"
            raise InputError(f"{name} must be {what}{self._range}, not {text!r}.") from None
        if not self.low <= value <= self.high:
            raise InputError(f"{name} must be a number{self._range}, not {text}.")
        return value

    @property
    def is_file(self) -> bool:
        """Whether it is the path of a file."""
        return self.kind is str and not self.choices

    @property
    def shown(self) -> str:
        """The default as a listing shows it."""
        if self.is_file:
            return "FILE"
        short = f"{self.default:.4g}" if self.kind is float else str(self.default)
        # What is copied from a listing is the default, and no other number.
        return short if self.kind is not float or float(short) == self.default else written(self.default)

    @property
    def _range(self) -> str:
        return f" of at least {self.low:g}" if self.high == float("inf") else f" from {self.low:g} to {self.high:g}"


def read_options(text: str, known: Mapping[str, DefenceOption], what: str, form: str) -> dict[str, Any]:
    """Read ``"option=value,option=value"``.

    >>> read_options("quality=75", {"quality": DefenceOption(50, 1, 95)}, "jpeg", "")
    {'quality': 75}

    :param known: The options that there are.
    :param what: Whose they are, as errors call it.
    :param form: The error for what is not of this form.
    :return: Those that were given.
    :raises InputError: For an unknown option, or a value that is not allowed.
    """
    given: dict[str, Any] = {}
    for part in text.split(","):
        option, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not option or not value:
            raise InputError(form)
        if not known:
            raise InputError(f"The defence {what} has no options; {option!r} was given.")
        if option not in known:
            raise InputError(f"{what} has no option {option!r}. Its options: {', '.join(known)}.")
        if option in given:
            raise InputError(f"The option {option} of {what} is given twice.")
        given[option] = known[option].read(f"{option} of {what}", value)
    return given


@dataclass(frozen=True)
class DefenceEntry:
    """A defence as audits know it.

    >>> from art_multimodal.defences.registry import parse_defence
    >>> entry = parse_defence("jpeg").entry
    >>> isinstance(entry, DefenceEntry), entry.modality, entry.form("jpeg")
    (True, 'image', 'jpeg:quality=50')

    :param modality: ``"image"`` or ``"text"``.
    :param summary: One line for listings and reports.
    :param build: Makes it from its options; of texts with ``known_words``, too.
    :param options: By name.
    :param random: Whether it draws random numbers in every call.
    :param test_time: Whether it is a ``TestTimeDefence``, which computes inside of a zero-shot classifier; else it is
        an ART preprocessor in front of the model.
    """

    modality: str
    summary: str
    build: Callable[..., Any]
    options: Mapping[str, DefenceOption] = field(default_factory=dict)
    random: bool = False
    test_time: bool = False

    def form(self, name: str) -> str:
        """The defence as it is written with all of its options, each at its default."""
        options = (f"{key}={option.shown}" for key, option in self.options.items())
        return ":".join(part for part in (name, ",".join(options)) if part)


#: Every defence of ``--defence``, by name.
DEFENCES: Registry[DefenceEntry] = Registry("defence", DefenceEntry, home="art_multimodal.defences.registry")
