"""Layers for sequences: whatever takes one step, applied to each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from art_multimodal.functional.sequences import mean_over_steps


class EachStep(nn.Module):
    """Apply a module to each step of a sequence, and to no step that is behind its length.

    As the module of a tower it makes embeddings of steps, for fusions that take them; with ``mean`` their mean over
    the steps within the length, for all fusions. What is behind the length is zero, and gets no gradient.

    >>> each = EachStep(torch.nn.Linear(3, 4), mean=True)
    >>> each(torch.zeros(2, 5, 3), torch.ones(2, 5, dtype=torch.bool)).shape
    torch.Size([2, 4])

    :param module: Maps steps ``[n, ...]`` to embeddings ``[n, width]``; those of all samples come as one batch.
    :param mean: Return the mean over the steps, ``[N, width]``, instead of ``[N, T, width]``.
    """

    def __init__(self, module: nn.Module, mean: bool = False) -> None:
        super().__init__()
        self.module, self.mean = module, mean

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Embeddings of steps.

        :param values: Shape ``[N, T, ...]``.
        :param mask: Which steps are within the length, booleans ``[N, T]``; all of them without it.
        """
        if mask is None:
            mask = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
        # Steps that there are, and no others: a batch normalisation would count them.
        found = self.module(values[mask])
        steps = found.new_zeros(*mask.shape, *found.shape[1:])
        steps[mask] = found
        return mean_over_steps(steps, mask) if self.mean else steps
