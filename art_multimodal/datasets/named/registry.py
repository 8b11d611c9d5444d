"""Data sets by name: one registry, which the command line, the documentation and benchmarks read."""

from __future__ import annotations

from art_multimodal.datasets.named.entry import NamedData
from art_multimodal.errors import InputError, unknown_name
from art_multimodal.registry import Registry

#: Every data set of ``data:NAME``.
NAMED_DATA: Registry[NamedData] = Registry("data set", NamedData)


def folded(name: str) -> str:
    """What is left of a name without case, hyphens, underscores and spaces."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def find_name(given: str) -> str:
    """The name of a data set as it is written here, for one that papers or libraries use.

    >>> find_name("CIFAR-10")
    'cifar10'

    :raises InputError: If it is not known; the nearest names are suggested.
    """
    wanted = folded(given)
    for name, entry in NAMED_DATA.items():
        if wanted in map(folded, (name, *entry.aliases)):
            return name
    error = unknown_name("data set", given, NAMED_DATA)
    raise InputError(f"{error} See art-multimodal list data.")
