"""One batch in several processes: what each of them computed of its part, put together on all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, distributed

from art_multimodal.errors import InputError
from art_multimodal.processes import gathered, local_device, process_count, process_index, share_of


class _Gather(torch.autograd.Function):
    """Rows of all processes. Each computes the whole loss from them, and so the whole gradient of its own rows."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, count: int) -> Tensor:
        ctx.own = share_of(count)
        sizes = [share.stop - share.start for share in (share_of(count, p) for p in range(process_count()))]
        sent = own.new_zeros(max(sizes), *own.shape[1:], device=local_device())
        sent[: len(own)] = own
        parts = [torch.empty_like(sent) for _ in sizes]
        distributed.all_gather(parts, sent)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)]).to(own.device)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0][ctx.own], None


def gathered_rows(own: Tensor | None, count: int, device: torch.device) -> Tensor:
    """Put rows together, with gradients to the own ones.

    :param own: The rows ``[n, D]`` of this process's :func:`share_of` all; ``None`` where that is empty.
    :param count: How many rows there are in all processes, at least one.
    :param device: Of the rows.
    :return: Shape ``[count, D]``, in order, equal in all processes.
    """
    if process_count() == 1:
        assert own is not None
        return own
    if count < process_count():
        # Whoever has none does not know what they look like; the main process has one if there is any.
        width, dtype = gathered(None if own is None else [own.shape[1], str(own.dtype).removeprefix("torch.")])[0]
        own = torch.zeros(0, width, dtype=getattr(torch, dtype), device=device) if own is None else own
    assert own is not None
    return _Gather.apply(own, count)


def summed(gradients: Sequence[Tensor | None], like: Sequence[Tensor]) -> list[Tensor | None]:
    """Sum gradients over the processes, each ``None`` where no process has one.

    :param gradients: Of this process.
    :param like: Of each its parameter.
    """
    if process_count() == 1:
        return list(gradients)
    used = [any(there) for there in zip(*gathered([g is not None for g in gradients]), strict=True)]
    found: list[Tensor | None] = [None] * len(like)
    for dtype in {parameter.dtype for parameter in like}:
        numbers = [number for number, p in enumerate(like) if used[number] and p.dtype == dtype]
        if not numbers:
            continue
        wide = torch.promote_types(torch.float32, dtype)
        parts = [like[n].new_zeros(like[n].shape) if (g := gradients[n]) is None else g for n in numbers]
        # One message for all of them.
        flat = torch.cat([part.detach().reshape(-1).to(local_device(), wide) for part in parts])
        distributed.all_reduce(flat)
        for number, part in zip(numbers, flat.split([part.numel() for part in parts]), strict=True):
            found[number] = part.view(like[number].shape).to(like[number])
    return found


def average_statistics(statistics: Iterable[Tensor], share: float) -> None:
    """Bring the statistics of batch normalisation to their mean over the processes, in place.

    :param share: How much of the batch this process had.
    """
    if process_count() == 1:
        return
    for tensor in statistics:
        # Counts of batches are whole numbers, and the main process has seen all batches.
        weight = share if tensor.is_floating_point() else float(process_index() == 0)
        mean = tensor.detach().to(local_device(), torch.float64) * weight
        distributed.all_reduce(mean)
        tensor.copy_(mean)


def check_same(what: dict[str, Any], advice: str) -> None:
    """Refuse to work together on different things.

    :param what: Of JSON's types, by name; has to be the same in all processes.
    :param advice: What to do.
    :raises InputError: In all processes, naming what differs.
    """
    everyone = gathered(what)
    differing = [name for name in everyone[0] if any(one[name] != everyone[0][name] for one in everyone)]
    if differing:
        raise InputError(f"The processes differ in {', '.join(differing)}, so they cannot train one model. {advice}")
