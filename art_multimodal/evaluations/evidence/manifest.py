"""The manifest of a bundle: every file with its size and digest, and the check of a folder against it."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.samples_table import FILE as SAMPLES_TABLE
from art_multimodal.evaluations.evidence.files import MOST_BYTES, sha256_of
from art_multimodal.evaluations.evidence.fixtures import FILE, FOLDER
from art_multimodal.evaluations.evidence.keeping import ALL, MANIFEST_FILE, SUCCESSES
from art_multimodal.evaluations.typed_json import Matching, Within, entries
from art_multimodal.shown import shown
from art_multimodal.store import (
    HEADER_FILE,
    LINES_FILE,
    cannot_write,
    opened_document,
    read_regular,
    replace_file,
    sealed_document,
)

#: Stands in the manifest, by which other documents are told from one.
KIND = "evidence of an audit"
#: Raised when what a bundle holds changes. A bundle is written with the lowest version that has all its files.
SCHEMA_VERSION = 2
ENVIRONMENT_FILE = "environment.json"
PLAN_FILE = "plan.yaml"
REPORT_FILES = ("report.json", "report.md", "report.html")
#: Files that a bundle has, besides those of samples.
FILES = (HEADER_FILE, LINES_FILE, ENVIRONMENT_FILE, *REPORT_FILES, SAMPLES_TABLE, PLAN_FILE)
#: Those that it cannot do without.
NEEDED = (HEADER_FILE, LINES_FILE, ENVIRONMENT_FILE, "report.json")
#: Versions that are read.
_VERSIONS = range(1, SCHEMA_VERSION + 1)
#: Bytes of the manifest: some hundred thousand files.
_MOST = 64 << 20
_SHA256 = Annotated[str, Matching("[0-9a-f]{64}")]


@dataclass(frozen=True)
class Entry:
    """What the manifest says of a file: its bytes, and their SHA-256."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a bundle consists of.

    :param fixtures: Which samples it holds: ``"all"`` or ``"successes"``.
    :param passes: Names of the passes, in the order of the numbers in the names of files; the first is before any
        attack.
    :param hashes: SHA-256 of weights, data, configuration and environment, by name.
    :param files: By their place in the bundle.
    """

    fixtures: str
    passes: tuple[str, ...]
    hashes: Mapping[str, str]
    files: Mapping[str, Entry]

    @property
    def schema_version(self) -> int:
        """The lowest version that has all the files."""
        return 2 if PLAN_FILE in self.files else 1

    def text(self) -> str:
        """The document, sealed."""
        return sealed_document(
            {
                "kind": KIND,
                "schema_version": self.schema_version,
                "fixtures": self.fixtures,
                "passes": list(self.passes),
                "hashes": dict(self.hashes),
                "files": {name: {"size": one.size, "sha256": one.sha256} for name, one in sorted(self.files.items())},
            }
        )

    def write(self, folder: Path) -> str:
        """Write it, whole or not at all.

        :return: The root digest: SHA-256 of the file, which stands for all others.
        :raises InputError: If it cannot be written.
        """
        text = self.text()
        try:
            replace_file(folder / MANIFEST_FILE, text)
        except OSError as error:
            raise cannot_write(folder / MANIFEST_FILE, error) from error
        return hashlib.sha256(text.encode()).hexdigest()


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """Read the manifest of a bundle, and the root digest.

    :raises InputError: If there is none, it was changed, or another version wrote it.
    """
    path = folder / MANIFEST_FILE
    try:
        text = read_regular(path, _MOST)
    except FileNotFoundError:
        raise InputError(
            f"{shown(folder)} is no bundle of evidence: it has no {MANIFEST_FILE}, which is written last. Make one by "
            "audit --fixtures all, or finish it by --resume."
        ) from None
    except OSError as error:
        raise InputError(f"{shown(path)} cannot be read ({error.strerror or shown(error)}).") from error
    try:
        manifest = _parsed(opened_document(text))
        # How a document is laid out does not count for its seal, and here every byte does.
        if manifest.text().encode() != text:
            raise ValueError("it was changed: it is not laid out as it was written")
    except InputError:
        raise
    except ValueError as error:
        found = re.search(rb'"schema_version": ?(\d{1,6})\b', text)
        if found and int(found[1]) not in _VERSIONS and b"changed" not in str(error).encode():
            raise _other_version(int(found[1])) from None
        raise InputError(f"{shown(path)} cannot be used: {error}.") from error
    return manifest, hashlib.sha256(text).hexdigest()


def _other_version(version: int) -> InputError:
    return InputError(
        f"The bundle was made by another version of art-multimodal (schema {version}, here up to {SCHEMA_VERSION}). "
        "Verify it with that one."
    )


def _parsed(value: dict[str, Any]) -> Manifest:
    head = entries(value, {"kind": str, "schema_version": int}, "the manifest")
    if head["kind"] != KIND:
        raise ValueError(f"it is not {KIND}")
    if head["schema_version"] not in _VERSIONS:
        raise _other_version(head["schema_version"])
    hints: dict[str, Any] = {
        "fixtures": Annotated[str, Matching(f"{SUCCESSES}|{ALL}")],
        "passes": tuple[str, ...],
        "hashes": dict[str, _SHA256],
        "files": dict[str, Any],
    }
    found = entries(value, hints, "the manifest")
    files = {}
    for name, entry in found["files"].items():
        if not is_file_name(name):
            raise ValueError(f"it names {shown(name)[:80]}, which no bundle has")
        size = Annotated[int, Within(0, MOST_BYTES)]
        files[name] = Entry(**entries(entry, {"size": size, "sha256": _SHA256}, shown(name)))
    if gone := [name for name in NEEDED if name not in files]:
        raise ValueError(f"it does not name {gone[0]}")
    return Manifest(found["fixtures"], found["passes"], found["hashes"], files)


def is_file_name(name: str) -> bool:
    """Whether a bundle may have a file of this name, its place in the bundle with a slash."""
    folder, slash, last = name.rpartition("/")
    return FILE.fullmatch(last) is not None if slash and folder == FOLDER else name in FILES


def entries_of(folder: Path, names: Iterable[str]) -> dict[str, Entry]:
    """Sizes and digests of files.

    :raises OSError: If one cannot be read, or is a link.
    """
    return {name: Entry(*sha256_of(folder / name)) for name in names}


def check_files(folder: Path, manifest: Manifest) -> None:
    """Check that a folder holds the files of the manifest and nothing else, to the last byte. No link is followed.

    :raises InputError: Naming what was changed, added or removed.
    """
    faults = [f"{shown(name)[:80]} is not in the manifest" for name in _strangers(folder, manifest)]
    for name, entry in manifest.files.items():
        path = folder / name
        try:
            found = path.lstat()
            if not stat.S_ISREG(found.st_mode):
                faults.append(f"{name} is no regular file")
            elif found.st_size != entry.size:
                faults.append(f"{name} has {found.st_size:,} bytes instead of {entry.size:,}")
            elif sha256_of(path)[1] != entry.sha256:
                faults.append(f"{name} was changed")
        except FileNotFoundError:
            faults.append(f"{name} is missing")
        except OSError as error:
            faults.append(f"{name} cannot be read ({error.strerror or shown(error)})")
    if faults:
        more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise InputError(f"The bundle {shown(folder)} is not as it was closed: {'; '.join(faults[:5])}{more}.")


def _strangers(folder: Path, manifest: Manifest) -> list[str]:
    """What a folder holds besides, by its place in it."""
    found = []
    try:
        for entry in sorted(os.scandir(folder), key=lambda one: one.name):
            if entry.name == FOLDER and entry.is_dir(follow_symlinks=False):
                inner = sorted(one.name for one in os.scandir(entry.path))
                found += [f"{FOLDER}/{name}" for name in inner if f"{FOLDER}/{name}" not in manifest.files]
            elif entry.name != MANIFEST_FILE and entry.name not in manifest.files:
                found.append(entry.name)
    except OSError as error:
        raise InputError(f"{shown(folder)} cannot be read ({error.strerror or shown(error)}).") from error
    return found
