"""Verdicts: intervals beside limits, and what is said of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from art_multimodal.evaluations.audit import Gate
from art_multimodal.evaluations.audit.verdicts import (
    FAIL,
    NOT_RUN,
    OUTCOMES,
    PASS,
    WARN,
    of_ceiling,
    of_floor,
    verdicts_of,
    worst,
)
from art_multimodal.functional.statistics import proportion_ci95

#: Multiples of 1/64 are exact, and so are their differences.
EXACT = st.integers(0, 64).map(lambda number: number / 64)
ENDS = st.tuples(EXACT, EXACT).map(lambda pair: (min(pair), max(pair)))
GOOD = {PASS: 2, WARN: 1, FAIL: 0}


@given(EXACT, ENDS)
def test_a_floor_is_passed_where_every_number_of_the_interval_passes(limit: float, ends: tuple[float, float]) -> None:
    """By brute force: of all numbers of the interval on the grid that these are on."""
    inside = [number / 64 for number in range(65) if ends[0] <= number / 64 <= ends[1]]
    above = [number >= limit for number in inside]
    expected = PASS if all(above) else FAIL if not any(above) else WARN
    assert of_floor(limit, ends) == expected
    below = [number <= limit for number in inside]
    assert of_ceiling(limit, ends) == (PASS if all(below) else FAIL if not any(below) else WARN)


@given(EXACT, ENDS, EXACT)
def test_a_ceiling_is_a_floor_in_the_mirror(limit: float, ends: tuple[float, float], margin: float) -> None:
    mirrored = (1 - ends[1], 1 - ends[0])
    assert of_ceiling(limit, ends, margin) == of_floor(1 - limit, mirrored, margin)


@given(EXACT, EXACT, ENDS, EXACT, EXACT)
def test_verdicts_are_monotone(
    limit: float, other: float, ends: tuple[float, float], shift: float, margin: float
) -> None:
    """A higher floor, a wider margin and lower numbers are never better for a verdict."""
    low, high = sorted((limit, other))
    assert GOOD[of_floor(low, ends, margin)] >= GOOD[of_floor(high, ends, margin)]
    assert GOOD[of_floor(limit, ends)] >= GOOD[of_floor(limit, ends, margin)]
    raised = (ends[0] + shift, ends[1] + shift)
    assert GOOD[of_floor(limit, raised, margin)] >= GOOD[of_floor(limit, ends, margin)]


@given(st.integers(1, 60), st.data())
def test_more_right_samples_are_never_worse(n: int, data: st.DataObject) -> None:
    limit = data.draw(st.floats(0, 1))
    outcomes = []
    for right in range(n + 1):
        ends = proportion_ci95(right, n)
        assert ends is not None
        outcomes.append(GOOD[of_floor(limit, ends)])
    assert outcomes == sorted(outcomes)


@given(st.lists(st.sampled_from(OUTCOMES)))
def test_the_worst_counts(outcomes: list[str]) -> None:
    expected = next((one for one in (FAIL, NOT_RUN, WARN) if one in outcomes), PASS)
    assert worst(outcomes) == expected


def row(right: int, n: int = 100, before: int = 90, **more: Any) -> dict[str, Any]:
    fooled = before - right
    return {
        "n": n,
        "accuracy": right / n,
        "accuracy_ci95": proportion_ci95(right, n),
        "attacked": before,
        "attack_success_rate": fooled / before,
        "attack_success_rate_ci95": proportion_ci95(fooled, before),
        "modality": "image",
        **more,
    }


def judged(content: dict[str, Any], summary: dict[str, Any], attacks: tuple[str, ...] = ("pgd",)) -> dict[str, Any]:
    content = {"floors": {}, "ceilings": {}, "attacks": {}, "warn_margin": 0.0, **content}
    header = {"task": "zero-shot", "attacks": list(attacks), "plan": {"sha256": "0" * 64, "content": content}}
    found = verdicts_of(header, summary)
    assert found is not None
    return found


def summary(**rows: dict[str, Any]) -> dict[str, Any]:
    clean = {"n": 100, "accuracy": 0.9, "accuracy_ci95": proportion_ci95(90, 100)}
    return {"complete": True, "results": {"clean": clean, "pgd": row(50), "image": row(50), **rows}}


@pytest.mark.parametrize(
    ("limits", "outcome", "words"),
    [
        ({"floors": {"image": {"": 0.3}}}, PASS, "all of it above"),
        ({"floors": {"image": {"": 0.55}}}, WARN, "which lies on both sides: more samples would tell"),
        ({"floors": {"image": {"": 0.8}}}, FAIL, "all of it below"),
        ({"floors": {"image": {"": 0.35}}, "warn_margin": 0.2}, WARN, "closer than the margin of the plan"),
        ({"ceilings": {"image": {"": 0.6}}}, PASS, "all of it below"),
        ({"ceilings": {"image": {"": 0.45}}}, WARN, "which lies on both sides"),
        ({"ceilings": {"image": {"": 0.1}}}, FAIL, "all of it above"),
        ({"floors": {"clean": {"": 0.8}}}, PASS, "Without an attack at least 80.0 %"),
        ({"floors": {"text": {"": 0.3}}}, NOT_RUN, "no attack of the run is of this row"),
        ({"floors": {"image": {"1/255": 0.3}}}, NOT_RUN, "the row has no number within 1/255"),
        ({"detectors": {"false_positives": 0.05}}, NOT_RUN, "an audit runs no detector"),
    ],
)
def test_each_limit_has_its_verdict(limits: dict[str, Any], outcome: str, words: str) -> None:
    found = judged(limits, summary())
    (gate,) = found["gates"]
    assert (gate["outcome"], found["overall"]) == (outcome, outcome) and words in gate["said"]
    assert "\n" not in gate["said"] and found["families"] == {gate["family"]: outcome}


def test_what_does_not_cover_all_samples_is_not_run() -> None:
    floor = {"floors": {"pgd": {"": 0.0}, "image": {"": 0.0}, "clean": {"": 0.0}}}
    found = judged(floor, summary(pgd=row(50, n=99)))
    assert [one["outcome"] for one in found["gates"]] == [NOT_RUN, PASS, PASS]
    assert found["families"] == {"image": NOT_RUN, "clean": PASS} and found["overall"] == NOT_RUN
    found = judged(floor, summary(pgd=row(50, not_applicable=3)))
    assert "nothing of 3 of 100 samples" in found["gates"][0]["said"]
    found = judged(floor, {**summary(), "complete": False})
    assert {one["outcome"] for one in found["gates"]} == {NOT_RUN} and found["gates"][0]["value"] is None


def test_a_limit_at_a_smaller_radius_is_judged_there() -> None:
    points = [{"radius": "1/255", "share": 0.5, **row(80)}, {"radius": "2/255", "share": 1.0, **row(50)}]
    with_curves = {**summary(), "curves": {"image": {"area": 0.7, "points": points}}}
    found = judged({"floors": {"image": {"1/255": 0.7, "": 0.7}}}, with_curves)
    assert [(one["radius"], one["outcome"], one["value"]) for one in found["gates"]] == [
        ("1/255", PASS, 0.8), ("", FAIL, 0.5),
    ]  # fmt: skip
    assert found["families"] == {"image": FAIL} and "within 1/255" in found["gates"][0]["said"]


def test_families_without_a_limit_are_named() -> None:
    found = judged({"floors": {"image": {"": 0.3}}}, summary(text=row(50)), ("pgd", "bert_attack"))
    assert found["without_limit"] == ["text"]


def test_gates_of_the_command_line_are_in_the_same_list_by_the_number_alone() -> None:
    header = {"task": "zero-shot", "attacks": ["pgd"]}
    gates = [Gate("image", "accuracy", 0.5), Gate("pgd", "accuracy", 0.500001)]
    found = verdicts_of(header, summary(), gates)
    assert found is not None and found["plan"] is None
    assert [(one["kind"], one["outcome"]) for one in found["gates"]] == [("fail_under", PASS), ("fail_under", FAIL)]
    unfinished = verdicts_of(header, {**summary(), "complete": False}, gates[:1])
    assert unfinished is not None and unfinished["overall"] == FAIL
    assert verdicts_of(header, summary()) is None


def test_a_plan_without_limits_passes_nothing() -> None:
    found = judged({}, summary(pgd=row(50)))
    assert found["overall"] == NOT_RUN and not found["gates"] and not found["families"]
    assert "image" in found["without_limit"]
