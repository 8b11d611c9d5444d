"""Files that a run was given besides data, by their digests: what they hold must be the same when it goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from art_multimodal.defences.registry import parse_defence
from art_multimodal.errors import InputError
from art_multimodal.evaluations.evidence.files import sha256_of
from art_multimodal.shown import brief, shown

#: Entry of the header.
HEADER = "defence_files"


def files_of(defences: Iterable[str]) -> tuple[dict[str, str], ...]:
    """The files that defences are made from, in JSON types: whose, by which option, where, and the SHA-256.

    What is no regular file is left out: a plug-in may take a folder.

    :param defences: As for :func:`parse_defence`, made from these files just now.
    """
    found = []
    for defence in map(parse_defence, defences):
        for option, path in defence.files.items():
            with suppress(OSError):
                _, digest = sha256_of(Path(path), follow=True)
                found.append({"defence": defence.name, "option": option, "file": path, "sha256": digest})
    return tuple(found)


def check_same_files(header: Mapping[str, Any], now: Iterable[Mapping[str, str]], whose: str, cure: str) -> None:
    """Check that files of defences hold what they held.

    :param header: Of the run as it was logged.
    :param now: From :func:`files_of`.
    :param whose: Begins the error, such as ``"The run to resume"``.
    :param cure: What to do besides putting the file back.
    :raises InputError: Naming the first that holds something else.
    """
    if HEADER not in header:
        # As runs were logged before files were looked at.
        return
    before = {(one["defence"], one["option"], one["file"]): one["sha256"] for one in header[HEADER]}
    for one in now:
        key = one["defence"], one["option"], one["file"]
        check_same_digest(f"{key[1]} of {key[0]}", key[2], before.get(key), one["sha256"], whose, cure)


def check_same_digest(what: str, path: str, before: str | None, now: str, whose: str, cure: str) -> None:
    """Check that a file holds what it held.

    :param what: What it is for.
    :param before: Its digest then; ``None`` where there was none.
    :raises InputError: If its digest is another one.
    """
    if before != now:
        said = "none" if before is None else shown(before)[:16]
        raise InputError(
            f"{whose} had another file for {what}: {brief(path)} has the SHA-256 {now[:16]} now, and it was {said}. "
            f"Put the file back{cure}."
        )
