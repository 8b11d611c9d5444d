"""Whether numbers are equal but for rounding, and what changed in a model, or in the process, that was only asked."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

#: What float64 models may differ by, in relation to their largest value: some of them round to float32 inside.
ROUNDING = 1e-5


def tolerance(dtype: torch.dtype, terms: int) -> float:
    """What sums of so many terms differ by for rounding, in relation to the largest: a multiple of ``eps sqrt(n)``."""
    return 8 * torch.finfo(dtype).eps * max(4.0, float(terms) ** 0.5)


def unequal(found: Tensor, wanted: Tensor, what: str, rounding: float = ROUNDING) -> Iterator[str]:
    """Yield for each row how far it is from what it should be, where that is more than rounding.

    :param found: Shape ``[N, ...]``.
    :param wanted: Likewise.
    :param what: Names a row, followed by its number.
    :param rounding: In relation to the largest value that is wanted.
    """
    if found.shape != wanted.shape:
        yield f"the shape is {tuple(found.shape)} instead of {tuple(wanted.shape)}."
        return
    found, wanted = found.detach().double(), wanted.detach().double()
    largest = float(wanted.abs().max()) if wanted.numel() else 0.0
    most = rounding * max(largest, torch.finfo(torch.float64).tiny)
    for row in range(len(wanted)):
        off = float((found[row] - wanted[row]).abs().max())
        if not off <= most:  # NaN is none, either
            yield f"{what} {row} differs by {off:.2g} (values up to {largest:.3g}, rounding {most:.1g})."


def not_finite(values: Tensor, what: str) -> Iterator[str]:
    """Yield for each row of ``[N, ...]`` that it holds NaN or infinite values."""
    for row in (~values.detach().isfinite().flatten(1).all(dim=1)).nonzero().flatten().tolist():
        yield f"{what} {row} holds NaN or infinite values."


@dataclass(frozen=True)
class ModelState:
    """What a model must not lose by being asked: weights, modes, gradients, what is frozen.

    :param weights: By name, copies.
    :param modes: Of each module, whether it is in training.
    :param frozen: Of each parameter, whether it takes gradients.
    :param gradients: Of each parameter, the gradient.
    """

    weights: Mapping[str, Tensor]
    modes: Mapping[str, bool]
    frozen: Mapping[str, bool]
    gradients: Mapping[str, Tensor | None]

    @classmethod
    def of(cls, model: nn.Module) -> ModelState:
        named = dict(model.named_parameters())
        return cls(
            {name: of.detach().clone() for name, of in model.state_dict().items()},
            {name: of.training for name, of in model.named_modules()},
            {name: of.requires_grad for name, of in named.items()},
            {name: None if of.grad is None else of.grad.clone() for name, of in named.items()},
        )

    def changes(self, model: nn.Module) -> Iterator[str]:
        """Yield what is not as it was."""
        now = ModelState.of(model)
        for name, before in self.weights.items():
            after = now.weights.get(name)
            if after is None or after.dtype != before.dtype or not same(after, before):
                yield f"the weight or buffer {name} was changed."
        for name, mode in self.modes.items():
            if now.modes.get(name) != mode:
                yield f"{name or 'the model'} was left in {'evaluation' if mode else 'training'} mode."
        for name, wanted in self.frozen.items():
            if now.frozen.get(name) != wanted:
                yield f"requires_grad of {name} was left {not wanted}."
        for name, gradient in self.gradients.items():
            left = now.gradients.get(name)
            if (left is None) != (gradient is None) or (left is not None and not same(left, gradient)):
                yield f"a gradient was left on {name}."


def same(one: Any, other: Any) -> bool:
    """Whether two tensors are equal bit by bit; NaN is equal to itself, and to no number."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(((one == other) | (one.isnan() & other.isnan())).all())


def in_other_memory(values: Tensor) -> Tensor:
    """The same values where neighbours do not lie side by side, as behind a transposition: ``view()`` fails on them."""
    if values.ndim < 2:
        return torch.stack([values, values], dim=-1)[..., 0]
    return values.transpose(0, -1).contiguous().transpose(0, -1)


def not_writable(x: np.ndarray) -> np.ndarray:
    """The same samples as a view, side by side with others, that nobody may write to."""
    view = np.repeat(x, 2, axis=0)[::2]
    view.flags.writeable = False
    return view


@contextmanager
def read_only_is_allowed() -> Iterator[None]:
    """Whoever reads such arrays through torch is warned once that he must not write: that is no fault."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        yield


@dataclass(frozen=True)
class ProcessState:
    """What belongs to the process, and so to everybody: global generators, and settings of torch and numpy.

    :param generators: Where those of Python, numpy and torch stand.
    :param settings: By what reads them.
    """

    generators: tuple[Any, ...]
    settings: Mapping[str, Any]

    @classmethod
    def now(cls) -> ProcessState:
        of_numpy: Any = np.random.get_state()  # noqa: NPY002 - it is what nobody may draw from
        return cls(
            (random.getstate(), of_numpy[1].tolist(), of_numpy[2:], torch.get_rng_state()),
            {
                "torch.is_grad_enabled()": torch.is_grad_enabled(),
                "torch.get_default_dtype()": torch.get_default_dtype(),
                "torch.get_num_threads()": torch.get_num_threads(),
                "numpy.geterr()": np.geterr(),
            },
        )

    def changes(self) -> Iterator[str]:
        """Yield what is not as it was."""
        now = ProcessState.now()
        names = ("random", "numpy", "numpy", "torch")
        for name, old, new in zip(names, self.generators, now.generators, strict=True):
            if not (torch.equal(old, new) if isinstance(old, Tensor) else old == new):
                yield f"the global generator of {name} was drawn from or seeded."
        for name, of in self.settings.items():
            if now.settings[name] != of:
                yield f"{name} was {of} before, and was left {now.settings[name]}."

    def restore_settings(self) -> None:
        """Put the settings back: what one property has found is not to spoil the others."""
        torch.set_grad_enabled(self.settings["torch.is_grad_enabled()"])
        torch.set_default_dtype(self.settings["torch.get_default_dtype()"])
        np.seterr(**self.settings["numpy.geterr()"])
        if torch.get_num_threads() != self.settings["torch.get_num_threads()"]:
            torch.set_num_threads(self.settings["torch.get_num_threads()"])


@contextmanager
def own_settings() -> Iterator[None]:
    """Whatever is set inside is set back."""
    before = ProcessState.now()
    try:
        yield
    finally:
        before.restore_settings()
