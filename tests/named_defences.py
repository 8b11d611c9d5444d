"""Defences by name as one writes them, with the files that some of them must be given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from art_multimodal.defences.registry import DEFENCES
from art_multimodal.defences.test_time import LayerStatistics


def _statistics(folder: Path) -> Path:
    """Of as many layers as demo:digits has, and as wide; whatever their values are."""
    path = folder / "statistics.safetensors"
    LayerStatistics(torch.zeros(96), torch.zeros(3, 96), torch.ones(3, 96)).save(path)
    return path


#: By defence and option, what writes a file into a folder.
_WRITERS: dict[tuple[str, str], Callable[[Path], Path]] = {("tapt", "statistics"): _statistics}


def written(name: str, folder: Path) -> str:
    """A defence with the files that it needs, and nothing else.

    :param folder: Where these are written.
    """
    needed = [option for option, one in DEFENCES[name].options.items() if one.required]
    options = ",".join(f"{option}={_WRITERS[name, option](folder)}" for option in needed)
    return f"{name}:{options}" if options else name
