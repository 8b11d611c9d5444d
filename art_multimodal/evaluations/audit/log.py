"""The log of an audit: what it is, and one line for each attack on each batch, written when that batch ends."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.defence_files import HEADER as DEFENCE_FILES
from art_multimodal.evaluations.audit.defence_files import check_same_digest, check_same_files
from art_multimodal.evaluations.audit.lines import Line
from art_multimodal.evaluations.audit.schema import LineReader, check_header, line_to_json
from art_multimodal.shown import shown
from art_multimodal.store import StoredRun

PICTURES_FOLDER = "pictures"


class RunLog(StoredRun[Line]):
    """The folder of an audit, with pictures beside its header (settings, model, data, versions) and its lines.

    >>> isinstance(log, RunLog), log.header["attacks"], log.folder == audited
    (True, ['pgd'], True)
    """

    what = "an audit"
    schema_version = 5
    folders = (PICTURES_FOLDER,)
    identity = ("settings", "budget", "model", "data", "plan", "surrogates")
    goes_on_as_logged = True
    indifferent = frozenset({"batch_size"})

    @classmethod
    def check_header(cls, header: dict[str, Any]) -> None:
        check_header(header)

    def check_same(self, wanted: Mapping[str, Any]) -> None:
        super().check_same(wanted)
        cure = ", or choose another --out"
        check_same_files(self.header, wanted.get(DEFENCE_FILES, ()), "The run to resume", cure)
        if "universal" in wanted:
            before, now = self.header.get("universal", {}).get("sha256"), wanted["universal"]["sha256"]
            path = wanted["settings"]["universal"]
            check_same_digest("--universal", path, before, now, "The run to resume", cure)
        logged, now = self.header["attacks"], wanted["attacks"]
        # The same names of modalities stand for other attacks where a plug-in has come or gone.
        if logged != now and (strange := sorted({*logged} ^ {*now})):
            came = strange[0] in now
            cure = "--no-plugins loads none" if came else "Load the same ones as then"
            raise InputError(
                f"The run to resume {'had not' if came else 'had'} the attack {shown(strange[0])[:60]}: plug-ins, or "
                f"the version of art-multimodal, are others. {cure}; or choose another --out."
            )

    @classmethod
    def as_written_now(cls, key: str, value: Any) -> Any:
        if key != "defences" or value is None:
            return value
        from art_multimodal.defences.registry import parse_defence

        with suppress(InputError):
            # Radii were written out in digits once.
            return [parse_defence(spec).spec for spec in value]
        return value

    def reader(self) -> LineReader:
        return LineReader(self.header)

    @classmethod
    def to_json(cls, line: Line) -> dict[str, Any]:
        return line_to_json(line)

    @property
    def pictures(self) -> Path:
        """The folder of pictures."""
        return self.folder / PICTURES_FOLDER
