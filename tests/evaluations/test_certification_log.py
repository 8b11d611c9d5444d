"""Lines of a certification's log that no run writes, though their checksums may fit: somebody means it."""

from __future__ import annotations

from typing import Any

import pytest

from art_multimodal.evaluations.certification.log import LineReader


def _line(**changes: Any) -> dict[str, Any]:
    return {"batch": 0, "row": "certified", "listed": 1, "seconds": 0.1, "samples": [_sample()], **changes}


def _sample(**changes: Any) -> dict[str, Any]:
    sample = {"index": 1, "name": "n", "label": 1, "predicted": 1, "votes": {"1": 3}, "counts": [4, 4, 2]}
    return {**sample, "corners": [[1, 0, 0]], **changes}


def _of_sample(**changes: Any) -> dict[str, Any]:
    return _line(samples=[_sample(**changes)])


HEADER = {
    "rows": {"model": [], "certified": ["rgb", "lab", "note"], "attacked:a@rgb=1": ["rgb", "lab", "note"]},
    "data": {"listed": 9, "selected": 9, "class_names": ["a", "b"]},
}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (_line(batch=-1), "batch of the line"),
        (_line(row="\x1b[31m"), r"\\x1b\[31m is no row"),
        (_line(row=["certified"]), "row of the line must be a string"),
        (_line(seconds=1e300), "seconds of the line"),
        (_line(samples={}), "samples of the line"),
        (_line(samples=[None]), "an entry is not an object"),
        (_line(samples=[_sample(), _sample()]), "stands there twice"),
        (_line(pixels_hash="00"), "only the row model"),
        (_line(row="model"), "only the row model"),
        (_line(skipped=[{"name": "n", "reason": "r"}]), "only the row model"),
        (_line(passes={"votes": -1}), "passes of the line"),
        (_of_sample(index=9), "index of a sample must be a whole number from 0 to 8"),
        (_of_sample(index=True), "index of an entry"),
        (_of_sample(label=2), "label of a sample"),
        (_of_sample(predicted=2), "predicted of a sample must be a whole number from -1 to 1"),
        (_of_sample(predicted=-2), "predicted of an entry"),
        (_of_sample(predicted=-1), "something is certified about no answer"),
        (_of_sample(votes={"2": 1}), "is no class"),
        (_of_sample(votes={"<b>": 1}), "is no class"),
        (_of_sample(votes={"1": 0.5}), "votes of an entry"),
        (_of_sample(counts=[4, 4]), "one for each modality"),
        (_of_sample(counts=[]), "one for each modality"),
        (_of_sample(corners=[[5, 0, 0]]), "numbers of its elements"),
        (_of_sample(corners=[[1, 0]]), "numbers of its elements"),
        (_of_sample(corners=[[1, 0, "x"]]), "corners of an entry"),
        (_of_sample(name=5), "name of an entry"),
    ],
)
def test_lines_that_say_what_no_run_says_are_refused(line: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LineReader(HEADER).line(line)


def test_lines_of_other_samples_than_those_of_their_batch_are_refused() -> None:
    first = _line(row="model", pixels_hash="00", samples=[_sample(counts=[], corners=[]), _sample(index=2)])
    first["samples"][1] |= {"counts": [], "corners": []}
    for line, said in (
        (_line(batch=1, samples=[_sample(), _sample(index=2)]), "no line before it"),
        (_of_sample(), "does not speak of all samples"),
        (_line(samples=[_sample(label=0), _sample(index=2)]), "of other samples"),
        (_line(samples=[_sample(), _sample(index=2), _sample(index=3)]), "of other samples"),
    ):
        reader = LineReader(HEADER)
        reader.in_order(reader.line(first))
        with pytest.raises(ValueError, match=said):
            reader.in_order(reader.line(line))
    reader = LineReader(HEADER)
    reader.in_order(reader.line(first))
    reader.in_order(reader.line(_line(row="attacked:a@rgb=1")))
