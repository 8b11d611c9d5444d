"""The report of a bundle against its log: numbers, the table of samples, the pages, and the plan."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from art_multimodal import __version__
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.lines import Line, SampleRecord
from art_multimodal.evaluations.audit.log import RunLog
from art_multimodal.evaluations.audit.pages import pages_of
from art_multimodal.evaluations.audit.samples import pictured_in
from art_multimodal.evaluations.audit.samples_table import FILE as SAMPLES_TABLE
from art_multimodal.evaluations.audit.samples_table import table_lines
from art_multimodal.evaluations.audit.stored_report import read_report
from art_multimodal.evaluations.audit.subject import Subject
from art_multimodal.evaluations.evidence.bundle import Bundle
from art_multimodal.evaluations.evidence.manifest import PLAN_FILE
from art_multimodal.evaluations.plans import parse_plan
from art_multimodal.evaluations.suite import SAMPLES, Attacked
from art_multimodal.evaluations.yaml_files import LARGEST
from art_multimodal.shown import shown
from art_multimodal.store import open_regular, read_regular
from art_multimodal.store.files import reason_of

#: A picture within a page, and the longest side that it has.
_PICTURE = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]*)")
_LONGEST = 4096
#: Bytes of a page.
_MOST_BYTES = 256 << 20


def check_numbers(bundle: Bundle) -> dict[str, Any]:
    """Check that ``report.json`` and ``samples.csv`` are what the log adds up to, and hashes and plan those of the run.

    :return: The report.
    :raises InputError: Naming what says something else.
    """
    report = read_report(bundle.folder)
    if SAMPLES_TABLE in bundle.manifest.files:
        try:
            with open_regular(bundle.folder / SAMPLES_TABLE) as stream:
                same = all(stream.read(len(line)) == line for line in table_lines(bundle.header, bundle.lines()))
                same = same and not stream.read(1)
        except OSError as error:
            raise _unreadable(bundle.folder / SAMPLES_TABLE, error) from error
        if not same:
            raise InputError(
                f"{shown(bundle.folder / SAMPLES_TABLE)} says something else than the log: it was changed."
            )
    hashes = bundle.hashes()
    if wrong := [name for name, found in hashes.items() if bundle.manifest.hashes.get(name) != found]:
        raise InputError(
            f"The manifest of {shown(bundle.folder)} names another SHA-256 of the {wrong[0]} than it holds."
        )
    _check_plan(bundle)
    return report


def _check_plan(bundle: Bundle) -> None:
    """The text of a plan is that whose digest and entries the run has kept."""
    path, declared = bundle.folder / PLAN_FILE, bundle.header.get("plan")
    if PLAN_FILE not in bundle.manifest.files:
        return
    try:
        text = read_regular(path, LARGEST)
        same = declared is not None and hashlib.sha256(text).hexdigest() == declared["sha256"]
        same = same and parse_plan(text.decode(), str(path)).as_json() == declared
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise _unreadable(path, error) from error
    if not same:
        raise InputError(f"{shown(path)} is not the plan of the run: its digest, or what it says, is another one.")


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{shown(path)} cannot be read ({shown(reason_of(error))}).")


class PagesAgain:
    """The pages of a report, made again from the log and the samples, in a ``with`` block.

    :param bundle: Checked.
    :param report: What its ``report.json`` holds; ``None`` where nobody asks for it.
    :param same_model: Whether the model that is asked is that of the bundle.
    """

    def __init__(self, bundle: Bundle, report: dict[str, Any] | None, same_model: bool) -> None:
        self.bundle, self.report = bundle, report or {}
        self.samples: list[dict[str, Any]] = []
        made_by = bundle.header.get("versions", {}).get("art-multimodal")
        #: Why they are not compared: what pages look like changes from version to version.
        self.reason = "" if made_by == __version__ else f"made by version {shown(made_by)[:40]}, here {__version__}"
        if report is None:
            self.reason = "not asked for"
        if not same_model and bundle.header["task"] == SAMPLES:
            self.reason = self.reason or "another model draws modalities as its own"

    def __enter__(self) -> PagesAgain:
        self._folder = tempfile.TemporaryDirectory()
        self._log = RunLog(Path(self._folder.name), self.bundle.header)
        self._log.pictures.mkdir()
        return self

    def __exit__(self, *error: object) -> None:
        self._folder.cleanup()

    def draw(
        self,
        subject: Subject,
        attack: str,
        records: Sequence[SampleRecord],
        samples: Sequence[Any],
        attacked: Attacked,
    ) -> None:
        """Draw those samples of a group that the report shows.

        :param records: What the log says of them.
        :param samples: They before any attack.
        :param attacked: They after it.
        """
        if self.reason or not any(one.pictured for one in records):
            return
        for row, record, sample in zip(subject.image_rows(samples), records, samples, strict=True):
            if record.pictured is not None:
                subject.show(self._log.pictures, attack, record, sample, attacked, int(row))

    def shown(self, line: Line) -> None:
        """Take in what the report shows of a line whose samples are drawn."""
        if not self.reason:
            self.samples += pictured_in(self._log, line)

    def check(self) -> str:
        """Compare the pages of the bundle with these.

        :return: Why that was not done; empty where it was.
        :raises InputError: Naming a page that says something else.
        """
        if self.reason:
            return self.reason
        for name, text in pages_of(self.report, self.samples):
            if name not in self.bundle.manifest.files:
                continue
            path = self.bundle.folder / name
            try:
                # As it was written.
                found = read_regular(path, _MOST_BYTES).decode("utf-8")
            except (OSError, ValueError) as error:
                raise _unreadable(path, error) from error
            if not _same_page(found, text.encode("utf-8", "backslashreplace").decode("utf-8")):
                raise InputError(
                    f"{shown(path)} is not what this version of art-multimodal ({__version__}) makes of the log and "
                    "the samples: it was changed, or another build of it wrote the page."
                )
        return ""


def _same_page(page: str, other: str) -> bool:
    """Whether two pages are the same but for how their pictures are packed."""
    if page == other:
        return True
    texts, others = _PICTURE.split(page), _PICTURE.split(other)
    if texts[::2] != others[::2]:
        return False
    return all(one == two or _same_picture(one, two) for one, two in zip(texts[1::2], others[1::2], strict=True))


def _same_picture(one: str, other: str) -> bool:
    try:
        first, second = (_pixels(base64.b64decode(code, validate=True)) for code in (one, other))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
    return first.shape == second.shape and np.array_equal(first, second)


def _pixels(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
        if max(picture.size) > _LONGEST:
            raise ValueError("it is too large")
        return np.asarray(picture)
