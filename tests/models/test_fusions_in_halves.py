"""Fusions of which the weights are halves, or which compute in bfloat16: for what torch has no halves, float32 does."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from art_multimodal.models.fusions import FUSIONS, new_fusion

WIDTHS, CLASSES, COUNT = {"a": 8, "b": 8, "c": 8}, 3, 5


@pytest.mark.filterwarnings("ignore:.*fixed points were not reached")
@pytest.mark.parametrize(
    ("dtype", "automatic"), [(torch.float16, False), (torch.bfloat16, False), (torch.float32, True)]
)
@pytest.mark.parametrize("name", FUSIONS)
def test_scores_and_gradients_are_numbers(name: str, dtype: torch.dtype, automatic: bool) -> None:
    torch.manual_seed(0)
    fusion = new_fusion(name, WIDTHS, CLASSES).to(dtype).eval()
    features = {of: torch.randn(COUNT, width).to(dtype).requires_grad_() for of, width in WIDTHS.items()}
    present = {of: torch.ones(COUNT, dtype=torch.bool) for of in WIDTHS}
    with torch.autocast("cpu", torch.bfloat16) if automatic else nullcontext():
        scores = fusion.predict(fusion(features, present))
    gradients = torch.autograd.grad(scores.float().logsumexp(dim=1).sum(), list(features.values()))
    assert scores.shape == (COUNT, CLASSES) and torch.isfinite(scores).all()
    assert automatic or scores.dtype == dtype
    assert all(torch.isfinite(of).all() for of in gradients) and any(of.any() for of in gradients)
