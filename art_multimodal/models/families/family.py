"""What a family of models knows about keeping its models on the disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Family:
    """How models of one kind are saved and loaded. A model names its family in ``Model.family``.

    :param facts: What loading must know of a model beside its files, in JSON's types. Raises ``InputError`` if the
        model cannot be saved.
    :param save: Fills an empty folder with a model.
    :param load: Makes a model of a folder and the facts, in evaluation mode, on the CPU. Raises ``InputError`` if they
        cannot be used.
    """

    facts: Callable[[Any], dict[str, Any]]
    save: Callable[[Any, Path], None]
    load: Callable[[Path, Mapping[str, Any]], Any]
