"""A pytest plugin that rounds as some other processor might: ``pytest -p rounding`` with ``ROUNDING=1``, ``2``, ...

Kernels for other processors add in another order, so sums differ in their last bits. Here every result of a product
or a sum in float32 is moved by at most one unit in the last place of what is typical in it, up or down by a hash of
its value: equal values still give equal results, as they do on one processor. A test whose verdict changes judges
rounding.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

#: What adds many terms, in the order that a kernel chooses.
_SUMS = {
    getattr(torch.ops.aten, name)
    for name in (
        "addmm",
        "addmv",
        "baddbmm",
        "bmm",
        "convolution",
        "convolution_backward",
        "embedding_bag",
        "_embedding_bag",
        "_log_softmax",
        "_log_softmax_backward_data",
        "_softmax",
        "_softmax_backward_data",
        "logsumexp",
        "mean",
        "mm",
        "mv",
        "native_batch_norm",
        "native_batch_norm_backward",
        "native_layer_norm",
        "native_layer_norm_backward",
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_flash_attention_for_cpu_backward",
        "linalg_vector_norm",
        "sum",
        "upsample_bicubic2d",
        "upsample_bilinear2d",
        "_upsample_bicubic2d_aa",
        "_upsample_bicubic2d_aa_backward",
        "_upsample_bilinear2d_aa",
        "_upsample_bilinear2d_aa_backward",
    )
}
_UNIT = 2.0**-23


class OtherRounding(TorchDispatchMode):
    """Sums in float32 as another kernel might round them.

    :param seed: Which other kernel: an odd number is made of it.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.factor = (2654435761 * (2 * seed + 1)) % 2**31

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func.overloadpacket not in _SUMS:
            return found
        if isinstance(found, torch.Tensor):
            return self._moved(found)
        return type(found)(self._moved(one) if isinstance(one, torch.Tensor) else one for one in found)

    def _moved(self, values: torch.Tensor) -> torch.Tensor:
        if values.dtype != torch.float32 or not values.numel():
            return values
        bits = values.contiguous().view(torch.int32).long() * self.factor
        direction = (bits >> 20) % 3 - 1
        typical = values.abs().mean()
        if not bool(torch.isfinite(typical)):
            return values
        # What is exactly zero was not added up.
        return torch.where(values == 0, values, values + direction * (_UNIT * torch.minimum(values.abs(), typical)))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Any:
    seed = int(os.environ.get("ROUNDING", "1"))
    with OtherRounding(seed):
        yield
