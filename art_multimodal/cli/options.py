"""What the commands share: kinds of options, how they are read, and a quiet terminal."""

from __future__ import annotations

import logging
import math
import os
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from art_multimodal.cli.display import say
from art_multimodal.cli.names import mask_name
from art_multimodal.errors import InputError
from art_multimodal.shown import shown
from art_multimodal.store import read_text_option


def check_one_of(resume: bool, overwrite: bool) -> None:
    """Raise ``InputError`` where a run is to be gone on with and replaced."""
    if resume and overwrite:
        raise InputError("--resume goes on with the run in --out, --overwrite replaces it: give one of them.")


def check_new_file(out: Path, overwrite: bool) -> None:
    """Find out before any work whether ``--out`` can become a file of tensors.

    :raises InputError: If it is called otherwise, is there already, or has no folder.
    """
    if out.suffix != ".safetensors":
        raise InputError(
            f"--out {shown(out)}: it is written as .safetensors. Did you mean {shown(out.stem)}.safetensors?"
        )
    if out.exists() and not overwrite:
        raise InputError(f"There is a file {shown(out)} already: choose another --out, or give --overwrite.")
    if not out.parent.is_dir():
        raise InputError(f"There is no folder {shown(out.parent)} for --out.")


def parse_distance(text: str, option: str) -> float:
    """Read ``"1/255"`` or ``"0.004"``.

    :param option: Where it was given, for the error.
    :raises InputError: If it is neither.
    """
    numerator, slash, denominator = text.partition("/")
    try:
        return float(numerator) / float(denominator) if slash else float(numerator)
    except (ValueError, ZeroDivisionError):
        hint = text.replace(",", ".")
        meant = (
            f"Did you mean {shown(hint)}?"
            if hint != text and _is_number(hint)
            else "Write a number or a fraction, such as 1/255."
        )
        raise InputError(f"{option}: {shown(repr(text))} is not a distance. {meant}") from None


def parse_distances(text: str, option: str) -> float | dict[str, float]:
    """Read ``"1/255"``, or ``"rgb=2/255,depth=0.02"`` by the names of modalities.

    :param option: Where it was given, for the error.
    :raises InputError: If it is neither, or a name is given twice.
    """
    if "=" not in text:
        return parse_distance(text, option)
    said = "NAME=DISTANCE. Give one radius for images, or each modality its own, such as rgb=2/255,depth=0.02."
    return {name: parse_distance(value, option) for name, value in _by_name(text, option, said).items()}


def parse_radii(texts: Sequence[str], option: str) -> list[float | dict[str, float]]:
    """Read ``["1/255,2/255"]``, or ``["rgb=1/255,depth=0.01", "rgb=2/255,depth=0.02"]``: the option, given again.

    :param option: Where it was given, for the error.
    :raises InputError: If one is no radius.
    """
    found: list[float | dict[str, float]] = []
    for text in texts:
        # A decimal comma is no list: 0,03.
        several = "=" not in text and not re.fullmatch(r"\s*0?,\d+\s*", text)
        found += [parse_distances(part, option) for part in (text.split(",") if several else [text])]
    return found


def parse_elements(text: str | None) -> dict[str, str] | None:
    """Read ``"image=blocks:8,text=words"``: what the elements of modalities are, by their names.

    :raises InputError: If it is something else, or a name is given twice.
    """
    said = "NAME=ELEMENTS, such as image=blocks:8,text=words."
    return None if text is None else _by_name(text, "--elements", said)


def parse_keep(text: str | None) -> dict[str, int] | None:
    """Read ``"image=16,text=3"``: how many elements of modalities are kept, by their names.

    :raises InputError: If it is something else, or a name is given twice.
    """
    if text is None:
        return None
    said, found = "NAME=NUMBER, such as image=16,text=3.", {}
    for name, value in _by_name(text, "--keep", said).items():
        if not value.isdecimal():
            raise InputError(f"--keep: {shown(repr(f'{name}={value}'))} is not {said}")
        found[name] = int(value)
    return found


def parse_chances(text: str, option: str) -> dict[str, float]:
    """Read ``"image=16,text=3"`` or, where it is a chance, ``"image=0.2"``, by the names of modalities.

    :param option: Where it was given, for the error.
    :raises InputError: If it is something else, or a name is given twice.
    """
    said, found = "NAME=NUMBER, such as image=16,text=3.", {}
    for name, value in _by_name(text, option, said).items():
        if not _is_number(value) or not math.isfinite(float(value)):
            raise InputError(f"{option}: {shown(repr(f'{name}={value}'))} is not {said}")
        found[name] = float(value)
    return found


def smoothing_of(keep: str, masks: str | None, elements: str | None, **others: Any) -> dict[str, Any]:
    """How a model is smoothed, by the names of the settings; what is not given stays out.

    :param keep: ``"image=16,text=3"``.
    :param masks: Their name.
    :param elements: ``"image=blocks:8,text=words"``.
    :param others: Further settings as they are.
    :raises InputError: For what cannot be read.
    """
    found = {
        "keep": parse_chances(keep, "--keep"),
        "masks": None if masks is None else mask_name(masks),
        "elements": parse_elements(elements),
        **others,
    }
    return {name: value for name, value in found.items() if value is not None}


def _by_name(text: str, option: str, said: str) -> dict[str, str]:
    """``"a=x,b=y"`` by its names.

    :param option: Where it was given, for the error.
    :param said: What is expected, and an example.
    """
    found: dict[str, str] = {}
    for entry in text.split(","):
        name, equals, value = (part.strip() for part in entry.partition("="))
        if not equals or not name:
            raise InputError(f"{option}: {shown(repr(entry.strip()))} is not {said}")
        if name in found:
            raise InputError(f"{option}: {shown(name)} is given twice.")
        found[name] = value
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def parse_options(entries: Sequence[str]) -> dict[str, float]:
    """Read ``NAME=VALUE`` entries.

    :raises InputError: If one is something else, or a name is given twice.
    """
    options: dict[str, float] = {}
    for entry in entries:
        name, _, value = entry.partition("=")
        name = name.strip()
        try:
            number = float(value)
        except ValueError:
            raise InputError(f"--option {entry!r} is not NAME=NUMBER, such as lambda_img=0.5.") from None
        if name in options:
            raise InputError(f"--option {name} is given twice.")
        options[name] = number
    return options


def parse_names(text: str | None, option: str, separator: str | None) -> tuple[str, ...] | None:
    """Read entries from a text file, one per line, or from the text itself.

    :param separator: Between entries in the text itself; ``None`` takes it as a single entry.
    :raises InputError: If there is nothing in it.
    """
    if text is None:
        return None
    try:
        # A device or a pipe is no list of names; the error says so.
        is_file = Path(text).exists() and not Path(text).is_dir()
    except (OSError, ValueError):
        is_file = False
    if is_file:
        entries = read_text_option(text, f"{option}:").splitlines()
    elif text.endswith(".txt"):
        raise InputError(f"{option}: there is no file {text!r}.")
    else:
        entries = text.split(separator) if separator else [text]
    entries = [entry.strip() for entry in entries]
    if is_file:
        entries = [entry for entry in entries if entry]
    if not entries:
        raise InputError(f"{option}: {text} is empty.")
    return tuple(entries)


def print_notes(notes: Iterable[str]) -> None:
    """Say, a line each, what a user should know about how data and model were understood."""
    for note in notes:
        say(f"note: {note}")


def quiet_libraries() -> None:
    """Keep libraries' chatter out of the terminal; what went wrong is said by the error that follows."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_VERBOSITY", "critical")
    logging.getLogger().setLevel(logging.CRITICAL)
    for name in ("art", "open_clip", "transformers", "huggingface_hub", "httpx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
