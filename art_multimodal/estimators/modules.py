"""What the torch modules inside estimators share: who takes part in a graph, and what is computed only once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook
from torch.utils.weak import WeakTensorKeyDictionary

#: How often optimizers have stepped over a parameter. Fused ones, and those that write to ``param.data``, leave torch's
#: version counters as they are.
_STEPS: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def _count_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            _STEPS[parameter] = _STEPS.get(parameter, 0) + 1


register_optimizer_step_post_hook(_count_step)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Build the graph of a forward pass without the module's parameters: backward then computes no gradients for them.

    The flags are set back at once; a graph that was built keeps what it was built with.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def versions_of(weights: Iterable[Tensor]) -> tuple:
    """What is equal for as long as no optimizer has stepped over weights and nothing else has been written to them.

    By what torch sees: not ``param.data``.
    """
    return tuple((p.device, p.data_ptr(), 0 if p.is_inference() else p._version, _STEPS.get(p, 0)) for p in weights)


#: How many passes are under way that repeat one for its gradient.
_AGAIN = 0


def is_repeated() -> bool:
    """Whether the pass that is under way has been made before, and is made again for its gradient alone."""
    return _AGAIN > 0


class _InParts(torch.autograd.Function):
    """A function of images, part by part; backward makes each part again, so that only one's graph is in memory."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, compute: Callable[[Tensor, slice], Tensor], parts: list[slice]) -> Tensor:
        ctx.save_for_backward(images)
        ctx.compute, ctx.parts = compute, parts
        return torch.cat([compute(images[rows], rows) for rows in parts])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        global _AGAIN
        (images,), found = ctx.saved_tensors, []
        for rows in ctx.parts:
            part = images[rows].detach().requires_grad_(True)
            _AGAIN += 1
            try:
                with torch.enable_grad():
                    output = ctx.compute(part, rows)
            finally:
                _AGAIN -= 1
            found.append(torch.autograd.grad(output, part, gradients[0][rows])[0])
        return torch.cat(found), None, None


class LearningModule(nn.Module):
    """A module that knows whether its parameters are being trained: in training mode, and inside :meth:`trainable`."""

    live = False
    #: Most images in one pass, where more come at once; ``None`` for all of them. What comes out is the same.
    most_at_once: int | None = None

    def in_parts(self, compute: Callable[[Tensor, slice], Tensor], images: Tensor) -> Tensor:
        """Compute something of images, of no more than :attr:`most_at_once` at a time.

        A gradient costs one more forward pass then. While learning all images are taken at once.

        :param compute: Of some of the images, and of their rows.
        """
        most = self.most_at_once
        if most is None or len(images) <= most or self.learning:
            return compute(images, slice(0, len(images)))
        parts = [slice(start, min(start + most, len(images))) for start in range(0, len(images), most)]
        if torch.is_grad_enabled() and images.requires_grad:
            return _InParts.apply(images, compute, parts)
        return torch.cat([compute(images[rows], rows) for rows in parts])

    @property
    def learning(self) -> bool:
        """Whether gradients of the parameters are wanted."""
        return self.training or self.live

    @contextmanager
    def trainable(self) -> Iterator[None]:
        """Let gradients reach the parameters in evaluation mode too (training without dropout, for example)."""
        parts = [part for part in self.modules() if isinstance(part, LearningModule)]
        before = [part.live for part in parts]
        for part in parts:
            part.live = True
        try:
            yield
        finally:
            for part, live in zip(parts, before, strict=True):
                part.live = live

    def parameters_in_graph(self, images: Tensor) -> AbstractContextManager[None]:
        """Around a forward pass: leaves parameters out of the graph when only the images want a gradient.

        An attack's backward pass then costs no parameter gradients whoever runs it; those to the images are the same.
        """
        # Without a gradient to the images a graph can only be for the parameters: ART's FBF trains in evaluation mode.
        return nullcontext() if self.learning or not images.requires_grad else frozen(self)


class RememberedFeatures(LearningModule):
    """Features that depend on weights alone: computed once, and again when the weights have changed.

    While learning they are computed in every call, with gradients.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kept: tuple[tuple, Tensor] | None = None

    def train(self, mode: bool = True) -> RememberedFeatures:
        if any(part.training != mode for part in self.modules()):
            # Weights may have been written in ways that version counters do not see (param.data).
            self._kept = None
        return super().train(mode)

    def remember(self, weights: Iterable[Tensor], compute: Callable[[], Tensor]) -> Tensor:
        """Return what ``compute`` returns, from memory where none of ``weights`` has changed."""
        if self.learning:
            return compute()
        key = versions_of(weights)
        if self._kept is None or self._kept[0] != key:
            with torch.no_grad():
                self._kept = (key, compute())
        return self._kept[1]
