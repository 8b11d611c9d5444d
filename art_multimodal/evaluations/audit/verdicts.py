"""Verdicts: what was declared before a run, beside what was found. Pure functions of its header and its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.gate import Gate
from art_multimodal.evaluations.audit.lines import CLEAN
from art_multimodal.evaluations.audit.passes import entry_of
from art_multimodal.evaluations.audit.rendering import interval, percent
from art_multimodal.evaluations.suite import RETRIEVAL
from art_multimodal.evaluations.suite.selection import SMOOTHED_ROWS

PASS, WARN, FAIL, NOT_RUN = "PASS", "WARN", "FAIL", "NOT RUN"
#: From the best to the worst: of several limits of a family the worst counts.
OUTCOMES = (PASS, WARN, NOT_RUN, FAIL)
#: Kinds of limits: of an accuracy, of a success rate, of a detector, and from the command line.
FLOOR, CEILING, FALSE_POSITIVES, FAIL_UNDER = "floor", "ceiling", "false_positives", "fail_under"

Interval = tuple[float, float] | Sequence[float]


@dataclass(frozen=True)
class Verdict:
    """A limit and what became of it.

    :param family: What is attacked: the row that stands for all attacks on it.
    :param row: Of the report.
    :param radius: Name of the radius; empty for the largest.
    :param metric: Name of the number in the row.
    :param kind: Of the limit: :data:`FLOOR`, :data:`CEILING`, :data:`FALSE_POSITIVES` or :data:`FAIL_UNDER`.
    :param limit: The number that was declared.
    :param outcome: One of :data:`OUTCOMES`.
    :param value: What was found; ``None`` where it was not.
    :param ci95: Its 95 % interval.
    :param said: The same in words.
    """

    family: str
    row: str
    radius: str
    metric: str
    kind: str
    limit: float
    outcome: str
    value: float | None
    ci95: Interval | None
    said: str


def of_floor(limit: float, ends: Interval, margin: float = 0.0) -> str:
    """Whether a number is above a limit.

    :param limit: The floor.
    :param ends: Lower and upper end of the number's 95 % interval.
    :param margin: So much further above is asked for before nothing is said.
    :return: :data:`FAIL` where the interval lies below the floor, :data:`PASS` where it lies above the floor and the
        margin, or reaches down to it exactly; else :data:`WARN`.
    """
    low, high = ends
    return FAIL if high < limit else PASS if low >= limit + margin else WARN


def of_ceiling(limit: float, ends: Interval, margin: float = 0.0) -> str:
    """Whether a number is below a limit: :func:`of_floor`, mirrored."""
    low, high = ends
    return FAIL if low > limit else PASS if high <= limit - margin else WARN


def worst(outcomes: Iterable[str]) -> str:
    """The worst of several outcomes; :data:`PASS` of none."""
    return max(outcomes, key=OUTCOMES.index, default=PASS)


def verdicts_of(
    header: Mapping[str, Any], summary: Mapping[str, Any], gates: Sequence[Gate] = ()
) -> dict[str, Any] | None:
    """The verdicts of a run, in JSON types; ``None`` where nothing was declared.

    >>> from art_multimodal.evaluations.audit import summarise
    >>> from art_multimodal.evaluations.plans import parse_plan
    >>> text = "{plan: 1, models: [demo:digits], data: demo:digits, attacks: {image: [pgd]}, floors: {clean: 0.3}}"
    >>> declared = log.header | {"plan": parse_plan(text).as_json()}
    >>> verdicts = verdicts_of(declared, summarise(log.header, log.lines()))
    >>> verdicts["overall"], isinstance(Verdict(**verdicts["gates"][0]), Verdict)
    ('PASS', True)

    :param header: Of the run, with its plan if it has one.
    :param summary: From :func:`summarise`.
    :param gates: Of the command line, which were not declared before: these are judged by the number alone.
    :return: ``plan``: the digest of its text, or ``None``; ``overall``: the worst outcome,
        :data:`NOT_RUN` where there is no limit; ``families``: by family the worst outcome;
        ``gates``: each limit as a :class:`Verdict`; ``without_limit``: families that were attacked and have none.
    """
    if "plan" not in header and not gates:
        return None
    found = [*_declared(header, summary), *(_of_gate(gate, summary) for gate in gates)]
    families: dict[str, list[str]] = {}
    for one in found:
        families.setdefault(one.family, []).append(one.outcome)
    attacked = [row for row in summary["results"] if row not in (CLEAN, *header["attacks"], *SMOOTHED_ROWS)]
    attacked += [entry_of(name).modality for name in header["attacks"]]
    return {
        "plan": header["plan"]["sha256"] if "plan" in header else None,
        # Where nothing was declared, nothing is passed.
        "overall": worst(one.outcome for one in found) if found else NOT_RUN,
        "families": {family: worst(outcomes) for family, outcomes in families.items()},
        "gates": [asdict(one) for one in found],
        "without_limit": [family for family in dict.fromkeys(attacked) if family not in families],
    }


def _declared(header: Mapping[str, Any], summary: Mapping[str, Any]) -> list[Verdict]:
    plan = header["plan"]["content"] if "plan" in header else {}
    margin, found = plan.get("warn_margin", 0.0), []
    for kind, limits in ((FLOOR, plan.get("floors", {})), (CEILING, plan.get("ceilings", {}))):
        for row, at in limits.items():
            for radius, limit in at.items():
                found.append(_judged(header, summary, kind, row, radius, limit, margin))
    if (limit := plan.get("detectors", {}).get("false_positives")) is not None:
        said = (
            f"A detector may take at most {percent(limit)} of clean samples for attacked ones. Not run: an audit runs "
            "no detector; DetectorEvaluation in Python does."
        )
        found.append(
            Verdict("detectors", "detectors", "", "false_positives", FALSE_POSITIVES, limit, NOT_RUN, None, None, said)
        )
    return found


def _judged(
    header: Mapping[str, Any],
    summary: Mapping[str, Any],
    kind: str,
    row: str,
    radius: str,
    limit: float,
    margin: float,
) -> Verdict:
    """The verdict of one limit of a plan."""
    key = "accuracy" if kind == FLOOR else "attack_success_rate"
    numbers, missing = _numbers(summary, row, radius)
    value, ends = (None, None) if missing else (numbers.get(key), numbers.get(f"{key}_ci95"))
    if not missing and ends is None:
        missing = "no sample was right before the attack" if kind == CEILING else "no sample was evaluated"
    asked = _asked(header, kind, row, radius, limit)
    if missing or ends is None:
        return Verdict(
            family_of(row), row, radius, key, kind, limit, NOT_RUN, None, None, f"{asked} Not run: {missing}."
        )
    outcome = (of_floor if kind == FLOOR else of_ceiling)(limit, ends, margin)
    said = f"{asked} Found: {percent(value)} (95 % interval {interval(tuple(ends))}){_why(outcome, kind, limit, ends)}."
    return Verdict(family_of(row), row, radius, key, kind, limit, outcome, value, tuple(ends), said)


def _numbers(summary: Mapping[str, Any], row: str, radius: str) -> tuple[Mapping[str, Any], str]:
    """The numbers of a row within a radius; and why there are none that cover all samples, if so."""
    results = summary["results"]
    if row not in results:
        return {}, "no attack of the run is of this row"
    clean, numbers = results[CLEAN], results[row]
    if radius:
        points = summary.get("curves", {}).get(row, {"points": []})["points"]
        found = [point for point in points if point["radius"] == radius]
        if not found:
            return {}, f"the row has no number within {radius}"
        numbers = found[0]
    if not summary["complete"]:
        return {}, "the run is not complete"
    if numbers["n"] < clean["n"] or numbers.get("not_applicable"):
        left_out = max(clean["n"] - numbers["n"], numbers.get("not_applicable", 0))
        return {}, f"it says nothing of {left_out} of {clean['n']} samples"
    return numbers, ""


def _asked(header: Mapping[str, Any], kind: str, row: str, radius: str, limit: float) -> str:
    within = f" within {radius}" if radius else ""
    right = "find a caption of theirs first" if header["task"] == RETRIEVAL else "be right"
    of = "images" if header["task"] == RETRIEVAL else "samples"
    if row == CLEAN:
        return f"Without an attack at least {percent(limit)} of the {of} were to {right}."
    if kind == FLOOR:
        return f"Under {row}{within} at least {percent(limit)} of the {of} were to {right}."
    return (
        f"Under {row}{within} attacks were to succeed on at most {percent(limit)} of the {of} that were right before."
    )


def _why(outcome: str, kind: str, limit: float, ends: Interval) -> str:
    """What an outcome is for, behind the numbers."""
    if outcome == FAIL:
        return ", all of it " + ("below" if kind == FLOOR else "above")
    if outcome == PASS:
        return ", all of it " + ("above" if kind == FLOOR else "below")
    if ends[0] < limit < ends[1]:
        return ", which lies on both sides: more samples would tell"
    return ", closer than the margin of the plan"


def _of_gate(gate: Gate, summary: Mapping[str, Any]) -> Verdict:
    """The verdict of ``--fail-under``, by the number alone; one of an unfinished run cannot pass."""
    failure = gate.failure(dict(summary["results"]))
    numbers = summary["results"][gate.row]
    if failure is None and not summary["complete"]:
        failure = "the run is not complete, so its numbers cannot pass"
    said = f"--fail-under {gate.row}.{gate.metric}={gate.threshold:g}, by the number alone: {failure or 'reached'}."
    outcome = PASS if failure is None else FAIL
    value, ends = numbers.get(gate.metric), numbers.get(f"{gate.metric}_ci95")
    return Verdict(
        family_of(gate.row), gate.row, "", gate.metric, FAIL_UNDER, gate.threshold, outcome, value, ends, said
    )


def family_of(row: str) -> str:
    """What the attacks of a row change."""
    try:
        return entry_of(row).modality
    except InputError:
        return row
