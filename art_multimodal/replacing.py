"""Replacing what is in a folder: only what the product itself writes is removed, and nothing where there is more."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from art_multimodal.errors import InputError
from art_multimodal.shown import shown
from art_multimodal.store.lock import LOCK_FILE, FolderLock

#: Whether a file or a folder inside a folder (the second) is of those that are written there. Never asked about links.
IsOurs = Callable[[Path, Path], bool]


def contents(folder: Path, is_ours: IsOurs, what: str) -> list[Path]:
    """Everything in a folder, folders before what is in them.

    :param what: Has written it ("an audit"), for the error.
    :raises InputError: Naming the first that is not ours. A link is not, and is not followed.
    """
    found: list[Path] = []

    def look_into(part: Path) -> None:
        for path in sorted(part.iterdir()):
            if path.is_symlink() or not is_ours(path, folder):
                raise InputError(
                    f"{shown(folder)} holds {shown(path.relative_to(folder))}, which is not of {what}: --overwrite "
                    "replaces a run and nothing else. Choose another --out, or move that away."
                )
            found.append(path)
            if path.is_dir():
                look_into(path)

    if folder.is_dir():
        look_into(folder)
    return found


def remove(folder: Path, is_ours: IsOurs, what: str, last: str) -> None:
    """Remove everything in a folder, if all of it is ours.

    :param last: The files of this name go last: what a kill leaves is still known as a run.
    :raises InputError: If anything is not ours, cannot be removed, or another command is writing there.
    """
    found = contents(folder, is_ours, what)
    with ExitStack() as held:
        for path in found:
            # Not while another command writes there.
            if path.name == LOCK_FILE:
                held.enter_context(FolderLock(path.parent)).take()
        _remove(found, folder, last)


def _remove(found: list[Path], folder: Path, last: str) -> None:
    try:
        for path in sorted((path for path in found if not path.is_dir()), key=lambda path: path.name == last):
            path.unlink()
        for path in reversed([path for path in found if path.is_dir()]):
            path.rmdir()
    except OSError as error:
        raise InputError(
            f"Cannot remove {shown(error.filename or folder)}: {error.strerror or error}. Choose another --out."
        ) from error
