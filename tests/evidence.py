"""Small audits that keep their samples, and bundles that somebody has changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from audits import PAIRS, RETRIEVAL, SETTINGS, VIEWS

from art_multimodal.evaluations.audit import Audit, AuditSettings, RunLog, write_reports
from art_multimodal.evaluations.evidence.bundle import Written, hashes_of, write_bundle
from art_multimodal.evaluations.evidence.fixtures import FOLDER
from art_multimodal.evaluations.evidence.manifest import Entry, Manifest, entries_of, read_manifest
from art_multimodal.store import opened_document, sealed_document

_SMALL = {"limit": 6, "batch_size": 4, "group_size": 4, "steps": 2, "max_queries": 30}
KINDS: dict[str, AuditSettings] = {
    "digits": replace(SETTINGS, attacks="pgd,character_attack,typographic,decoupling_exhaustive", **_SMALL),
    "pairs": replace(PAIRS, attacks="art_pgd,character_attack,decoupling_exhaustive", **_SMALL),
    "retrieval": replace(RETRIEVAL, attacks="similarity_pgd,character_attack,worst_image", **_SMALL),
    "views": replace(
        VIEWS,
        model="demo:views/late",
        attacks="apgd,modality_swap,modality_missing,modality_removed,pgd_multimodal,decoupling_exhaustive",
        **_SMALL,
    ),
    "random": replace(
        SETTINGS, attacks="pgd", defences=("gaussian_augmentation:sigma=0.2",), draws=3, **{**_SMALL, "limit": 10}
    ),
}


def kept(settings: AuditSettings, out: Path, fixtures: str = "all", resume: bool = False) -> Written:
    """Run an audit on the CPU, or go on with it, and close its evidence."""
    job = Audit(settings, out, device="cpu", fixtures=fixtures)
    log = job.evaluate(resume=resume)
    write_reports(log)
    return write_bundle(job, log)


def samples_of(folder: Path) -> dict[str, Entry]:
    """What a bundle says of its files of samples."""
    return {name: entry for name, entry in read_manifest(folder)[0].files.items() if name.startswith(FOLDER)}


def forged(folder: Path, change: Callable[[Path], None], **more: Entry) -> None:
    """Change a bundle and give it a manifest that fits, as somebody would who knows how.

    :param change: What is done to the folder.
    """
    manifest, _ = read_manifest(folder)
    change(folder)
    names = [name for name in manifest.files if (folder / name).is_file()]
    files = {**entries_of(folder, names), **more}
    Manifest(manifest.fixtures, manifest.passes, _hashes(folder, files), files).write(folder)


def _hashes(folder: Path, files: dict[str, Entry]) -> dict[str, str]:
    """Hashes that fit what a bundle holds."""
    header, environment = (opened_document((folder / name).read_bytes()) for name in ("run.json", "environment.json"))
    del environment["hashes"]
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    stems = [f"{FOLDER}/p000-b{line['batch']:06d}" for line in lines if line["attack"] == "clean"]
    names = [f"{stem}.{ending}" for stem in stems for ending in ("jsonl", "safetensors")]
    return hashes_of(header, environment, [files[name] for name in names if name in files])


def reported(folder: Path, pictures: Path) -> None:
    """Write the report of a bundle anew, so that it says what the log says.

    :param pictures: Of the run.
    """
    shutil.copytree(pictures, folder / "pictures")
    write_reports(RunLog(folder, RunLog.read_header(folder / "run.json")))
    shutil.rmtree(folder / "pictures")


def header_changed(**parts: dict) -> Callable[[Path], None]:
    """Change parts of ``run.json``, with a seal that fits."""

    def apply(folder: Path) -> None:
        header = opened_document((folder / "run.json").read_bytes())
        for part, entries in parts.items():
            header[part].update(entries)
        (folder / "run.json").write_text(sealed_document(header))

    return apply


def first(folder: Path, ending: str, number: int = 1) -> Path:
    """A file of samples of a pass, by the number of the pass."""
    return sorted((folder / FOLDER).glob(f"p{number:03d}-*.{ending}"))[0]


def edited(path: Path, change: Callable[[dict], None], line: int) -> None:
    """Change a line of a file of sealed lines, with a seal that fits."""
    from art_multimodal.store import sealed_line

    lines = path.read_bytes().splitlines(keepends=True)
    value = json.loads(lines[line])
    del value["checksum"]
    change(value)
    lines[line] = sealed_line(value)
    path.write_bytes(b"".join(lines))
