"""What a log may say: each kind of line once, checked where a line is read, so that nobody after it has to ask."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from art_multimodal.attacks.registry import ATTACKS, RETRIEVAL
from art_multimodal.evaluations.audit.passes import passes_of
from art_multimodal.shown import shown

#: Raises ``ValueError`` saying what a value must be.
Check = Callable[[Any], None]
_MOST = 2**53


def whole(low: int = 0, high: int = _MOST) -> Check:
    """A whole number in a range, both ends allowed."""

    def check(value: Any) -> None:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(
                f"a whole number from {low} to {high}" if high < _MOST else f"a whole number from {low} on"
            )

    return check


def number(value: Any) -> None:
    """A number that is not negative."""
    if type(value) not in (int, float) or not (math.isfinite(value) and 0 <= value <= _MOST):
        raise ValueError("a number of at least 0")


def of_type(kind: type, name: str) -> Check:
    """A value of a type."""

    def check(value: Any) -> None:
        if type(value) is not kind:
            raise ValueError(name)

    return check


text, truth = of_type(str, "a string"), of_type(bool, "true or false")


def optional(check: Check) -> Check:
    """The same, or null."""
    return lambda value: None if value is None else check(value)


def many(check: Check, count: int | None = None) -> Check:
    """A list, of ``count`` entries if that is given."""

    def check_all(value: Any) -> None:
        if type(value) is not list or count not in (None, len(value)):
            raise ValueError("a list" if count is None else f"a list of {count}")
        for entry in value:
            check(entry)

    return check_all


def counts(value: Any) -> None:
    """Names with how often they were counted."""
    if type(value) is not dict:
        raise ValueError("an object")
    for entry in value.values():
        whole()(entry)


def check_entries(value: Any, wanted: Mapping[str, Check], further: Mapping[str, Check], what: str) -> None:
    """Check an object of JSON: what it must have, and what it may have; others are not looked at.

    :raises ValueError: Naming the entry.
    """
    if type(value) is not dict:
        raise ValueError(f"{what} is not an object")
    for name, check in {**wanted, **further}.items():
        if name not in value:
            if name in wanted:
                raise ValueError(f"{what} has no {name}")
            continue
        try:
            check(value[name])
        except ValueError as error:
            raise ValueError(f"{name} of {what} must be {error}, not {shown(repr(value[name]))[:60]}") from None


_SKIPPED = many(lambda value: check_entries(value, {"name": text, "reason": text}, {}, "an entry"))


class LineCheck:
    """Checks the lines of a run, in their order.

    :param header: Of the run.
    """

    def __init__(self, header: Mapping[str, Any]) -> None:
        self._retrieval = header["task"] == RETRIEVAL
        self._attacks = frozenset(header["attacks"])
        passes = passes_of(tuple(header["attacks"]), bool(header.get("defences")))
        self._names = frozenset(("clean", *passes))
        index, label = whole(0, header["data"]["listed"] - 1), whole(0, max(0, len(header["data"]["class_names"]) - 1))
        self._line: dict[str, Check] = {"batch": whole(), "attack": text, "listed": whole(), "seconds": number}
        self._line |= {"samples": many(lambda value: None)}
        self._of_clean: dict[str, Check] = {"skipped": _SKIPPED, "pixels_hash": text}
        self._of_attack: dict[str, Check] = {"queries": number, "gradients": number, "not_applicable": many(index)}
        self._line_further: dict[str, Check] = {"flags": counts, "gallery_hash": text}
        answer: dict[str, Check] = {"label": label, "predicted": label}
        if self._retrieval:
            answer = {"image_rank": whole(1), "text_ranks": many(whole(1))}
        self._sample: dict[str, Check] = {"index": index, "name": text, **answer}
        self._sample_further: dict[str, Check] = {
            "without_image": optional(label),
            "without_text": optional(label),
            "picture": truth,
            "size": many(whole(1, 1 << 20), 2),
            "text": optional(text),
            "texts": many(many(text, 2)),
            "text_queries": number,
            "queries": number,
            "written": optional(text),
            "broken_by": optional(text),
            "blocks": optional(many(many(whole(0, 1 << 20), 4))),
            "removed_words": optional(many(many(whole(), 2))),
            "share_removed": number,
            "pixels": whole(),
            "words": whole(),
        }
        #: Of the batch at hand: what is known of each sample before an attack.
        self._batch: int | None = None
        self._before: dict[int, Any] = {}

    def line(self, line: Any) -> None:
        """Check one line by itself.

        :raises ValueError: Saying what is wrong.
        """
        check_entries(line, self._line, self._line_further, "the line")
        name = line["attack"]
        if name not in self._names:
            raise ValueError(f"{shown(name)[:60]} is none of the attacks of the run")
        check_entries(line, self._of_clean if name == "clean" else self._of_attack, {}, "the line")
        seen: set[int] = set()
        for sample in line["samples"]:
            check_entries(sample, self._sample, self._sample_further, "a sample")
            if sample["index"] in seen:
                raise ValueError(f"sample {sample['index']} stands there twice")
            seen.add(sample["index"])
            if sample.get("picture"):
                if name not in self._attacks:
                    raise ValueError("only an attack has pictures")
                check_entries(sample, {"size": many(whole(1, 1 << 20), 2)}, {}, "a sample with pictures")
            if name != "clean" and "share_removed" in sample:
                check_entries(sample, {"pixels": whole(), "words": whole()}, {}, "a sample with removals")

    def in_order(self, line: dict[str, Any]) -> None:
        """Check that a line speaks of the samples of its batch, whose line before any attack came first.

        :raises ValueError: Saying what is wrong.
        """
        if line["attack"] == "clean":
            self._batch = line["batch"]
            self._before = {sample["index"]: self._fixed(sample) for sample in line["samples"]}
            return
        if line["batch"] != self._batch:
            raise ValueError(f"there is no line before it that says what batch {line['batch']} was before the attacks")
        for sample in line["samples"]:
            if self._before.get(sample["index"]) != self._fixed(sample):
                raise ValueError(f"sample {sample['index']} is another one than before the attacks")
        if not self._before.keys() >= set(line["not_applicable"]):
            raise ValueError("not_applicable names a sample of another batch")

    def _fixed(self, sample: dict[str, Any]) -> Any:
        """What no attack changes."""
        return len(sample["text_ranks"]) if self._retrieval else sample["label"]


def check_header(header: dict[str, Any]) -> None:
    """Check what later steps read from ``run.json``.

    :raises ValueError: Saying what is wrong.
    """
    data = {"listed": whole(), "selected": whole(), "class_names": many(text), "templates": many(text)}
    check_entries(
        header,
        {
            "task": text,
            "attacks": many(text),
            "settings": of_type(dict, "an object"),
            "budget": of_type(dict, "an object"),
            "model": of_type(dict, "an object"),
            "data": lambda value: check_entries(value, data, {}, "data"),
        },
        {"defences": many(text)},
        "the header",
    )
    for name in header["attacks"]:
        if name not in ATTACKS:
            raise ValueError(f"{shown(name)[:60]} is no attack")
