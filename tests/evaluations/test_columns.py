"""Columns of samples: dicts and sets in arrays, and how little a further sample takes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from audits import header_of
from hypothesis import given
from hypothesis import strategies as st

from art_multimodal.evaluations.audit.columns import Column, Samples
from art_multimodal.evaluations.audit.lines import AttackLine, Classified, CleanLine, Line, SampleRecord
from art_multimodal.evaluations.audit.rows import Row, count, outcomes_of, right_in_all, worst_of
from art_multimodal.evaluations.audit.summary import RunningSummary
from art_multimodal.evaluations.suite.detail import Detail

#: Far apart, side by side, and at the ends of pages.
PLACES = st.integers(0, 5) | st.sampled_from([63, 64, 127, 128, 999_999, 2**53])
STEPS = st.lists(st.tuples(st.integers(0, 2), PLACES, st.booleans(), st.integers(0, 2**31 - 1)), max_size=200)


@given(STEPS, st.lists(PLACES, max_size=8))
def test_columns_are_dicts_whatever_is_set_in_whatever_order(steps, others) -> None:
    samples, order = Samples(), list[int]()
    right, said, named = samples.column(bool), samples.column(np.int32), samples.column(object)
    dicts: list[dict] = [{}, {}, {}]
    for which, place, flag, number in steps:
        value = (flag, number, f"name {number}")[which]
        (right, said, named)[which].put(samples.number(place), value)
        dicts[which][place] = value
        order += [place] if place not in order else []
    for place in others:
        samples.number(place)
        order += [place] if place not in order else []
    assert samples.places.tolist() == order and [samples.find(place) for place in order] == [*range(len(order))]
    for column, expected in zip((right, said, named), dicts, strict=True):
        assert column == expected and len(column) == len(expected) and bool(column) == bool(expected)
        # In the order in which samples were first named.
        assert list(column.items()) == [(place, expected[place]) for place in order if place in expected]
        assert column.there.tolist() == [place in expected for place in order]
        assert column.dense[column.there].tolist() == [expected[place] for place in order if place in expected]
        assert not column.dense[~column.there].any()
        assert all(type(value) in (bool, int, str) for value in column.values())
        assert column.get(7) is None and 2**60 not in column and -1 not in column
        assert list(Column.of(expected, column.dense.dtype).items()) == list(expected.items())


def test_what_a_column_shows_is_not_written() -> None:
    samples = Samples()
    column = samples.column(bool)
    column.put(samples.number(3), True)
    for shown in (column.there, column.dense):
        with pytest.raises(ValueError, match="read-only"):
            shown[0] = False
    before = column.there
    for place in range(200):
        column.put(samples.number(place), True)
    assert before.tolist() == [True] and len(column) == 200


#: Of a sample whether it is right before, and what it is after each of two attacks; nothing where it is still to come.
FATE = st.sampled_from(["right", "wrong", "not applicable", ""])
FATES = st.lists(st.tuples(st.booleans(), FATE, FATE), max_size=30)


@given(FATES, st.randoms(use_true_random=False))
def test_the_worst_of_two_attacks_is_what_sets_say(fates, random) -> None:
    places = random.sample(range(10**6), len(fates))
    samples = Samples()
    clean, *attacks = (Row(samples) for _ in range(3))
    for place, (before, *after) in zip(places, fates, strict=True):
        clean.correct.put(samples.number(place), before)
        for row, fate in zip(attacks, after, strict=True):
            if before and fate == "not applicable":
                row.not_applicable.put(samples.number(place), True)
            elif before and fate:
                row.correct.put(samples.number(place), fate == "right")
    of = dict(zip(places, fates, strict=True))
    done = {p for p, (before, *after) in of.items() if before and "" not in after and {*after} != {"not applicable"}}
    survive = {place for place in done if "wrong" not in of[place][1:]}
    attacked, survived = worst_of(attacks)
    assert set(samples.places[attacked]) == done and set(samples.places[survived]) == survive
    rows = {"clean": clean, "pgd": attacks[0], "apgd": attacks[1]}
    expected = {place: before and place in survive for place, (before, *_) in of.items() if not before or place in done}
    assert outcomes_of(["pgd", "apgd"], rows, clean.correct) == expected
    both = {p: "wrong" not in after for p, (before, *after) in of.items() if before and {*after} <= {"right", "wrong"}}
    assert right_in_all(attacks) == both and count(right_in_all(attacks).dense) == sum(both.values())


def lines_of(n: int, attacks: tuple[str, ...], apart: int, together: int = 200) -> Iterator[Line]:
    """A log of a run that has all samples right, and loses each second one to each attack."""
    order = np.random.default_rng(0).permutation(n) * apart
    for batch, start in enumerate(range(0, n, together)):
        places = order[start : start + together].tolist()
        before = tuple(SampleRecord(place, f"{place}.png", Classified(place % 7, place % 7)) for place in places)
        yield CleanLine(batch, len(before), 0.5, before, (), "00")
        for name in attacks:
            # Every line has strings of its own, as one that was read from a file.
            detail = [Detail(broken_by="".join(("p", "gd")), text_queries=place) for place in places]
            said = [Classified(place % 7, (place + place % 2) % 7) for place in places]
            after = (SampleRecord(*of) for of in zip(places, map(str, places), said, detail, strict=True))
            yield AttackLine(batch, name, len(places), 0.5, tuple(after), 1, 1, ())


def peak_of(n: int, attacks: tuple[str, ...], apart: int) -> int:
    """Most bytes that the numbers of a run need."""
    header = header_of(*attacks, listed=n * apart, selected=n, class_names=list("abcdefg"))
    tracemalloc.start()
    numbers = RunningSummary(header)
    for line in lines_of(n, attacks, apart):
        numbers.add(line)
    result = numbers.result()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result["complete"] and result["results"]["image"]["attacked"] == n
    return peak


@pytest.mark.parametrize(("apart", "most"), [(1, 250), (1001, 750)])
def test_a_further_sample_takes_a_few_bytes_of_a_report(apart: int, most: int) -> None:
    attacks = ("pgd", "apgd", "worst_image")
    few, many = (peak_of(n, attacks, apart) for n in (500, 2500))
    # Three attacks with five columns each; as dicts and sets of Python's numbers it would be more than a thousand. Of a
    # small part of a large data set there are also places without samples.
    assert (many - few) / 2000 < most
