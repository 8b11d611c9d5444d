"""Universal perturbations and patches: budgets, strength against noise, surrogates, and other sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from art.attacks.evasion.adversarial_patch.adversarial_patch_pytorch import AdversarialPatchPyTorch
from tiny import TinyEncoder

from art_multimodal import InputError, ZeroShotClassifier
from art_multimodal.attacks.evasion.universal import (
    UniversalPatch,
    UniversalPatchAttack,
    UniversalPerturbation,
    UniversalPerturbationAttack,
    random_perturbation,
)
from art_multimodal.attacks.evasion.universal.patch import pasted

CLASSES = ("cat", "dog", "bird", "fish")


def classifier(seed: int = 0, side: int = 8) -> ZeroShotClassifier:
    return ZeroShotClassifier(TinyEncoder(side=side, seed=seed).eval(), CLASSES, device_type="cpu")


ONE, TWO = classifier(0), classifier(1)
#: Images that resemble one another, as those of a camera do.
IMAGES = (0.5 + 0.1 * np.random.default_rng(0).standard_normal((48, 3, 8, 8))).clip(0, 1).astype(np.float32)
UNSEEN = (0.5 + 0.1 * np.random.default_rng(1).standard_normal((64, 3, 8, 8))).clip(0, 1).astype(np.float32)


def attack(*surrogates: ZeroShotClassifier, **settings) -> UniversalPerturbationAttack:
    given = {"eps": 24 / 255, "eps_step": 4 / 255, "max_iter": 25, "batch_size": 16, "verbose": False, **settings}
    return UniversalPerturbationAttack(ONE, surrogates or None, **given)


def flipped(victim: ZeroShotClassifier, perturbation: UniversalPerturbation) -> float:
    return float((victim.predict_labels(perturbation.applied(UNSEEN)) != victim.predict_labels(UNSEEN)).mean())


@pytest.mark.parametrize("loss", ["similarity", "cross_entropy"])
@pytest.mark.parametrize(("norm", "eps"), [("inf", 24 / 255), (2, 1.0)])
def test_it_keeps_to_its_ball_and_beats_noise_on_unseen_images(norm, eps, loss) -> None:
    learned = attack(norm=norm, eps=eps, eps_step=eps / 6, loss=loss).fit(IMAGES).perturbation
    assert learned is not None and learned.values.shape == (3, 8, 8) and learned.values.dtype == np.float32
    # Rounding of 192 float32 numbers.
    assert learned.length() <= eps * (1 + 1e-5)
    assert learned.length() == pytest.approx(eps, rel=1e-3)
    noise = np.mean([flipped(ONE, random_perturbation(learned, seed)) for seed in range(5)])
    assert flipped(ONE, learned) > noise + 0.2
    found = learned.applied(UNSEEN)
    assert found.dtype == np.float32 and 0 <= found.min() <= found.max() <= 1
    np.testing.assert_allclose(found, np.clip(UNSEEN + learned.values, 0, 1))


def test_projection_of_noise_is_exact() -> None:
    zero = np.zeros((3, 5, 7), np.float32)
    assert random_perturbation(UniversalPerturbation(zero, "inf", 0.1), 0).length() == pytest.approx(0.1, rel=1e-6)
    assert random_perturbation(UniversalPerturbation(zero, "2", 3.0), 0).length() == pytest.approx(3.0, rel=1e-5)


@pytest.mark.parametrize("loss", ["similarity", "cross_entropy"])
def test_a_target(loss: str) -> None:
    target = "fish"
    learned = attack(ONE, TWO, arms=2, loss=loss, target=target, max_iter=40).fit(IMAGES).perturbation
    assert learned is not None and learned.target == target
    for victim in (ONE, TWO):
        share = (victim.predict_labels(learned.applied(UNSEEN)) == CLASSES.index(target)).mean()
        before = (victim.predict_labels(UNSEEN) == CLASSES.index(target)).mean()
        text = victim.dual_encoder.encode_text(victim.dual_encoder.tokenize([target]))[0]

        def cosine(x: np.ndarray, victim=victim, text=text) -> float:
            features = torch.nn.functional.normalize(victim.image_features(x), dim=-1)
            return float((features @ text.detach()).mean())

        if loss == "similarity":
            assert cosine(learned.applied(UNSEEN)) > cosine(UNSEEN) + 0.1
        else:
            assert share > max(before, 0.5)


def test_equal_seeds_give_equal_perturbations_and_nothing_global_is_touched() -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = attack(ONE, TWO, seed=5).fit(IMAGES)
    assert torch.equal(torch.get_rng_state(), state)
    again = attack(ONE, TWO, seed=5).fit(IMAGES)
    np.testing.assert_array_equal(first.noise, again.noise)
    assert first.records == again.records
    other = attack(ONE, TWO, seed=6).fit(IMAGES)
    assert (other.noise != first.noise).any()


def test_the_bandit_asks_the_surrogate_that_withstands() -> None:
    # A model that nothing moves is as resistant as can be.
    deaf = classifier(2)
    with torch.no_grad():
        deaf.dual_encoder.visual[1].weight.mul_(1e-4)
    learned = attack(ONE, deaf, exploration=0.2, max_iter=60, surrogate_names=["one", "deaf"])
    learned.fit(IMAGES)
    one, other = learned.records
    assert (one.name, other.name) == ("one", "deaf") and one.pulls + other.pulls == 60
    assert other.pulls > 2 * one.pulls and other.resistance > one.resistance
    assert learned.perturbation is not None and learned.perturbation.surrogates == ("one", "deaf")
    # All of them in each step.
    both = attack(ONE, deaf, arms=2, max_iter=7)
    both.fit(IMAGES)
    assert [record.pulls for record in both.records] == [7, 7]


def test_the_gradient_is_that_of_the_mean_objective() -> None:
    learning = attack(max_iter=1)
    from art_multimodal.attacks.evasion.universal.learning import _Goal

    classifier64 = ZeroShotClassifier(TinyEncoder().double().eval(), CLASSES, device_type="cpu")
    goal = _Goal(classifier64, "similarity", None, 4)
    clean, rows = torch.from_numpy(IMAGES[:4]).double(), np.arange(4)
    learned = 0.03 * torch.randn(1, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    draw = np.random.default_rng(0)
    gradient, _ = learning._gradient(goal, clean, rows, learned, draw)

    def value(of: torch.Tensor) -> float:
        return float(goal.objective(clean, rows)((clean + of).clamp(0, 1))[0].detach().mean())

    direction = torch.randn(learned.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    step = 1e-6
    numeric = (value(learned + step * direction) - value(learned - step * direction)) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(numeric, rel=1e-4)


def test_as_in_art_generate_learns_first() -> None:
    learning = attack()
    assert learning.noise is None
    found = learning.generate(IMAGES)
    assert learning.noise is not None
    np.testing.assert_array_equal(found, learning.perturbation.applied(IMAGES))
    noise = learning.noise
    learning.generate(UNSEEN)
    assert learning.noise is noise


@pytest.mark.parametrize("norm", ["inf", "2"])
@pytest.mark.parametrize("size", [(16, 16), (5, 9), (8, 8), (1, 1)])
def test_at_another_size_it_stays_in_its_ball(norm: str, size: tuple[int, int]) -> None:
    eps = 0.1 if norm == "inf" else 1.0
    like = UniversalPerturbation(np.zeros((3, 8, 8), np.float32), norm, eps)
    perturbation = random_perturbation(like, 0)
    values = perturbation.at(*size)
    assert values.shape == (3, *size)
    assert UniversalPerturbation(np.ascontiguousarray(values), norm, eps).length() <= eps * (1 + 1e-5)
    found = perturbation.applied(np.full((2, 3, *size), 0.5, np.float32))
    assert np.abs(found - 0.5).max() > 0


def test_what_is_refused() -> None:
    for settings, said in (
        ({"eps": 0}, "eps"),
        ({"eps_step": float("nan")}, "eps_step"),
        ({"arms": 2}, "arms is 2"),
        ({"arms": 0}, "arms"),
        ({"loss": "margin"}, "loss"),
        ({"norm": 1}, "norm"),
        ({"surrogate_names": ["a", "b"]}, "2 names"),
        ({"exploration": -1.0}, "exploration"),
        ({"batch_size": 0}, "batch_size"),
    ):
        with pytest.raises(ValueError, match=said):
            attack(**settings)
    with pytest.raises(InputError, match="at least one"):
        attack().fit(IMAGES[:0])
    with pytest.raises(InputError, match="fish"):
        attack(loss="cross_entropy", target="fsh").fit(IMAGES)
    values = np.full((3, 4, 4), 0.1, np.float32)
    for wrong, said in (
        (lambda: UniversalPerturbation(values, "inf", 0.05), "0.1"),
        (lambda: UniversalPerturbation(values[0], "inf", 1.0), r"\(3, H, W\)"),
        (lambda: UniversalPerturbation(values.astype(np.float64), "inf", 1.0), "float32"),
        (lambda: UniversalPerturbation(np.full_like(values, np.nan), "inf", 1.0), "NaN"),
        (lambda: UniversalPerturbation(values, "inf", float("inf")), "finite"),
        (lambda: UniversalPerturbation(values, "inf", 1.0).at(9000, 2), "8192"),
        (lambda: UniversalPatch(values - 1), "colours"),
        (lambda: UniversalPatch(values).applied(IMAGES, share=2), "share"),
        (lambda: UniversalPatch(values[:, :, :1]).applied(IMAGES, share=0.9), "smaller share"),
        (lambda: UniversalPatch(values).applied(IMAGES, place=(7, 7)), "leaves the image"),
    ):
        with pytest.raises(InputError, match=said):
            wrong()


# --- patches ----------------------------------------------------------------------------------------------------------


def patches(**settings) -> UniversalPatchAttack:
    given = {"side": 4, "share_min": 0.2, "share_max": 0.3, "eps_step": 0.1, "max_iter": 30, "batch_size": 16}
    return UniversalPatchAttack(ONE, verbose=False, **{**given, **settings})


def test_a_patch_is_where_it_is_said_to_be_and_nowhere_else() -> None:
    patch = UniversalPatch(np.random.default_rng(0).random((3, 4, 4), dtype=np.float32))
    found = patch.applied(UNSEEN, share=16 / 64, place=(1, 3))
    np.testing.assert_allclose(found[:, :, 1:5, 3:7], np.broadcast_to(patch.values, (64, 3, 4, 4)), atol=1e-6)
    outside = np.ones((8, 8), bool)
    outside[1:5, 3:7] = False
    np.testing.assert_array_equal(found[:, :, outside], UNSEEN[:, :, outside])
    drawn = patch.applied(UNSEEN, share=16 / 64, seed=0)
    changed = (drawn != UNSEEN).any(axis=1).reshape(64, -1).sum(axis=1)
    assert (changed <= 16).all() and len({tuple(np.argwhere(row).min(axis=0)) for row in (drawn != UNSEEN).any(1)}) > 5
    np.testing.assert_array_equal(drawn, patch.applied(UNSEEN, share=16 / 64, seed=0))


def test_pasting_is_differentiable_in_the_patch_alone() -> None:
    patch = torch.rand(3, 4, 4, dtype=torch.float64, requires_grad=True)
    images = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda values: pasted(images, values, (5, 3), (2, 4)), patch)


@pytest.mark.parametrize(("loss", "target"), [("similarity", None), ("cross_entropy", "fish")])
def test_a_patch_beats_a_random_one_on_unseen_images(loss: str, target: str | None) -> None:
    learned = patches(loss=loss, target=target).fit(IMAGES).patch
    assert learned is not None and 0 <= learned.values.min() <= learned.values.max() <= 1

    def share(patch: UniversalPatch) -> float:
        said = ONE.predict_labels(patch.applied(UNSEEN, 0.3))
        return float(((said != ONE.predict_labels(UNSEEN)) if target is None else said == 3).mean())

    draw = np.random.default_rng(0)
    random = np.mean([share(UniversalPatch(draw.random((3, 4, 4), dtype=np.float32))) for _ in range(5)])
    assert share(learned) > random + 0.1


def test_a_patch_is_reproducible_and_what_is_refused() -> None:
    first, again = patches().fit(IMAGES).patch, patches().fit(IMAGES).patch
    np.testing.assert_array_equal(first.values, again.values)
    learning = patches()
    np.testing.assert_array_equal(learning.generate(IMAGES), first.applied(IMAGES, 0.3, 0))
    for settings in ({"side": 0}, {"share_min": 0.5}, {"share_max": 1.5}, {"eps_step": 0}):
        with pytest.raises(ValueError, match="must"):
            patches(**settings)


def test_arts_patch_runs_on_our_classifier() -> None:
    patch_attack = AdversarialPatchPyTorch(
        ONE,
        rotation_max=0.0,
        scale_min=0.5,
        scale_max=0.9,
        learning_rate=0.1,
        max_iter=3,
        batch_size=16,
        patch_shape=(3, 8, 8),
        patch_type="square",
        targeted=False,
        verbose=False,
    )
    patch, _ = patch_attack.generate(IMAGES, ONE.predict(IMAGES))
    assert patch.shape == (3, 8, 8) and 0 <= patch.min() <= patch.max() <= 1
    # What it finds is kept and applied as ours is.
    ours = UniversalPatch(patch.astype(np.float32))
    assert ours.applied(UNSEEN, 0.3).shape == UNSEEN.shape
