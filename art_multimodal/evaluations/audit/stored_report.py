"""The report of a run that somebody else may have made: read only if it is what the log says."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.gate import METRICS, Gate
from art_multimodal.evaluations.audit.log import RunLog
from art_multimodal.evaluations.audit.report import REPORT_VERSION, report_of
from art_multimodal.evaluations.audit.verdicts import FAIL_UNDER
from art_multimodal.evaluations.typed_json import Signed, entries
from art_multimodal.shown import shown
from art_multimodal.store import HEADER_FILE, LINES_FILE, read_regular, refuse_links
from art_multimodal.store.files import reason_of

REPORT_FILE = "report.json"
#: Of the versions that are read besides the one that is written, the parts that came out differently then; they, and
#: what such a report has not, are taken from the log.
_EARLIER: dict[int, frozenset[str]] = {1: frozenset({"report_version", "flags"})}
#: Bytes of a report; it is far smaller.
_MOST_BYTES = 256 << 20


@dataclass(frozen=True)
class _Asked:
    """What has to be known of a limit of the command line, to judge it again."""

    row: str
    metric: str
    kind: str
    limit: Annotated[float, Signed()]


def read_report(folder: Path) -> dict[str, Any]:
    """Read the report of an audit; nothing in the folder is changed.

    >>> read_report(audited)["results"]["clean"]["n"]
    4

    :param folder: Of the run.
    :return: What ``report.json`` holds; of an earlier version, what the one that is written now would hold.
    :raises InputError: If there is none, a file of the run is a link or damaged, or the report says something else than
        the log.
    """
    refuse_links(folder, (HEADER_FILE, LINES_FILE, REPORT_FILE))
    header = _header(folder)
    report = _parsed(folder / REPORT_FILE)
    version = report.get("report_version")
    if version != REPORT_VERSION and not (type(version) is int and version in _EARLIER):
        raise InputError(
            f"{shown(folder / REPORT_FILE)} was written by another version of art-multimodal (report "
            f"{shown(version)[:40]}, here {REPORT_VERSION}). {_ANEW}"
        )
    try:
        expected = json.loads(json.dumps(report_of(RunLog(folder, header), _gates(report))))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{shown(folder / REPORT_FILE)} is damaged: {error}. {_ANEW}") from error
    # In the order of the report: what follows from other parts comes after them.
    keys = [*report, *(key for key in expected if key not in report)]
    if version != REPORT_VERSION:
        keys = [key for key in report if key not in _EARLIER[version]]
    changed = [key for key in keys if report.get(key) != expected.get(key)]
    if changed:
        raise InputError(
            f"{shown(folder / REPORT_FILE)} says something else than the log of the run (under {shown(changed[0])}): "
            f"it was changed, or the run has gone on. {_ANEW}"
        )
    return report if version == REPORT_VERSION else expected


def _gates(report: dict[str, Any]) -> list[Gate]:
    """The limits of the command line, of which nothing is in the log: what they asked for, not what became of them.

    :raises ValueError: If one is damaged.
    """
    if "verdicts" not in report:
        return []
    verdicts = entries(report["verdicts"], {"gates": tuple[_Asked, ...]}, "verdicts")["gates"]
    gates = []
    for one in verdicts:
        if one.kind != FAIL_UNDER:
            continue
        if one.metric not in METRICS or one.row not in report.get("results", {}):
            raise ValueError(f"a limit of {shown(one.row)[:60]} is none that --fail-under takes")
        gates.append(Gate(one.row, one.metric, one.limit))
    return gates


_ANEW = "The same audit with --resume writes it anew."


def _header(folder: Path) -> dict[str, Any]:
    """The header of the audit in a folder."""
    path = folder / HEADER_FILE
    if not folder.is_dir():
        raise InputError(f"There is no folder {shown(folder)}. Give the --out of an audit.")
    if not os.path.lexists(path):
        raise InputError(f"{shown(folder)} holds no run. {_hint(folder)}")
    try:
        return RunLog.read_header(path)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{shown(path)} cannot be read ({shown(reason_of(error))}). Run the audit again.") from error


def _hint(folder: Path) -> str:
    """What may be meant instead."""
    runs = sorted(path.parent.name for path in folder.glob(f"*/{HEADER_FILE}"))[:3]
    if not runs:
        return "Give the --out of an audit."
    return f"Give the folder of one of the runs in it: {', '.join(shown(folder / name) for name in runs)}."


def _parsed(path: Path) -> dict[str, Any]:
    if not os.path.lexists(path):
        raise InputError(f"{shown(path.parent)} holds no {REPORT_FILE}: the audit has not ended. {_ANEW}")
    try:
        report = json.loads(read_regular(path, _MOST_BYTES), parse_constant=_no_number)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{shown(path)} cannot be read ({shown(reason_of(error))[:200]}). {_ANEW}") from error
    if not isinstance(report, dict):
        raise InputError(f"{shown(path)} is no report. {_ANEW}")
    return report


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")
