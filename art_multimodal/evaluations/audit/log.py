"""The log of an audit: what it is, and one line for each attack on each batch, written when that batch ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from art_multimodal.evaluations.audit.lines import Line
from art_multimodal.evaluations.audit.schema import LineReader, check_header, line_to_json
from art_multimodal.store import StoredRun

PICTURES_FOLDER = "pictures"


class RunLog(StoredRun[Line]):
    """The folder of an audit, with pictures beside its header (settings, model, data, versions) and its lines."""

    what = "an audit"
    schema_version = 5
    folders = (PICTURES_FOLDER,)
    identity = ("settings", "budget", "model", "data", "plan", "surrogates")
    goes_on_as_logged = True
    indifferent = frozenset({"batch_size"})

    @classmethod
    def check_header(cls, header: dict[str, Any]) -> None:
        check_header(header)

    def reader(self) -> LineReader:
        return LineReader(self.header)

    @classmethod
    def to_json(cls, line: Line) -> dict[str, Any]:
        return line_to_json(line)

    @property
    def pictures(self) -> Path:
        """The folder of pictures."""
        return self.folder / PICTURES_FOLDER
