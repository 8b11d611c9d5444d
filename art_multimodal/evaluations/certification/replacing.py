"""Replacing a certification by another."""

from __future__ import annotations

import re
from pathlib import Path

from art_multimodal import replacing
from art_multimodal.evaluations.certification.log import CertificationLog
from art_multimodal.store import HEADER_FILE

#: What a certification writes into its folder, and what a kill leaves of it.
_NAMES = r"(run\.json|log(\.\d+)?\.jsonl|report\.(html|md|json))"
_FILES = re.compile(rf"\.lock|{_NAMES}|\.{_NAMES}\.part")


def check_replaceable(folder: Path) -> None:
    """Find out whether a folder holds nothing but a certification.

    :raises InputError: If there is anything else in it.
    """
    replacing.contents(folder, _is_ours, CertificationLog.what)
    CertificationLog.refuse_other_kinds(folder)


def remove_run(folder: Path) -> None:
    """Remove the certification in a folder.

    :raises InputError: If there is anything else in it, or it cannot be removed.
    """
    check_replaceable(folder)
    replacing.remove(folder, _is_ours, CertificationLog.what, HEADER_FILE)


def _is_ours(path: Path, folder: Path) -> bool:
    return path.parent == folder and not path.is_dir() and _FILES.fullmatch(path.name) is not None
