"""A folder that one command at a time writes to."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from types import TracebackType

from art_multimodal.errors import InputError
from art_multimodal.shown import shown
from art_multimodal.store.files import check_one_name

LOCK_FILE = ".lock"
_BUSY = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


class FolderLock:
    """Holds a folder from :meth:`take` to the end of a ``with`` block; the system lets go of it after a kill.

    The file ``.lock`` in the folder stays there and means nothing by itself. Where the file system knows no locks
    nothing is held.

    :param folder: Need not exist before :meth:`take`.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / LOCK_FILE
        self._descriptor: int | None = None

    def take(self) -> None:
        """Take hold of the folder, if this lock does not hold it yet.

        :raises InputError: If another command holds it, or the file cannot be written.
        """
        if not self.taken():
            raise InputError(
                f"Another command is writing to {shown(self.path.parent)} (it holds {LOCK_FILE} there). Wait until "
                "it has ended, or choose another --out."
            )

    def taken(self) -> bool:
        """Take hold of the folder unless another command holds it, and say whether this one may go on.

        :raises InputError: If the file cannot be written.
        """
        if self._descriptor is not None or os.name != "posix":
            return True
        import fcntl

        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise InputError(f"Cannot write {shown(self.path)}: {error.strerror}. Choose another --out.") from error
        try:
            # Somebody else's file is not to be held.
            check_one_name(descriptor, self.path)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno == errno.EMLINK:
                raise InputError(f"Cannot write {shown(self.path)}: {error.strerror}. Choose another --out.") from error
            return error.errno not in _BUSY
        self._descriptor = descriptor
        return True

    def wait(self, pause: float = 0.2) -> None:
        """Take hold of the folder as soon as no other command holds it.

        :param pause: Seconds between two looks.
        :raises InputError: If the file cannot be written.
        """
        while not self.taken():
            time.sleep(pause)

    def release(self) -> None:
        """Let go of the folder."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.release()
