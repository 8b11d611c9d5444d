"""``hf:PATH``: data sets of the Hugging Face library ``datasets``, from a folder here, or from the hub if asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from art_multimodal.datasets.named.images import ListedCaptions, ListedImages
from art_multimodal.datasets.named.listing import Captioned, Labelled, spaced
from art_multimodal.datasets.named.pictures import Files, Pictures
from art_multimodal.datasets.named.place import is_inside
from art_multimodal.datasets.named.spec import split_spec
from art_multimodal.datasets.naming import as_index
from art_multimodal.datasets.photos import PhotoTransform, UnreadableSample, read_photo_bytes
from art_multimodal.errors import InputError, one_line, unknown_name
from art_multimodal.shown import brief

_OPTIONS = ("split", "image", "label", "text", "config", "hub")
_FORM = "hf:PATH:split=NAME,image=COLUMN,label=COLUMN,text=COLUMN; hf:ORG/NAME:hub=yes fetches it from the hub"
#: Columns that are taken where none is named.
_LABELS = ("label", "labels", "fine_label", "class", "target")
_TEXTS = ("caption", "captions", "text", "sentences", "sentence", "alt_text", "raw")
#: The first version that runs no script of a data set.
_OLDEST = 4


class _Rows(Pictures):
    """Images of a column, as encoded files. A path in it is read in the folder of the data alone."""

    def __init__(self, rows: Any, column: str, folder: Path | None) -> None:
        self.rows = rows
        self.column = column
        self.folder = folder

    def __len__(self) -> int:
        return len(self.rows)

    def name_of(self, index: int) -> str:
        return f"row {index}"

    def image(self, index: int, transform: PhotoTransform | None) -> np.ndarray:
        name = self.name_of(index)
        try:
            value = self.rows[index][self.column][0].as_py()
        except Exception as error:  # of pyarrow, for files that are damaged
            raise UnreadableSample(name, f"it cannot be read ({type(error).__name__})") from None
        content = value.get("bytes") if isinstance(value, dict) else value
        if isinstance(content, bytes):
            return read_photo_bytes(content, name, transform)
        path = value.get("path") if isinstance(value, dict) else None
        if not isinstance(path, str) or self.folder is None:
            raise UnreadableSample(name, "there is no image in it")
        if not is_inside(self.folder, self.folder / path):
            raise UnreadableSample(name, f"its image lies outside the folder of the data: {brief(path, 80)}")
        return Files(self.folder, [str((self.folder / path).resolve().relative_to(self.folder))]).image(0, transform)


def open_hugging_face(rest: str, classes: Sequence[str] | None, transform: PhotoTransform | None) -> ListedImages:
    """Open labelled images of a Hugging Face data set: what ``save_to_disk`` wrote, or Parquet files.

    :param rest: ``PATH``, with options: ``split``; ``image`` and ``label``, names of columns; ``hub=yes`` fetches
        ``ORG/NAME`` from the hub, ``config`` of it.
    :param classes: Class names instead of the data's own.
    :param transform: Applied to every decoded photo.
    :raises InputError: If ``datasets`` is not installed, there are no such data, or no such column.
    """
    rows, options, folder = _opened(rest)
    image = _image_column(rows, options.get("image"))
    label = _column(rows, "label", options.get("label"), _LABELS)
    names, labels = _labels(rows, label, classes)
    return ListedImages(
        Labelled(_Rows(_encoded(rows, image), image, folder), labels, names),
        None if names == classes else classes,
        transform,
        folders=() if folder is None else (folder,),
    )


def open_captioned_hugging_face(rest: str, transform: PhotoTransform | None) -> ListedCaptions:
    """Open captioned images of a Hugging Face data set: a column of texts, or of lists of texts.

    :param rest: As for :func:`open_hugging_face`, with ``text`` for the column of captions.
    :param transform: Applied to every decoded photo.
    :raises InputError: As there.
    """
    rows, options, folder = _opened(rest)
    image = _image_column(rows, options.get("image"))
    text = _column(rows, "text", options.get("text"), _TEXTS)
    captions = []
    for value in rows[text]:
        texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        captions.append(tuple(" ".join(one.split()) for one in texts if isinstance(one, str)))
    pictures = _Rows(_encoded(rows, image), image, folder)
    return ListedCaptions(Captioned(pictures, captions), transform, () if folder is None else (folder,))


def _library() -> Any:
    """The library ``datasets``, of a version that runs no code of a data set."""
    try:
        import datasets

        # A folder of that name, where Python is started, is imported as well and holds nothing.
        version = str(datasets.__version__)
    except (ImportError, AttributeError):
        raise InputError(
            "hf: is read with the library datasets, which is not installed: pip install art-multimodal[datasets]."
        ) from None
    if int(version.partition(".")[0]) < _OLDEST:
        raise InputError(
            f"datasets {brief(version)} may run scripts of data sets. Install version {_OLDEST} or later: pip install "
            "--upgrade datasets."
        )
    return datasets


def _opened(rest: str) -> tuple[Any, dict[str, str], Path | None]:
    """Rows, the options, and the folder that they lie in; ``None`` for those of the hub."""
    given, options = split_spec(rest, _OPTIONS, _FORM)
    library = _library()
    if options.get("hub", "no") not in ("yes", "no"):
        raise InputError(f"hub={brief(options['hub'], 40)}: write hub=yes to fetch data from the Hugging Face hub.")
    if options.get("hub") == "yes":
        return _from_hub(library, given, options), options, None
    try:
        path = Path(given).expanduser()
        there = path.exists()
    except (OSError, ValueError, RuntimeError):
        path, there = Path(given), False
    if not there:
        raise InputError(
            f"There is no folder {brief(given)!r}. Give one that save_to_disk wrote, or of Parquet files. Nothing is "
            f"fetched unless it is asked for: hf:{brief(given)}:hub=yes takes ORG/NAME from the Hugging Face hub."
        )
    path = path.resolve()
    try:
        return _from_disk(library, path, options), options, path if path.is_dir() else path.parent
    except InputError:
        raise
    except Exception as error:  # of datasets and pyarrow, for files that are damaged
        raise InputError(
            f"{brief(path)} cannot be read as a data set ({type(error).__name__}: {one_line(error, 120)}). "
            "Save it again."
        ) from None


def _from_hub(library: Any, given: str, options: dict[str, str]) -> Any:
    from art_multimodal.models.hub import is_hub_name

    if not is_hub_name(given):
        raise InputError(f"{brief(given)!r} is no name of the Hugging Face hub, which are written ORG/NAME.")
    try:
        return library.load_dataset(given, options.get("config"), split=options.get("split", "test"))
    except Exception as error:
        raise InputError(
            f"The Hugging Face hub does not give {brief(given)} ({type(error).__name__}: {one_line(error, 120)}). "
            "Check the name, the split, the network, or give a local folder."
        ) from None


def _from_disk(library: Any, path: Path, options: dict[str, str]) -> Any:
    split = options.get("split")
    if path.is_dir() and (path / "dataset_dict.json").exists():
        splits = json.loads((path / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
        return _saved(library, path / _split_of(path, splits, split))
    if path.is_dir() and (path / "state.json").exists():
        return _saved(library, path)
    files = [path] if path.is_file() else sorted((*path.glob("*.parquet"), *path.glob("data/*.parquet")))
    if not files or any(file.suffix != ".parquet" for file in files):
        raise InputError(
            f"{brief(path)} is neither what save_to_disk wrote nor a folder of Parquet files. For photos in one folder "
            f"per class give folder:{brief(path)}."
        )
    for file in files:
        if not is_inside(path if path.is_dir() else path.parent, file):
            raise InputError(f"{brief(file)} is a link that leads out of the folder of the data. Copy the file there.")
    # On the hub files are called test-00000-of-00001.parquet.
    parts = sorted({file.name.partition("-")[0] for file in files if "-of-" in file.name})
    if parts:
        chosen = _split_of(path, parts, split)
        files = [file for file in files if file.name.startswith(f"{chosen}-")]
    elif split is not None:
        raise InputError(f"The Parquet files in {brief(path)} are of no split: leave out split={brief(split, 40)}.")
    # Not load_dataset, which tells the hub that it was used.
    return library.Dataset.from_parquet(list(map(str, files)))


def _split_of(path: Path, splits: Sequence[str], given: str | None) -> str:
    """The split that is asked for; ``test`` where none is, or the only one."""
    wanted = given or ("test" if "test" in splits else splits[0] if len(splits) == 1 else "")
    if not wanted:
        raise InputError(f"{brief(path)} has the splits {', '.join(map(brief, splits))}: say which, with :split=NAME.")
    if wanted not in splits or Path(wanted).name != wanted:
        raise unknown_name("split", wanted, map(str, splits))
    return wanted


def _saved(library: Any, path: Path) -> Any:
    """What ``save_to_disk`` wrote: its files are to be those of the folder."""
    files = json.loads((path / "state.json").read_text(encoding="utf-8"))["_data_files"]
    for file in (str(one["filename"]) for one in files):
        if Path(file).name != file or not is_inside(path, path / file):
            raise InputError(f"{brief(path)}/state.json names {brief(file, 80)}, which is no file of its own folder.")
    return library.load_from_disk(str(path))


def _image_column(rows: Any, given: str | None) -> str:
    kinds = {name: type(feature).__name__ for name, feature in rows.features.items()}
    found = [name for name, kind in kinds.items() if kind == "Image"]
    if given is not None:
        return _column(rows, "image", given, ())
    if len(found) != 1:
        what = f"{len(found)} columns of images ({', '.join(found)})" if found else "no column of images"
        raise InputError(f"The data have {what}: say which, with :image=COLUMN. Columns: {_listed(rows)}.")
    return found[0]


def _column(rows: Any, what: str, given: str | None, usual: Sequence[str]) -> str:
    if given is not None:
        if given not in rows.features:
            raise unknown_name("column", given, rows.features)
        return given
    found = next((name for name in usual if name in rows.features), None)
    if found is None:
        raise InputError(f"The data have no column {what}: say which, with :{what}=COLUMN. Columns: {_listed(rows)}.")
    return found


def _listed(rows: Any) -> str:
    return ", ".join(brief(name, 40) for name in rows.features)


def _labels(rows: Any, column: str, classes: Sequence[str] | None) -> tuple[tuple[str, ...], list[int]]:
    """Class names and the index of each row's."""
    values = list(rows[column])
    own = getattr(rows.features[column], "names", None)
    if own is None and all(isinstance(value, str) for value in values):
        order = sorted(set(values))
        index = {value: place for place, value in enumerate(order)}
        return tuple(map(spaced, order)), [index[value] for value in values]
    numbers = [None if isinstance(value, bool) else as_index(str(value)) for value in values]
    names = tuple(map(spaced, own)) if own is not None else tuple(classes or ())
    if not names:
        raise InputError(
            f"The labels in the column {brief(column, 40)} are numbers. Say what they stand for: --classes names.txt."
        )
    wrong = next((row for row, n in enumerate(numbers) if n is None or not 0 <= n < len(names)), None)
    if wrong is not None:
        raise InputError(
            f"Row {wrong} has the label {brief(values[wrong], 40)}, and there are {len(names)} classes from 0. Rows "
            "without labels are no data to measure on: choose another split."
        )
    return names, [number for number in numbers if number is not None]


def _encoded(rows: Any, column: str) -> Any:
    """Rows as Arrow has them: images are files, which ``datasets`` would decode whatever their format is."""
    return rows.select_columns([column]).with_format("arrow")
