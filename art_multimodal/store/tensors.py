"""Files of safetensors with a JSON object of ours in the header, read by one who trusts nothing in them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from art_multimodal.errors import InputError, one_line

if TYPE_CHECKING:
    import numpy as np


def tensors_in(content: bytes, key: str) -> tuple[dict[str, np.ndarray], dict[str, Any] | None]:
    """The tensors of a file, and what its header says under a name; ``None`` where there is no such entry.

    :param content: Of the file.
    :param key: Of the entry, which holds an object of JSON.
    :raises InputError: If it is no such file; the message goes on after the name of the file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if not content:
        raise InputError("it is empty.")
    try:
        tensors = load(content)
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"it is no file of safetensors, or damaged ({one_line(error, 80)}).") from None
    if key not in header:
        return tensors, None
    try:
        facts = json.loads(header[key])
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise InputError("its header is damaged.")
    return tensors, facts
