"""A zero-shot module behind a defence that computes at test time: the defence runs inside, so that attacks meet it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from art_multimodal.errors import InputError
from art_multimodal.estimators.modules import frozen
from art_multimodal.estimators.zero_shot_module import ImageEncoder, PromptHead, ZeroShotModule
from art_multimodal.models.dual_encoder import DualEncoder


class BareModel:
    """A zero-shot classifier as a test-time defence sees it: the model itself, without any defence.

    >>> from art_multimodal.defences.test_time import Passes, TestTimeDefence
    >>> class AsItIs(TestTimeDefence):
    ...     def passes(self):
    ...         return Passes(forward=1)
    ...     def one_answer(self, bare: BareModel, images, classes, generators):
    ...         return bare.logits(bare.embed(images), classes)
    ...
    >>> defended = classifier.with_test_time_defence(AsItIs())
    >>> bool(np.allclose(defended.predict(images), classifier.predict(images), atol=1e-3))
    True

    :param head: Of the classifier.
    """

    def __init__(self, head: PromptHead) -> None:
        self.head = head

    @property
    def dual_encoder(self) -> DualEncoder:
        """The model with its two towers."""
        return self.head.dual_encoder

    def embed(self, images: Tensor) -> Tensor:
        """Image embeddings ``[N, D]``, not normalised: one forward pass for each image ``[N, C, H, W]``."""
        return self.dual_encoder.encode_image(images, normalize=False)

    def logits(self, features: Tensor, classes: Tensor) -> Tensor:
        """Logits ``[N, K]`` of embeddings ``[N, D]`` against classes ``[K, D]`` or ``[N, K, D]``."""
        return self.head.similarity_of(features, classes)


class AtTestTime(Protocol):
    """What a classifier asks a test-time defence for; the contract is ``defences.test_time.TestTimeDefence``."""

    #: Whether answers depend on random draws.
    random: bool
    #: How gradients come back to the images: see the contract.
    gradient: str
    #: Whether it has an :meth:`alarm`.
    has_alarm: bool

    def scores(self, bare: BareModel, images: Tensor, classes: Tensor) -> Tensor:
        """Logits ``[N, K]`` of images ``[N, C, H, W]`` behind the defence, against classes ``[K, D]``."""

    def alarm(self, bare: BareModel, images: Tensor, classes: Tensor) -> Tensor:
        """How sure the defence is that images are attacked, ``[N]``."""

    def asked_again(self, number: int) -> Any:
        """The same defence with other random draws, one for each answer."""


class Untouched(ImageEncoder):
    """Hands images on as they are: what the defence makes of them depends on the classes, too."""

    def forward(self, images: Tensor) -> Tensor:
        return images


class TestTimeHead(PromptHead):
    """Similarity of images to class prompts, by way of a test-time defence.

    While parameters are trained the defence stays out: it computes at test time.
    """

    __test__ = False

    def __init__(self, dual_encoder: DualEncoder, prompts: Sequence[Sequence[str]], defence: AtTestTime) -> None:
        super().__init__(dual_encoder, prompts)
        self.defence = defence
        self.bare = BareModel(self)

    def similarity(self, image_features: Tensor, class_features: Tensor) -> Tensor:
        """Logits ``[N, K]`` behind the defence.

        :param image_features: The images themselves, ``[N, C, H, W]``.
        :param class_features: Unit vectors: ``[K, D]``, or ``[N, K, D]``, others for each image.
        """
        return self.behind(self.defence, image_features, class_features)

    def behind(self, defence: AtTestTime, images: Tensor, classes: Tensor) -> Tensor:
        """The same behind another defence."""
        if self.learning:
            return self.similarity_of(self.bare.embed(images), classes)
        wanted = torch.is_grad_enabled() and images.requires_grad
        unrolled = wanted and defence.gradient != "bpda"
        # Fused attention kernels have no second derivative, which a gradient through a gradient step needs.
        kernel = sdpa_kernel(SDPBackend.MATH) if unrolled else nullcontext()
        with frozen(self.dual_encoder), kernel:
            return defence.scores(self.bare, images, classes)


class TestTimeModule(ZeroShotModule):
    """Images ``[N, C, H, W]`` in [0, 1] to logits ``[N, K]`` behind a test-time defence.

    :param defence: Runs in every forward pass; gradients come back through it as its ``gradient`` says.
    """

    __test__ = False

    def __init__(
        self,
        dual_encoder: DualEncoder,
        prompts: Sequence[Sequence[str]],
        defence: AtTestTime,
        probabilities: bool = False,
    ) -> None:
        super().__init__(dual_encoder, prompts, probabilities)
        self.image_encoder = Untouched(dual_encoder)
        self.head = TestTimeHead(dual_encoder, prompts, defence)


def check_embeds(estimator: Any) -> None:
    """Refuse a classifier behind a test-time defence where image embeddings are wanted.

    :raises InputError: If it is one.
    """
    if getattr(estimator, "test_time_defence", None) is not None:
        raise InputError(
            f"{type(estimator.test_time_defence).__name__} answers with class scores, so images have no embedding "
            "behind it. Attack class scores (pgd, apgd, square, ...), or ask the classifier without the defence: "
            "with_test_time_defence(None)."
        )
