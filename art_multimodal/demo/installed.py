"""Data files of other packages, read from where those are installed; nothing of these packages is imported."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from art_multimodal.errors import InputError


def data_files(packages: Sequence[str], names: Sequence[str], what: str, install: str) -> list[Path]:
    """Where data files lie that come with an installed package.

    :param packages: Names of packages that have them, the first that is installed counts.
    :param names: Paths inside the package.
    :param what: Which data need them, for the error.
    :param install: What is to be done, for the error.
    :raises InputError: If no such package is installed, or it lacks a file.
    """
    found = next((found for name in packages if (found := _folder_of(name)) is not None), None)
    if found is None:
        raise InputError(f"{what} reads files of the package {packages[0]}, which is not installed: {install}.")
    files = [found / name for name in names]
    if lacking := [file for file in files if not file.is_file()]:
        raise InputError(f"{what}: the installed package {found.name} has no file {lacking[0].name}: {install}.")
    return files


def _folder_of(package: str) -> Path | None:
    # Of a package at the top this finds its place, and runs none of it.
    spec = find_spec(package)
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None
