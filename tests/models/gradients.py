"""What every fusion model must give an attack: true gradients down to the caller's pixels."""

from __future__ import annotations

import torch

from art_multimodal.models.fusion import FusionModel


def assert_gradient_is_true(model: FusionModel, height: int, width: int, text: str = "a red cat on the hill") -> None:
    """Compare the gradient of a difference of scores with finite differences in float64, at a few pixels.

    The model is left in float64.
    """
    model.double()
    tokens = model.tokenize([text])
    image = 0.3 + 0.4 * torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def difference(picture):
        scores = model(picture, tokens)
        return scores[0, 1] - scores[0, 0]

    (gradient,) = torch.autograd.grad(difference(image.requires_grad_()), image)
    assert gradient.abs().max() > 0
    strongest = gradient.abs().flatten().topk(3).indices.tolist()
    middle = (height // 2) * width + width // 2
    with torch.no_grad():
        for pixel in [*strongest, middle, height * width + middle + 1]:
            step = torch.zeros_like(image).flatten()
            step[pixel] = 1e-6
            step = step.view_as(image)
            expected = (difference(image + step) - difference(image - step)) / 2e-6
            torch.testing.assert_close(gradient.flatten()[pixel], expected, rtol=1e-4, atol=1e-7)
