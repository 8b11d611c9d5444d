"""Where models come from: what ``load_model`` knows of each way of naming one."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from art_multimodal.errors import InputError

if TYPE_CHECKING:
    from art_multimodal.models.dual_encoder import DualEncoder
    from art_multimodal.models.families.custom.answers import AnsweringModel
    from art_multimodal.models.fusion import FusionModel
    from art_multimodal.models.multimodal import MultimodalModel


@dataclass(frozen=True)
class ModelSource:
    """Where models come from.

    >>> source = ModelSource("mine:WIDTH", "a model of mine", lambda rest: load_model("demo:digits"))
    >>> source.scheme, type(source.load("64")).__name__
    ('mine', 'DigitsEncoder')

    :param form: How a model of this source is written: its scheme, a colon, and what follows.
    :param summary: One line for listings.
    :param load: Maps what follows the colon to a model in evaluation mode.
    :param foreign: Whether its files were made by others: what comes of them is tried before it is used.
    """

    form: str
    summary: str
    load: Callable[[str], DualEncoder | FusionModel | MultimodalModel | AnsweringModel]
    foreign: bool = False

    @property
    def scheme(self) -> str:
        """What stands before the colon."""
        return self.form.partition(":")[0]


def require(module: str, package: str) -> None:
    """Import a library that is needed for this source alone.

    :raises InputError: If it is not there, with what to install.
    """
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"{module} cannot be imported ({error}). Run: pip install {package}") from error
