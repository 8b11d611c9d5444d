"""What is learned once for all images, on several surrogates that a bandit chooses from: what the attacks share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.estimators.estimator import BaseEstimator
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from art_multimodal.attacks.checks import check_whole_number
from art_multimodal.attacks.evasion.image_ascent import Objective, Unsaturated
from art_multimodal.errors import InputError, unknown_name
from art_multimodal.estimators.defences import preprocessed, score_and_gradient
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.functional.bandit import UpperConfidence
from art_multimodal.functional.losses import class_cross_entropy
from art_multimodal.pairs import check_images

LOSSES = ("similarity", "cross_entropy")


@dataclass(frozen=True)
class SurrogateRecord:
    """What a surrogate had to say.

    >>> from art_multimodal.attacks.evasion.universal import UniversalPerturbationAttack
    >>> attack = UniversalPerturbationAttack(classifier, max_iter=2, verbose=False).fit(images)
    >>> isinstance(attack.records[0], SurrogateRecord), attack.records[0].pulls
    (True, 2)

    :param name: Of the surrogate.
    :param pulls: In how many steps it was asked.
    :param resistance: In [0, 1], how much it withstood in the last of them; see :class:`LearnedOnce`.
    """

    name: str
    pulls: int
    resistance: float


class LearnedOnce(EvasionAttack):
    """Base of attacks that learn one change for all images; a subclass says what is changed, and how.

    Unlabelled images suffice. In each step a bandit (:class:`~art_multimodal.functional.bandit.UpperConfidence`)
    chooses surrogates, and their objectives on a batch are raised; of several the gradients are brought to one length
    first, so that none weighs more because its loss is steeper. The reward of a surrogate is how much it withstands, so
    that those are asked most on which the change does worst:

    * ``loss="similarity"``: with ``c`` the cosine of the embeddings before and after, ``-c`` is raised and ``(1 + c) /
      2`` withstood; with a target, ``c`` that of the image's and the text's, ``c`` is raised and ``(1 - c) / 2``
      withstood. No classes are needed.
    * ``loss="cross_entropy"`` over the class prompts of each surrogate, whose answers before stand for labels;
      withstood is the mean probability of that answer, or of all classes but the target.

    The estimator is a surrogate if none are given. ART's preprocessing defences on surrogates are attacked through.
    """

    attack_params = EvasionAttack.attack_params + [
        "surrogates",
        "surrogate_names",
        "arms",
        "exploration",
        "loss",
        "target",
        "max_iter",
        "batch_size",
        "seed",
        "verbose",
    ]
    _estimator_requirements = (BaseEstimator, ZeroShotClassifier)

    def __init__(
        self,
        estimator: ZeroShotClassifier,
        surrogates: Sequence[ZeroShotClassifier] | None,
        surrogate_names: Sequence[str] | None,
        arms: int,
        exploration: float,
        loss: str,
        target: str | None,
        max_iter: int,
        batch_size: int,
        seed: int,
        verbose: bool,
    ) -> None:
        super().__init__(estimator=estimator)
        self.surrogates = [estimator] if surrogates is None else list(surrogates)
        count = len(self.surrogates)
        given = [f"surrogate {number}" for number in range(count)] if surrogate_names is None else surrogate_names
        self.surrogate_names = tuple(given)
        self.arms, self.exploration, self.loss, self.target = arms, exploration, loss, target
        self._targeted = target is not None
        self.max_iter, self.batch_size, self.seed, self.verbose = max_iter, batch_size, seed, verbose
        #: What each surrogate had to say in the last :meth:`fit`.
        self.records: list[SurrogateRecord] = []
        self._check_params()

    @abstractmethod
    def begin(self, shape: tuple[int, ...]) -> Tensor:
        """What is learned, before the first step, for images of a shape ``(3, H, W)``."""

    @abstractmethod
    def changed(self, images: Tensor, learned: Tensor, draw: np.random.Generator) -> Tensor:
        """Images ``[N, 3, H, W]`` with what is learned, differentiable in that."""

    @abstractmethod
    def stepped(self, learned: Tensor, gradient: Tensor) -> Tensor:
        """What is learned after a step along the gradient."""

    def learn(self, x: np.ndarray) -> Tensor:
        """Learn on unlabelled images ``(N, 3, H, W)`` in [0, 1], and fill :attr:`records`.

        :raises InputError: For what is no such array, or no image.
        """
        x = check_images(x)
        if not len(x):
            raise InputError("A universal perturbation is learned on images: give at least one.")
        bandit = UpperConfidence(len(self.surrogates), self.exploration)
        goals = [_Goal(of, self.loss, self.target, len(x)) for of in self.surrogates]
        draw, batches = np.random.default_rng(self.seed), self._batches(len(x))
        learned = self.begin(x.shape[1:])
        for _ in tqdm(range(self.max_iter), desc="Universal", disable=not self.verbose):
            rows = next(batches)
            clean, total = torch.from_numpy(x[rows]), torch.zeros_like(learned)
            chosen = bandit.choose(self.arms)
            for arm in chosen:
                gradient, resistance = self._gradient(goals[arm], clean, rows, learned, draw)
                total += gradient / gradient.norm().clamp_min(torch.finfo(gradient.dtype).tiny)
                bandit.reward(arm, resistance)
            learned = self.stepped(learned, total)
        self.records = [
            SurrogateRecord(name, int(bandit.pulls[arm]), float(bandit.means[arm]))
            for arm, name in enumerate(self.surrogate_names)
        ]
        return learned

    def _gradient(
        self, goal: _Goal, clean: Tensor, rows: np.ndarray, learned: Tensor, draw: np.random.Generator
    ) -> tuple[Tensor, float]:
        """The gradient of the mean objective of a surrogate in what is learned, and how much it withstands."""
        estimator = goal.estimator
        estimator.model.eval()
        leaf = learned.detach().requires_grad_(True)
        images = self.changed(clean, leaf, draw)
        on_device = images.detach().to(estimator.device)
        withstood, towards = score_and_gradient(estimator, on_device, goal.objective(clean, rows))
        gradient = torch.autograd.grad(images, leaf, towards.to(images) / len(clean))[0]
        return gradient.nan_to_num(), float(withstood.double().mean().nan_to_num().clamp(0, 1))

    def _batches(self, count: int) -> Iterator[np.ndarray]:
        """Rows of one batch after the other: all images once, in an order of its own, before any comes again."""
        draw = np.random.default_rng([self.seed, 1])
        while True:
            order = draw.permutation(count)
            for start in range(0, count, self.batch_size):
                yield order[start : start + self.batch_size]

    def _check_params(self) -> None:
        for name, least in (("max_iter", 0), ("batch_size", 1), ("arms", 1), ("seed", 0)):
            check_whole_number(self, name, least)
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, not {self.loss!r}.")
        if not self.surrogates or not all(isinstance(one, ZeroShotClassifier) for one in self.surrogates):
            raise ValueError("surrogates must be a list of ZeroShotClassifier, at least one.")
        if len(self.surrogate_names) != len(self.surrogates):
            raise ValueError(f"{len(self.surrogate_names)} names came for {len(self.surrogates)} surrogates.")
        if self.arms > len(self.surrogates):
            raise ValueError(f"arms is {self.arms}, and there are {len(self.surrogates)} surrogates to choose from.")
        if not (np.isfinite(self.exploration) and self.exploration >= 0):
            raise ValueError(f"exploration must be a finite number of at least 0, not {self.exploration!r}.")


class _Goal:
    """What is raised on one surrogate.

    :param target: A text; with ``"cross_entropy"`` the name of a class.
    :param count: Of all images, whose embeddings or answers before are remembered.
    """

    def __init__(self, estimator: ZeroShotClassifier, loss: str, target: str | None, count: int) -> None:
        self.estimator, self.loss = estimator, loss
        self._before: list[Tensor | None] = [None] * count
        self._text: Tensor | None = None
        self._label: int | None = None
        if target is not None and loss == "similarity":
            encoder = estimator.dual_encoder
            with torch.no_grad():
                self._text = encoder.encode_text(encoder.tokenize([target]).to(encoder.device))
        elif target is not None:
            if target not in estimator.class_names:
                raise unknown_name("class", target, estimator.class_names)
            self._label = estimator.class_names.index(target)

    def objective(self, clean: Tensor, rows: np.ndarray) -> Objective:
        """For images as the model takes them: what is raised, and how much is withstood, ``[N]`` each."""
        module = self.estimator.model
        if self.loss == "similarity":
            own = self._known(clean, rows) if self._text is None else self._text
            sign = -1 if self._text is None else 1

            def similar(inputs: Tensor) -> tuple[Tensor, Tensor]:
                cosine = (F.normalize(module.image_features(inputs), dim=-1) * own).sum(dim=1)
                return sign * cosine, (1 - sign * cosine) / 2

            return similar
        classes = self.estimator.class_features()
        if self._label is None:
            labels = self._known(clean, rows)
        else:
            labels = torch.full((len(rows),), self._label, device=self.estimator.device)
        scale, wanted = Unsaturated(labels, classes.dtype), self._label is not None

        def classified(inputs: Tensor) -> tuple[Tensor, Tensor]:
            logits = module.head.similarity(module.image_features(inputs), classes)
            probability = logits.softmax(dim=1).gather(1, labels[:, None])[:, 0]
            raised = class_cross_entropy(scale(logits), labels)
            return (-raised, 1 - probability) if wanted else (raised, probability)

        return classified

    def _known(self, clean: Tensor, rows: np.ndarray) -> Tensor:
        """Of images before any change their unit embeddings ``[N, D]``, or their answers ``[N]``; computed once."""
        new = [place for place, row in enumerate(rows) if self._before[row] is None]
        if new:
            module, classes = self.estimator.model, self.estimator.class_features()
            with torch.no_grad():
                images = clean[new].to(self.estimator.device)
                features = module.image_features(preprocessed(self.estimator, images))
                if self.loss == "similarity":
                    said = F.normalize(features, dim=-1)
                else:
                    said = module.head.similarity(features, classes).argmax(dim=1)
            for place, one in zip(new, said, strict=True):
                self._before[rows[place]] = one
        return torch.stack([self._before[row] for row in rows])
