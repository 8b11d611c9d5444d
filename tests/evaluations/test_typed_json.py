"""Values of JSON are read by their types, each of which is taken apart once; what does not fit is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest

from art_multimodal.evaluations.typed_json import Entries, Matching, Signed, Within, entries, plain, typed


@dataclass(frozen=True)
class Inner:
    name: str
    count: Annotated[int, Within(1, 3)] = 2


@dataclass(frozen=True)
class Outer:
    inner: Inner
    pair: tuple[int, str]
    many: tuple[Annotated[float, Signed()], ...] = ()
    by_name: Mapping[str, float] = field(default_factory=dict)
    maybe: int | None = None
    yes: bool = False
    word: Annotated[str, Matching("[a-z]+")] = "a"
    listed: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Nothing:
    maybe: int | None = None


FULL = Outer(Inner("x", 3), (1, "b"), (-1.5, 2.0), {"k": 0.5}, 4, True, "abc")
LEAST = Outer(Inner("x"), (0, ""))


@pytest.mark.parametrize("value", [FULL, LEAST])
def test_there_and_back(value: Outer) -> None:
    assert typed(Outer, plain(value), "it") == value


def test_defaults_are_not_written() -> None:
    assert plain(LEAST) == {"inner": {"name": "x"}, "pair": [0, ""]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pair": [1]}, r"^pair of it must be a list of 2, not \[1\]$"),
        ({"pair": [1, 2]}, "^pair of it must be a string"),
        ({"pair": [True, "b"]}, "a whole number from 0 on"),
        ({"inner": {"name": "x", "count": 4}}, "count of an entry must be a whole number from 1 to 3, not 4"),
        ({"inner": {}}, "an entry has no name"),
        ({"inner": 3}, "an entry is not an object"),
        ({"many": [float("nan")]}, "many of it must be a number"),
        ({"by_name": [1]}, "by_name of it must be an object"),
        ({"by_name": {"k": -1}}, "by_name of it must be a number of at least 0"),
        ({"maybe": "4"}, "maybe of it must be a whole number from 0 on"),
        ({"yes": 1}, "yes of it must be true or false, not 1"),
        ({"word": "ABC"}, "word of it must be a string of another form"),
        ({"listed": {}}, "listed of it must be a list"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], said: str) -> None:
    for _ in range(2):  # the second time from what is kept of the type
        with pytest.raises(ValueError, match=said):
            typed(Outer, plain(FULL) | change, "it")


def test_what_is_missing_or_no_object() -> None:
    with pytest.raises(ValueError, match="^it has no pair$"):
        typed(Outer, {"inner": {"name": "x"}}, "it")
    for read in (lambda: typed(Nothing, [], "it"), lambda: entries(3, {}, "it"), lambda: Entries({})(None, "it")):
        with pytest.raises(ValueError, match="^it is not an object$"):
            read()
    assert typed(Nothing, {"other": 1}, "it") == Nothing()
    assert Entries({"a": int})({"a": 1, "b": 2}, "it") == {"a": 1}
