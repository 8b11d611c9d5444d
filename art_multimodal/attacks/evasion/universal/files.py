"""Universal perturbations and patches on the disk: as safetensors with what is known of them, or as bare arrays."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from art_multimodal.attacks.evasion.universal.patch import UniversalPatch
from art_multimodal.attacks.evasion.universal.perturbation import LARGEST_SIDE, UniversalPerturbation
from art_multimodal.datasets.photos import ENDINGS, UnreadableSample, read_photo
from art_multimodal.errors import InputError, one_line
from art_multimodal.plugins import made_with
from art_multimodal.shown import shown
from art_multimodal.store import read_regular, tensors_in, write_by_itself
from art_multimodal.store.files import reason_of

Universal = UniversalPerturbation | UniversalPatch

#: What stands in the header of a file of ours, beside the one tensor ``values``.
_FORMAT, _KEY = "art-multimodal universal 1", "universal"
_ENTRIES = {
    "perturbation": {"format", "kind", "norm", "eps", "surrogates", "target", "sha256"},
    "patch": {"format", "kind", "surrogates", "target", "sha256"},
}
#: What is there besides where plug-ins had a part in it.
_FURTHER = {"plugins", "versions"}
#: Bytes of a file.
_MOST_BYTES = 3 * 4 * LARGEST_SIDE**2 + (1 << 20)


def save_universal(universal: Universal, path: str | Path, plugins: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write a universal perturbation or patch as safetensors, with all that is known of it.

    The header has one entry, ``universal``: a JSON object that names the format, the kind, norm and eps, surrogates,
    target, and the SHA-256 of the values.

    >>> from art_multimodal.attacks.evasion.universal import UniversalPerturbation
    >>> brighter = UniversalPerturbation(np.full((3, 32, 32), 0.125, np.float32), norm="inf", eps=0.125)
    >>> save_universal(brighter, "brighter.safetensors")
    >>> load_perturbation("brighter.safetensors").norm
    'inf'

    :param plugins: Plug-ins that it was learned with, as ``plugins_of_run`` names them; the header has them, with the
        versions of all libraries.
    :raises InputError: If the file cannot be written, or is no ``.safetensors``.
    """
    from safetensors.numpy import save

    path = Path(path)
    if path.suffix != ".safetensors":
        raise InputError(f"A universal perturbation is written as .safetensors, not as {shown(path.name)}.")
    facts: dict[str, Any] = {
        "format": _FORMAT,
        "surrogates": list(universal.surrogates),
        "target": universal.target,
        "sha256": digest_of(universal),
    }
    if isinstance(universal, UniversalPerturbation):
        facts |= {"kind": "perturbation", "norm": universal.norm, "eps": universal.eps}
    else:
        facts["kind"] = "patch"
    if plugins:
        facts |= made_with(plugins)
    content = save({"values": np.ascontiguousarray(universal.values)}, {_KEY: json.dumps(facts, sort_keys=True)})
    write_by_itself(path, content)


def load_perturbation(path: str | Path, norm: str = "inf") -> UniversalPerturbation:
    """Read a universal perturbation: one of :func:`save_universal`, or a published one as an array.

    An array is ``(3, H, W)``, ``(1, 3, H, W)`` or ``(H, W, 3)``, in ``.npy``, or alone in ``.npz`` or ``.safetensors``;
    floating point numbers in [-1, 1] are units of images in [0, 1], whole numbers beyond are steps of 8 bits. Its
    radius is what it measures. Nothing is unpickled.

    >>> np.save("published.npy", np.full((3, 32, 32), 0.125, np.float32))
    >>> load_perturbation("published.npy").eps
    0.125

    :param norm: Of an array, the norm that it is measured in.
    :raises InputError: If there is no such file, or it holds something else.
    """
    path = Path(path)
    found = _read(path, norm)
    if not isinstance(found, UniversalPerturbation):
        raise InputError(f"{shown(path)} holds a patch, and not a perturbation of all pixels.")
    return found


def load_patch(path: str | Path) -> UniversalPatch:
    """Read a universal patch: one of :func:`save_universal`, a picture, or an array as for :func:`load_perturbation`.

    Its values are colours: in [0, 1], or whole numbers of 0 to 255.

    >>> from art_multimodal.attacks.evasion.universal import UniversalPatch
    >>> save_universal(UniversalPatch(np.ones((3, 8, 8), np.float32), target="a dog"), "patch.safetensors")
    >>> load_patch("patch.safetensors").target
    'a dog'

    :raises InputError: If there is no such file, or it holds something else.
    """
    path = Path(path)
    found = _read(path, None)
    if not isinstance(found, UniversalPatch):
        raise InputError(f"{shown(path)} holds a perturbation of all pixels, and not a patch.")
    return found


def digest_of(universal: Universal) -> str:
    """The SHA-256 of the values and their shape.

    >>> from art_multimodal.attacks.evasion.universal import UniversalPatch
    >>> len(digest_of(UniversalPatch(np.ones((3, 8, 8), np.float32))))
    64
    """
    values = np.ascontiguousarray(universal.values, dtype="<f4")
    return hashlib.sha256(f"{values.shape} ".encode() + values.tobytes()).hexdigest()


def _read(path: Path, norm: str | None) -> Universal:
    """Read a file; an array in it is a perturbation within the norm, or a patch where that is ``None``."""
    ending = path.suffix.lower()
    try:
        if ending in ENDINGS:
            if norm is not None:
                raise InputError(
                    f"{shown(path)} is a picture, which holds nothing below 0: give a perturbation as .safetensors, "
                    ".npy or .npz."
                )
            return UniversalPatch(read_photo(path, path.name, None))
        content = read_regular(path, _MOST_BYTES, follow=True)
        if ending == ".safetensors":
            values, facts = _tensor_in(content)
            if facts is not None:
                return _made_of(values, facts)
        elif ending in (".npy", ".npz"):
            values = _array_in(content, ending)
        else:
            raise InputError(
                f"{shown(path)} is of no format that is read: .safetensors, .npy, .npz"
                + (", or a picture." if norm is None else ".")
            )
        return _of_array(values, norm)
    except InputError as error:
        raise error if str(error).startswith(str(shown(path))) else InputError(f"{shown(path)}: {error}") from None
    except UnreadableSample as error:
        raise InputError(f"{shown(path)} cannot be read: {error.reason}.") from None
    except OSError as error:
        raise InputError(f"{shown(path)} cannot be read: {reason_of(error)}.") from None


def _tensor_in(content: bytes) -> tuple[np.ndarray, dict[str, Any] | None]:
    """The one tensor of a file of safetensors, and what its header says if it is one of ours."""
    tensors, facts = tensors_in(content, _KEY)
    if len(tensors) != 1:
        raise InputError(
            f"it holds {len(tensors)} tensors: one is a universal perturbation, several are something else."
        )
    (values,) = tensors.values()
    return values, facts


def _made_of(values: np.ndarray, facts: dict[str, Any]) -> Universal:
    """What a file of ours holds."""
    if facts.get("format") != _FORMAT:
        raise InputError(f"it has the format {shown(facts.get('format'))!r:.60}; this version reads {_FORMAT!r}.")
    kind = facts.get("kind")
    if not isinstance(kind, str) or kind not in _ENTRIES:
        raise InputError(f"it is of the kind {shown(kind)!r:.60}: perturbation and patch are known.")
    if strange := sorted((facts.keys() - _FURTHER) ^ _ENTRIES[kind]):
        raise InputError(f"its header lacks, or does not know, {shown(strange[0])!r:.60}.")
    names, target = facts["surrogates"], facts["target"]
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names) and isinstance(target, str)):
        raise InputError("its header names surrogates or a target that are no texts.")
    made: Universal
    if kind == "patch":
        made = UniversalPatch(values, tuple(names), target)
    else:
        if facts["norm"] not in ("inf", "2") or isinstance(facts["eps"], bool) or not isinstance(facts["eps"], float):
            raise InputError("its header has a norm that is neither inf nor 2, or an eps that is no number.")
        made = UniversalPerturbation(values, facts["norm"], facts["eps"], tuple(names), target)
    if digest_of(made) != facts["sha256"]:
        raise InputError("its values are not those that were saved: the digest does not fit. Get the file again.")
    return made


def _array_in(content: bytes, ending: str) -> np.ndarray:
    try:
        loaded = np.load(BytesIO(content), allow_pickle=False)
        if ending == ".npy":
            return loaded
        with loaded:
            if len(loaded.files) != 1:
                raise InputError(f"it holds {len(loaded.files)} arrays: one is needed.")
            # Zeros pack well: a small file may be a large array.
            if sum(entry.file_size for entry in zipfile.ZipFile(BytesIO(content)).infolist()) > _MOST_BYTES:
                raise InputError("unpacked it would be too large.")
            return loaded[loaded.files[0]]
    except InputError:
        raise
    except Exception as error:  # numpy and zipfile raise ValueError, EOFError, BadZipFile, ...
        raise InputError(f"it is no array of numbers, or damaged ({one_line(error, 80)}).") from None


def _of_array(values: np.ndarray, norm: str | None) -> Universal:
    """A perturbation, or a patch, from an array as others publish it."""
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise InputError(f"it holds {getattr(values, 'dtype', type(values).__name__)}, not numbers.")
    if values.ndim == 4 and len(values) == 1:
        values = values[0]
    if values.ndim == 3 and values.shape[0] != 3 and values.shape[2] == 3:
        values = values.transpose(2, 0, 1)
    if values.ndim != 3 or values.shape[0] != 3 or not values.size:
        raise InputError(f"it has shape {values.shape}: (3, H, W), (1, 3, H, W) or (H, W, 3) is needed.")
    if not np.isfinite(values).all():
        raise InputError("it holds NaN or infinite values.")
    low, high = float(values.min()), float(values.max())
    steps = max(abs(low), abs(high)) > 1
    if max(abs(low), abs(high)) > 255 or (steps and values.dtype.kind == "f" and (values != np.round(values)).any()):
        raise InputError(
            f"its values lie in [{low:.4g}, {high:.4g}]: numbers in [-1, 1], or whole ones up to 255, are needed."
        )
    notes = ["its values are whole numbers beyond 1, and are taken for steps of 8 bits"] if steps else []
    numbers = np.ascontiguousarray(values, dtype=np.float32) / np.float32(255 if steps else 1)
    if norm is None:
        if low < 0:
            raise InputError("it has values below 0, which are no colours: it is a perturbation, and not a patch.")
        return UniversalPatch(numbers, notes=tuple(notes))
    if low >= 0 and high > 0.5 and (steps or values.dtype.kind == "u"):
        raise InputError(
            "its values are whole numbers of which none is below 0, and it is not said which stands for no change: "
            "subtract it, and save floating point numbers in [-1, 1]."
        )
    measured = UniversalPerturbation(numbers, norm, float("1e9"))
    length = measured.length()
    notes.append(f"it is a bare array, whose length in norm {norm} is {length:.6g}: that is taken for its eps")
    return UniversalPerturbation(numbers, norm, length, notes=tuple(notes))
