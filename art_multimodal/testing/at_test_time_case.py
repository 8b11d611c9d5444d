"""What a defence that computes at test time is tried on: a classifier in float64, and images."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from art_multimodal.estimators import ZeroShotClassifier
from art_multimodal.estimators.test_time import BareModel, TestTimeHead
from art_multimodal.testing.comparing import ModelState
from art_multimodal.testing.tiny_clip import smooth_images, tiny_classifier


class Case:
    """A defence in front of a classifier in float64, and images.

    :param own: The defence.
    :param classifier: The user's; it is copied.
    """

    def __init__(self, own: Any, classifier: ZeroShotClassifier | None, images: Tensor | None) -> None:
        self.own = own
        given = tiny_classifier() if classifier is None else classifier
        self.prompts = given.prompts
        self.encoder = copy.deepcopy(given.dual_encoder).double().eval().cpu()
        #: The model and what stands on the defence, before anything was asked.
        self.before = ModelState.of(self.encoder)
        self.attributes = {name: _kept(of) for name, of in vars(own).items()}
        self.images = smooth_images(3, self.encoder.image_size[0]).double() if images is None else images.cpu().double()

    @cached_property
    def head(self) -> TestTimeHead:
        return TestTimeHead(self.encoder, self.prompts, self.own).eval()

    @property
    def bare(self) -> BareModel:
        return self.head.bare

    @cached_property
    def classes(self) -> Tensor:
        with torch.no_grad():
            return self.head.class_features()

    def answers(self, images: Tensor | None = None, defence: Any = None, classes: Tensor | None = None) -> Tensor:
        """What the classifier says behind the defence, without gradients."""
        images = self.images if images is None else images
        classes = self.classes if classes is None else classes
        with torch.no_grad():
            return self.head.behind(self.own if defence is None else defence, images, classes)

    def alarm(self, images: Tensor | None = None) -> Tensor:
        return self.own.alarm(self.bare, self.images if images is None else images, self.classes)

    def one_answer(self, defence: Any, images: Tensor, number: int = 0) -> Tensor:
        """One answer, by itself."""
        with torch.no_grad():
            generators = defence.generators(images, number) if defence.random else ()
            return defence.one_answer(self.bare, images, self.classes, generators)


def _kept(of: Any) -> Any:
    """A copy, or what it is itself where there can be none: that is a property of its own."""
    try:
        return copy.deepcopy(of)
    except Exception:
        return of


def slope_behind(case: Case, defence: Any, images: Tensor, classes: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What attacks meet: answers, and the gradient of a mixture of them by the images."""
    with torch.enable_grad():
        at = images.clone().requires_grad_(True)
        found = case.head.behind(defence, at, case.classes if classes is None else classes)
        mixing = torch.linspace(-1, 1, found.shape[1]).to(found).exp()
        total = (found.log_softmax(dim=1) * mixing).sum()
        slope = torch.autograd.grad(total, at, allow_unused=True)[0] if total.requires_grad else None
    return found.detach(), torch.zeros_like(images) if slope is None else slope


@contextmanager
def counted_texts(case: Case) -> Iterator[dict[str, int]]:
    """Count sets of class prompts that pass the text tower, where that is a module in parts."""
    count: dict[str, int] = {}
    tower, texts = case.encoder.causal_text, len(case.head.tokens)
    if not isinstance(tower, nn.Module):
        yield count
        return
    count.update(texts_forward=0, texts_backward=0)
    project: Callable[[Tensor], Tensor] = tower.project

    def watched(states: Tensor) -> Tensor:
        sets = len(states) // texts
        count["texts_forward"] += sets
        count["texts_backward"] += sets * states.requires_grad
        return project(states)

    tower.project = watched
    try:
        yield count
    finally:
        del tower.project
