"""Files of weights: how large what they hold is, before it is read; and the tensors, without anything being run."""

from __future__ import annotations

import math
import pickle
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import init
from torch.overrides import TorchFunctionMode

from art_multimodal.errors import InputError, one_line
from art_multimodal.models.checked_json import check_link, read_json, whole_numbers
from art_multimodal.shown import shown

#: A model may have this much that its file does not hold: tables that are computed, weights that are there twice.
_SPARE_NUMBERS, _SPARE_TENSORS = 2**22, 2**12
#: Whole numbers up to this are taken in any configuration: ids, counts of labels.
_ANY_NUMBER = 2**20


@dataclass(frozen=True)
class WeightSizes:
    """What files of weights hold, from their headers.

    :param source: The files, for messages.
    :param shapes: Of every tensor, by name.
    """

    source: str
    shapes: dict[str, tuple[int, ...]]

    @property
    def numbers(self) -> int:
        """Of all tensors together."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def longest(self) -> int:
        """The largest length of any axis."""
        return max((max(shape, default=1) for shape in self.shapes.values()), default=0)


def sizes_of(paths: Iterable[Path]) -> WeightSizes:
    """Read the headers of files of weights.

    :raises InputError: If one is no file of plain tensors.
    """
    paths = list(paths)
    shapes: dict[str, tuple[int, ...]] = {}
    for path in paths:
        if path.suffix == ".safetensors":
            shapes |= _safetensors_shapes(path)
        elif path.suffix in (".npz", ".npy"):
            shapes |= _numpy_shapes(path)
        else:
            shapes |= {name: tuple(tensor.shape) for name, tensor in read_weights(path, "meta").items()}
    return WeightSizes(shown(paths[0]) if len(paths) == 1 else shown(paths[0].parent), shapes)


def read_weights(path: Path, device: str = "cpu") -> dict[str, Tensor]:
    """Read named tensors from a file: safetensors, or what ``torch.save`` wrote of plain tensors.

    A training checkpoint's ``state_dict`` is taken out of it, and ``module.`` in front of all names is removed.

    :param device: ``"meta"`` for shapes alone.
    :raises InputError: If it is something else. Nothing in it is run.
    """
    name = shown(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path, device=device)
        else:
            _check_archive(path)
            # Said here and not left to a default: an environment variable may turn the default around.
            content = torch.load(path, map_location=device, weights_only=True)
    except InputError:
        raise
    except Exception as error:
        message = shown(" ".join(str(error).split()))
        if isinstance(error, pickle.UnpicklingError) or "weights_only" in message or "TorchScript" in message:
            raise InputError(
                f"{name} is not a checkpoint of plain tensors; loading it could run code, so it was refused. Save the "
                "weights as safetensors (safetensors.torch.save_file, or save_pretrained of transformers)."
            ) from error
        raise InputError(
            f"Cannot load {name}: {type(error).__name__}: {message[:200]} Is the file a complete checkpoint?"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content or not all(isinstance(key, str) for key in content):
        raise InputError(f"Cannot load {name}: it holds no named tensors. Is the file a complete checkpoint?")
    other = [key for key, tensor in content.items() if not isinstance(tensor, Tensor) or tensor.is_quantized]
    if other:
        raise InputError(
            f"Cannot load {name}: {shown(other[0])[:80]!r} in it is no plain tensor. Save the model's state_dict alone."
        )
    if all(key.startswith("module.") for key in content):
        content = {key.removeprefix("module."): tensor for key, tensor in content.items()}
    return content


def fill_exactly(module: nn.Module, path: Path, what: str) -> None:
    """Fill a module with the weights of a file, which must be those of the module and no others.

    >>> write_weights(torch.nn.Linear(3, 2), Path("weights.safetensors"))
    >>> fill_exactly(torch.nn.Linear(3, 4), Path("weights.safetensors"), "the head")
    Traceback (most recent call last):
    art_multimodal.errors.InputError: weights.safetensors does not hold the weights of the head: 2 are missing, ...

    :param module: As it is made, on the CPU.
    :param path: A file of safetensors, or of ``torch.save``, from which nothing but plain tensors is read.
    :param what: The weights are of, for messages.
    :raises InputError: If it cannot be read, or weights are missing, too many or of another shape.
    """
    weights, own = read_weights(path), module.state_dict()
    wrong = sorted({n for n in own if n not in weights or weights[n].shape != own[n].shape} | (set(weights) - set(own)))
    if wrong:
        raise InputError(
            f"{shown(path)} does not hold the weights of {what}: {len(wrong)} are missing, not expected or of another "
            f"shape, for example {shown(', '.join(wrong[:3]))}. Was the folder changed?"
        )
    module.load_state_dict(weights)


def write_weights(module: nn.Module, path: Path) -> None:
    """Write the weights of a module as safetensors, each tensor for itself.

    >>> one, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    >>> write_weights(one, Path("weights.safetensors"))
    >>> fill_exactly(other, Path("weights.safetensors"), "the head")
    >>> bool((one.weight == other.weight).all())
    True

    :param module: On any device.
    :param path: Of the file, which is replaced.
    """
    from safetensors.torch import save_file

    state = module.state_dict()
    save_file({name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in state.items()}, path)


def weight_files(folder: Path, stems: Iterable[str] = ("model", "pytorch_model")) -> list[Path]:
    """Return the files of weights of a folder as transformers names them, one or the shards of one.

    :raises InputError: If an index names a file that is not in the folder itself, or there are no weights.
    """
    for stem in stems:
        ending = ".safetensors" if stem == "model" else ".bin"
        whole, index = folder / f"{stem}{ending}", folder / f"{stem}{ending}.index.json"
        if whole.is_file():
            return [whole]
        if index.is_file():
            return _shards(index)
    raise InputError(f"{shown(folder)} holds no model.safetensors and no pytorch_model.bin. Is the folder complete?")


def _shards(index: Path) -> list[Path]:
    check_link(index)
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise InputError(f"{shown(index)} has no weight_map that says which file holds which weights.")
    for name in names.values():
        if not isinstance(name, str) or Path(name).name != name or name in ("", ".", ".."):
            raise InputError(
                f"{shown(index)} sets weight_map to {shown(name)[:80]!r}, which is refused: only files of its own "
                "folder are read."
            )
        if not (index.parent / name).is_file():
            raise InputError(f"{shown(index)} names {shown(name)[:80]!r}, which is not there. Is the folder complete?")
    return [index.parent / name for name in sorted(set(names.values()))]


def _safetensors_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise InputError(
            f"Cannot load {shown(path)}: {type(error).__name__}: {one_line(error)} Is the file a complete checkpoint?"
        ) from error


def _numpy_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """One axis each: as many numbers as the unpacked bytes allow."""
    try:
        if path.suffix == ".npy":
            return {path.name: (path.stat().st_size // 4,)}
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"Cannot load {shown(path)}: {error} Is the file a complete checkpoint?") from error
    if sum(entry.file_size for entry in entries) > 20 * path.stat().st_size:
        raise InputError(f"Cannot load {shown(path)}: unpacked it would be more than twenty times as large.")
    return {entry.filename: (entry.file_size // 4,) for entry in entries}


def _check_archive(path: Path) -> None:
    """Refuse an archive that unpacks to more than it is: torch packs nothing."""
    if not path.is_file():
        raise InputError(f"{shown(path)} is no file.")
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise InputError(
                f"{shown(path)} is a packed archive, as of TorchScript, and not a checkpoint of plain tensors; loading "
                "it could run code, so it was refused. Save the weights as safetensors (safetensors.torch.save_file)."
            )


# --- what a configuration would build ---------------------------------------------------------------------------------


def check_numbers(settings: Any, source: object, sizes: WeightSizes) -> None:
    """Refuse numbers in a configuration that are far larger than what the files of weights hold.

    :param settings: The configuration, from JSON.
    :param source: Where it stands, for messages.
    :raises InputError: Naming the setting: a number of layers beyond the number of tensors, a vocabulary longer than
        any tensor, or any number beyond those of all weights together.
    """
    for key, number in whole_numbers(settings):
        name = key.lower()
        if any(part in name for part in ("layer", "depth", "block")) and not name.endswith(
            ("size", "dim", "id", "width")
        ):
            most, what = max(len(sizes.shapes), 64), f"{len(sizes.shapes)} tensors"
        elif "vocab" in name or "embeddings" in name or name == "num_labels":
            most, what = max(sizes.longest, _ANY_NUMBER // 16), f"no tensor longer than {sizes.longest}"
        else:
            most, what = max(sizes.numbers, _ANY_NUMBER), f"{sizes.numbers} numbers in all"
        if abs(number) > most:
            raise InputError(
                f"{shown(source)} sets {shown(key)[:80]} to {str(number)[:40]}, but {sizes.source} holds {what}. Are "
                "both of the same model?"
            )


class _TooLarge(Exception):
    pass


class DryBuild(TorchFunctionMode):
    """Inside, tensors have shapes and no memory, and no more of them are made than files of weights would fill.

    What a model's configuration would build is seen without building it. Holds for the thread that enters it.
    """

    def __init__(self, sizes: WeightSizes) -> None:
        super().__init__()
        self._numbers = 3 * sizes.numbers + _SPARE_NUMBERS
        self._tensors = 4 * len(sizes.shapes) + _SPARE_TENSORS

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        made = func in _FACTORIES
        if made and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        result = func(*args, **kwargs)
        if made and isinstance(result, Tensor):
            self._tensors -= 1
            self._numbers -= result.numel()
            if self._tensors < 0 or self._numbers < 0:
                raise _TooLarge
        return result


class WithoutDraws(TorchFunctionMode):
    """Inside, no random numbers are drawn into tensors: of a model whose every weight is then filled from files.

    Drawing those of a ViT-B/32 takes a second. Holds for the thread that enters it.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


_DRAWS = {Tensor.normal_, Tensor.uniform_, init.normal_, init.uniform_, init.trunc_normal_, init.kaiming_uniform_}
_FACTORIES = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.arange, torch.linspace}
_FACTORIES |= {torch.eye, torch.tensor, torch.randint, torch.randperm, torch.empty_strided}


def check_build(make: Any, source: object, sizes: WeightSizes) -> None:
    """Refuse a configuration that describes a larger model than the files of weights hold.

    :param make: Builds the model.
    :param source: Where the configuration stands, for messages.
    :raises InputError: If it does. What else ``make`` raises is left to the real building.
    """
    try:
        with DryBuild(sizes):
            make()
    except _TooLarge as error:
        raise _larger(source, sizes) from error
    except Exception as error:
        for cause in _causes(error):
            if isinstance(cause, _TooLarge):
                raise _larger(source, sizes) from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _larger(source: object, sizes: WeightSizes) -> InputError:
    return InputError(
        f"{shown(source)} describes a larger model than the weights of {sizes.source}, which holds {sizes.numbers} "
        f"numbers in {len(sizes.shapes)} tensors. Are both of the same model?"
    )
