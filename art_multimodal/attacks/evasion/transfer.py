"""Images that are made on surrogate models, in the hope that they mislead another one that is never asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.estimators.estimator import BaseEstimator
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from art_multimodal.attacks.checks import check_whole_number
from art_multimodal.attacks.evasion.image_ascent import Unsaturated, class_loss, own_generators
from art_multimodal.errors import InputError
from art_multimodal.estimators.defences import preprocessed
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.functional.perturbations import norm_of, projected_gradient_ascent
from art_multimodal.functional.views import at_scale, drawn_numbers, local_crops, smaller_on_black
from art_multimodal.labels import label_indices
from art_multimodal.pairs import check_images
from art_multimodal.shown import shown

#: What surrogates have in common.
ENSEMBLES = ("logits", "embeddings")


class TransferAttack(EvasionAttack):
    """Iterated gradients of one surrogate or several, with momentum and random views; no other model is asked.

    With several surrogates one perturbation is made for all of them. Each surrogate resizes and normalises the images
    inside its own module, so surrogates may differ in size and in everything else but the classes.

    ==========================  =====================================================================================
    published method            options
    ==========================  =====================================================================================
    MI-FGSM (1710.06081)        ``decay=1, diversity=0``; of several surrogates ``ensemble="logits"``
    DI-FGSM (1803.06978)        ``decay=0, diversity=0.5, least_size=0.9`` (299 to 330 pixels); M-DI-FGSM: ``decay=1``
    SGA's image (2307.14061)    ``ensemble="embeddings", decay=0, diversity=0, scales=(0.5, 0.75, 1.25, 1.5)``
    M-Attack (2503.10635)       ``ensemble="embeddings", decay=1, diversity=0, crops=1, crop_area=(0.5, 0.9)``, with
                                ``eps=16/255, eps_step=1/255, max_iter=300``
    ==========================  =====================================================================================

    SGA and M-Attack push towards captions or a picture of their choice, with noise on the scales; here it is away from
    the text of the label, or towards that of the wanted one, and there is no noise.

    The budget is a guarantee: every image returned is in [0, 1] and within ``eps`` of its original in ``norm``, up to
    one rounding of float32. Equal seeds give equal results, whatever ``batch_size`` and whatever stands beside an
    image. A step costs one forward and one backward pass of every surrogate for each view: ``max(1, crops) +
    len(scales)``.

    | Paper link: https://arxiv.org/abs/1710.06081 (momentum, ensembles of logits)
    | Paper link: https://arxiv.org/abs/1803.06978 (input diversity)
    | Paper link: https://arxiv.org/abs/2307.14061 (SGA, scales)
    | Paper link: https://arxiv.org/abs/2503.10635 (M-Attack, local crops and ensembles of embeddings)

    >>> target = ZeroShotClassifier(load_model("demo:digits/robust"), digits.class_names, digits.templates)
    >>> attack = TransferAttack(classifier, eps=8 / 255, max_iter=2, seed=0, verbose=False)
    >>> attacked = attack.generate(images, labels)
    >>> target.predict(attacked).shape, bool(np.abs(attacked - images).max() <= 8 / 255 + 1e-6)
    ((8, 10), True)
    """

    attack_params = EvasionAttack.attack_params + [
        "surrogates",
        "ensemble",
        "norm",
        "eps",
        "eps_step",
        "max_iter",
        "decay",
        "diversity",
        "least_size",
        "crops",
        "crop_area",
        "scales",
        "targeted",
        "batch_size",
        "seed",
        "verbose",
    ]
    _estimator_requirements = (BaseEstimator, ZeroShotClassifier)

    def __init__(
        self,
        surrogates: ZeroShotClassifier | Sequence[ZeroShotClassifier],
        ensemble: str = "logits",
        norm: int | float | str = np.inf,
        eps: float = 8 / 255,
        eps_step: float = 1 / 255,
        max_iter: int = 50,
        decay: float = 1.0,
        diversity: float = 0.5,
        least_size: float = 0.9,
        crops: int = 0,
        crop_area: tuple[float, float] = (0.5, 0.9),
        scales: Sequence[float] = (),
        targeted: bool = False,
        batch_size: int = 32,
        seed: int | None = None,
        verbose: bool = True,
    ) -> None:
        """
        :param surrogates: What gradients are taken of; of several, all with the same class names in one order.
        :param ensemble: ``"logits"``: the cross-entropy of the mean of all surrogates' logits. ``"embeddings"``: the
            mean cosine between each surrogate's embeddings of the image and of the label's prompts.
        :param norm: ``np.inf``, ``"inf"`` or ``2``.
        :param eps: Radius of the budget, in the units of images in [0, 1].
        :param eps_step: Length of a step.
        :param max_iter: Number of steps.
        :param decay: How much of the direction of earlier steps is kept, in [0, 1]; each gradient is first divided by
            its mean absolute value (equation 6 of MI-FGSM). 0: none.
        :param diversity: Chance of each view, in [0, 1], to be made smaller and padded at random in a step.
        :param least_size: Smallest length of its sides then, as a share of the whole, in (0, 1].
        :param crops: Local crops in each step, in place of the whole image; 0 takes the whole.
        :param crop_area: Smallest and largest share of the image's area that a crop has, in (0, 1].
        :param scales: Further views of the whole image in each step, with sides so many times as long.
        :param targeted: The labels are wanted.
        :param batch_size: Images per forward pass.
        :param seed: Of the views; ``None`` draws a new one in every call.
        :param verbose: Show a progress bar.
        :raises InputError: For surrogates that do not go together.
        :raises ValueError: For any other parameter that cannot be used.
        """
        self.surrogates = _surrogates(surrogates)
        super().__init__(estimator=self.surrogates[0])
        self.ensemble = ensemble
        self.norm = norm
        self.eps = eps
        self.eps_step = eps_step
        self.max_iter = max_iter
        self.decay = decay
        self.diversity = diversity
        self.least_size = least_size
        self.crops = crops
        self.crop_area = crop_area
        self.scales = scales
        self._targeted = targeted
        self.batch_size = batch_size
        self.seed = seed
        self.verbose = verbose
        self._check_params()

    def generate(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs: Any) -> np.ndarray:
        """Return adversarial images, ``float32`` of the shape of ``x``, after the last step.

        :param x: Images ``(N, 3, H, W)`` in [0, 1].
        :param y: Labels as indices or one-hot rows: the true ones, or the wanted ones when targeted. Without them what
            the surrogates predict together, by the mean of their logits.
        :raises InputError: For images or labels that cannot be used.
        """
        x = check_images(x)
        labels = label_indices(y, self.estimator.nb_classes, len(x))
        if labels is None:
            if self.targeted:
                raise ValueError("A targeted attack needs the wanted labels in `y`.")
            said = [one.predict(x, batch_size=self.batch_size) for one in self.surrogates]
            labels = np.mean(said, axis=0).argmax(axis=1)
        for surrogate in self.surrogates:
            surrogate.model.eval()
        classes = [surrogate.class_features() for surrogate in self.surrogates]
        generators = own_generators(self.seed, x)
        adversarial = np.empty_like(x)
        for start in tqdm(range(0, len(x), self.batch_size), desc="Transfer", disable=not self.verbose):
            rows = slice(start, start + self.batch_size)
            clean = torch.from_numpy(x[rows]).to(self.estimator.device)
            own = torch.from_numpy(labels[rows]).to(clean.device)
            adversarial[rows] = self._attacked(clean, own, classes, generators[rows]).cpu().numpy()
        return adversarial

    def _attacked(
        self, clean: Tensor, labels: Tensor, classes: list[Tensor], generators: list[torch.Generator]
    ) -> Tensor:
        raised = self._by_logits(labels, classes) if self.ensemble == "logits" else self._by_cosines(labels, classes)
        kept = torch.zeros_like(clean)

        def direction(images: Tensor) -> Tensor:
            nonlocal kept
            images = images.detach().requires_grad_(True)
            total = torch.stack([raised(view) for view in self._views(images, generators)]).sum()
            gradient = torch.autograd.grad(total, images)[0].nan_to_num()
            if not self.decay:
                return gradient
            size = gradient.abs().mean(dim=(1, 2, 3), keepdim=True)
            kept = self.decay * kept + gradient / size.clamp_min(torch.finfo(size.dtype).tiny)
            return kept

        return projected_gradient_ascent(direction, clean, norm_of(self.norm), self.eps, self.eps_step, self.max_iter)

    def _views(self, images: Tensor, generators: list[torch.Generator]) -> list[Tensor]:
        """What the surrogates look at in a step."""
        views = []
        for _ in range(max(1, self.crops)):
            numbers = drawn_numbers(generators)
            view = local_crops(images, numbers, self.crop_area) if self.crops else images
            views.append(smaller_on_black(view, numbers, self.diversity, self.least_size))
        return views + [at_scale(images, scale) for scale in self.scales]

    def _by_logits(self, labels: Tensor, classes: list[Tensor]) -> Any:
        scale = Unsaturated(labels, min((one.dtype for one in classes), key=lambda dtype: torch.finfo(dtype).max))

        def raised(view: Tensor) -> Tensor:
            logits = [
                surrogate.model.head.similarity(self._features(surrogate, view), known).to(labels.device)
                for surrogate, known in zip(self.surrogates, classes, strict=True)
            ]
            return class_loss("cross_entropy", scale(torch.stack(logits).mean(dim=0)), labels, self.targeted)

        return raised

    def _by_cosines(self, labels: Tensor, classes: list[Tensor]) -> Any:
        def raised(view: Tensor) -> Tensor:
            cosines = []
            for surrogate, known in zip(self.surrogates, classes, strict=True):
                features = F.normalize(self._features(surrogate, view), dim=-1)
                cosines.append((features * known[labels.to(known.device)]).sum(dim=1).float().to(labels.device))
            return torch.stack(cosines).mean(dim=0) * (1 if self.targeted else -1)

        return raised

    def _features(self, surrogate: ZeroShotClassifier, view: Tensor) -> Tensor:
        return surrogate.model.image_features(preprocessed(surrogate, view.to(surrogate.device)))

    def _check_params(self) -> None:
        self.surrogates = _surrogates(self.surrogates)
        norm_of(self.norm)
        if self.ensemble not in ENSEMBLES:
            raise ValueError(f"ensemble must be one of {', '.join(ENSEMBLES)}, not {self.ensemble!r}.")
        if not (np.isfinite(self.eps) and self.eps >= 0):
            raise ValueError(f"eps must be a finite number of at least 0, not {self.eps!r}.")
        if not (np.isfinite(self.eps_step) and self.eps_step > 0):
            raise ValueError(f"eps_step must be a finite number greater than 0, not {self.eps_step!r}.")
        for name, least in (("max_iter", 0), ("crops", 0), ("batch_size", 1)):
            check_whole_number(self, name, least)
        for name in ("decay", "diversity"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], not {getattr(self, name)!r}.")
        if not 0 < self.least_size <= 1:
            raise ValueError(f"least_size must be in (0, 1], not {self.least_size!r}.")
        area = tuple(self.crop_area)
        if len(area) != 2 or not 0 < area[0] <= area[1] <= 1:
            raise ValueError(f"crop_area must be two shares in (0, 1], the smaller one first, not {self.crop_area!r}.")
        if not all(np.isfinite(scale) and scale > 0 for scale in self.scales):
            raise ValueError(f"scales must be numbers greater than 0, not {self.scales!r}.")


def _surrogates(given: Any) -> tuple[ZeroShotClassifier, ...]:
    """Surrogates that know the same classes.

    :raises InputError: If there is none, one is no such classifier, or they know different classes.
    """
    found = tuple(given) if isinstance(given, (list, tuple)) else (given,)
    if not found:
        raise InputError("Give at least one surrogate: a ZeroShotClassifier that gradients are taken of.")
    for one in found:
        if not isinstance(one, ZeroShotClassifier):
            raise InputError(f"A surrogate is a ZeroShotClassifier, not {type(one).__name__}.")
        if one.class_names != found[0].class_names:
            first, other = (shown(", ".join(of.class_names))[:100] for of in (found[0], one))
            raise InputError(f"Surrogates must know the same classes in one order: {first}; and {other}.")
    return found
