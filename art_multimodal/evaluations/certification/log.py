"""The log of a certification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from art_multimodal.evaluations.audit.schema import check_plugins
from art_multimodal.evaluations.certification.lines import ATTACKED, MODEL, Line
from art_multimodal.evaluations.smoothing.verdicts import Verdict
from art_multimodal.evaluations.typed_json import Within, entries, plain, typed
from art_multimodal.shown import shown
from art_multimodal.store import StoredRun

KIND = "certification"


class CertificationLog(StoredRun[Line]):
    """The folder of a certification: its header, and a line for each row of the report and each batch.

    >>> from art_multimodal.evaluations.certification import Certification, CertificationSettings
    >>> settings = CertificationSettings(model="demo:digits", data="demo:digits", keep={"image": 4}, limit=1)
    >>> log = Certification(settings, "certified", device="cpu").evaluate()
    >>> isinstance(log, CertificationLog), log.header["data"]["selected"]
    (True, 1)
    """

    what = "a certification"
    kind = KIND
    schema_version = 1
    # Any budget can be read off the same votes.
    identity = ("settings", "elements", "rows", "model", "data")
    indifferent = frozenset({"batch_size"})

    @classmethod
    def check_header(cls, header: dict[str, Any]) -> None:
        some = dict[str, Any]
        entries(header, {"settings": some, "model": some, "budget": some, "elements": some}, "the header")
        if "constants" in header:
            entries(header, {"constants": dict[str, float]}, "the header")
        check_plugins(header)
        entries(header, {"rows": dict[str, tuple[str, ...]], "data": some}, "the header")
        entries(
            header["data"],
            {"listed": int, "selected": int, "class_names": tuple[str, ...]},
            "data of the header",
        )

    def reader(self) -> LineReader:
        return LineReader(self.header)

    @classmethod
    def to_json(cls, line: Line) -> dict[str, Any]:
        return plain(line)


class LineReader:
    """Reads the lines of a certification, in their order; each is checked, so that nobody after it has to ask.

    :param header: Of the run.
    """

    def __init__(self, header: Mapping[str, Any]) -> None:
        #: Of each row the modalities whose edits its corners count.
        self._rows: dict[str, tuple[str, ...]] = {name: tuple(of) for name, of in header["rows"].items()}
        self._listed = header["data"]["listed"]
        self._bounded = len(header.get("constants", ()))
        self._classes = len(header["data"]["class_names"])
        #: Of the batch at hand: the label of each sample.
        self._batch: int | None = None
        self._labels: dict[int, int] = {}

    def line(self, value: Any) -> Line:
        """Read one line by itself.

        :raises ValueError: Saying what is wrong.
        """
        line = typed(Line, value, "the line")
        if line.row not in self._rows:
            raise ValueError(f"{shown(line.row)[:60]} is no row of the run")
        if (line.row == MODEL) != bool(line.pixels_hash) or (line.skipped and line.row != MODEL):
            raise ValueError(f"only the row {MODEL} says which samples a batch holds")
        seen = set()
        for sample in line.samples:
            self._check(sample, len(self._rows[line.row]))
            bounded = self._bounded if line.row == MODEL else 0
            if len(sample.radii) != bounded or (sample.radius is None) == bool(bounded):
                raise ValueError("radii of a sample must be one for each modality of a model that is bounded")
            if sample.index in seen:
                raise ValueError(f"sample {sample.index} stands there twice")
            seen.add(sample.index)
        return line

    def in_order(self, line: Line) -> None:
        """Check that a line speaks of the samples of its batch, whose line on whole samples came first.

        :raises ValueError: Saying what is wrong.
        """
        labels = {sample.index: sample.label for sample in line.samples}
        if line.row == MODEL:
            self._batch, self._labels = line.batch, labels
            return
        if line.batch != self._batch:
            raise ValueError(f"there is no line before it that says which samples batch {line.batch} holds")
        if not labels.items() <= self._labels.items():
            raise ValueError("it speaks of other samples than the first line of its batch")
        if not line.row.startswith(ATTACKED) and len(labels) < len(self._labels):
            raise ValueError("it does not speak of all samples of its batch")

    def _check(self, sample: Verdict, modalities: int) -> None:
        index, label = Within(0, self._listed - 1), Within(0, self._classes - 1)
        for what, number, within in (
            ("index", sample.index, index),
            ("label", sample.label, label),
            ("predicted", sample.predicted, Within(-1, label.high)),
        ):
            if not within.low <= number <= within.high:
                raise ValueError(
                    f"{what} of a sample must be a whole number from {within.low} to {within.high}, not {number}"
                )
        for of in sample.votes:
            if not (of.isascii() and of.isdigit() and len(of) < 10 and int(of) <= label.high):
                raise ValueError(f"votes of a sample are for {shown(of)[:40]}, which is no class")
        if len(sample.counts) not in ((modalities,) if sample.corners else (0, modalities)):
            raise ValueError("counts of a sample must be one for each modality")
        for corner in sample.corners:
            if len(corner) != modalities or any(a > b for a, b in zip(corner, sample.counts, strict=False)):
                raise ValueError("corners of a sample must be numbers of its elements")
        if sample.corners and sample.predicted < 0:
            raise ValueError("something is certified about no answer")
