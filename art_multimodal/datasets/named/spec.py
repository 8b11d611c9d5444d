"""How a data set is named with options: ``cifar10:split=train,root=/data``."""

from __future__ import annotations

import re
from collections.abc import Collection

from art_multimodal.datasets.named.registry import NAMED_DATA, find_name
from art_multimodal.errors import InputError, unknown_name
from art_multimodal.shown import brief

#: The options of ``data:NAME``.
OPTIONS = ("split", "root")
_FIRST = re.compile(r":(?=[a-z_]+=)")


def split_spec(spec: str, allowed: Collection[str], form: str) -> tuple[str, dict[str, str]]:
    """Split ``NAME:OPTION=VALUE,OPTION=VALUE`` into the name and the options.

    A comma in a value stays there where no option of those allowed follows it.

    :param spec: What follows the source.
    :param allowed: Names of the options.
    :param form: How it is written, for errors.
    :raises InputError: If an option is not known, is given twice, or is empty.
    """
    name, *rest = _FIRST.split(spec, maxsplit=1)
    found: dict[str, str] = {}
    if not rest:
        return name, found
    for entry in re.split(rf",(?=(?:{'|'.join(allowed)})=)", rest[0]):
        option, _, value = entry.partition("=")
        if option not in allowed:
            error = unknown_name("option of data", option, allowed)
            raise InputError(f"{error} Write {form}.")
        if not value or option in found:
            raise InputError(f"The option {option} of {brief(spec)} is {'given twice' if value else 'empty'}.")
        found[option] = value
    return name, found


def with_root(spec: str, root: str | None, needed: bool = True) -> str:
    """A data source with a root folder, where it is a named data set that names none itself.

    :param spec: Of any source: ``data:cifar10``, ``folder:photos``.
    :param root: ``None`` to leave it as it is.
    :param needed: Whether a root for data of another source is refused instead of left aside.
    :raises InputError: If the data set is not known, or the data are of another source.
    """
    scheme, _, rest = spec.partition(":")
    if root is None or (scheme != "data" and not needed):
        return spec
    if scheme != "data":
        raise InputError(
            f"--data-root says where the data sets of data:NAME lie, and {brief(spec)} is none of them: leave it out."
        )
    name, options = _named(rest)
    return _joined(name, {"root": root, **options})


def trained_on(spec: str) -> str:
    """A data source as training takes it: of a named data set whose split is not named, that for training.

    :param spec: Of any source.
    :raises InputError: If the data set is not known.
    """
    scheme, _, rest = spec.partition(":")
    if scheme != "data":
        return spec
    name, options = _named(rest)
    split = NAMED_DATA[name].trained_split
    return spec if split is None or "split" in options else _joined(name, {"split": split, **options})


def measured_set(spec: str) -> str | None:
    """The name of the data set that a source is, where it is the split that is measured on; ``None`` where it is not.

    :param spec: Of any source.
    :raises InputError: If the data set is not known.
    """
    scheme, _, rest = spec.partition(":")
    if scheme != "data":
        return None
    name, options = _named(rest)
    split = NAMED_DATA[name].default_split
    return name if options.get("split", split) == split else None


def _named(rest: str) -> tuple[str, dict[str, str]]:
    name, options = split_spec(rest, OPTIONS, "data:NAME:split=NAME,root=FOLDER")
    return find_name(name), options


def _joined(name: str, options: dict[str, str]) -> str:
    order = [option for option in OPTIONS if option in options]
    return f"data:{name}:" + ",".join(f"{option}={options[option]}" for option in order)
