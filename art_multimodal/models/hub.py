"""Models of the Hugging Face hub: their files are fetched, and then read as any folder is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from art_multimodal.errors import InputError
from art_multimodal.shown import quoted

#: What transformers reads beside the weights. No Python, and nothing in folders below.
SETTINGS = ("*.json", "*.txt", "*.model", "*.jinja")
SAFETENSORS = ("model.safetensors", "model-*-of-*.safetensors")
PICKLES = ("pytorch_model.bin", "pytorch_model-*-of-*.bin")

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def is_hub_name(name: str) -> bool:
    """Whether this is written as a name of the hub: ``NAME`` or ``ORG/NAME``."""
    return bool(_NAME.fullmatch(name)) and ".." not in name


def hub_folder(name: str, *choices: Sequence[str]) -> Path:
    """Fetch files of a model of the hub, or find them in the cache, and return the folder that holds them.

    :param name: ``ORG/NAME``.
    :param choices: Patterns of file names; of several choices the first that brings a file with it.
    :raises InputError: If there is no such model, or it cannot be fetched.
    """
    from huggingface_hub import snapshot_download

    if not is_hub_name(name):
        raise InputError(f"{quoted(name)} is neither a folder here nor a name of the Hugging Face hub (ORG/NAME).")
    folder: Path | None = None
    for patterns in choices:
        try:
            folder = Path(snapshot_download(name, allow_patterns=list(patterns), ignore_patterns=["*/*"]))
        except Exception as error:
            raise InputError(
                f"Cannot load {name!r}: there is no such folder, and the Hugging Face hub does not give a model of "
                f"that name ({type(error).__name__}). Check the name, the network, or give a local folder."
            ) from error
        if any(True for pattern in patterns for _ in folder.glob(pattern)):
            return folder
    assert folder is not None
    return folder
