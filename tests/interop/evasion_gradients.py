"""Rows of evasion attacks that follow gradients within a budget."""

from __future__ import annotations

import numpy as np
from art.attacks import evasion as art
from art.attacks.attack import EvasionAttack
from art.estimators.classification import PyTorchClassifier
from interop.evasion import EDGE, INF, attack_row, guides, with_probabilities, wrapped
from interop.row import Broken

EPS = 0.15
quiet = {"verbose": False}
steps = {"eps": EPS, "eps_step": 0.03, "max_iter": 10, "verbose": False}
in_l2 = {"norm": 2, "eps": 3.2, "eps_step": 0.8, "max_iter": 10, "verbose": False}
faint = {"lambda_tv": 0.01, "lambda_c": 0.01, "lambda_s": 0.01, "verbose": False}
linf, l2 = (INF, EPS), (2, 3.2)


def auto_attack(view: PyTorchClassifier) -> EvasionAttack:
    return art.AutoAttack(
        view,
        eps=EPS,
        eps_step=0.03,
        attacks=[
            art.AutoProjectedGradientDescent(view, loss_type="cross_entropy", nb_random_init=1, **steps),
            art.AutoProjectedGradientDescent(view, loss_type="difference_logits_ratio", nb_random_init=1, **steps),
            art.DeepFool(view, max_iter=10, **quiet),
            art.SquareAttack(view, eps=EPS, max_iter=50, **quiet),
        ],
    )


def virtual(view: PyTorchClassifier, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Restarts, as the sign of the direction is chance."""
    attack = art.VirtualAdversarialMethod(with_probabilities(view), eps=9.0, max_iter=1, finite_diff=0.1, **quiet)
    best = x
    for _ in range(4):
        missed = view.predict(best).argmax(axis=1) == y.argmax(axis=1)
        best = np.where(missed[:, None, None, None], attack.generate(x), best)
    return best


ROWS = [
    attack_row("FastGradientMethod", art.FastGradientMethod, lambda v: art.FastGradientMethod(v, eps=EPS), linf, 0.3),
    attack_row(
        "FastGradientMethod in L2",
        art.FastGradientMethod,
        lambda v: art.FastGradientMethod(v, norm=2, eps=3.2),
        l2,
        0.3,
    ),
    attack_row(
        "FastGradientMethod, smallest that flips",
        art.FastGradientMethod,
        lambda v: art.FastGradientMethod(v, eps=EPS, eps_step=0.02, minimal=True),
        linf,
        0.3,
    ),
    attack_row(
        "FastGradientMethod with restarts",
        art.FastGradientMethod,
        lambda v: art.FastGradientMethod(v, eps=EPS, num_random_init=3),
        linf,
        0.3,
    ),
    attack_row("BasicIterativeMethod", art.BasicIterativeMethod, lambda v: art.BasicIterativeMethod(v, **steps), linf),
    attack_row(
        "ProjectedGradientDescent",
        art.ProjectedGradientDescent,
        lambda v: art.ProjectedGradientDescent(v, num_random_init=2, **steps),
        linf,
    ),
    attack_row(
        "ProjectedGradientDescent in L2",
        art.ProjectedGradientDescent,
        lambda v: art.ProjectedGradientDescent(v, **in_l2),
        l2,
    ),
    attack_row(
        "ProjectedGradientDescent in L1",
        art.ProjectedGradientDescent,
        lambda v: art.ProjectedGradientDescent(v, norm=1, eps=30.0, eps_step=0.5, max_iter=20, **quiet),
        (1, 30.0),
        broken=Broken(
            "attacks/evasion/projected_gradient_descent/projected_gradient_descent_pytorch.py:351 moves the one value "
            "with the largest gradient, and the same again when it is at its limit; _numpy.py, too",
            AssertionError,
            "the norms 2 or inf",
        ),
    ),
    attack_row(
        "ProjectedGradientDescent, targeted",
        art.ProjectedGradientDescent,
        lambda v: art.ProjectedGradientDescent(v, targeted=True, **{**steps, "max_iter": 20}),
        linf,
        targets=True,
    ),
    attack_row(
        "ProjectedGradientDescentNumpy",
        art.ProjectedGradientDescentNumpy,
        lambda v: art.ProjectedGradientDescentNumpy(v, **steps),
        linf,
    ),
    attack_row(
        "ProjectedGradientDescentPyTorch",
        art.ProjectedGradientDescentPyTorch,
        lambda v: art.ProjectedGradientDescentPyTorch(v, **steps),
        linf,
    ),
    attack_row(
        "MomentumIterativeMethod",
        art.MomentumIterativeMethod,
        lambda v: art.MomentumIterativeMethod(v, **steps),
        linf,
    ),
    attack_row(
        "AutoProjectedGradientDescent, cross-entropy",
        art.AutoProjectedGradientDescent,
        lambda v: art.AutoProjectedGradientDescent(v, loss_type="cross_entropy", nb_random_init=2, **steps),
        linf,
    ),
    attack_row(
        "AutoProjectedGradientDescent, logits ratio",
        art.AutoProjectedGradientDescent,
        lambda v: art.AutoProjectedGradientDescent(v, loss_type="difference_logits_ratio", nb_random_init=2, **steps),
        linf,
    ),
    attack_row(
        "AutoProjectedGradientDescent in L2",
        art.AutoProjectedGradientDescent,
        lambda v: art.AutoProjectedGradientDescent(v, loss_type="cross_entropy", nb_random_init=1, **in_l2),
        l2,
    ),
    attack_row(
        "AutoConjugateGradient in L2",
        art.AutoConjugateGradient,
        lambda v: art.AutoConjugateGradient(v, nb_random_init=1, **in_l2),
        l2,
        note="Give `y`: without it, ART fails.",
    ),
    attack_row(
        "RescalingAutoConjugateGradient in L2",
        art.RescalingAutoConjugateGradient,
        lambda v: art.RescalingAutoConjugateGradient(v, nb_random_init=1, **in_l2),
        l2,
        note="Give `y`: without it, ART fails.",
    ),
    attack_row(
        "AutoConjugateGradient in Linf",
        art.AutoConjugateGradient,
        lambda v: art.AutoConjugateGradient(v, nb_random_init=1, **steps),
        linf,
        broken=Broken(
            "attacks/evasion/auto_conjugate_gradient.py:499 takes the sign of the direction and then steps along the "
            "direction without it, which hardly moves",
            AssertionError,
            "the norm 2, or AutoProjectedGradientDescent",
        ),
    ),
    attack_row(
        "RescalingAutoConjugateGradient in Linf",
        art.RescalingAutoConjugateGradient,
        lambda v: art.RescalingAutoConjugateGradient(v, nb_random_init=1, **steps),
        linf,
        broken=Broken(
            "attacks/evasion/rescaling_auto_conjugate_gradient.py:499 takes the sign of the direction and then steps "
            "along the direction without it, which hardly moves",
            AssertionError,
            "the norm 2, or AutoProjectedGradientDescent",
        ),
    ),
    attack_row(
        "AutoAttack",
        art.AutoAttack,
        auto_attack,
        linf,
        needs=("multiprocess",),
    ),
    attack_row("DeepFool", art.DeepFool, lambda v: art.DeepFool(v, max_iter=20, **quiet)),
    attack_row(
        "NewtonFool",
        art.NewtonFool,
        lambda v: art.NewtonFool(with_probabilities(v), max_iter=80, eta=0.1, **quiet),
        at_least=0.3,
        note="On `with_probabilities()`.",
    ),
    attack_row(
        "CarliniL2Method",
        art.CarliniL2Method,
        lambda v: art.CarliniL2Method(
            v, max_iter=20, binary_search_steps=3, initial_const=10, learning_rate=0.1, batch_size=6, **quiet
        ),
    ),
    attack_row(
        "CarliniLInfMethod",
        art.CarliniLInfMethod,
        lambda v: art.CarliniLInfMethod(v, max_iter=10, learning_rate=0.1, initial_const=1, batch_size=6, **quiet),
    ),
    attack_row(
        "CarliniL0Method",
        art.CarliniL0Method,
        lambda v: art.CarliniL0Method(
            v, max_iter=20, binary_search_steps=2, initial_const=10, learning_rate=0.1, batch_size=6, **quiet
        ),
        slow=True,
    ),
    attack_row(
        "ElasticNet",
        art.ElasticNet,
        lambda v: art.ElasticNet(
            v, max_iter=20, binary_search_steps=3, initial_const=1, learning_rate=0.1, batch_size=6, **quiet
        ),
    ),
    attack_row(
        "SaliencyMapMethod",
        art.SaliencyMapMethod,
        lambda v: art.SaliencyMapMethod(v, theta=0.3, gamma=1.0, **quiet),
        targets=True,
        at_least=0.5,
        slow=True,
    ),
    attack_row(
        "VirtualAdversarialMethod",
        art.VirtualAdversarialMethod,
        wrapped(virtual),
        (2, 9.0),
        at_least=0.5,
        count=2,
        note="On `with_probabilities()`. The sign of the direction that it finds is chance: restart it.",
        slow=True,
    ),
    attack_row(
        "UniversalPerturbation",
        art.UniversalPerturbation,
        lambda v: art.UniversalPerturbation(
            v, attacker="pgd", attacker_params=steps, max_iter=3, eps=0.3, delta=0.05, **quiet
        ),
        (INF, 0.3),
        0.3,
    ),
    attack_row(
        "TargetedUniversalPerturbation",
        art.TargetedUniversalPerturbation,
        lambda v: art.TargetedUniversalPerturbation(
            v, attacker="fgsm", attacker_params={"eps": 0.25, "targeted": True}, max_iter=3, eps=0.3, delta=0.05
        ),
        (INF, 0.3),
        0.3,
        targets=True,
    ),
    attack_row(
        "FrameSaliencyAttack",
        art.FrameSaliencyAttack,
        lambda v: art.FrameSaliencyAttack(v, art.ProjectedGradientDescent(v, **steps), **quiet),
        linf,
        note="Made for videos; on images its frames are the colour channels.",
    ),
    attack_row(
        "FeatureAdversariesNumpy",
        art.FeatureAdversariesNumpy,
        wrapped(
            lambda v, x, y: art.FeatureAdversariesNumpy(v, delta=0.25, layer=0, batch_size=64).generate(
                x, guides(v, len(x), y), maxiter=3, maxfun=3000, eps=1e-2
            )
        ),
        (INF, 0.25),
        count=2,
        at_least=0.5,
        not_for={"fusion": "applies, but is not measured: numerical gradients, once for each text"},
        note="`y` are images whose activations are imitated.",
        slow=True,
    ),
    attack_row(
        "FeatureAdversariesPyTorch",
        art.FeatureAdversariesPyTorch,
        wrapped(
            lambda v, x, y: art.FeatureAdversariesPyTorch(
                v, delta=0.25, layer=0, max_iter=20, step_size=0.03, **quiet
            ).generate(x, guides(v, len(x), y))
        ),
        (INF, 0.25),
        note="`y` are images whose activations are imitated.",
    ),
    attack_row(
        "Wasserstein",
        art.Wasserstein,
        lambda v: art.Wasserstein(
            v,
            regularization=1000,
            norm="inf",
            eps=2.0,
            eps_step=0.1,
            eps_factor=1.3,
            eps_iter=2,
            max_iter=15,
            conjugate_sinkhorn_max_iter=20,
            projected_sinkhorn_max_iter=20,
            batch_size=6,
            **quiet,
        ),
    ),
    attack_row(
        "ShadowAttack",
        art.ShadowAttack,
        wrapped(
            lambda v, x, y: np.concatenate(
                [
                    art.ShadowAttack(
                        v, nb_steps=60, batch_size=8, sigma=0.2, learning_rate=5.0, targeted=True, **faint
                    ).generate(x[i : i + 1], y[i : i + 1])
                    for i in range(len(x))
                ]
            )
        ),
        count=3,
        targets=True,
        note="Takes one image at a time.",
    ),
    attack_row(
        "BrendelBethgeAttack",
        "art.attacks.evasion.brendel_bethge.BrendelBethgeAttack",
        lambda v: art.BrendelBethgeAttack(v, norm=2, steps=20, binary_search_steps=5, init_size=50, batch_size=6),
        edge=EDGE,
        needs=("numba",),
        slow=True,
    ),
    attack_row(
        "CompositeAdversarialAttackPyTorch",
        art.CompositeAdversarialAttackPyTorch,
        lambda v: art.CompositeAdversarialAttackPyTorch(
            v, pgd_epsilon=(-EPS, EPS), max_iter=3, max_inner_iter=10, batch_size=6, **quiet
        ),
        needs=("kornia",),
    ),
]
