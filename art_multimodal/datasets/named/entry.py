"""What is known about a data set with a name: where it lies, its splits, its prompts, and who made it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from art_multimodal.datasets.named.listing import Listing
    from art_multimodal.datasets.named.place import Place

#: What a data set is for.
CLASSIFICATION, RETRIEVAL = "classification", "retrieval"


@dataclass(frozen=True)
class Split:
    """A part of a data set.

    :param size: How many images it has as published.
    :param needs: Files and folders, relative to that of the data set, without which it cannot be read.
    """

    size: int
    needs: tuple[str, ...]


@dataclass(frozen=True)
class NamedData:
    """A data set with a name.

    >>> from art_multimodal.datasets.named.registry import NAMED_DATA
    >>> cifar = NAMED_DATA["cifar10"]
    >>> isinstance(cifar, NamedData), cifar.default_split
    (True, 'test')
    >>> isinstance(cifar.splits["test"], Split), cifar.splits["test"].size
    (True, 10000)

    :param title: Its name as papers write it.
    :param task: ``"classification"`` or ``"retrieval"``.
    :param classes: How many classes it has as published; 0 for retrieval.
    :param splits: Its parts; the first is the one that is measured on, and is taken where none is named.
    :param folders: Where it lies under the root; the first that is there is taken. torchvision's comes first.
    :param read: Lists a split, without opening an image.
    :param prompts: Prompt templates, or what gives them; empty for retrieval.
    :param prompts_from: Where these are published.
    :param paper: Who made the data set.
    :param page: Where it is downloaded.
    :param torchvision: The call of ``torchvision.datasets`` that downloads it to ``root``; empty where there is none.
    :param aliases: Other names, as papers and libraries write them.
    :param extra: The extra of this package that reads it; empty where none is needed.
    :param note: What a user should know about its splits or classes, fit to be shown; or empty.
    """

    title: str
    task: str
    classes: int
    splits: Mapping[str, Split]
    folders: tuple[str, ...]
    read: Callable[[Place, str], Listing]
    prompts: tuple[str, ...] | Callable[[], tuple[str, ...]]
    prompts_from: str
    paper: str
    page: str
    torchvision: str = ""
    aliases: tuple[str, ...] = ()
    extra: str = ""
    note: str = ""

    @property
    def templates(self) -> tuple[str, ...]:
        """Prompt templates, with ``{}`` for the class name."""
        return self.prompts if isinstance(self.prompts, tuple) else self.prompts()

    @property
    def default_split(self) -> str:
        """The split that is measured on."""
        return next(iter(self.splits))

    @property
    def trained_split(self) -> str | None:
        """The split that is meant for training; ``None`` where there is none."""
        return next((split for split in self.splits if split.startswith("train")), None)

    def how_to_get(self, root: str) -> str:
        """How to download it, in a sentence.

        :param root: The root folder that it is wanted in, fit to be shown.
        """
        if not self.torchvision:
            return f"Download it from {self.page}, and unpack it as {root}/{self.folders[0]}."
        name, _, arguments = self.torchvision.partition("(")
        call = f"{name}({arguments.replace('root', repr(root), 1)}"
        return f'Download it: python -c "from torchvision.datasets import {name}; {call}" (or from {self.page}).'
