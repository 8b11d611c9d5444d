"""Pickled arrays, read without running anything that a pickle could ask for."""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from art_multimodal.errors import InputError
from art_multimodal.shown import brief, shown

#: Largest file that is read, in bytes: a batch of CIFAR has 31 million, all of CIFAR-100's training images 155 million.
_MOST_BYTES = 2**29


class _Refused(pickle.UnpicklingError):
    """A pickle asks for something that is no data."""


class _Kind:
    """Stands for ``numpy.dtype``, whose own ``__setstate__`` trusts what it is given."""

    def __init__(self, code: Any = "", *_: Any) -> None:
        self.code, self.order = str(code), "|"

    def __setstate__(self, state: Any) -> None:
        self.order = str(state[1])

    def dtype(self) -> np.dtype:
        """The kind of numbers; of objects and records there is none."""
        found = np.dtype(self.code)
        if found.kind not in "biuf":
            raise _Refused(f"an array of {found}")
        return found.newbyteorder(">") if self.order == ">" else found


class _Array:
    """Stands for ``numpy.ndarray``: keeps what a pickle says, and makes an array of it in the end."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        """The numbers, checked against the shape."""
        _, shape, kind, by_column, data = self.state
        dtype = kind.dtype()
        data = data.encode("latin1") if isinstance(data, str) else bytes(data)
        if math.prod(shape) * dtype.itemsize != len(data):
            raise ValueError("the shape does not fit the numbers")
        return np.frombuffer(data, dtype).reshape(shape, order="F" if by_column else "C")


def _encoded(text: str, *_: Any) -> bytes:
    """How Python 3 writes bytes for Python 2."""
    return text.encode("latin1")


class PlainUnpickler(pickle.Unpickler):
    """Reads numbers, strings, bytes, lists, dicts and numpy arrays of numbers. Anything else is refused by name."""

    def find_class(self, module: str, name: str) -> Any:
        """What stands here for a name of a pickle. Made anew each time, as a pickle may set attributes of it.

        :raises pickle.UnpicklingError: If the name is no part of an array.
        """
        if (module, name) == ("numpy", "ndarray"):
            return "ndarray"
        if (module, name) == ("numpy", "dtype"):
            return type("dtype", (_Kind,), {})
        if (module, name) in (("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")):
            return type("ndarray", (_Array,), {})
        if (module, name) == ("_codecs", "encode"):
            return lambda *given: _encoded(*given)
        raise _Refused(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("an object of another file")


def read_pickle(path: Path) -> dict[str, Any]:
    """Read a pickled dict of arrays, strings, numbers and lists of them. Keys of bytes become strings.

    :raises InputError: If it holds anything else, which is not run; or is damaged or too large.
    """
    name = shown(path)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{name} is larger than {_MOST_BYTES >> 20} MiB, so it is no batch of images.")
        content = PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        if not isinstance(content, dict):
            raise ValueError("no dict")
        return {_key(key): value.array() if isinstance(value, _Array) else value for key, value in content.items()}
    except _Refused as error:
        raise InputError(
            f"{name} holds {brief(error, 80)}, which is no array, text or number. Loading it could run code, so it was "
            "refused. Download the file again."
        ) from None
    except InputError:
        raise
    except Exception as error:  # a damaged pickle raises almost anything
        raise InputError(f"{name} is damaged ({type(error).__name__}). Download it again.") from None


def _key(key: Any) -> str:
    return key.decode("latin1") if isinstance(key, bytes) else str(key)
