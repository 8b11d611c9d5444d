"""What the torch modules inside estimators share: who takes part in a graph, and what is computed only once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from art_multimodal.estimators.weights import WeightState
from art_multimodal.models.base import Model

#: What is remembered: tensors, alone or by name.
Kept = TypeVar("Kept")

if TYPE_CHECKING:
    from typing import Self


def parts_of(module: nn.Module) -> list[nn.Module]:
    """The module and all inside it, one that stands in several places several times.

    What ``module.modules()`` gives, without its names: in every step of an attack on a small model these would cost as
    much as a convolution.
    """
    found = [module]
    for part in found:
        found += [inside for inside in part._modules.values() if inside is not None]
    return found


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Build the graph of a forward pass without the module's parameters: backward then computes no gradients for them.

    The flags are set back at once; a graph that was built keeps what it was built with.
    """
    if isinstance(module, LearningModule) and module.apart:
        yield
        return
    parameters = [
        p for part in parts_of(module) for p in part._parameters.values() if p is not None and p.requires_grad
    ]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


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
        seen = images.detach()
        return torch.cat([compute(seen[rows], rows) for rows in parts])

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

    #: Whether the parameters take no part in any graph just now; see :meth:`without_parameters`.
    apart = False

    @contextmanager
    def without_parameters(self) -> Iterator[None]:
        """Leave the parameters out of the graphs of many passes at once, where each pass would do so by itself.

        Around the steps of an attack: on a small model, looking for the parameters in every step costs a hundredth of
        it. While learning it does nothing.
        """
        if self.learning or self.apart:
            yield
            return
        with frozen(self):
            self.apart = True
            try:
                yield
            finally:
                self.apart = False

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

    def train(self, mode: bool = True) -> Self:
        # ART sets the mode before every pass: looking whether it is set costs a fraction of setting it.
        return super().train(mode) if any(part.training != mode for part in parts_of(self)) else self

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
                part.forget()

    def forget(self) -> None:
        """Compute again what was remembered; here there is nothing."""

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
        self._kept: tuple[WeightState, int, Any] | None = None

    def forget(self) -> None:
        """Compute the features again when they are asked for next."""
        self._kept = None

    def remember(self, model: Model, weights: Iterable[Tensor], compute: Callable[[], Kept]) -> Kept:
        """Return what ``compute`` returns, from memory where nothing that it depends on has changed.

        :param model: Whose weights they are.
        :param weights: All that the features depend on.
        """
        if self.learning:
            self._kept = None
            return compute()
        weights = tuple(weights)
        if not self.remembers(model, weights):
            with torch.no_grad():
                self._kept = (WeightState(weights, model.modules()), model.mode_changes, compute())
        assert self._kept is not None
        return self._kept[2]

    def remembers(self, model: Model, weights: Iterable[Tensor]) -> bool:
        """Whether :meth:`remember` would compute nothing."""
        kept = None if self.learning else self._kept
        return kept is not None and kept[1] == model.mode_changes and kept[0].holds(weights)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}
