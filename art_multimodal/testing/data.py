"""The contract of data: labelled images, labelled samples, captioned images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from art_multimodal.datasets import CaptionedImages, LabelledImages, LabelledSamples, UnreadableSample
from art_multimodal.errors import InputError
from art_multimodal.sample_arrays import are_samples, check_samples, fields_of
from art_multimodal.shown import quoted, shown
from art_multimodal.testing.asked import equal
from art_multimodal.testing.comparing import ProcessState
from art_multimodal.testing.contract import Contract, ContractReport, NotChecked

DATA = Contract("data")


class _Case:
    """Data, and the rows that are looked at."""

    def __init__(self, data: Any, again: Callable[[], Any] | None, limit: int) -> None:
        self.data, self.again, self.limit = data, again, limit
        self.of_samples = isinstance(data, LabelledSamples)
        self.captioned = isinstance(data, CaptionedImages)

    @property
    def rows(self) -> list[int]:
        """At most ``limit`` of them, the first, the last, and others between, those that are there."""
        count = len(self.data)
        chosen = np.unique(np.linspace(0, count - 1, min(self.limit, count)).round().astype(int)).tolist()
        return chosen if self.of_samples else [row for row in chosen if self.data.absence(row) is None]

    def demand(self, kind: str, *there: bool) -> None:
        """:raises NotChecked: If the data are not of this kind."""
        if not all(there):
            raise NotChecked(f"the data are no {kind}")

    def values(self, row: int) -> dict[str, np.ndarray]:
        """A copy of what a sample consists of, by name."""
        if not self.of_samples:
            return {"image": np.array(self.data.image(row))}
        return {name: np.array(of) for name, of in fields_of(self.data.samples(np.array([row]))).items()}

    def label(self, row: int) -> int:
        return self.data.labels[row] if self.of_samples else self.data.label_of(row)


def check_data(
    data: LabelledImages | LabelledSamples | CaptionedImages,
    again: Callable[[], Any] | None = None,
    limit: int = 20,
    but: Mapping[str, str] | None = None,
) -> ContractReport:
    """Check that data keep their contract.

    >>> report = check_data(digits, again=lambda: open_data("demo:digits"), limit=4)
    >>> sorted(report.skipped)
    ['rows', 'samples']

    :param data: As a source opens them.
    :param again: Opens them once more; ``None`` to leave out what that shows.
    :param limit: Most images or samples that are read.
    :param but: Names of properties that are not demanded, each with the reason; the report repeats it.
    :return: Which properties hold, and which were not looked at.
    :raises ContractError: With all properties that do not hold.
    """
    return DATA.check(type(data).__name__, _Case(data, again, limit), but)


@DATA.holds(
    "they are one of the three kinds, not empty, and of a length that is a whole number",
    "derive from LabelledImages, LabelledSamples or CaptionedImages, and refuse what is empty with InputError",
    gate=True,
)
def _works(case: _Case) -> Iterator[str]:
    if not isinstance(case.data, LabelledImages | LabelledSamples | CaptionedImages):
        yield f"{type(case.data).__name__} is none of the three."
    elif len(case.data) == 0:
        yield "there are no samples."


@DATA.holds(
    "class names are distinct strings, at least two, and labels are indices into them",
    "sort the names once, and give each label as an int of the list's order",
)
def _classes(case: _Case) -> Iterator[str]:
    case.demand("labelled ones", not case.captioned)
    names = case.data.class_names
    if len(names) < 2 or not all(isinstance(name, str) and name.strip() for name in names):
        yield f"class names are {len(names)}, or one is empty or no string."
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"two classes are called {quoted(name)}."
    if case.of_samples and np.shape(case.data.labels) != (len(case.data),):
        yield f"labels have shape {np.shape(case.data.labels)}, not ({len(case.data)},)."
        return
    for row in range(len(case.data)):
        label = case.label(row)
        if isinstance(label, bool) or not isinstance(label, int | np.integer) or not 0 <= label < len(names):
            yield f"the label of sample {row} is {shown(str(label))[:40]}, where there are {len(names)} classes."


@DATA.holds(
    "an image is float32 (3, H, W) in [0, 1], finite and one's own, read() tells the same, and behind the last is none",
    "divide bytes by 255, put colours first, return a copy, and leave read() to the base class",
)
def _images(case: _Case) -> Iterator[str]:
    case.demand("images", not case.of_samples)
    for row in case.rows:
        image = case.data.image(row)
        if not isinstance(image, np.ndarray) or image.dtype != np.float32 or image.ndim != 3 or len(image) != 3:
            yield f"image {row} is {getattr(image, 'dtype', type(image).__name__)} {getattr(image, 'shape', '')}."
        elif not np.isfinite(image).all() or image.min() < 0 or image.max() > 1:
            yield f"image {row} has values in [{image.min():.6g}, {image.max():.6g}]."
        elif not case.captioned:
            sample = case.data.read(row)
            parts = case.data.name_of(row), case.data.label_of(row), case.data.text_of(row)
            if not np.array_equal(sample.image, image) or (sample.name, sample.label, sample.text) != parts:
                yield f"read({row}) differs from image(), name_of(), label_of() or text_of()."
    for row in case.rows[:1]:
        taken, before = case.data.image(row), case.values(row)["image"]
        if taken.flags.writeable:
            taken[...] = 1 - taken
        if not np.array_equal(case.data.image(row), before):
            taken[...] = before
            yield f"image({row}) returns memory of the data: whoever changes it changes them."
    try:
        case.data.image(len(case.data))
    except (IndexError, InputError, UnreadableSample):
        return
    yield f"image({len(case.data)}) returns something, where there are {len(case.data)} samples."


@DATA.holds(
    "samples have the modalities that are described, with values that clip_values allow",
    "describe each field with a modality, and let samples(...) make the array",
)
def _samples(case: _Case) -> Iterator[str]:
    case.demand("samples of several modalities", case.of_samples)
    rows = np.array(case.rows)
    x = case.data.samples(rows)
    if not are_samples(x) or len(x) != len(rows):
        yield f"samples() returns {type(x).__name__} of shape {np.shape(x)} for {len(rows)} rows."
        return
    if list(x.dtype.names or ()) != list(case.data.modalities):
        yield f"fields are {', '.join(x.dtype.names or ())}, modalities {', '.join(case.data.modalities)}."
        return
    try:
        check_samples(x, case.data.modalities.values())
    except InputError as error:
        yield str(error)


@DATA.holds(
    "rows by indices, booleans, a slice and one by one are the same; an index that is none is refused",
    "index one array with what is given, and return a copy",
)
def _rows(case: _Case) -> Iterator[str]:
    case.demand("samples of several modalities", case.of_samples)
    data, rows = case.data, np.array(case.rows)
    x = data.samples(rows)
    chosen = np.zeros(len(data), dtype=bool)
    chosen[rows] = True
    ways = {"booleans": data.samples(chosen), "a slice of all": data.samples(slice(None))[rows]}
    ways["rows one by one"] = np.concatenate([data.samples(np.array([row])) for row in rows])
    ways["indices in reverse order"] = data.samples(rows[::-1])[::-1]
    ways["None for all"] = data.samples()[rows]
    for how, found in ways.items():
        for name, field in fields_of(x).items():
            if not equal(field, found[name]):
                yield f"{name} is another one by {how}."
    taken = data.samples(rows[:1])
    for field in fields_of(taken).values():
        if field.dtype != object:
            field.view(np.uint8)[...] = 0
    if not all(equal(x[name][:1], data.samples(rows[:1])[name]) for name in x.dtype.names or ()):
        yield "samples() returns memory of the data: whoever changes it changes them."
    try:
        data.samples(np.array([len(data)]))
    except (IndexError, InputError):
        return
    yield f"row {len(data)} is returned, where there are {len(data)}."


@DATA.holds(
    "texts and captions are strings that are not empty, and no image has a caption twice",
    "strip texts, leave out empty ones, and return a tuple of distinct captions",
)
def _texts(case: _Case) -> Iterator[str]:
    if case.of_samples:
        names = [name for name, of in case.data.modalities.items() if not of.numeric]
        if not names:
            raise NotChecked("no modality holds texts")
        for name in names:
            for row, text in zip(case.rows, case.data.samples(np.array(case.rows))[name], strict=True):
                if not isinstance(text, str):
                    yield f"{name} of sample {row} is {type(text).__name__}."
        return
    texts = 0
    for row in range(len(case.data)):
        if case.captioned:
            own = case.data.captions_of(row)
            if not own or len(set(own)) != len(own) or not isinstance(own, tuple):
                yield f"image {row} has {len(own)} captions, {len(set(own))} distinct, in a {type(own).__name__}."
        else:
            text = case.data.text_of(row)
            own = () if text is None else (text,)
        texts += len(own)
        if wrong := [text for text in own if not isinstance(text, str) or not text.strip()]:
            yield f"a text of sample {row} is {shown(repr(wrong[0]))[:60]}."
    if not case.captioned and 0 < texts < len(case.data):
        yield f"{texts} of {len(case.data)} samples have a text: all, or none."


@DATA.holds(
    "names of samples are strings, not empty, and all different",
    "name a sample by its path or row: reports and resumed runs find it by that",
)
def _names(case: _Case) -> Iterator[str]:
    names = [case.data.name_of(row) for row in range(len(case.data))]
    if wrong := [row for row, name in enumerate(names) if not isinstance(name, str) or not name]:
        yield f"the name of sample {wrong[0]} is {shown(repr(names[wrong[0]]))[:40]}."
        return
    first: dict[str, int] = {}
    for row, name in enumerate(names):
        if first.setdefault(name, row) != row:
            yield f"samples {first[name]} and {row} are both called {quoted(name)}."


@DATA.holds(
    "a sample that is read twice is the same, and no global random number is drawn",
    "draw what is random once, from a seed; transforms of training are not for audits",
)
def _repeatable(case: _Case) -> Iterator[str]:
    before = ProcessState.now()
    first = {row: case.values(row) for row in case.rows}
    # Not in the same order: what only goes on reading knows no other.
    for row in reversed(case.rows):
        if not all(equal(of, first[row][name]) for name, of in case.values(row).items()):
            yield f"sample {row} is another one when it is read again."
    yield from before.changes()


@DATA.holds(
    "the fingerprint is the same in every call, and of the same data opened again, whose samples are the same",
    "hash contents, never addresses, times or the order of a set",
)
def _fingerprint(case: _Case) -> Iterator[str]:
    digest = case.data.fingerprint()
    if not isinstance(digest, str) or digest != case.data.fingerprint():
        yield "the fingerprint is no string, or another one in the second call."
    if case.again is None:
        return
    other = case.again()
    if other.fingerprint() != digest or len(other) != len(case.data):
        yield "opened again, the data have another fingerprint or length."
        return
    for row in case.rows:
        if not case.of_samples and not np.array_equal(case.data.image(row), other.image(row)):
            yield f"opened again, image {row} is another one."


@DATA.holds(
    "notes, protected words and templates are strings, each note on one line",
    "show what came from data with art_multimodal.shown.shown",
)
def _said(case: _Case) -> Iterator[str]:
    data = case.data
    for what, said in (
        ("notes", data.notes),
        ("protected_words", data.protected_words),
        ("templates", getattr(data, "templates", ())),
    ):
        if isinstance(said, str) or not all(isinstance(one, str) for one in said):
            yield f"{what} are no list of strings."
        elif what == "notes" and any(shown(note) != note for note in said):
            yield "a note holds control characters or several lines."
