"""A report in several formats, each in a file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from art_multimodal.errors import InputError
from art_multimodal.evaluations.formats.format import FORMATS, NOTHING, Options, Report
from art_multimodal.store import cannot_write, check_place, refuse_links, write_atomically


def write_formats(report: Report, names: Sequence[str], folder: Path, options: Options = NOTHING) -> list[Path]:
    """Write a report in formats. All are made before the first is written.

    >>> [path.suffix for path in write_formats(report, ["junit", "sarif"], Path("exported"))]
    ['.xml', '.sarif']

    :param report: What ``report.json`` holds.
    :param names: Of :data:`FORMATS`.
    :param folder: Made if it is not there.
    :return: The files, in the order of the names.
    :raises InputError: For an unknown name, for options that a format needs, or if a file cannot be written; a link is
        not followed.
    """
    texts = {FORMATS[name].file: FORMATS[name].text(report, options) for name in names}
    check_place(folder)
    refuse_links(folder, [part for file in texts for part in _parts(file)])
    paths = []
    for file, text in texts.items():
        path = folder / file
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error
        write_atomically(path, text)
        paths.append(path)
    return paths


def _parts(file: str) -> list[str]:
    """A path and the folders that it leads through."""
    path = Path(file)
    return [part.as_posix() for part in (path, *path.parents) if part.name]


def names_of(text: str) -> list[str]:
    """``"junit,sarif"`` as names of formats.

    :raises InputError: For an unknown one, or none.
    """
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise InputError(f"--as names no format. Known: {', '.join(FORMATS)}.")
    return [name for name in names if FORMATS[name]]
