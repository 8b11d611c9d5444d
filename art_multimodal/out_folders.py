"""Where runs may write: apart from the data, and not among other people's files."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from art_multimodal.errors import InputError
from art_multimodal.shown import brief

_REPORTS = {"report.json", "report.md", "report.html"}
#: Files and folders of audits, training runs and matrices of transfer, and of nothing else in their place.
_OWN = {
    "run.json",
    "log.jsonl",
    "samples.csv",
    "training.json",
    "steps.jsonl",
    "transfer.json",
    "transfer.csv",
    *_REPORTS,
}
#: Folders of them; a run that was killed at once leaves them empty.
_OWN_FOLDERS = {"pictures", "evidence", "best", "last", "state", "tensorboard"}


def is_run_folder(files: Collection[str]) -> bool:
    """Whether a folder with files of these names is that of an audit, a comparison of audits, or a training run."""
    return {"run.json", "log.jsonl"} <= set(files) or "training.json" in files or set(files) >= _REPORTS


def check_apart(out: Path, folders: Iterable[Path]) -> None:
    """Refuse to write in, above or into folders of data: what is written would be data of the next run.

    :param folders: Of the data.
    :raises InputError: Naming the folder.
    """
    place = _resolved(out)
    if place is None:
        raise InputError(f"--out {brief(out)[:200]} cannot be used. Choose another one.")
    for folder in folders:
        data = _resolved(folder)
        if data is not None and (place == data or data in place.parents or place in data.parents):
            how = "is" if place == data else "is in" if data in place.parents else "is above"
            raise InputError(
                f"--out {brief(out)} {how} the folder of the data, {brief(folder)}: what is written there would lie "
                "among the images. Choose another --out, beside the data."
            )


def _resolved(path: Path) -> Path | None:
    """Where a path leads to; ``None`` where none can."""
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError):
        return None


def check_no_strangers(out: Path) -> None:
    """Refuse a folder that holds something else than runs, among which reports would lie.

    :raises InputError: Naming the first such file.
    """
    try:
        if not out.is_dir():
            return
        entries = sorted(out.iterdir(), key=lambda entry: entry.name)
        names = {entry.name for entry in entries}
        if is_run_folder(names) or names & {"run.json"}:
            return
        for entry in entries:
            if not _belongs(entry):
                raise InputError(
                    f"--out {brief(out)} holds files that are of no run, such as {brief(entry.name)}. Choose a new or "
                    f"empty folder, for example --out {brief(out / 'audit')}."
                )
    except OSError as error:
        raise InputError(f"--out {brief(out)[:200]} cannot be used: {error.strerror}. Choose another one.") from error


def _belongs(entry: Path) -> bool:
    """Whether something may lie in a folder that runs are written to: hidden files, parts of a run, folders of runs."""
    name = entry.name
    if name.startswith("."):
        return True
    if not entry.is_dir():
        return name.removesuffix(".tmp") in _OWN or (name.startswith("log.") and name.endswith(".jsonl"))
    inside = {path.name for path in entry.iterdir()}
    return name in _OWN_FOLDERS or not inside or is_run_folder(inside) or "run.json" in inside
