"""Labelled samples of any modalities that are in memory, or in a file of arrays (npz)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from art_multimodal.datasets.arrays import label_numbers
from art_multimodal.datasets.naming import notes_on
from art_multimodal.datasets.source import LabelledSamples
from art_multimodal.errors import InputError
from art_multimodal.modalities import Text
from art_multimodal.modalities.modality import Modality
from art_multimodal.prompts import check_class_names
from art_multimodal.sample_arrays import are_samples, samples
from art_multimodal.shown import brief, quoted, shown
from art_multimodal.texts import as_texts

#: Ends the name of the array with the lengths of sequences; and the array of labels.
_LENGTH, _LABEL = "_length", "label"
#: Classes whose names are their numbers; a larger one is a mistake.
_MOST_UNNAMED = 100_000
_FORM = "npz:FILE, a file of numpy.savez with an array for each modality and one called label"


class LabelledSampleArrays(LabelledSamples):
    """Samples in memory with their labels.

    >>> data = LabelledSampleArrays(x, y, views.class_names, modalities=views.modalities.values())
    >>> len(data), list(data.modalities), data.class_names[data.labels[0]] in views.class_names
    (8, ['pix', 'fou', 'kar'], True)

    :param x: Samples ``(N,)``, made by :func:`samples`.
    :param labels: Class indices ``(N,)``, one-hot rows, or names of classes.
    :param class_names: Names of the classes, in the order of the indices.
    :param names: Of the samples, in reports; numbers if left out.
    :param modalities: What the samples consist of; what is left out is described by its values.
    :raises InputError: If anything does not fit together.
    """

    def __init__(
        self,
        x: np.ndarray,
        labels: np.ndarray | Sequence,
        class_names: Sequence[str],
        names: Sequence[str] | None = None,
        modalities: Iterable[Modality] = (),
    ) -> None:
        if not are_samples(x):
            raise InputError(f"Samples are needed, made by samples(rgb=..., depth=...), not {type(x).__name__}.")
        self._x = x
        self.class_names = check_class_names(class_names)
        self.labels = label_numbers(labels, self.class_names, len(x))
        described = {modality.name: modality for modality in modalities}
        self.modalities = {name: described.get(name) or _described(name, x[name]) for name in x.dtype.names or ()}
        self._names = None if names is None else as_texts(names)
        if self._names is not None and len(self._names) != len(x):
            raise InputError(f"{len(self._names)} names came for {len(x)} samples: give one per sample.")
        self.notes = notes_on(self.class_names)

    def samples(self, rows: np.ndarray | slice | None = None) -> np.ndarray:
        return self._x[slice(None) if rows is None else rows].copy()

    def name_of(self, index: int) -> str:
        return super().name_of(index) if self._names is None else self._names[index]


class NpzData(LabelledSampleArrays):
    """``npz:FILE``: an array for each modality, of sequences ``NAME_length`` beside it, and ``label``. No pickle.

    :param path: Of the file.
    :param class_names: Names of the classes, where labels are their indices; without them the indices are the names.
    :raises InputError: If the file cannot be used.
    """

    def __init__(self, path: str | Path, class_names: Sequence[str] | None = None) -> None:
        path = Path(path).expanduser()
        arrays = _read(path)
        if _LABEL not in arrays:
            raise InputError(f"{shown(path)} has no array called label; it has {_listed(arrays)}. Write {_FORM}.")
        labels = arrays.pop(_LABEL)
        lengths = {
            name.removesuffix(_LENGTH): arrays.pop(name)
            for name in list(arrays)
            if name.endswith(_LENGTH) and name.removesuffix(_LENGTH) in arrays
        }
        if not arrays:
            raise InputError(f"{shown(path)} has labels and nothing else. Write {_FORM}.")
        try:
            x = samples(**{name: (of, lengths[name]) if name in lengths else of for name, of in arrays.items()})
            if labels.ndim == 0 or len(labels) != len(x):
                count = "one label" if labels.ndim == 0 else f"{len(labels)} labels"
                raise InputError(f"{count} came for {len(x)} samples: give one per sample.")
            super().__init__(x, labels, class_names or _names_of(labels))
        except InputError as error:
            raise InputError(f"{shown(path)}: {error}") from None

    def name_of(self, index: int) -> str:
        return f"row {index}"


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file.

    :raises InputError: If it is none, or holds objects, which only code could make.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise InputError(f"{shown(path)} holds a single array. Write {_FORM}.")
        with loaded as found:
            return {name: _array(path, found, name) for name in found.files}
    except FileNotFoundError:
        raise InputError(f"There is no file {shown(path)} (in {shown(Path.cwd())}). Write {_FORM}.") from None
    except (InputError, MemoryError):
        raise
    except Exception as error:  # whatever zipfile and numpy make of bytes that are no such file
        raise InputError(f"{shown(path)} is no file of arrays ({type(error).__name__}). Write {_FORM}.") from None


def _array(path: Path, found: Any, name: str) -> np.ndarray:
    try:
        return found[name]
    except MemoryError:
        raise
    except Exception as error:  # likewise
        raise InputError(_unreadable(path, name, error)) from None


def _unreadable(path: Path, name: str, error: Exception) -> str:
    if "pickle" in str(error) or "Object arrays" in str(error):
        return (
            f"{shown(path)}: the array {quoted(name)} holds Python objects, which are not loaded. Save numbers, and "
            "texts as an array of strings; sequences of different lengths filled up with zeros, beside NAME_length."
        )
    return f"{shown(path)}: the array {quoted(name)} cannot be read ({brief(str(error))})."


def _listed(arrays: Mapping[str, Any]) -> str:
    return ", ".join(map(brief, arrays)) or "none"


def _names_of(labels: np.ndarray) -> list[str]:
    """Names of the classes that are not named: the labels themselves.

    :raises InputError: For labels that are neither names nor indices.
    """
    if labels.dtype.kind == "U":
        return sorted(set(labels.tolist()))
    if labels.dtype.kind not in "iu" or labels.ndim != 1 or (len(labels) and labels.min() < 0):
        raise InputError(f"Labels are names or indices of classes, one for each sample, not {labels.dtype}.")
    if (count := int(labels.max(initial=0)) + 1) > _MOST_UNNAMED:
        raise InputError(f"An index of a class is {count - 1}: more than {_MOST_UNNAMED:,} classes need names.")
    return [str(number) for number in range(max(2, count))]


def _described(name: str, field: np.ndarray) -> Modality:
    """What is known of a field by its values alone."""
    if field.dtype == object:
        return Text(name, (), (), (0.0, 0.0))
    variable = field.dtype.names is not None
    values = field["values"] if variable else field
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    shape = values.shape[1:]
    return Modality(name, shape, tuple(range(len(shape))), (low, high if high > low else low + 1.0), variable)
