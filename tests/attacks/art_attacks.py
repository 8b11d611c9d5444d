"""ART's image attacks by name, and a witness of the texts that a model evaluates images with."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import numpy as np
import torch
from art.attacks import evasion
from art.attacks.attack import EvasionAttack
from tiny import TinyFusion, TinyJointFusion

from art_multimodal.demo.towers import FIRST_BYTE
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.text_bound import TextBoundClassifier
from art_multimodal.models.fusion import FusionModel
from art_multimodal.pairs import image_text_pairs

TEXTS = ["a cat", "red", "a cat", "what is this?", "", "red", "a cat"]
#: The module, which its function hides.
MODULE = import_module("art_multimodal.attacks.evasion.for_each_sample")
MODELS = {"separate": TinyFusion, "joint": TinyJointFusion}

Factory = Callable[[TextBoundClassifier], EvasionAttack]


def make_pairs(texts: list[str] = TEXTS, size: tuple[int, int] = (8, 8), seed: int = 3) -> np.ndarray:
    images = np.random.default_rng(seed).random((len(texts), 3, *size), dtype=np.float32)
    return image_text_pairs(images, texts, allow_empty=True)


def make(model: type[FusionModel] = TinyFusion) -> FusionClassifier:
    return FusionClassifier(model().eval(), device_type="cpu")


def one_hot(classifier: FusionClassifier, pairs: np.ndarray, shift: int = 0) -> np.ndarray:
    """The predicted labels, or others, so that every row is worth an attack."""
    return np.eye(3, dtype=np.float32)[(classifier.predict_labels(pairs) + shift) % 3]


class Witness:
    """Counts the rows that a model evaluates with a text that is not theirs, from what reaches the model itself.

    A row's own text is known in two ways, and both are asked: an attack was given these samples (:meth:`noting`), so
    either they all have one text or rows must come as the samples do; and an image close to one of the originals is
    that one, perturbed.
    """

    def __init__(self, model: FusionModel, pairs: np.ndarray) -> None:
        self.model, self.pairs = model, pairs
        self.rows = self.wrong = 0
        self.under_attack: list[int] = []
        self._originals = torch.from_numpy(pairs["image"].reshape(len(pairs), -1).copy())
        self._near = torch.pdist(self._originals).min() / 2
        self._texts = list(dict.fromkeys(pairs["text"]))
        if model.separate_towers:
            self._features = torch.cat([model.text_tower(model.tokenize([text])) for text in self._texts]).detach()
            self._watch("image_tower", lambda pixels: setattr(self, "_pixels", pixels))
            self._watch("join", lambda images, features: self._see(self._pixels, self._texts_of(features)))
        else:
            self._watch("joint_tower", lambda pixels, tokens: self._see(pixels, [*map(text_of, tokens["ids"])]))

    def noting(self, factory: Factory) -> Factory:
        """Let the attacks of a factory say which samples they were given."""

        def make(view: TextBoundClassifier) -> EvasionAttack:
            attack = factory(view)
            generate = attack.generate

            def note(x: np.ndarray, *args, **kwargs) -> np.ndarray:
                self.under_attack = [int(np.flatnonzero((self.pairs["image"] == row).all((1, 2, 3)))[0]) for row in x]
                try:
                    return generate(x, *args, **kwargs)
                finally:
                    self.under_attack = []

            attack.generate = note
            return attack

        return make

    def _watch(self, name: str, look: Callable[..., None]) -> None:
        method = getattr(self.model, name)

        def watched(*inputs):
            look(*inputs)
            return method(*inputs)

        setattr(self.model, name, watched)

    def _texts_of(self, features: torch.Tensor) -> list[str]:
        distances = torch.cdist(features.detach(), self._features)
        assert distances.min(dim=1).values.max() < 1e-3
        return [self._texts[index] for index in distances.argmin(dim=1)]

    def _see(self, pixels: torch.Tensor, texts: list[str]) -> None:
        assert len(pixels) == len(texts)
        preprocess = self.model.preprocess
        images = (pixels.detach() * preprocess.std + preprocess.mean).flatten(1)
        distances, nearest = torch.cdist(images, self._originals).min(dim=1)
        own = [self.pairs["text"][sample] for sample in self.under_attack]
        for row, text in enumerate(texts):
            wanted = {self.pairs["text"][int(nearest[row])]} if distances[row] < self._near else set()
            if own:
                wanted.add(own[0] if len(set(own)) == 1 else own[row] if len(own) == len(texts) else None)
            self.rows += 1
            self.wrong += wanted not in (set(), {text})


def text_of(ids: torch.Tensor) -> str:
    return bytes(int(token) - FIRST_BYTE for token in ids if token >= FIRST_BYTE).decode()


class Simple(EvasionAttack):
    """An attack that takes nothing but the classifier."""

    _estimator_requirements = ()
    batch_size = 4

    def __init__(self, estimator: TextBoundClassifier) -> None:
        super().__init__(estimator=estimator)


class PatchedImages(Simple):
    """ART's patch attack returns a patch; this returns the images with the patch on them."""

    def __init__(self, estimator: TextBoundClassifier) -> None:
        super().__init__(estimator)
        self.attack = evasion.AdversarialPatchPyTorch(estimator, patch_shape=(3, 4, 4), max_iter=2, verbose=False)

    def generate(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs) -> np.ndarray:
        self.attack.generate(x, y)
        return self.attack.apply_patch(x, scale=0.5)


def auto_attack(view: TextBoundClassifier) -> EvasionAttack:
    return evasion.AutoAttack(view, attacks=[ATTACKS[name](view) for name in ("apgd", "deepfool", "square")])


quiet = {"verbose": False}
small = {"eps": 0.1, "eps_step": 0.04}
few = {**small, "max_iter": 3, "verbose": False}

#: Attacks that get whole batches: kept in two of four and three.
IN_BATCHES: dict[str, Factory] = {
    "fgm": lambda view: evasion.FastGradientMethod(view, eps=0.1, batch_size=4),
    "fgm_l2": lambda view: evasion.FastGradientMethod(view, norm=2, eps=0.5, batch_size=4),
    "fgm_minimal": lambda view: evasion.FastGradientMethod(view, eps=0.1, eps_step=0.02, minimal=True, batch_size=4),
    "fgm_restarts": lambda view: evasion.FastGradientMethod(view, eps=0.1, num_random_init=3, batch_size=4),
    "pgd": lambda view: evasion.ProjectedGradientDescent(view, batch_size=4, **few),
    "pgd_restarts": lambda view: evasion.ProjectedGradientDescent(view, num_random_init=3, batch_size=4, **few),
    "pgd_random_eps": lambda view: evasion.ProjectedGradientDescent(view, random_eps=True, batch_size=4, **few),
    "pgd_pytorch": lambda view: evasion.ProjectedGradientDescentPyTorch(view, num_random_init=2, batch_size=4, **few),
    "mim": lambda view: evasion.MomentumIterativeMethod(view, batch_size=4, **few),
    "deepfool": lambda view: evasion.DeepFool(view, max_iter=5, batch_size=4, verbose=False),
    "deepfool_some_classes": lambda view: evasion.DeepFool(view, max_iter=3, nb_grads=2, batch_size=4, verbose=False),
}

ATTACKS: dict[str, Factory] = {
    **IN_BATCHES,
    "bim": lambda view: evasion.BasicIterativeMethod(view, **few),
    "pgd_numpy": lambda view: evasion.ProjectedGradientDescentNumpy(view, num_random_init=2, **few),
    "apgd": lambda view: evasion.AutoProjectedGradientDescent(
        view, loss_type="cross_entropy", nb_random_init=2, batch_size=4, **few
    ),
    "apgd_dlr": lambda view: evasion.AutoProjectedGradientDescent(
        view, loss_type="difference_logits_ratio", nb_random_init=2, **few
    ),
    "acg": lambda view: evasion.AutoConjugateGradient(view, nb_random_init=2, **few),
    "reacg": lambda view: evasion.RescalingAutoConjugateGradient(view, nb_random_init=2, **few),
    "autoattack": auto_attack,
    "square": lambda view: evasion.SquareAttack(view, eps=0.1, max_iter=15, nb_restarts=2, **quiet),
    "hop_skip_jump": lambda view: evasion.HopSkipJump(
        view, max_iter=2, max_eval=15, init_eval=7, init_size=20, batch_size=7, **quiet
    ),
    "boundary": lambda view: evasion.BoundaryAttack(
        view, targeted=False, max_iter=5, num_trial=7, init_size=20, batch_size=7, **quiet
    ),
    "simba": lambda view: evasion.SimBA(view.with_probabilities(), attack="px", max_iter=20, epsilon=0.2, **quiet),
    "simba_dct": lambda view: evasion.SimBA(
        view.with_probabilities(), attack="dct", freq_dim=4, stride=1, max_iter=20, epsilon=0.2, **quiet
    ),
    "zoo": lambda view: evasion.ZooAttack(
        view, max_iter=4, use_resize=False, use_importance=False, nb_parallel=4, binary_search_steps=2, **quiet
    ),
    "carlini_l0": lambda view: evasion.CarliniL0Method(view, max_iter=2, binary_search_steps=1, **quiet),
    "carlini_l2": lambda view: evasion.CarliniL2Method(view, max_iter=3, binary_search_steps=2, batch_size=4, **quiet),
    "carlini_linf": lambda view: evasion.CarliniLInfMethod(view, max_iter=2, batch_size=4, **quiet),
    "elastic_net": lambda view: evasion.ElasticNet(view, max_iter=3, binary_search_steps=2, batch_size=4, **quiet),
    "newton_fool": lambda view: evasion.NewtonFool(view.with_probabilities(), max_iter=3, batch_size=4, **quiet),
    "spatial": lambda view: evasion.SpatialTransformation(
        view, max_translation=20, num_translations=2, max_rotation=20, num_rotations=2, **quiet
    ),
    "pixel": lambda view: evasion.PixelAttack(view, th=2, es=1, max_iter=1, **quiet),
    "threshold": lambda view: evasion.ThresholdAttack(view, th=20, es=1, max_iter=1, **quiet),
    "virtual_adversarial": lambda view: evasion.VirtualAdversarialMethod(
        view.with_probabilities(), max_iter=1, batch_size=4, **quiet
    ),
    "saliency_map": lambda view: evasion.SaliencyMapMethod(view, theta=0.2, gamma=0.05, batch_size=4, **quiet),
    "universal": lambda view: evasion.UniversalPerturbation(view, attacker="fgsm", max_iter=2, eps=0.2, **quiet),
    "targeted_universal": lambda view: evasion.TargetedUniversalPerturbation(
        view, attacker="fgsm", max_iter=2, eps=0.2
    ),
    "wasserstein": lambda view: evasion.Wasserstein(
        view,
        regularization=1,  # more overflows on images this small
        max_iter=2,
        kernel_size=3,
        conjugate_sinkhorn_max_iter=5,
        projected_sinkhorn_max_iter=5,
        batch_size=4,
        **quiet,
    ),
    "sign_opt": lambda view: evasion.SignOPTAttack(
        view, targeted=False, max_iter=1, query_limit=30, num_trial=2, k=4, **quiet
    ),
    "frame_saliency": lambda view: evasion.FrameSaliencyAttack(
        view, evasion.FastGradientMethod(view, eps=0.1), **quiet
    ),
    "patch": PatchedImages,
}
# Not here: GeoDA (np.mat) and AdversarialPatchNumpy (makes no patch) are broken in ART under numpy 2; BrendelBethge
# needs numba and CompositeAdversarialAttack kornia, which ART does not install; ShadowAttack takes one image at a time,
# so no text may come twice; LaserAttack takes channels last only; FeatureAdversaries, GRAPHITE and LowProFool want more
# than images and labels. Square in L2 divides by zero on images this small.
