"""Several processes that work on one task, as ``accelerate launch`` or ``torchrun`` start them.

Without a launcher there is one process, nothing is imported, and every function here does nothing.
"""

from __future__ import annotations

import atexit
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from art_multimodal.errors import InputError
from art_multimodal.shown import shown

if TYPE_CHECKING:
    import torch
    from accelerate import PartialState

#: How long one process waits for another that is alive. One that dies is noticed at once, so this only has to be longer
#: than any work between two meetings, such as an audit's whole share.
_PATIENCE = timedelta(days=30)
#: Whether this process works by itself for the time being.
_alone = False


def process_count() -> int:
    """How many processes there are.

    The first call of any of these functions meets the other processes, and makes each one's own device the current
    one: call it before the first estimator is made.
    """
    state = _state()
    return 1 if state is None else state.num_processes


def process_index() -> int:
    """The number of this process, from 0 on."""
    state = _state()
    return 0 if state is None else state.process_index


def is_main_process() -> bool:
    """Whether this is the one process that prints and writes."""
    return process_index() == 0


def local_device() -> torch.device:
    """The device that is this process's own; processes exchange tensors there."""
    import torch

    state = _state()
    return torch.device("cpu") if state is None else state.device


def check_own_device(device: torch.device) -> None:
    """Refuse to compute on a GPU that is another process's.

    :raises InputError: Saying what to do.
    """
    own = local_device()
    if process_count() > 1 and "cuda" == device.type == own.type and device.index != own.index:
        raise InputError(
            f"The model of process {process_index()} is on {device}, but {own} is its own. Call "
            "art_multimodal.processes.process_count() before the estimator is made: then it takes the right one."
        )


def wait_for_everyone() -> None:
    """Go on when all processes have come here."""
    gathered(None)


def gathered(value: Any) -> list[Any]:
    """Return what each process has, in their order; all of them have to call this.

    :param value: Of JSON's types.
    """
    state = _state()
    if state is None:
        return [value]
    import torch
    from torch import distributed

    text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8).to(state.device)
    sizes = [torch.zeros(1, dtype=torch.int64, device=state.device) for _ in range(state.num_processes)]
    distributed.all_gather(sizes, torch.tensor([len(text)], device=state.device))
    longest = int(max(sizes))
    texts = [torch.zeros(longest, dtype=torch.uint8, device=state.device) for _ in sizes]
    distributed.all_gather(texts, torch.nn.functional.pad(text, (0, longest - len(text))))
    return [json.loads(bytes(part[: int(size)].tolist())) for part, size in zip(texts, sizes, strict=True)]


@contextmanager
def failing_together() -> Iterator[None]:
    """What is refused in one process is refused in all: the body's ``InputError`` is raised in each of them.

    All processes have to come here, and go on when all have left the body. Only for bodies in which they do not meet.
    """
    refusal = None
    try:
        yield
    except InputError as error:
        refusal = error
    messages = gathered(None if refusal is None else str(refusal))
    if refusal is not None:
        raise refusal
    for message in messages:
        if message is not None:
            raise InputError(message)


@contextmanager
def alone() -> Iterator[None]:
    """In the body this process is the only one: each of several works on something else, and they do not meet.

    Its device stays its own, once it has met the others.
    """
    process_count()
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def share_of(count: int, index: int | None = None) -> slice:
    """The part of ``count`` things in a row that is a process's own; parts differ by one at most, and may be empty.

    :param index: Of the process; default: this one.
    """
    processes, index = process_count(), process_index() if index is None else index
    least, more = divmod(count, processes)
    start = index * least + min(index, more)
    return slice(start, start + least + (index < more))


#: More than anybody starts, and less than what nobody has meant.
_MOST_PROCESSES = 1_000_000


def _whole(name: str, default: str | None, low: int, high: int) -> int:
    """The whole number that a launcher left in the environment.

    :raises InputError: If it is none, or out of range.
    """
    text = os.environ.get(name, "").strip() or default
    if text is None:
        raise InputError(
            f"WORLD_SIZE says that there are several processes, but {name} is not set. Start them with accelerate "
            "launch or torchrun; for a single one unset WORLD_SIZE."
        )
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise InputError(
            f"The environment variable {name} is {shown(text)[:60]}, not a whole number from {low} to {high}. "
            "accelerate launch and torchrun set it; for a single process unset WORLD_SIZE."
        )
    return int(text)


def _state() -> PartialState | None:
    if _alone:
        return None
    count = _whole("WORLD_SIZE", "1", 1, _MOST_PROCESSES)
    if count == 1:
        return None
    # What meeting the others needs; without it accelerate fails in words of its own, or takes this for the only one.
    _whole("RANK", None, 0, count - 1)
    _whole("LOCAL_RANK", "0", 0, count - 1)
    _whole("MASTER_PORT", None, 0, 65535)
    if not os.environ.get("MASTER_ADDR"):
        _whole("MASTER_ADDR", None, 0, 0)
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    # Without a GPU it has to be told so, or it would take this for the only process. All calls share one state.
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available()
    ours = not torch.distributed.is_initialized()
    state = PartialState(cpu=cpu, timeout=_PATIENCE)
    if ours:
        # Its threads hold tensors: where they outlive the interpreter, a process that has done everything aborts.
        atexit.register(state.destroy_process_group)
    return state
