"""How images are made on surrogates, as one option says it: ``"crops=1,scales=0.5/0.75"``."""

from __future__ import annotations

from typing import Any

from art_multimodal.attacks.evasion.transfer import ENSEMBLES
from art_multimodal.defences.entry import DefenceOption, read_options

#: Parameters of ``TransferAttack``, at its defaults.
OPTIONS = {
    "ensemble": DefenceOption("logits", kind=str, choices=ENSEMBLES),
    "decay": DefenceOption(1.0, 0, 1, kind=float),
    "diversity": DefenceOption(0.5, 0, 1, kind=float),
    "crops": DefenceOption(0, 0, 100),
    "scales": DefenceOption((), 0.05, 20, kind=tuple),
}


def parse_transfer(text: str) -> dict[str, Any]:
    """Read how images are made on surrogates; what is not named is as by default.

    >>> parse_transfer("crops=1, scales=0.5/0.75")["scales"]
    (0.5, 0.75)

    :return: All parameters by name.
    :raises InputError: For an unknown name, or a value that is not allowed.
    """
    form = f"--transfer {text!r} is not of the form OPTION=VALUE,..., such as crops=1,scales=0.5/0.75."
    given = read_options(text, OPTIONS, "--transfer", form)
    return {name: given.get(name, option.default) for name, option in OPTIONS.items()}


def transfer_spec(options: dict[str, Any]) -> str:
    """The parameters in the form that :func:`parse_transfer` reads.

    >>> transfer_spec(parse_transfer("decay=0"))
    'ensemble=logits,decay=0.0,diversity=0.5,crops=0'
    """
    said = {
        name: "/".join(map(str, value)) if isinstance(value, tuple) else str(value) for name, value in options.items()
    }
    return ",".join(f"{name}={value}" for name, value in said.items() if value)
