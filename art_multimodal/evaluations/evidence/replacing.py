"""Which files of a run's folder are its evidence, and may be removed with it."""

from __future__ import annotations

from collections.abc import Sequence

from art_multimodal.evaluations.evidence.fixtures import FILE, FOLDER
from art_multimodal.evaluations.evidence.keeping import EVIDENCE_FOLDER, MANIFEST_FILE
from art_multimodal.evaluations.evidence.manifest import FILES


def is_evidence(place: Sequence[str], is_folder: bool) -> bool:
    """Whether something in the folder of a run is of its evidence, or what a kill leaves of that.

    :param place: Parts of its path within the folder.
    """
    if place[0] != EVIDENCE_FOLDER:
        return False
    inner = tuple(place[1:])
    if is_folder:
        return inner in ((), (FOLDER,))
    name = inner[-1].removeprefix(".").removesuffix(".part") if inner and inner[-1].endswith(".part") else inner[-1]
    if len(inner) == 2:
        return inner[0] == FOLDER and FILE.fullmatch(name) is not None
    return len(inner) == 1 and name in (*FILES, MANIFEST_FILE)
