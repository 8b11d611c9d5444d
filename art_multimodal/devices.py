"""Where models run, by name."""

from __future__ import annotations

from art_multimodal.errors import InputError

DEVICES = ("auto", "cpu", "cuda")


def device_type_of(device: str) -> str:
    """Return what estimators take as ``device_type``.

    :param device: One of :data:`DEVICES`.
    :raises InputError: If it is none, or there is no such device here.
    """
    import torch

    if device not in DEVICES:
        raise InputError(f"The device must be one of {', '.join(DEVICES)}, not {device!r}.")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("There is no CUDA device here. Use --device auto or --device cpu.")
    return "cpu" if device == "cpu" else "gpu"
