"""Drawings as files beside the log, and back."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from art_multimodal.evaluations.audit.drawing.pixels import as_picture, change_of
from art_multimodal.evaluations.audit.drawing.plots import Plot, as_plot, caption, svg
from art_multimodal.evaluations.audit.lines import SUFFIX
from art_multimodal.evaluations.audit.pictures import png_of, read_picture
from art_multimodal.evaluations.typed_json import plain, typed
from art_multimodal.modalities.modality import Modality
from art_multimodal.store import cannot_write, read_regular, replace_file, sync_folder

_SUFFIX = re.compile(SUFFIX)
#: Bytes of a plot.
_MOST_BYTES = 1 << 20
#: Characters of a text that are kept.
_LONGEST = 2000


@dataclass(frozen=True)
class Drawn:
    """A modality of a sample, as a report shows it.

    :param name: Of the modality.
    :param changed: Whether the attack changed it.
    :param pictures: Pictures as data URLs: before, and where it changed after and the difference.
    :param plot: A plot as inline SVG; ``None`` where it is none.
    :param caption: What is shown of it.
    :param texts: Of a text, how it was and how it is.
    :param missing: Whether the sample lacks it after the attack.
    """

    name: str
    changed: bool
    pictures: tuple[str, ...] = ()
    plot: Markup | None = None
    caption: str = ""
    texts: tuple[str, str] | None = None
    missing: bool = False


@dataclass(frozen=True)
class _Texts:
    before: str
    after: str


@dataclass(frozen=True)
class _Missing:
    missing: bool


def keep_drawings(
    folder: Path, attack: str, index: int, modalities: Mapping[str, Modality], before: np.ndarray, after: np.ndarray
) -> tuple[str, ...]:
    """Keep a drawing of each modality of a sample.

    :param folder: Of the pictures.
    :param before: An array of one sample.
    :param after: Likewise, attacked.
    :return: What the names of the files end with.
    """
    kept = []
    for name, modality in modalities.items():
        for suffix, content in _contents(modality, before[name], after[name]):
            path = folder / file_name(attack, index, f"{name}.{suffix}")
            try:
                replace_file(path, content, sync=False)
            except OSError as error:
                raise cannot_write(path, error) from error
            kept.append(f"{name}.{suffix}")
    sync_folder(folder)
    return tuple(kept)


def file_name(attack: str, index: int, suffix: str) -> str:
    """Name of a file of a sample's drawings."""
    return f"{attack}-{index}-{suffix}"


def is_whole(path: Path) -> bool:
    """Whether a file of drawings can be shown."""
    if not _SUFFIX.fullmatch(path.name.rpartition("-")[2]):
        return False
    if path.suffix == ".png":
        return read_picture(path) is not None
    return _read(path) is not None


def drawings_of(
    folder: Path, attack: str, index: int, files: tuple[str, ...], colours: Mapping[str, str]
) -> list[Drawn] | None:
    """The drawings of a sample; ``None`` if one is gone or damaged.

    :param files: What the names of the files end with.
    :param colours: Of modalities, by name.
    """
    paths = {suffix: folder / file_name(attack, index, suffix) for suffix in files}
    if not all(is_whole(path) for path in paths.values()):
        return None
    drawn: dict[str, Drawn] = {}
    for suffix, path in paths.items():
        name, _, what = suffix.partition(".")
        if what == "plot.json":
            plot: Plot = _read(path)
            said = f"{name}, before and after"
            changed = plot.before != plot.after
            drawn[name] = Drawn(
                name, changed, plot=svg(plot, colours.get(name, "#3b7dd8"), said), caption=caption(plot)
            )
        elif what == "missing.json":
            drawn[name] = replace(drawn[name], missing=True, changed=True) if name in drawn else Drawn(name, True)
        elif what == "text.json":
            texts: _Texts = _read(path)
            drawn[name] = Drawn(name, texts.before != texts.after, texts=(texts.before, texts.after))
        else:
            url = "data:image/png;base64," + base64.b64encode(read_picture(path) or b"").decode("ascii")
            pictures = (*(drawn[name].pictures if name in drawn else ()), url)
            drawn[name] = Drawn(name, len(pictures) > 1, pictures=pictures)
    return list(drawn.values())


def _contents(modality: Modality, before: np.ndarray, after: np.ndarray) -> Iterator[tuple[str, bytes]]:
    """The files of one modality: what their names end with, and what is in them."""
    if not modality.numeric:
        texts = _Texts(str(before[0])[:_LONGEST], str(after[0])[:_LONGEST])
        yield "text.json", _json(texts)
        return
    gone = [bool(modality.missing(field)[0]) for field in (before, after)]
    if gone[1] and not gone[0]:
        # What was there is shown alone.
        after = before
    values = [np.asarray(modality.values(field)[0]) for field in (before, after)]
    length = int(modality.lengths(before)[0])
    first = as_picture(modality, values[0], length)
    if first is None:
        yield "plot.json", _json(as_plot(modality, values[0], values[1], length))
    else:
        yield from _pictures(modality, first, values, length)
    if gone[1]:
        yield "missing.json", _json(_Missing(True))


def _pictures(
    modality: Modality, first: np.ndarray, values: list[np.ndarray], length: int
) -> Iterator[tuple[str, bytes]]:
    """Before, and where it changed after and the difference."""
    yield "clean.png", png_of(first)
    if not np.array_equal(values[0], values[1], equal_nan=True):
        second = as_picture(modality, values[1], length)
        assert second is not None
        yield "attacked.png", png_of(second)
        yield "difference.png", png_of(change_of(first, second))


def _json(value: Any) -> bytes:
    return json.dumps(plain(value), ensure_ascii=True, allow_nan=False).encode("ascii")


def _read(path: Path) -> Any:
    """The numbers of a plot, or texts; ``None`` if they are gone or damaged."""
    kind: Any = _KINDS[path.name.rpartition(".json")[0].rpartition(".")[2]]
    try:
        return typed(kind, json.loads(read_regular(path, _MOST_BYTES)), "the drawing")
    except (OSError, ValueError, RecursionError):
        return None


#: What is in a file, by what its name ends with.
_KINDS: Mapping[str, Any] = {"plot": Plot, "text": _Texts, "missing": _Missing}
