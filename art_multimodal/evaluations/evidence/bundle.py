"""A bundle of evidence: how an audit closes it, and how it is opened by one who trusts nothing in it."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.lines import CLEAN, Line
from art_multimodal.evaluations.audit.log import RunLog
from art_multimodal.evaluations.audit.passes import passes_in
from art_multimodal.evaluations.evidence.fixtures import FOLDER, file_stem, files_of, read_head
from art_multimodal.evaluations.evidence.keeping import EVIDENCE_FOLDER, MANIFEST_FILE, NONE
from art_multimodal.evaluations.evidence.manifest import (
    ENVIRONMENT_FILE,
    FILES,
    PLAN_FILE,
    Entry,
    Manifest,
    check_files,
    entries_of,
    read_manifest,
)
from art_multimodal.evaluations.typed_json import entries
from art_multimodal.shown import shown
from art_multimodal.store import (
    HEADER_FILE,
    cannot_write,
    opened_document,
    read_regular,
    replace_file,
    sealed_document,
)
from art_multimodal.store.files import reason_of
from art_multimodal.versions import library_versions

if TYPE_CHECKING:
    from art_multimodal.evaluations.audit.run import Audit

#: Further packages that numbers, or what is kept of them, depend on.
_PACKAGES = ("scipy", "statsmodels", "safetensors", "Pillow", "tokenizers")
_MOST_DOCUMENT = 64 << 20


@dataclass(frozen=True)
class Written:
    """A bundle that was closed.

    :param folder: Where it is.
    :param digest: The root digest: SHA-256 of the manifest, to be noted down.
    :param files: How many files it has.
    :param size: Their bytes.
    :param samples: How many attacked samples it holds, over all attacks.
    """

    folder: Path
    digest: str
    files: int
    size: int
    samples: int


def write_bundle(audit: Audit, log: RunLog) -> Written:
    """Close the bundle of an audit whose reports are written: everything else is copied in, the manifest comes last.

    >>> from art_multimodal.evaluations.audit import Audit, AuditSettings, write_reports
    >>> settings = AuditSettings("demo:shapes", "demo:shapes", attacks="art_pgd", steps=1, limit=2)
    >>> audit = Audit(settings, "kept", fixtures="all")
    >>> log = audit.evaluate()
    >>> report = write_reports(log)
    >>> written = write_bundle(audit, log)
    >>> isinstance(written, Written), len(written.digest), written.folder.is_dir()
    (True, 64, True)

    :param audit: With ``fixtures="all"`` or ``"successes"``; main process alone.
    :param log: What it returned.
    :raises InputError: If it keeps no fixtures, some of them are gone, or a file cannot be written.
    """
    if audit.keeper.mode == NONE:
        raise InputError("The audit keeps no samples: give fixtures='all', or --fixtures all.")
    folder = log.folder / EVIDENCE_FOLDER
    names, samples, clean = _fixtures(folder, audit, log)
    environment = _environment(audit, log.header["versions"])
    hashes = hashes_of(log.header, environment, clean)
    try:
        _remove_others(folder, names)
        replace_file(folder / ENVIRONMENT_FILE, sealed_document({**environment, "hashes": hashes}))
        if audit.settings.plan_text is not None:
            replace_file(folder / PLAN_FILE, audit.settings.plan_text)
        else:
            (folder / PLAN_FILE).unlink(missing_ok=True)
        for name in FILES:
            if name not in (ENVIRONMENT_FILE, PLAN_FILE) and (log.folder / name).is_file():
                replace_file(folder / name, partial(shutil.copyfile, log.folder / name))
        there = [name for name in FILES if (folder / name).is_file()]
        found = entries_of(folder, [*there, *(f"{FOLDER}/{name}" for name in names)])
    except OSError as error:
        raise cannot_write(folder, error) from error
    manifest = Manifest(audit.keeper.mode, (CLEAN, *audit.passes), hashes, found)
    digest = manifest.write(folder)
    return Written(folder, digest, len(found) + 1, sum(one.size for one in found.values()), samples)


def hashes_of(header: Mapping[str, Any], environment: Mapping[str, Any], clean: Iterable[Entry]) -> dict[str, str]:
    """What a manifest says of weights, data, configuration and environment.

    :param header: Of the run.
    :param environment: What ``environment.json`` holds, without these.
    :param clean: The files of samples before any attack, in the order of the log, of each batch the lines first.
    """
    data = hashlib.sha256()
    for entry in clean:
        data.update(bytes.fromhex(entry.sha256))
    return {
        "weights": str(header["model"].get("weights_sha256")),
        "data": data.hexdigest(),
        "configuration": _digest_of({key: header.get(key) for key in ("settings", "budget", "protocol")}),
        "environment": _digest_of(environment),
    }


def _fixtures(folder: Path, audit: Audit, log: RunLog) -> tuple[list[str], int, list[Entry]]:
    """Names of the files of samples; how many attacked ones they hold; and the files of those before any attack."""
    names: list[str] = []
    samples, clean = 0, list[Entry]()
    numbers = {name: number for number, name in enumerate((CLEAN, *audit.passes))}
    for line in log.lines():
        if line.attack not in numbers:
            # Votes of a smoothed model, which has no samples of its own.
            continue
        number = numbers[line.attack]
        try:
            head, _ = read_head(folder / FOLDER, number, line.batch)
        except (OSError, ValueError) as error:
            raise InputError(
                f"The samples of {line.attack} on batch {line.batch} cannot be read ({shown(reason_of(error))}): go on "
                "with the run by --resume, which makes them again."
            ) from error
        own = list(files_of(file_stem(number, line.batch), head))
        names += own
        if line.attack == CLEAN:
            clean += entries_of(folder / FOLDER, own).values()
        else:
            samples += sum(head.groups)
    return names, samples, clean


def _remove_others(folder: Path, names: list[str]) -> None:
    """Remove what a kill, or a run with other attacks, has left among the samples."""
    kept = set(names)
    for path in (folder / FOLDER).iterdir():
        if path.name not in kept:
            path.unlink()


def _environment(audit: Audit, versions: Mapping[str, str]) -> dict[str, Any]:
    """What numbers depend on besides: packages and the machine, in words that name nobody's.

    :param versions: Of the run, plug-ins among them.
    """
    import torch

    packages = {**versions, **library_versions()}
    for package in _PACKAGES:
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            packages[package] = "not installed"
    device = audit.estimator.device
    return {
        "packages": packages,
        "platform": {
            "system": platform.system(),
            "machine": platform.machine(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "threads": torch.get_num_threads(),
            "kernels": torch.backends.cpu.get_cpu_capability(),
        },
        # Of the data alone: repair of texts knows them.
        "protected_words": list(audit.subject.data.protected_words),
    }


def _digest_of(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class Bundle:
    """A bundle whose every byte is as it was when it was closed, read without changing it.

    >>> bundle = Bundle(evidence.folder, evidence.digest)
    >>> bundle.fixtures.is_dir(), len(list(bundle.lines())) > 0
    (True, True)

    :param folder: Of the evidence, or of the run that it lies in.
    :param digest: The root digest as it was noted down; ``None`` where nobody did.
    :raises InputError: If it is no bundle, of another version, or anything in it was changed, added or removed.
    """

    def __init__(self, folder: str | Path, digest: str | None = None) -> None:
        self.folder = evidence_folder(Path(folder))
        self.manifest, self.digest = read_manifest(self.folder)
        if digest is not None and digest.strip().lower() != self.digest:
            raise InputError(
                f"The bundle {shown(self.folder)} is another one than was noted down: its digest is {self.digest}, not "
                f"{shown(digest.strip())[:80]}."
            )
        check_files(self.folder, self.manifest)
        try:
            self.header = RunLog.read_header(self.folder / HEADER_FILE)
            self.environment = opened_document(read_regular(self.folder / ENVIRONMENT_FILE, _MOST_DOCUMENT))
            self.protected_words: tuple[str, ...] = entries(
                self.environment, {"protected_words": tuple[str, ...]}, "the environment"
            )["protected_words"]
            self.passes = tuple(passes_in(self.header))
            if self.manifest.passes != (CLEAN, *self.passes):
                raise ValueError("the passes of the manifest are not those of the run")
        except (OSError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{shown(self.folder)} cannot be used: {shown(reason_of(error))}.") from error
        self.log = RunLog(self.folder, self.header)

    @property
    def fixtures(self) -> Path:
        """The folder of samples."""
        return self.folder / FOLDER

    def lines(self) -> Iterator[Line]:
        """The lines of the log.

        :raises InputError: If one is damaged.
        """
        return self.log.lines()

    def hashes(self) -> dict[str, str]:
        """What the manifest has to say of weights, data, configuration and environment, from the rest of the bundle.

        :raises InputError: If a line of the log is damaged.
        """
        stems = [f"{FOLDER}/{file_stem(0, line.batch)}" for line in self.lines() if line.attack == CLEAN]
        names = [f"{stem}.{ending}" for stem in stems for ending in ("jsonl", "safetensors")]
        environment = {name: value for name, value in self.environment.items() if name != "hashes"}
        files = self.manifest.files
        return hashes_of(self.header, environment, [files[name] for name in names if name in files])


def evidence_folder(folder: Path) -> Path:
    """The folder of the evidence, which may be named by that of the run.

    :raises InputError: If it is no folder.
    """
    if not folder.is_dir():
        raise InputError(f"{shown(folder)} is no folder. Give a bundle: the folder {EVIDENCE_FOLDER} of an audit.")
    inner = folder / EVIDENCE_FOLDER
    return inner if not (folder / MANIFEST_FILE).exists() and (inner / MANIFEST_FILE).is_file() else folder
