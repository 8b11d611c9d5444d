"""Gradients of one model, success on another: for models whose own gradients mislead an attacker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from art.attacks.attack import EvasionAttack
from art.estimators.estimator import BaseEstimator
from tqdm.auto import tqdm

from art_multimodal.attacks.checks import check_whole_number
from art_multimodal.attacks.evasion.multimodal.judging import labels_for, margins
from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.models.families.modular.model import ModularModel
from art_multimodal.models.fusions import Equilibrium
from art_multimodal.models.fusions.fusion import with_options

#: Makes an attack on samples for the classifier that it is given.
AttackFactory = Callable[[FusionClassifier], EvasionAttack]


def with_fusion_options(classifier: FusionClassifier, **options: Any) -> FusionClassifier:
    """A classifier that differs in options of its fusion only; weights, loss and defences are shared, not copied.

    So an attacker gets smooth gradients: ``beta=3.0`` of a steep consensus, ``unroll=5`` of an equilibrium. Training
    one trains the other.

    >>> from art_multimodal.models.families.modular.towers import fitting_model
    >>> steep = FusionClassifier(fitting_model("consensus", sensors.modalities.values(), views.class_names, beta=20.0))
    >>> smooth = with_fusion_options(steep, beta=3.0)
    >>> smooth.multimodal.fusion.beta, steep.multimodal.fusion.beta
    (3.0, 20.0)

    :param classifier: Its model is a :class:`ModularModel`.
    :param options: Of the fusion. The others stay.
    :raises InputError: For another model, or options that its fusion does not have or refuses.
    """
    model = classifier.multimodal
    if type(model) is not ModularModel:
        raise InputError(f"Options of a fusion are those of a ModularModel, not of a {type(model).__name__}.")
    changed = ModularModel(list(model.towers.values()), with_options(model.fusion, **options), model.class_names)  # type: ignore[arg-type]
    # Not by train(), which would turn the towers that are shared.
    changed.training = model.training
    return FusionClassifier(
        changed,
        loss=classifier.loss,
        preprocessing_defences=classifier.defences,
        postprocessing_defences=classifier.postprocessing_defences,
        device_type="cpu" if classifier.device.type == "cpu" else "gpu",
    )


def unrolled_classifiers(classifier: FusionClassifier, steps: Sequence[int] = (1, 5, 20)) -> list[FusionClassifier]:
    """Classifiers that apply the layer of an equilibrium model so often, with gradients through all applications.

    The fixed point's own gradient is implicit, and that of no function where the solver has not converged. Weights are
    shared.

    >>> from art_multimodal.models.families.modular.towers import fitting_model
    >>> equilibrium = FusionClassifier(fitting_model("deq", sensors.modalities.values(), views.class_names))
    >>> [one.multimodal.fusion.unroll for one in unrolled_classifiers(equilibrium, steps=(1, 5))]
    [1, 5]

    :param classifier: Its fusion is ``deq``.
    :param steps: Applications, for each classifier.
    :raises InputError: For another model, or no step.
    """
    if not isinstance(getattr(classifier.multimodal, "fusion", None), Equilibrium):
        raise InputError("unrolled_classifiers() needs a model whose fusion is an equilibrium, deq.")
    if not steps or min(steps) < 1:
        raise InputError(f"steps are whole numbers of at least 1, such as (1, 5, 20), not {steps!r}.")
    return [with_fusion_options(classifier, unroll=count) for count in steps]


class SurrogateGradient(EvasionAttack):
    """An attack that is made on other classifiers and judged on this one: of several results the worst counts.

    Each surrogate is attacked in turn with the samples that the classifier still has right. Of each sample what
    misleads the classifier most is kept, by the margin of its scores, clean samples included. Put the classifier itself
    first among the surrogates, and its own gradients compete: what falls through a surrogate only was masked by them.

    | Paper link: https://arxiv.org/abs/1802.00420 (obfuscated gradients)

    >>> from art_multimodal.attacks.evasion import ProjectedGradientDescentMultimodal
    >>> late = FusionClassifier(load_model("demo:views/late"))
    >>> def pgd(model):
    ...     return ProjectedGradientDescentMultimodal(model, {"pix": 0.1}, max_iter=1, seed=0, verbose=False)
    ...
    >>> SurrogateGradient(sensors, pgd, [sensors, late], verbose=False).generate(x, y).shape
    (8,)
    """

    attack_params = EvasionAttack.attack_params + ["attack", "surrogates", "targeted", "batch_size", "verbose"]
    _estimator_requirements = (BaseEstimator, FusionClassifier)

    def __init__(
        self,
        estimator: FusionClassifier,
        attack: AttackFactory,
        surrogates: Sequence[FusionClassifier],
        targeted: bool = False,
        batch_size: int = 128,
        verbose: bool = True,
    ) -> None:
        """
        :param estimator: The classifier that is to be misled.
        :param attack: ``lambda classifier: ...`` makes an attack on samples for the classifier that it is given.
        :param surrogates: What the attack is made on, one after the other; over the same modalities and classes.
        :param targeted: The labels are wanted; the attacks that the factory makes must be targeted, too.
        :param batch_size: Samples per forward pass, where they are judged.
        :param verbose: Show a progress bar.
        :raises InputError: If there is no surrogate, or one over other modalities or classes.
        """
        super().__init__(estimator=estimator)
        self.attack = attack
        self.surrogates = surrogates
        self._targeted = targeted
        self.batch_size = batch_size
        self.verbose = verbose
        #: For each sample of the last call the number of the surrogate that misled most; -1 for the sample itself.
        self.best: np.ndarray = np.zeros(0, dtype=np.int64)
        self._check_params()

    def generate(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs: Any) -> np.ndarray:
        """Return adversarial samples ``(N,)``.

        :param x: Samples ``(N,)`` of the classifier.
        :param y: Labels as indices or one-hot rows: the true ones, or the wanted ones when targeted. Without them the
            classifier's own predictions are used.
        :raises InputError: For samples or labels that cannot be used.
        """
        x = self.estimator.checked(x)
        labels = labels_for(self, x, y)
        found, harm = x.copy(), self._harm(x, labels)
        self.best = np.full(len(x), -1, dtype=np.int64)
        for number, surrogate in enumerate(tqdm(self.surrogates, desc="Surrogates", disable=not self.verbose)):
            left = np.flatnonzero(harm <= 0)
            if not len(left):
                break
            attacked = self.estimator.checked(self.attack(surrogate).generate(x[left], labels[left]))
            after = self._harm(attacked, labels[left])
            better = after > harm[left]
            rows = left[better]
            found[rows], harm[rows], self.best[rows] = attacked[better], after[better], number
        return found

    def _harm(self, x: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return margins(self, x, labels)

    def _check_params(self) -> None:
        if not callable(self.attack):
            raise InputError(f"attack is a function that makes an attack on a classifier, not {self.attack!r:.80}.")
        if not self.surrogates:
            raise InputError("Give at least one surrogate: another classifier, or the classifier itself.")
        for surrogate in self.surrogates:
            if not isinstance(surrogate, FusionClassifier):
                raise InputError(f"A surrogate is a FusionClassifier, not {type(surrogate).__name__}.")
            if surrogate.modalities != self.estimator.modalities or surrogate.nb_classes != self.estimator.nb_classes:
                raise InputError("A surrogate must take the same modalities, and know as many classes.")
        check_whole_number(self, "batch_size", 1)
