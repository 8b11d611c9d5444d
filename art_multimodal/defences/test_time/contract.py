"""What every defence has in common that computes at test time: parameters, draws, and how gradients come back."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from art_multimodal.attacks.evasion.image_ascent import own_generators
from art_multimodal.errors import InputError
from art_multimodal.estimators.test_time import BareModel

#: How gradients come back to the images. ``"unrolled"``: the defence answers as it does, and its gradient is that of
#: its steps, with smooth stand-ins for signs, thresholds and choices. ``"smooth"``: the answers are those of the
#: stand-ins, too. ``"bpda"``: what the defence computes counts as constant, and a transformation as the identity.
GRADIENTS = ("unrolled", "smooth", "bpda")


@dataclass(frozen=True)
class Passes:
    """What one answer about one image costs.

    >>> Passes(forward=3, backward=2).times(10).forward
    30

    :param forward: Forward passes of the image tower.
    :param backward: Backward passes of the image tower.
    :param texts_forward: Sets of class prompts that pass the text tower, for this image alone.
    :param texts_backward: Backward passes of such a set.
    """

    forward: int
    backward: int = 0
    texts_forward: int = 0
    texts_backward: int = 0

    def times(self, number: int) -> Passes:
        """The cost of several answers."""
        return Passes(*(number * one for one in (self.forward, self.backward, self.texts_forward, self.texts_backward)))


class TestTimeDefence(ABC):
    """A defence that computes at test time: views, gradient steps, random draws, votes.

    Give it to :class:`ZeroShotClassifier` as ``test_time_defence``. It runs inside of ``estimator.model``, in every
    forward pass, so ART's attacks and ours go through it.

    ======================  ==========================================================================================
    promise                 what it means
    ======================  ==========================================================================================
    deterministic           equal parameters, seed and pixels give equal answers
    batch independence      an answer depends on its own image alone, up to rounding: random draws belong to the pixels
                            and the seed, and change with each of them
    adaptive by default     gradients come back through all steps of the defence (``gradient="unrolled"``)
    the model stays          weights are frozen and never written; prompts that are tuned are tuned for one image
    training                ``fit`` trains the model without the defence
    ======================  ==========================================================================================

    A subclass computes :meth:`one_answer`, says what it costs (:meth:`passes`), and lists its parameters.

    >>> class AsItIs(TestTimeDefence):
    ...     def passes(self):
    ...         return Passes(forward=1)
    ...     def one_answer(self, bare, images, classes, generators):
    ...         return bare.logits(bare.embed(images), classes)
    ...
    >>> classifier.with_test_time_defence(AsItIs()).predict(images).argmax(axis=1).tolist() == labels.tolist()
    True
    """

    #: pytest collects classes of such names.
    __test__ = False
    #: Names of the parameters, as ART's classes list them.
    defence_params: ClassVar[list[str]] = ["seed", "draws", "gradient", "softness"]
    #: Whether answers depend on random draws.
    random: ClassVar[bool] = False
    #: Whether it looks whether an image is attacked, and :meth:`alarm` says so.
    has_alarm: ClassVar[bool] = False

    def __init__(self, seed: int = 0, draws: int = 1, gradient: str = "unrolled", softness: float = 0.5) -> None:
        """
        :param seed: Of the random draws.
        :param draws: Answers about each image, each with other draws, whose probabilities are averaged: 1 for the
            defence as published, more for an attacker who follows the expectation. Ignored where nothing is random.
        :param gradient: One of :data:`GRADIENTS`.
        :param softness: Width of the stand-ins for signs and thresholds, as a share of their natural scale, > 0.
        """
        self.seed, self.draws, self.gradient, self.softness = seed, draws, gradient, softness

    @abstractmethod
    def one_answer(self, bare: BareModel, images: Tensor, classes: Tensor, generators: Sequence[Any]) -> Tensor:
        """Logits ``[N, K]`` of one answer.

        :param bare: The model without the defence.
        :param images: Shape ``[N, C, H, W]``, values in [0, 1].
        :param classes: Unit embeddings of the classes, ``[K, D]`` or ``[N, K, D]``.
        :param generators: A source of random numbers for each image; empty where nothing is random.
        """

    @abstractmethod
    def passes(self) -> Passes:
        """What one answer costs."""

    def check(self, bare: BareModel) -> None:  # noqa: B027 (most work with every model)
        """Find out before any work whether the defence works with a model.

        :raises InputError: If it does not.
        """

    def notes(self, bare: BareModel) -> tuple[str, ...]:
        """What a user should know about the defence with this model, one line each, fit to be shown."""
        return ()

    def alarm(self, bare: BareModel, images: Tensor, classes: Tensor) -> Tensor:
        """How sure the defence is that images are attacked, ``[N]``: it acts on those above 0.

        :raises InputError: If it treats all images alike.
        """
        raise InputError(f"{type(self).__name__} treats all images alike: it has no alarm.")

    def scores(self, bare: BareModel, images: Tensor, classes: Tensor) -> Tensor:
        """Logits ``[N, K]`` behind the defence; of several draws logarithms of the mean probabilities."""
        if not self.random:
            return self.one_answer(bare, images, classes, ())
        answers = [
            self.one_answer(bare, images, classes, self.generators(images, number)) for number in range(self.draws)
        ]
        if len(answers) == 1:
            return answers[0]
        return torch.stack(answers).log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(answers))

    def generators(self, images: Tensor, number: int = 0) -> list[torch.Generator]:
        """A source of random numbers for each image, which depends on its pixels, the seed and the number alone."""
        return own_generators((self.seed, number), images.detach().cpu().numpy())

    @property
    def params(self) -> dict[str, Any]:
        """The parameters by name."""
        return {name: getattr(self, name) for name in self.defence_params}

    def with_params(self, **changes: Any) -> Any:
        """Return the same defence with some parameters changed.

        :raises InputError: For one that it does not have, or a value that is not allowed.
        """
        other = copy.copy(self)
        other.set_params(**changes)
        return other

    def set_params(self, **changes: Any) -> None:
        """Change parameters, as ART's classes do; all of them, or none where one is refused.

        :raises InputError: For one that it does not have, or a value that is not allowed.
        """
        before = dict(vars(self))
        try:
            for name, value in changes.items():
                if name not in self.defence_params:
                    raise InputError(
                        f"{type(self).__name__} has no parameter {name!r}. It has {', '.join(self.defence_params)}."
                    )
                setattr(self, name, value)
            self._check_params()
        except InputError:
            # What is refused changes nothing.
            vars(self).clear()
            vars(self).update(before)
            raise

    def asked_again(self, number: int) -> Any:
        """The same defence with other random draws, one for each answer."""
        return self.with_params(seed=self.seed + 1_000_003 * number, draws=1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.params.items())})"

    def _check_params(self) -> None:
        whole_number(self, "seed", 0)
        whole_number(self, "draws", 1)
        number_between(self, "softness", 1e-6, 100)
        if self.gradient not in GRADIENTS:
            raise InputError(f"gradient must be one of {', '.join(GRADIENTS)}, not {self.gradient!r}.")

    # What subclasses compute with

    def soft(self, hard: Tensor, smooth: Callable[[], Tensor]) -> Tensor:
        """A number of which gradients see a smooth stand-in, or nothing (BPDA)."""
        if self.gradient == "bpda" or not torch.is_grad_enabled():
            return hard.detach()
        stand_in = smooth()
        if self.gradient == "smooth":
            return stand_in
        # Values stay those of the defence bit for bit: what is added is zero.
        return hard.detach() + (stand_in - stand_in.detach())

    def sign(self, values: Tensor) -> Tensor:
        """Signs, whose stand-in is a tanh of the values over their mean size in each sample."""

        def smooth() -> Tensor:
            size = values.abs().flatten(1).mean(dim=1).clamp_min(torch.finfo(values.dtype).tiny)
            return (values / (self.softness * size.view(-1, *[1] * (values.ndim - 1)))).tanh()

        return self.soft(values.sign(), smooth)

    def above(self, values: Tensor, threshold: float | Tensor, scale: float | Tensor) -> Tensor:
        """1 where values lie above a threshold and else 0; the stand-in is a sigmoid.

        :param scale: Natural size of the differences.
        """
        hard = (values > threshold).to(values)
        return self.soft(hard, lambda: ((values - threshold) / (self.softness * scale)).sigmoid())

    def lowest(self, values: Tensor, number: int) -> Tensor:
        """Weights ``[N, V]``: 1 for each row's lowest values, so many of them, and else 0; of equal ones the first."""
        order = values.detach().argsort(dim=1, stable=True)
        chosen = torch.zeros_like(values).scatter(1, order[:, :number], 1.0)
        if number >= values.shape[1]:
            return chosen.detach()

        def smooth() -> Tensor:
            between = values.gather(1, order[:, number - 1 : number + 1]).mean(dim=1, keepdim=True)
            spread = values.std(dim=1, keepdim=True).clamp_min(1e-6)
            return ((between - values) / (self.softness * spread)).sigmoid()

        return self.soft(chosen, smooth)

    def transformed(self, images: Tensor, changed: Tensor) -> Tensor:
        """Transformed images of the same shape, as gradients see them: for BPDA they are the images themselves."""
        if self.gradient == "bpda":
            return images + (changed - images).detach()
        return changed

    def gradient_of(self, raised: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
        """The gradient of what is raised, ``[N]`` each, with respect to tensors ``[N, ...]``; part of the graph."""
        unrolled = torch.is_grad_enabled() and self.gradient != "bpda" and at.requires_grad
        with torch.enable_grad():
            point = at if unrolled else at.detach().requires_grad_(True)
            found = torch.autograd.grad(raised(point).sum(), point, create_graph=unrolled)[0]
        return found


def drawn(generators: Sequence[torch.Generator], like: Tensor, normal: bool = False) -> Tensor:
    """Random numbers of a tensor's shape: uniform in [-1, 1), or normal, for each sample from its own source."""
    draw = torch.randn if normal else torch.rand
    found = torch.stack([draw(like.shape[1:], generator=generator, dtype=torch.float64) for generator in generators])
    return (found if normal else 2 * found - 1).to(like)


def entropies(logits: Tensor) -> Tensor:
    """The entropy of the softmax over the last axis, in nats."""
    logs = logits.log_softmax(dim=-1)
    return -(logs.exp() * logs).sum(dim=-1)


def whole_number(of: Any, name: str, least: int, most: int | None = None) -> None:
    """Check a parameter.

    :raises InputError: If it is no whole number in the range.
    """
    value = getattr(of, name)
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        upper = "" if most is None else f" and at most {most}"
        raise InputError(f"{name} must be a whole number of at least {least}{upper}, not {value!r}.")


def number_between(of: Any, name: str, low: float, high: float) -> None:
    """Check a parameter.

    :raises InputError: If it is no number in the range.
    """
    value = getattr(of, name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InputError(f"{name} must be a number from {low:g} to {high:g}, not {value!r}.")
