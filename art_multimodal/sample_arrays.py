"""Samples of several modalities as one structured numpy array, which ART's tools slice, shuffle and copy whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeGuard

import numpy as np

from art_multimodal.errors import InputError
from art_multimodal.modalities.modality import Modality, field_dtype
from art_multimodal.shown import brief, quoted, shown
from art_multimodal.texts import check_strings


def samples(**modalities: Any) -> np.ndarray:
    """Join modalities row by row.

    A field is made of what is given for it:

    =========================================  ===================================================================
    given                                      field
    =========================================  ===================================================================
    array of numbers ``(N, ...)``, or tensor   float32 of that shape
    list of strings                            texts
    list of arrays of different lengths        records of ``values``, filled up with zeros, and ``length``
    ``(values, lengths)``                      the same, from an array ``(N, T, ...)`` and numbers ``(N,)``
    a field of other samples                   itself
    =========================================  ===================================================================

    Arithmetic on samples raises, instead of losing a modality without a word.

    >>> joined = samples(depth=np.zeros((2, 8)), text=["a cup", "a dog"], audio=[np.ones((5, 4)), np.ones((3, 4))])
    >>> joined.dtype.names, joined["audio"]["length"].tolist()
    (('depth', 'text', 'audio'), [5, 3])
    >>> joined[1:]["text"].tolist()
    ['a dog']

    :param modalities: A field for each name.
    :return: Shape ``(N,)``; ``samples(...)["rgb"]`` is a view, not a copy.
    :raises InputError: If there is nothing, counts differ, or something is neither numbers nor texts.
    """
    if not modalities:
        raise InputError("samples() needs at least one modality: samples(rgb=..., depth=...).")
    if wrong := [name for name in modalities if not name.isidentifier()]:
        raise InputError(f"The name of a modality must be an identifier such as 'rgb', not {quoted(wrong[0])}.")
    fields = {name: _field(name, given) for name, given in modalities.items()}
    counts = {name: len(field) for name, field in fields.items()}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{brief(name)} {count}" for name, count in counts.items())
        raise InputError(f"The modalities have unequal numbers of samples: {said}. Give one of each per sample.")
    dtype = [(name, _dtype_of(field)) for name, field in fields.items()]
    joined = np.empty(next(iter(counts.values())), dtype=dtype)
    for name, field in fields.items():
        joined[name] = field
    return joined


def are_samples(x: object) -> TypeGuard[np.ndarray]:
    """Whether this is an array of samples, with a field for each modality.

    >>> are_samples(x), are_samples(images)
    (True, False)
    """
    return isinstance(x, np.ndarray) and x.ndim == 1 and bool(x.dtype.names)


def check_samples(
    x: object, modalities: Iterable[Modality], only: Sequence[str] | None = None, values: bool = True
) -> np.ndarray:
    """Return samples as a model takes them: its modalities in its order, each checked.

    :param x: From :func:`samples`.
    :param modalities: Of the model.
    :param only: Names of those that are wanted; ``None`` for all.
    :param values: Whether the values are checked, and not the layout alone: a preprocessing defence may bring them out
        of range.
    :raises InputError: If these are no samples, a modality is missing or unknown, or a value is not allowed.
    """
    known = {modality.name: modality for modality in modalities}
    wanted = list(known) if only is None else list(only)
    if not are_samples(x):
        given = f"an array of dtype {x.dtype}" if isinstance(x, np.ndarray) else type(x).__name__
        raise InputError(f"Samples are needed, samples({', '.join(f'{n}=...' for n in wanted)}), not {shown(given)}.")
    names = x.dtype.names or ()
    if gone := [name for name in wanted if name not in names]:
        raise InputError(f"The samples lack {', '.join(gone)}; they have {', '.join(map(brief, names))}.")
    if strange := [name for name in names if name not in known]:
        raise InputError(f"The model knows no modality {quoted(strange[0])}; it takes {', '.join(known)}.")
    checked = {name: known[name].check(x[name]) if values else known[name].laid_out(x[name]) for name in wanted}
    if list(names) == wanted and all(checked[name] is x[name] or _shared(checked[name], x[name]) for name in wanted):
        return x
    return samples(**checked)


def fields_of(x: np.ndarray) -> dict[str, np.ndarray]:
    """The fields of samples by name; views, not copies.

    >>> sorted(fields_of(pairs))
    ['image', 'text']
    """
    return {name: x[name] for name in x.dtype.names or ()}


def field_bytes(field: np.ndarray) -> Iterator[bytes | memoryview]:
    """The contents of a field of samples, for a hash."""
    if field.dtype == object:
        yield "\0".join(field.tolist()).encode("utf-8", "surrogatepass")
        return
    for part in (field["values"], field["length"]) if field.dtype.names else (field,):
        yield f"{part.dtype} {part.shape}".encode()
        yield np.ascontiguousarray(part).data


def with_field(x: np.ndarray, name: str, field: np.ndarray) -> np.ndarray:
    """Return a copy of samples in which one field is another.

    >>> changed = with_field(pairs, "image", np.zeros_like(pairs["image"]))
    >>> float(changed["image"].max()), changed["text"].tolist() == pairs["text"].tolist()
    (0.0, True)
    """
    return samples(**{**fields_of(x), name: field})


def _shared(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and np.shares_memory(a, b)


def _dtype_of(field: np.ndarray) -> Any:
    return field.dtype if field.dtype.names or field.dtype == object else (np.float32, field.shape[1:])


def _field(name: str, given: Any) -> np.ndarray:
    if isinstance(given, np.ndarray) and given.dtype.names == ("values", "length"):
        same = given.dtype == field_dtype(given["values"].shape[1:], variable=True)
        return given if same else _with_lengths(name, _numbers(name, given["values"]), given["length"])
    if isinstance(given, tuple) and len(given) == 2 and not isinstance(given[0], str):
        return _with_lengths(name, _numbers(name, given[0]), np.asarray(given[1]))
    if _is_texts(given):
        listed = [given] if isinstance(given, str) else list(given)
        try:
            check_strings(listed)
        except InputError as error:
            raise InputError(f"{shown(name)}: {error}") from None
        field = np.empty(len(listed), dtype=object)
        field[:] = listed
        return field
    if isinstance(given, list | tuple):
        given = [_as_array(name, one) for one in given]
        if len({one.shape for one in given}) > 1:
            return _ragged(name, given)
    return _numbers(name, given)


def _is_texts(given: Any) -> bool:
    if isinstance(given, str):
        return True
    if isinstance(given, np.ndarray):
        return given.dtype.kind in "OU" and given.ndim == 1 and (not len(given) or isinstance(given[0], str))
    return isinstance(given, list | tuple) and bool(given) and isinstance(given[0], str)


def _numbers(name: str, given: Any) -> np.ndarray:
    """An array of native float32, contiguous."""
    array = _as_array(name, given)
    if array.dtype.kind not in "fiub" or array.ndim == 0:
        raise InputError(
            f"{shown(name)}: an array of numbers with a sample in each row is needed, or texts, not dtype "
            f"{shown(str(array.dtype))} of shape {array.shape}."
        )
    with np.errstate(over="ignore"):
        return np.require(array, dtype=np.float32, requirements=["C", "W", "E"])


def _as_array(name: str, given: Any) -> np.ndarray:
    if callable(detach := getattr(given, "detach", None)):
        tensor = detach().cpu()
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    try:
        return np.asarray(given)
    except ValueError:
        raise InputError(f"{shown(name)}: a sample must be an array; this one has rows of different sizes.") from None


def _ragged(name: str, given: Sequence[Any]) -> np.ndarray:
    parts = [_numbers(name, one) for one in given]
    # An empty list is a sequence without a step, whatever its steps would hold.
    widths = {part.shape[1:] for part in parts if part.shape != (0,)}
    if len(widths) > 1:
        raise InputError(
            f"{shown(name)}: the samples have different shapes, such as {' and '.join(map(str, sorted(widths)[:2]))} "
            "behind the first axis. Only sequences may, along time."
        )
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    values = np.zeros((len(parts), int(lengths.max(initial=0)), *widths.pop()), dtype=np.float32)
    for row, part in enumerate(parts):
        values[row, : len(part)] = part.reshape(len(part), *values.shape[2:])
    return _with_lengths(name, values, lengths)


def _with_lengths(name: str, values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    if lengths.shape != (len(values),) or lengths.dtype.kind not in "iu":
        raise InputError(f"{shown(name)}: a whole number is needed for each of {len(values)} samples, their lengths.")
    if values.ndim < 2:
        raise InputError(f"{shown(name)}: values of sequences have a time axis: (N, steps, ...), not {values.shape}.")
    field = np.zeros(len(values), dtype=field_dtype(values.shape[1:], variable=True))
    field["values"], field["length"] = values, lengths
    return field
