"""Files of a run, and files that an option names: regular ones alone, of a bounded size, written whole or not at all.

Somebody else may have made the folder of a run: a link in it, symbolic or hard, is never followed, neither in reading
nor in writing.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal

from art_multimodal.errors import InputError
from art_multimodal.shown import shown

#: Bytes that a file may have which an option names: lists of words and names.
OPTION_LIMIT = 64 << 20

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
# A pipe without a writer would be waited for.
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)
_FLAGS = {"rb": os.O_RDONLY, "r+b": os.O_RDWR, "ab": os.O_WRONLY | os.O_APPEND | os.O_CREAT}


def open_regular(path: Path, mode: Literal["rb", "r+b", "ab"] = "rb", follow: bool = False) -> BinaryIO:
    """Open a file of bytes that is a regular one.

    :param mode: ``"rb"``, ``"r+b"`` or ``"ab"``.
    :param follow: Whether a link, symbolic or hard, may lead to it.
    :raises OSError: If it cannot be opened, or is a link, a folder, a device or a pipe.
    """
    if not follow and path.is_symlink():
        raise OSError(errno.ELOOP, "it is a link, which is not followed here", str(path))
    flags = _FLAGS[mode] | _NO_WAIT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags | (0 if follow else _NO_FOLLOW), 0o666)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        if not follow:
            check_one_name(descriptor, path)
        return os.fdopen(descriptor, mode)
    except BaseException:
        os.close(descriptor)
        raise


def check_one_name(descriptor: int, path: Path) -> None:
    """Refuse an open file that has a second name: what is written would change a file outside the folder of the run.

    :raises OSError: If it has.
    """
    if os.fstat(descriptor).st_nlink > 1:
        raise OSError(errno.EMLINK, "it is a hard link: the same file has another name, too", str(path))


def read_regular(path: Path, limit: int, follow: bool = False) -> bytes:
    """Read a regular file.

    :param limit: Most bytes that it may have.
    :raises OSError: As :func:`open_regular`, or if it is larger.
    """
    with open_regular(path, follow=follow) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit >> 20} MB", str(path))
    return content


def read_text_option(path: str | Path, what: str, limit: int = OPTION_LIMIT) -> str:
    """Read the text file that an option names.

    :param what: Begins the error, such as ``--classes:``.
    :param limit: Most bytes that it may have.
    :raises InputError: If it is no regular file (a device, for example), larger, or no UTF-8.
    """
    try:
        return read_regular(Path(path), limit, follow=True).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"{what} {shown(path)} cannot be read as a UTF-8 text file ({reason_of(error)}).") from error


def reason_of(error: Exception) -> str:
    """What an error of the operating system or of decoding says, without the path."""
    return getattr(error, "strerror", None) or str(error)


def replace_file(path: Path, content: bytes | str | Callable[[Path], Any], sync: bool = True) -> None:
    """Write a file so that after a kill, or on a full disk, it is the old one or the new one.

    A link that stands in its place, or in that of its temporary file, is replaced and not followed.

    :param content: Of the file; or what writes it to the path that it is given.
    :param sync: Whether to wait until the folder knows of it, too; otherwise call :func:`sync_folder` in the end.
    :raises OSError: If it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        # Whatever is there is a leftover or planted; created anew, it is nobody else's.
        temporary.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(temporary, flags, 0o666), "wb") as stream:
            if not callable(content):
                stream.write(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)
                stream.flush()
                os.fsync(stream.fileno())
        if callable(content):
            content(temporary)
            with open_regular(temporary, "r+b") as stream:
                os.fsync(stream.fileno())
        temporary.replace(path)
        if sync:
            sync_folder(path.parent)
    except BaseException:
        _forget(temporary)
        raise


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that it is either the old one or the new one, never half of it.

    :raises InputError: If it cannot be written.
    """
    try:
        replace_file(path, text)
    except OSError as error:
        raise cannot_write(path, error) from error


def _forget(path: Path) -> None:
    with suppress(OSError):  # it stands there as a folder; the first error says what is wrong
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """See what a folder holds, names included, onto the disk, where its file system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EROFS):
            raise
    finally:
        os.close(descriptor)


def refuse_links(folder: Path, names: Iterable[str]) -> None:
    """Refuse the folder of a run in which a file or folder of the run is a link, or a file a hard link.

    :param folder: Of the run; may be reached by a link itself.
    :param names: Of what the run reads and writes in it.
    :raises InputError: Naming the first link.
    """
    for name in names:
        try:
            found = (folder / name).lstat()
        except OSError:  # it is not there, or whoever opens it says what is wrong
            continue
        if stat.S_ISLNK(found.st_mode):
            raise InputError(
                f"{shown(folder / name)} is a link, and links in the folder of a run are not followed. Put what it "
                "leads to in its place, or choose another --out."
            )
        if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
            raise InputError(
                f"{shown(folder / name)} is a hard link (the same file has another name, too), and links in the folder "
                "of a run are not followed. Put a copy in its place, or choose another --out."
            )


def check_place(folder: Path) -> None:
    """Find out, without leaving a trace, whether a folder is there to be written to, or could be made.

    :raises InputError: If not, saying why.
    """

    def refused(why: str) -> InputError:
        return InputError(f"Cannot write to {shown(folder)}: {why}. Choose another --out.")

    try:
        os.lstat(folder)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:  # a name that is too long, holds NUL, or may not be looked at
        raise refused(reason_of(error)) from error
    existing = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not existing.exists():
        raise refused(f"{shown(existing)} is a link that leads nowhere")
    if not existing.is_dir():
        raise refused(f"{shown(existing)} is a file")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise refused(f"no permission to write in {shown(existing)}")


def cannot_write(path: Path, error: Exception) -> InputError:
    """Return the error for a file of a run that could not be written."""
    return InputError(
        f"Cannot write {shown(path)}: {reason_of(error)}. What is there already is kept; make room or choose another "
        "--out, and go on with --resume."
    )


def write_by_itself(path: Path, content: bytes) -> None:
    """Write a file that belongs to no run, as :func:`replace_file` does.

    :raises InputError: If it cannot be written.
    """
    try:
        replace_file(path, content)
    except OSError as error:
        raise InputError(
            f"Cannot write {shown(path)}: {reason_of(error)}. Name a file in a folder that is there, and that may be "
            "written in."
        ) from error
