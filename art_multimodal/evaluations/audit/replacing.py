"""Replacing a run, or a comparison of several, by another."""

from __future__ import annotations

import re
from pathlib import Path

from art_multimodal import replacing
from art_multimodal.evaluations.audit.lines import SUFFIX
from art_multimodal.evaluations.audit.log import PICTURES_FOLDER, RunLog
from art_multimodal.evaluations.evidence.replacing import is_evidence
from art_multimodal.store import HEADER_FILE

#: What an audit writes into its folder, and what a kill leaves of it.
_NAMES = r"(run\.json|log(\.\d+)?\.jsonl|report\.(html|md|json)|samples\.csv)"
_OF_PICTURES = rf"[\w:@]+-\d+-((clean|attacked|difference)\.png|{SUFFIX})"
_FILES = re.compile(rf"\.lock|{_NAMES}|\.{_NAMES}\.part")
_PICTURES = re.compile(rf"{_OF_PICTURES}|\.{_OF_PICTURES}\.part")
#: In the folder of a comparison: the run of one of its models.
_RUN = re.compile(r"\d+-[A-Za-z0-9.-]*")
_WHAT = RunLog.what


def check_replaceable(folder: Path) -> None:
    """Find out whether a folder holds nothing but a run, or the runs of several models.

    :raises InputError: If there is anything else in it.
    """
    replacing.contents(folder, _is_ours, _WHAT)
    RunLog.refuse_other_kinds(folder)


def remove_run(folder: Path) -> None:
    """Remove the runs in a folder.

    :raises InputError: If there is anything else in it, or they cannot be removed.
    """
    check_replaceable(folder)
    replacing.remove(folder, _is_ours, _WHAT, HEADER_FILE)


def _is_ours(path: Path, folder: Path) -> bool:
    place = path.relative_to(folder).parts
    # The folder of one model within that of several is judged by the same rules.
    inner = place[1:] if _RUN.fullmatch(place[0]) else place
    if inner and is_evidence(inner, path.is_dir()):
        return True
    if path.is_dir():
        return inner == (PICTURES_FOLDER,) or (not inner and (path / HEADER_FILE).is_file())
    if len(inner) == 2:
        return inner[0] == PICTURES_FOLDER and _PICTURES.fullmatch(inner[1]) is not None
    return len(inner) == 1 and _FILES.fullmatch(inner[0]) is not None
