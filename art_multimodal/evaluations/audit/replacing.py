"""Replacing a run: only what an audit writes is removed, and nothing where there is anything else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.log import HEADER_FILE, PICTURES_FOLDER, cannot_write
from art_multimodal.shown import shown

#: What an audit writes into its folder, and what a kill leaves of it.
_FILES = re.compile(r"(run\.json|log(\.\d+)?\.jsonl|report\.(html|md|json))(\.tmp)?")
_PICTURES = re.compile(r"[\w:]+-\d+-(clean|attacked|difference)\.png(\.tmp)?")
#: In the folder of a comparison: the run of one of its models.
_RUN = re.compile(r"\d+-[A-Za-z0-9.-]*")


def check_replaceable(folder: Path) -> None:
    """Find out whether a folder holds nothing but a run, or the runs of several models.

    :raises InputError: If there is anything else in it: another file or folder, or a link, which is not followed.
    """
    for path in _contents(folder):
        if not _is_ours(path, folder):
            raise InputError(
                f"{shown(folder)} holds {shown(path.relative_to(folder))}, which is not of an audit: --overwrite "
                "replaces a run and nothing else. Choose another --out, or move that away."
            )


def remove_run(folder: Path) -> None:
    """Remove the runs in a folder. Their first file goes last: what a kill leaves is still known as a run.

    :raises InputError: If there is anything else in it, or they cannot be removed.
    """
    check_replaceable(folder)
    contents = list(_contents(folder))
    try:
        for path in sorted((path for path in contents if not path.is_dir()), key=lambda path: path.name == HEADER_FILE):
            path.unlink()
        for path in reversed([path for path in contents if path.is_dir()]):
            path.rmdir()
    except OSError as error:
        raise cannot_write(folder, error) from error


def _contents(folder: Path) -> Iterator[Path]:
    """What is in a folder and in those of its folders that are ours; links stand for themselves."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            yield path
            if path.is_dir() and not path.is_symlink() and (path.name == PICTURES_FOLDER or _is_run(path)):
                yield from _contents(path)


def _is_run(folder: Path) -> bool:
    return _RUN.fullmatch(folder.name) is not None and (folder / HEADER_FILE).is_file()


def _is_ours(path: Path, folder: Path) -> bool:
    if path.is_symlink():
        return False
    place = path.relative_to(folder).parts
    # The folder of one model within that of several is judged by the same rules.
    inner = place[1:] if _RUN.fullmatch(place[0]) else place
    if path.is_dir():
        return inner in ((), (PICTURES_FOLDER,)) and (bool(inner) or _is_run(path))
    if len(inner) == 2:
        return inner[0] == PICTURES_FOLDER and _PICTURES.fullmatch(inner[1]) is not None
    return len(inner) == 1 and _FILES.fullmatch(inner[0]) is not None
