"""What several files of tests look at is made once, whichever process of the tests comes first."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that all processes of the tests share; nobody may write to it.

    :param name: Of what is in it.
    :param make: Fills it, where no other process has: is given the folder, which is not there yet.
    """
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, done = root / f"once-{name}", root / f"once-{name}.done"
    with FileLock(root / f"once-{name}.lock"):
        if not done.exists():
            # Of one that failed in the middle nothing is taken.
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            done.touch()
    return folder
