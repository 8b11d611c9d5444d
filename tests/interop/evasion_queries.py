"""Rows of evasion attacks that only ask for predictions, of patches and of transformations."""

from __future__ import annotations

import numpy as np
from art.attacks import evasion as art
from art.estimators.classification import PyTorchClassifier
from interop.evasion import EDGE, INF, attack_row, guides, with_probabilities, wrapped
from interop.row import Broken

quiet = {"verbose": False}


def patched(kind: type, **settings) -> object:
    """A patch attack returns a patch; this returns the images with the patch on them."""

    def work(view: PyTorchClassifier, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        attack = kind(view, rotation_max=0.0, scale_min=0.7, scale_max=0.8, max_iter=40, **settings, **quiet)
        attack.generate(x, y)
        return attack.apply_patch(x, scale=0.8)

    return wrapped(work)


def graphite_black(view: PyTorchClassifier, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    targets = guides(view, len(x), y)
    wanted = view.predict(targets)
    attack = art.GRAPHITEBlackbox(
        view,
        noise_size=(12, 12),
        net_size=(12, 12),
        heat_patch_size=(4, 4),
        heat_patch_stride=(4, 4),
        num_xforms_mask=4,
        num_xforms_boost=4,
        num_boost_queries=50,
        rotation_range=(0.0, 0.0),
        gamma_range=(1.0, 1.1),
        blur_kernels=[1],
    )
    return attack.generate(x, wanted, x_tar=targets)


ROWS = [
    attack_row(
        "SquareAttack",
        art.SquareAttack,
        lambda v: art.SquareAttack(v, eps=0.2, max_iter=150, **quiet),
        (INF, 0.2),
    ),
    attack_row(
        "SquareAttack in L2",
        art.SquareAttack,
        lambda v: art.SquareAttack(v, norm=2, eps=6.0, max_iter=200, **quiet),
        (2, 6.0),
        at_least=0.5,
    ),
    attack_row(
        "HopSkipJump",
        art.HopSkipJump,
        lambda v: art.HopSkipJump(v, max_iter=3, max_eval=30, init_eval=10, init_size=50, **quiet),
        edge=EDGE,
    ),
    attack_row(
        "HopSkipJump in Linf",
        art.HopSkipJump,
        lambda v: art.HopSkipJump(v, norm=np.inf, max_iter=3, max_eval=30, init_eval=10, init_size=50, **quiet),
        edge=EDGE,
    ),
    attack_row(
        "BoundaryAttack",
        art.BoundaryAttack,
        lambda v: art.BoundaryAttack(v, targeted=False, max_iter=10, num_trial=10, init_size=50, **quiet),
        edge=EDGE,
    ),
    attack_row(
        "SignOPTAttack",
        art.SignOPTAttack,
        lambda v: art.SignOPTAttack(v, targeted=False, max_iter=10, query_limit=1000, num_trial=20, k=10, **quiet),
        edge=EDGE,
    ),
    attack_row(
        "SimBA, pixels",
        art.SimBA,
        lambda v: art.SimBA(with_probabilities(v), attack="px", max_iter=432, epsilon=0.2, **quiet),
        note="On `with_probabilities()`.",
    ),
    attack_row(
        "SimBA, DCT",
        art.SimBA,
        lambda v: art.SimBA(
            with_probabilities(v), attack="dct", freq_dim=4, stride=1, max_iter=200, epsilon=0.5, **quiet
        ),
        note="On `with_probabilities()`.",
    ),
    attack_row(
        "ZooAttack",
        art.ZooAttack,
        lambda v: art.ZooAttack(
            v,
            max_iter=100,
            use_resize=False,
            use_importance=False,
            nb_parallel=128,
            learning_rate=0.2,
            initial_const=100.0,
            binary_search_steps=1,
            **quiet,
        ),
        count=3,
        at_least=0.3,
        slow=True,
    ),
    attack_row(
        "PixelAttack",
        art.PixelAttack,
        lambda v: art.PixelAttack(v, th=100, es=1, max_iter=15, **quiet),
        count=3,
        at_least=0.3,
        slow=True,
    ),
    attack_row(
        "ThresholdAttack",
        art.ThresholdAttack,
        lambda v: art.ThresholdAttack(v, th=127, es=1, max_iter=10, **quiet),
        count=3,
    ),
    attack_row(
        "SpatialTransformation",
        art.SpatialTransformation,
        lambda v: art.SpatialTransformation(
            v, max_translation=40, num_translations=3, max_rotation=90, num_rotations=4, **quiet
        ),
        at_least=0.5,
    ),
    attack_row(
        "AdversarialPatch",
        art.AdversarialPatch,
        patched(art.AdversarialPatch, patch_shape=(3, 12, 12), targeted=False, learning_rate=0.2),
        at_least=0.3,
    ),
    attack_row(
        "AdversarialPatchPyTorch",
        art.AdversarialPatchPyTorch,
        patched(art.AdversarialPatchPyTorch, patch_shape=(3, 12, 12), targeted=False, learning_rate=0.2),
        at_least=0.3,
    ),
    attack_row(
        "AdversarialPatchNumpy",
        art.AdversarialPatchNumpy,
        patched(art.AdversarialPatchNumpy, learning_rate=0.5),
        broken=Broken(
            "attacks/evasion/adversarial_patch/adversarial_patch_numpy.py:615 takes a float only, and clip values are "
            "numpy.float32",
            AttributeError,
            "AdversarialPatch or AdversarialPatchPyTorch",
        ),
    ),
    attack_row(
        "GeoDA",
        art.GeoDA,
        lambda v: art.GeoDA(v, max_iter=500, **quiet),
        count=3,
        broken=Broken(
            "attacks/evasion/geometric_decision_based_attack.py:160 calls np.mat, which numpy 2 has not",
            AttributeError,
            "HopSkipJump or SignOPTAttack",
        ),
    ),
    attack_row(
        "GRAPHITEBlackbox",
        art.GRAPHITEBlackbox,
        wrapped(graphite_black),
        count=2,
        needs=("cv2", "kornia"),
        at_least=0.5,
    ),
    attack_row(
        "GRAPHITEWhiteboxPyTorch",
        art.GRAPHITEWhiteboxPyTorch,
        lambda v: art.GRAPHITEWhiteboxPyTorch(
            v,
            net_size=(12, 12),
            num_xforms=2,
            steps=10,
            first_steps=40,
            step_size=0.03,
            rotation_range=(0.0, 0.0),
            gamma_range=(1.0, 1.1),
            blur_kernels=[1],
            patch_removal_size=4,
            patch_removal_interval=4,
        ),
        targets=True,
        count=2,
        at_least=0.5,
        needs=("cv2", "kornia"),
    ),
]
