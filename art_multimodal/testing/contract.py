"""What a contract is: properties with names, each of which says what was seen and what to mend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from art_multimodal.attacks.art_context import global_seed
from art_multimodal.errors import InputError, one_line, unknown_name
from art_multimodal.shown import shown
from art_multimodal.testing.comparing import own_settings

#: Of the global generators while a property is looked at: none that somebody would seed them with, which would show no
#: change.
_SEED = 2_718_281_828
#: Breaches of one property that are told; of more, their number.
_MOST_TOLD = 5


class NotChecked(Exception):
    """Raised by a property that cannot be looked at; the text says why."""


def all_of(looks: Iterable[Iterable[str]]) -> Iterator[str]:
    """Yield what several looks see. One that cannot look does not keep the others from it.

    :raises NotChecked: At last, if one could not look.
    """
    why = None
    for look in looks:
        try:
            yield from look
        except NotChecked as error:
            why = why or error
    if why is not None:
        raise why


@dataclass(frozen=True)
class Property:
    """Something that a contract promises.

    :param name: Names it in errors, in reports and in ``but``.
    :param says: What holds, in one line.
    :param mend: What to do where it does not.
    :param look: Yields what was seen against it.
    :param gate: Whether nothing else can be looked at where it does not hold.
    """

    name: str
    says: str
    mend: str
    look: Callable[[Any], Iterable[str]]
    gate: bool = False


@dataclass(frozen=True)
class Broken:
    """A property that does not hold.

    :param name: Of the property.
    :param seen: What was seen: which sample or modality, and by how much.
    :param mend: What to do.
    """

    name: str
    seen: str
    mend: str


@dataclass(frozen=True)
class ContractReport:
    """What a check has looked at.

    :param subject: What was checked.
    :param held: Names of the properties that hold.
    :param skipped: Those that were not looked at, each with the reason.
    """

    subject: str
    held: tuple[str, ...]
    skipped: Mapping[str, str]

    def __str__(self) -> str:
        left = "".join(f"\n- {name} was not checked: {why}" for name, why in self.skipped.items())
        return f"{self.subject} keeps {len(self.held)} properties: {', '.join(self.held)}.{left}"


class ContractError(AssertionError):
    """Something breaks its contract.

    >>> broken = Broken("dtype", "float64 came out of float32", "cast to the weights' type")
    >>> report = ContractReport("Mine", ("gradient", "state"), {})
    >>> print(report)
    Mine keeps 2 properties: gradient, state.
    >>> print(ContractError("a fusion", report, (broken,)))
    Mine breaks 1 of 3 properties of a fusion:
    - dtype: float64 came out of float32
      Mend: cast to the weights' type

    :param contract: Name of the contract.
    :param report: What holds, and what was not looked at.
    :param broken: All properties that do not hold, in the order of the contract.
    """

    def __init__(self, contract: str, report: ContractReport, broken: tuple[Broken, ...]) -> None:
        self.contract, self.report, self.broken = contract, report, broken
        count = len(report.held) + len(broken)
        lines = [f"{report.subject} breaks {len(broken)} of {count} properties of {contract}:"]
        lines += [f"- {one.name}: {one.seen}\n  Mend: {one.mend}" for one in broken]
        super().__init__("\n".join(lines))


class Contract:
    """Properties in an order; those that all others rest on come first.

    :param name: What keeps it, with an article: "a fusion".
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.properties: dict[str, Property] = {}

    def holds(self, says: str, mend: str, gate: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Add a function as a property, under its name with hyphens."""

        def add(look: Callable[..., Any]) -> Callable[..., Any]:
            name = look.__name__.strip("_").replace("_", "-")
            self.properties[name] = Property(name, says, mend, look, gate)
            return look

        return add

    def check(self, subject: str, case: Any, but: Mapping[str, str] | None = None) -> ContractReport:
        """Look at every property.

        Random numbers are the same in every call, and the global generators are left as they were.

        :param subject: What is checked, for messages.
        :param case: What the properties look at.
        :param but: Names of properties that are not demanded, each with the reason.
        :raises ContractError: With all properties that do not hold.
        :raises InputError: For a name in ``but`` that no property has, or one without a reason.
        """
        excused = dict(but or {})
        for name, why in excused.items():
            if name not in self.properties:
                raise unknown_name(f"property of {self.name}", name, self.properties)
            if not isinstance(why, str) or not why.strip():
                raise InputError(f"but={{{name!r}: ...}} needs the reason why it is not demanded, as a string.")
        held, skipped, broken, first = [], {}, [], None
        closed = ""
        for name, one in self.properties.items():
            if name in excused:
                skipped[name] = excused[name]
                continue
            if closed:
                skipped[name] = f"{closed} does not hold"
                continue
            seen: list[str] = []
            try:
                with global_seed(_SEED), own_settings():
                    for said in one.look(case):
                        seen.append(said)
            except NotChecked as why:
                if not seen:
                    skipped[name] = str(why)
                    continue
            except Exception as error:
                first = first or error
                seen.append(f"{type(error).__name__}: {one_line(error, 400)}")
            if not seen:
                held.append(name)
                continue
            more = f" And {len(seen) - _MOST_TOLD} more." if len(seen) > _MOST_TOLD else ""
            broken.append(Broken(name, shown(" ".join(seen[:_MOST_TOLD]) + more), one.mend))
            closed = name if one.gate else ""
        report = ContractReport(subject, tuple(held), skipped)
        if broken:
            raise ContractError(self.name, report, tuple(broken)) from first
        return report
