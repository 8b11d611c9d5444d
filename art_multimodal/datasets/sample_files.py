"""Files that hold one modality of one sample: pictures, sounds, arrays and texts, each read into an array."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from art_multimodal.datasets.photos import ENDINGS, HEIF_ENDINGS, UnreadableSample, absence, read_photo
from art_multimodal.modalities.modality import Modality
from art_multimodal.shown import brief, shown

#: Largest file of a sound, an array and a text, in bytes.
MOST_BYTES = {"sound": 2**28, "array": 2**28, "text": 2**20}
_ENDINGS = {
    **dict.fromkeys((*ENDINGS, *HEIF_ENDINGS), "picture"),
    ".wav": "sound",
    ".npy": "array",
    ".txt": "text",
}


@dataclass(frozen=True)
class Content:
    """What a file holds.

    :param values: Numbers: of a picture ``(C, H, W)``, of a sound ``(T, channels)``, of an array any; or a text.
    :param rate: Of a sound, steps a second.
    """

    values: Any
    rate: int | None = None


def kind_of_file(name: str) -> str | None:
    """What a file is by its ending: ``"picture"``, ``"sound"``, ``"array"`` or ``"text"``; ``None`` for others."""
    return _ENDINGS.get(Path(name).suffix.lower())


def read_content(path: Path, name: str, modality: Modality | None = None) -> Content:
    """Read a file by its ending. Nothing in it is run.

    :param name: Names the file in errors.
    :param modality: What it is to become: of an image how many channels.
    :raises UnreadableSample: If it is missing, damaged, too large, or of another kind.
    """
    kind = kind_of_file(name)
    if kind is None:
        raise UnreadableSample(name, "it ends neither as a picture nor in .wav, .npy or .txt")
    if (reason := absence(path)) is not None:
        raise UnreadableSample(name, reason)
    if kind == "picture":
        channels = modality.shape[0] if modality is not None and modality.kind == "image" else None
        return Content(read_photo(path, name, None, channels))
    if path.stat().st_size > MOST_BYTES[kind]:
        raise UnreadableSample(name, f"it is larger than the {MOST_BYTES[kind] >> 20} MiB that are read")
    try:
        if kind == "sound":
            return _sound(path)
        return Content(_numbers(path) if kind == "array" else path.read_text(encoding="utf-8-sig").strip())
    except _Unfit as error:
        raise UnreadableSample(name, str(error)) from None
    except UnicodeError:
        raise UnreadableSample(name, "it is not UTF-8") from None
    except Exception as error:  # whatever scipy and numpy make of bytes that are no such file
        said = shown(brief(" ".join(str(error).replace(str(path), path.name).split()), 120))
        if kind == "array" and ("pickle" in said or "Python objects" in said):
            reason = "it holds Python objects, which are not loaded: save numbers with numpy.save"
            raise UnreadableSample(name, reason) from None
        what = {"sound": "WAV file", "array": "array in .npy"}.get(kind, "text")
        raise UnreadableSample(name, f"not a readable {what} ({type(error).__name__}: {said})") from None


class _Unfit(Exception):
    """A file that can be read, and does not hold what it may."""


def _sound(path: Path) -> Content:
    """Steps and channels of a WAV file, whole numbers as shares of what their width can hold."""
    from scipy.io import wavfile

    # From memory: of a file on the disk scipy believes what it says of its length, and allocates that.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rate, found = wavfile.read(io.BytesIO(path.read_bytes()))
    if found.dtype == np.uint8:
        values = (found.astype(np.float32) - 128) / 128
    elif found.dtype.kind == "i":
        values = (found / 2.0 ** (8 * found.dtype.itemsize - 1)).astype(np.float32)
    else:
        values = found.astype(np.float32)
    if not len(values):
        raise _Unfit("there is no sound in it")
    if not (np.abs(values) <= 1).all():
        raise _Unfit("its values leave [-1, 1], where those of sounds lie, or are not finite")
    return Content(values.reshape(len(values), -1), int(rate))


def _numbers(path: Path) -> np.ndarray:
    """The array of a ``.npy`` file, as float32."""
    # Mapped: a file that is shorter than it says is refused, and no memory is taken for what it says.
    found = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(found, np.ndarray):
        found.close()
        raise _Unfit("it holds several arrays: save each with numpy.save")
    if found.dtype.kind not in "fiub" or found.ndim == 0 or not found.size:
        raise _Unfit(f"an array of numbers is needed, not dtype {shown(str(found.dtype))} of shape {found.shape}")
    with np.errstate(over="ignore"):
        values = np.array(found, dtype=np.float32, order="C")
    if not np.isfinite(values).all():
        raise _Unfit("it holds NaN or infinite values. A modality that a sample lacks is left out")
    return values
