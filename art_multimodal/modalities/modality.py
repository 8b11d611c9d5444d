"""What a field of a sample is: its shape, its points, the values it may take, and how points are removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from art_multimodal.errors import InputError
from art_multimodal.shown import quoted, shown

#: A number, or an array that broadcasts to one sample.
Values = float | np.ndarray

#: Attacks leave their box by rounding; so much is brought back.
_ROUNDING = 1e-4

#: What takes the place of steps that come from outside when a stream is shifted.
MOVED_IN = ("fill", "zero", "cyclic")


@dataclass(frozen=True, eq=False)
class Modality:
    """Describe one field of a sample that holds numbers.

    A *point* is what an attack removes as a whole: a pixel, a time step, a joint in a frame, a column. Its index runs
    over :attr:`point_axes`; the other axes (colours, features) go with the point.

    >>> heat = Modality("heat", shape=(4, 4), point_axes=(0, 1), clip_values=(0.0, 1.0), fill=0.5)
    >>> field = heat.check(np.ones((2, 4, 4), np.float32))
    >>> heat.remove(field, np.eye(4, dtype=bool)[None].repeat(2, axis=0))[0, 0].tolist()
    [0.5, 1.0, 1.0, 1.0]

    :param name: Name of the field, an identifier such as ``"rgb"``.
    :param shape: Shape of one sample, without the batch axis; ``None`` for a length that is left open.
    :param point_axes: The axes of :attr:`shape` whose indices are points, in the order of the search tree.
    :param clip_values: Smallest and largest value, numbers or arrays that broadcast to a sample.
    :param variable: Whether the first axis has a length of its own in each sample: a sequence.
    :param fill: What a removed point becomes, a number or an array that broadcasts to a sample.
    :raises InputError: If these do not fit together.
    """

    name: str
    shape: tuple[int | None, ...]
    point_axes: tuple[int, ...]
    clip_values: tuple[Values, Values]
    variable: bool = False
    fill: Values = 0.0

    #: What such a field is called, and one of its points.
    kind: ClassVar[str] = "array"
    point: ClassVar[str] = "point"
    #: Whether the field holds numbers, which gradients change.
    numeric: ClassVar[bool] = True
    #: Whether the first axis is time, along which a stream can be shifted.
    over_time: ClassVar[bool] = False
    #: What marks the modality in reports.
    colour: ClassVar[str] = "#6b7785"

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and self.name.isidentifier()):
            raise InputError(f"The name of a modality must be an identifier such as 'rgb', not {quoted(self.name)}.")
        if any(size is not None and size < 1 for size in self.shape):
            raise InputError(
                f"{self.name}: the shape of a sample must be at least 1 along each axis, not {self.shape}."
            )
        if len(set(self.point_axes)) != len(self.point_axes) or not all(
            0 <= axis < len(self.shape) for axis in self.point_axes
        ):
            raise InputError(
                f"{self.name}: point_axes {self.point_axes} are not axes of a sample of shape {self.shape}."
            )
        if self.variable and (0 not in self.point_axes or self.shape[0] is None):
            raise InputError(
                f"{self.name}: of a sequence the first axis holds points, and its largest length is known."
            )
        if self.numeric:
            low, high, fill = (np.asarray(value) for value in (*self.clip_values, self.fill))
            for said, value in (("clip_values", low), ("clip_values", high), ("fill", fill)):
                if value.dtype.kind not in "fiub" or not np.isfinite(value).all():
                    raise InputError(f"{self.name}: {said} must be finite numbers, or arrays of them.")
                if not _broadcasts(value.shape, self.shape):
                    raise InputError(f"{self.name}: {said} of shape {value.shape} do not broadcast to {self.shape}.")
            if not np.all(low < high):
                # ART refuses an empty interval, too: no attack could move in it.
                raise InputError(
                    f"{self.name}: clip_values must be a lower and a higher value everywhere; widen those of a column "
                    "that is constant."
                )

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        mine, theirs = ((m.name, m.shape, m.point_axes, m.variable) for m in (self, other))
        return mine == theirs and all(
            np.array_equal(a, b)
            for a, b in zip((*self.clip_values, self.fill), (*other.clip_values, other.fill), strict=True)
        )

    def __hash__(self) -> int:
        return hash((type(self), self.name, self.shape, self.point_axes, self.variable))

    @property
    def dtype(self) -> Any:
        """The dtype of a field whose shape is known in all axes."""
        return field_dtype(tuple(size or 0 for size in self.shape), self.variable)

    def check(self, field: np.ndarray) -> np.ndarray:
        """Return a field of samples, checked, with values that only rounding put outside brought back.

        A sample that is *missing* is NaN throughout, or has the length 0.

        :param field: As :func:`samples` makes it: float32 ``(N, *shape)``, or records of values and length.
        :raises InputError: Naming the sample, for another shape, values out of range, single NaN or infinite values,
            or values behind the length of a sequence.
        """
        field = self.laid_out(field)
        values = self.values(field)
        if len(values) == 0:
            return field
        if self.variable:
            self._check_lengths(field, values)
        if all(np.ndim(bound) == 0 for bound in self.clip_values):
            # What nearly always holds, in two passes; NaN makes it false.
            low, high = np.float32(self.clip_values[0]), np.float32(self.clip_values[1])
            if values.min() >= low and values.max() <= high:
                return field
        finite = np.isfinite(values).reshape(len(values), -1)
        gone = ~finite.any(axis=1) & np.isnan(values).reshape(len(values), -1).all(axis=1)
        if self.variable:
            gone[:] = False
        odd = ~finite.all(axis=1) & ~gone
        if odd.any():
            missing = "has the length 0" if self.variable else "is NaN throughout"
            raise InputError(
                f"{self.name}: sample {int(odd.argmax())} holds NaN or infinite values. One that is missing {missing}."
            )
        self._check_range(field, values)
        return self._clipped(field)

    def laid_out(self, field: np.ndarray) -> np.ndarray:
        """Return a field as this modality has it; of a sequence, filled up with zeros to its largest length.

        A sequence may come as an array ``(N, T, ...)``, in which all have the length T.

        :raises InputError: For what is no such field: another dtype or shape.
        """
        names = field.dtype.names
        if not self.variable and names is not None:
            raise InputError(
                f"{self.name}: the samples have lengths of their own, and this modality has a fixed shape."
            )
        if self.variable and names not in (None, ("values", "length")):
            raise InputError(f"{self.name}: a sequence is given as a list of arrays, or as (values, lengths).")
        values = field if names is None else field["values"]
        if values.dtype.kind != "f":
            raise InputError(f"{self.name}: numbers are needed, not dtype {shown(str(values.dtype))}.")
        shape = values.shape[1:]
        wanted = (None, *self.shape[1:]) if self.variable else self.shape
        fits = len(shape) == len(wanted) and all(
            size is None or size == given for size, given in zip(wanted, shape, strict=True)
        )
        if not fits or 0 in shape[self.variable :] or (self.variable and shape[0] > (self.shape[0] or 0)):
            sizes = ["any" if size is None else str(size) for size in self.shape]
            expected = ", ".join([f"at most {sizes[0]}", *sizes[1:]] if self.variable else sizes)
            raise InputError(f"{self.name}: a sample must have shape ({expected}), not {shape}.{self._hint(shape)}")
        if not self.variable or (names is not None and shape[0] == self.shape[0]):
            return field
        filled = np.zeros(len(field), dtype=field_dtype((self.shape[0] or 0, *shape[1:]), variable=True))
        filled["values"][:, : shape[0]] = values
        filled["length"] = shape[0] if names is None else field["length"]
        return filled

    def missing(self, field: np.ndarray) -> np.ndarray:
        """Which samples have nothing of this modality, booleans ``(N,)``: NaN throughout, or of length 0."""
        if self.variable:
            return np.asarray(field["length"]) == 0
        values = self.values(field)
        return np.isnan(values).reshape(len(values), -1).all(axis=1) if values.size else np.zeros(len(values), bool)

    def left_out(self, field: np.ndarray) -> np.ndarray:
        """Return a field of as many samples, all of which lack this modality: the model is told that it is missing."""
        if self.variable:
            return np.zeros_like(field)
        return np.full_like(field, np.nan)

    def values(self, field: np.ndarray) -> np.ndarray:
        """The numbers of a field, ``(N, *shape)``; a view, not a copy."""
        return field["values"] if self.variable else field

    def lengths(self, field: np.ndarray) -> np.ndarray:
        """How many steps each sample has, ``(N,)``; where they all have the same, that."""
        if self.variable:
            return np.asarray(field["length"])
        return np.full(len(field), self.values(field).shape[1] if self.shape else 1)

    def with_values(self, field: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return a copy of a field with other numbers; lengths stay, and what is behind them stays zero."""
        changed = field.copy()
        self.values(changed)[...] = values
        if self.variable:
            changed["values"][~_steps(changed)] = 0
        return changed

    def point_shape(self, field: np.ndarray) -> tuple[int, ...]:
        """How many points there are along each of the point axes."""
        shape = self.values(field).shape[1:]
        return tuple(shape[axis] for axis in self.point_axes)

    def present(self, field: np.ndarray) -> np.ndarray:
        """Which points a sample has, booleans ``(N, *point_shape)``: those within its length; none if it is missing."""
        there = np.ones((len(field), *self.point_shape(field)), dtype=bool)
        if not self.variable:
            there[self.missing(field)] = False
        else:
            place = 1 + self.point_axes.index(0)
            shape = [
                len(field) if axis == 0 else there.shape[axis] if axis == place else 1 for axis in range(there.ndim)
            ]
            there &= _steps(field).reshape(shape)
        return there

    def remove(self, field: np.ndarray, removed: np.ndarray) -> np.ndarray:
        """Return a copy of a field with points removed: they become :attr:`fill`, and the model is not told.

        :param removed: Booleans ``(N, *point_shape)``. Points behind the length of a sequence stay as they are, and so
            does a sample that is missing.
        :raises InputError: For another shape or dtype.
        """
        check_removed(self.name, removed, (len(field), *self.point_shape(field)))
        values = self.values(field)
        where = self.spread(removed & self.present(field), values.ndim)
        fill = np.broadcast_to(np.asarray(self.fill, dtype=values.dtype), values.shape[1:])
        return self.with_values(field, np.where(where, fill, values))

    def shifted(self, field: np.ndarray, by: np.ndarray, moved_in: str = "fill") -> np.ndarray:
        """Return a copy of a field whose samples begin some steps later; lengths stay.

        :param by: Steps for each sample, whole numbers ``(N,)``; negative for earlier.
        :param moved_in: What takes the place of steps that came from outside: ``"fill"``, ``"zero"`` (or the allowed
            value that is nearest to it), or ``"cyclic"``, the steps that were moved out at the other end.
        :raises InputError: For another ``moved_in``, or a modality whose first axis is not time.
        """
        if not self.over_time:
            raise InputError(f"{self.name}: {self.kind} has no time along which it could be shifted.")
        if moved_in not in MOVED_IN:
            raise InputError(f"moved_in must be one of {', '.join(MOVED_IN)}, not {quoted(moved_in)}.")
        values, lengths = self.values(field), self.lengths(field)[:, None]
        sources = np.arange(values.shape[1]) - np.asarray(by)[:, None]
        if moved_in == "cyclic":
            sources = sources % np.maximum(lengths, 1)
        inside = (sources >= 0) & (sources < lengths)
        ones = [1] * (values.ndim - 2)
        taken = np.where(inside, sources, 0).reshape(*sources.shape, *ones)
        found = np.take_along_axis(values, np.broadcast_to(taken, values.shape), axis=1)
        low, high = (np.asarray(bound, dtype=values.dtype) for bound in self.clip_values)
        new = np.clip(values.dtype.type(0), low, high) if moved_in == "zero" else self.fill
        found = np.where(inside.reshape(taken.shape), found, np.asarray(new, dtype=values.dtype))
        gone = self.missing(field).reshape(-1, 1, *ones)
        return self.with_values(field, np.where(gone, values, found))

    def spread(self, points: np.ndarray, ndim: int) -> np.ndarray:
        """Booleans of points, with axes of length 1 where a point has several numbers, so that they broadcast."""
        order = sorted(range(len(self.point_axes)), key=self.point_axes.__getitem__)
        ordered = points.transpose(0, *(1 + place for place in order))
        index = [slice(None), *(slice(None) if axis in self.point_axes else None for axis in range(ndim - 1))]
        return ordered[tuple(index)]

    def _hint(self, shape: Sequence[int]) -> str:
        """What a user may have meant by a shape that does not fit."""
        return ""

    def _check_range(self, field: np.ndarray, values: np.ndarray) -> None:
        low, high = (np.asarray(value, dtype=np.float32) for value in self.clip_values)
        slack = _ROUNDING * np.maximum(1, high - low)
        outside = (values < low - slack) | (values > high + slack)  # NaN is neither
        if self.variable:
            # What is behind the length is 0, also where no value may be.
            outside[~_steps(field)] = False
        rows = outside.reshape(len(values), -1).any(axis=1)
        if rows.any():
            row = int(rows.argmax())
            raise InputError(
                f"{self.name}: values must lie in [{_said(low, np.min)}, {_said(high, np.max)}]; those of sample {row} "
                f"lie in [{values[row].min():.4g}, {values[row].max():.4g}]."
            )

    def _check_lengths(self, field: np.ndarray, values: np.ndarray) -> None:
        lengths = np.asarray(field["length"])
        if lengths.min() < 0 or lengths.max() > values.shape[1]:
            row = int(((lengths < 0) | (lengths > values.shape[1])).argmax())
            raise InputError(
                f"{self.name}: lengths must lie in [0, {values.shape[1]}], the largest number of steps; that of sample "
                f"{row} is {lengths[row]}."
            )
        behind = ~_steps(field)
        wrong = (behind & (values != 0).reshape(*behind.shape, -1).any(axis=2)).any(axis=1)
        if wrong.any():
            raise InputError(f"{self.name}: sample {int(wrong.argmax())} has values behind its length; they must be 0.")

    def _clipped(self, field: np.ndarray) -> np.ndarray:
        values = self.values(field)
        low, high = (np.asarray(value, dtype=values.dtype) for value in self.clip_values)
        with np.errstate(invalid="ignore"):
            clipped = np.clip(values, low, high)
        if self.variable:
            clipped[~_steps(field)] = 0
        return field if np.array_equal(clipped, values, equal_nan=True) else self.with_values(field, clipped)


def check_removed(name: str, removed: np.ndarray, expected: tuple[int, ...]) -> None:
    """Refuse what does not say of each point whether it is removed.

    :raises InputError: For another shape or dtype.
    """
    if removed.shape != expected or removed.dtype != bool:
        raise InputError(
            f"{name}: the removed points must be booleans of shape {expected}, not {removed.dtype} of shape "
            f"{removed.shape}."
        )


def field_dtype(shape: tuple[int, ...], variable: bool) -> Any:
    """The dtype of a field of numbers: plain float32, or records of values and a length."""
    if variable:
        return np.dtype([("values", np.float32, shape), ("length", np.int64)])
    return np.dtype((np.float32, shape))


def _steps(field: np.ndarray) -> np.ndarray:
    """Which steps of sequences are within their length, booleans ``(N, T)``."""
    return np.arange(field["values"].shape[1]) < np.asarray(field["length"])[:, None]


def _broadcasts(given: tuple[int, ...], shape: tuple[int | None, ...]) -> bool:
    if len(given) > len(shape):
        return False
    pairs = zip(reversed(given), reversed(shape), strict=False)
    return all(size == 1 or own is None or size == own for size, own in pairs)


def _said(bound: np.ndarray, outermost: Any) -> str:
    return f"{float(outermost(bound)):.4g}"
