"""Our PGD: budgets, determinism, strength, agreement with ART's, and attacking through ART's defences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from art.attacks.evasion import ProjectedGradientDescent
from art.defences.preprocessor import JpegCompression, SpatialSmoothing
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch
from hypothesis import given
from hypothesis import strategies as st
from tiny import TinyEncoder

from art_multimodal import InputError, ZeroShotClassifier
from art_multimodal.attacks.evasion import ProjectedGradientDescentDualEncoder
from art_multimodal.functional.losses import embedding_kl, embedding_l2, margin_loss

CLASSES = ("cat", "dog", "bird", "fish")
CLASSIFIER = ZeroShotClassifier(TinyEncoder().eval(), CLASSES, device_type="cpu")


def attack(classifier: ZeroShotClassifier = CLASSIFIER, **settings) -> ProjectedGradientDescentDualEncoder:
    return ProjectedGradientDescentDualEncoder(classifier, **{"seed": 0, "verbose": False, **settings})


def assert_within(images: np.ndarray, clean: np.ndarray, norm: float, eps: float) -> None:
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 1
    delta = (images.astype(np.float64) - clean.astype(np.float64)).reshape(len(clean), -1)
    lengths = np.abs(delta).max(axis=1) if norm == np.inf else np.linalg.norm(delta, axis=1)
    # A pixel is rounded to float32 once, by at most 2**-25 in [0, 1].
    rounding = 2**-24 if norm == np.inf else 2**-24 * np.sqrt(delta.shape[1])
    assert (lengths <= eps * (1 + 1e-6) + rounding).all()


@given(
    norm=st.sampled_from([np.inf, 2]),
    eps=st.floats(0, 3),
    eps_step=st.floats(1e-6, 10),
    max_iter=st.integers(0, 4),
    num_random_init=st.integers(0, 2),
    loss=st.sampled_from(["cross_entropy", "margin", "embedding_kl", "embedding_l2"]),
    seed=st.integers(0, 2**31),
    level=st.sampled_from([0.0, 0.5, 1.0, None]),
)
def test_never_outside_the_budget_or_the_box(norm, eps, eps_step, max_iter, num_random_init, loss, seed, level) -> None:
    rng = np.random.default_rng(seed)
    clean = rng.random((3, 3, 8, 8), dtype=np.float32) if level is None else np.full((3, 3, 8, 8), level, np.float32)
    if loss.startswith("embedding"):
        num_random_init = max(1, num_random_init)
    adversarial = attack(
        norm=norm,
        eps=eps,
        eps_step=eps_step,
        max_iter=max_iter,
        num_random_init=num_random_init,
        loss=loss,
        seed=seed,
        batch_size=2,
    ).generate(clean, np.array([0, 1, 2]))
    assert_within(adversarial, clean, norm, eps)


@pytest.mark.parametrize("norm", [np.inf, 2, "inf"])
def test_equal_seeds_give_equal_images(tiny_images: np.ndarray, norm) -> None:
    y = np.arange(6) % 4
    first = attack(norm=norm, eps=0.1, eps_step=0.03, max_iter=3, seed=7)
    np.testing.assert_array_equal(first.generate(tiny_images, y), first.generate(tiny_images, y))
    other = attack(norm=norm, eps=0.1, eps_step=0.03, max_iter=3, seed=8).generate(tiny_images, y)
    assert not np.array_equal(first.generate(tiny_images, y), other)


def test_global_generators_are_left_alone(tiny_images: np.ndarray) -> None:
    np.random.seed(3)
    torch.manual_seed(3)
    expected = np.random.rand(), torch.rand(1).item()
    np.random.seed(3)
    torch.manual_seed(3)
    attack(eps=0.1, eps_step=0.1, max_iter=1).generate(tiny_images, np.zeros(6, dtype=int))
    assert (np.random.rand(), torch.rand(1).item()) == expected


@pytest.mark.parametrize("norm", [np.inf, 2])
def test_without_a_random_start_it_is_arts_pgd(tiny_images: np.ndarray, norm) -> None:
    # Away from 0 and 1: in l_2 ART clips before it projects, which differs from clipping last where the box is met.
    tiny_images = 0.3 + 0.4 * tiny_images
    y = np.arange(6) % 4
    settings = {"norm": norm, "eps": 0.2, "eps_step": 0.05, "max_iter": 5, "batch_size": 4}
    ours = attack(num_random_init=0, **settings).generate(tiny_images, y)
    arts = ProjectedGradientDescent(CLASSIFIER, num_random_init=0, verbose=False, **settings).generate(tiny_images, y)
    np.testing.assert_allclose(ours, arts, atol=1e-5)


@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
def test_targeted_reaches_the_target(tiny_images: np.ndarray, loss) -> None:
    target = (CLASSIFIER.predict(tiny_images).argmax(axis=1) + 1) % 4
    pgd = attack(loss=loss, eps=0.5, eps_step=0.05, max_iter=40, targeted=True)
    adversarial = pgd.generate(tiny_images, np.eye(4)[target])
    assert (CLASSIFIER.predict(adversarial).argmax(axis=1) == target).mean() >= 0.8
    with pytest.raises(ValueError, match="wanted labels"):
        pgd.generate(tiny_images)


def margins(images: np.ndarray, labels: np.ndarray, prompts: np.ndarray | None = None) -> np.ndarray:
    logits = CLASSIFIER.predict(images) if prompts is None else CLASSIFIER.predict_on(images, prompts)
    return margin_loss(torch.from_numpy(logits), torch.from_numpy(labels)).numpy()


def test_answers_that_are_sure_in_float32_are_attacked(tiny_images: np.ndarray) -> None:
    encoder = TinyEncoder().eval()
    # So sure of its answers that their probability is 1 in float32.
    encoder.logit_scale.data += np.log(1000)
    sure = ZeroShotClassifier(encoder, CLASSES, device_type="cpu")
    y = sure.predict(tiny_images).argmax(axis=1)
    settings = {"eps": 0.1, "eps_step": 0.01, "max_iter": 20, "num_random_init": 0}
    # Cross-entropy as it stands has no gradient there.
    assert not sure.loss_gradient(tiny_images, y).any()
    for loss in ("cross_entropy", "margin"):
        pgd = attack(sure, loss=loss, **settings)
        adversarial = pgd.generate(tiny_images, y)
        assert (margins(adversarial, y) > margins(tiny_images, y) + 0.1).all()
        assert (sure.predict(adversarial).argmax(axis=1) != y).sum() >= 3
    # Without labels the model's own answers are what is attacked.
    np.testing.assert_array_equal(pgd.generate(tiny_images), adversarial)


#: A set of prompts for each of six images, some classes with two.
PROMPT_SETS = np.empty((6, 4), dtype=object)
for row in range(6):
    for column, name in enumerate(CLASSES):
        PROMPT_SETS[row, column] = (f"a {name} number {row}", f"some {name}")[: 1 + (row + column) % 2]


@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
@pytest.mark.parametrize("starts", [0, 1, 3])
def test_shared_prompts_are_attacked_as_a_classifier_with_them_would_be(tiny_images, loss, starts) -> None:
    y = np.arange(6) % 4
    settings = {"loss": loss, "eps": 0.1, "eps_step": 0.03, "max_iter": 4, "num_random_init": starts, "batch_size": 4}
    found = attack(**settings).generate(tiny_images, y, prompts=PROMPT_SETS[1])
    other = CLASSIFIER.with_prompts(PROMPT_SETS[1])
    np.testing.assert_allclose(found, attack(other, **settings).generate(tiny_images, y), atol=1e-6)
    assert np.abs(found - attack(**settings).generate(tiny_images, y)).max() > 0.01
    unlabelled = attack(**settings).generate(tiny_images, prompts=PROMPT_SETS[1])
    np.testing.assert_allclose(unlabelled, attack(other, **settings).generate(tiny_images), atol=1e-6)


@pytest.mark.parametrize("targeted", [False, True])
def test_every_image_is_attacked_with_its_own_prompts(tiny_images: np.ndarray, targeted) -> None:
    y = np.arange(6) % 4
    settings = {"loss": "margin", "eps": 0.1, "eps_step": 0.03, "max_iter": 4, "batch_size": 4, "targeted": targeted}
    found = attack(**settings).generate(tiny_images, y, prompts=PROMPT_SETS)
    for row in range(6):
        alike = attack(**settings).generate(tiny_images, y, prompts=PROMPT_SETS[row])
        np.testing.assert_allclose(found[row], alike[row], atol=1e-6)


def test_prompts_that_do_not_fit(tiny_images: np.ndarray) -> None:
    y = np.arange(6) % 4
    with pytest.raises(InputError, match="5 sets of prompts came for 6 images"):
        attack().generate(tiny_images, y, prompts=PROMPT_SETS[:5])
    with pytest.raises(InputError, match="one entry per class"):
        attack().generate(tiny_images, y, prompts=PROMPT_SETS[0, :3])
    with pytest.raises(InputError, match="looks at no prompts"):
        attack(loss="embedding_kl").generate(tiny_images, y, prompts=PROMPT_SETS)
    nothing = attack().generate(tiny_images[:0], y[:0], prompts=PROMPT_SETS[:0])
    assert nothing.shape == (0, 3, 8, 8)


def test_of_several_starts_the_best_on_the_way_is_kept(tiny_images: np.ndarray) -> None:
    y = np.arange(6) % 4
    # Steps so long that the last images are rarely the best.
    settings = {"loss": "margin", "eps": 0.1, "eps_step": 0.15, "batch_size": 6}
    best = margins(attack(num_random_init=3, max_iter=5, **settings).generate(tiny_images, y), y)
    # The first of three starts is the only one of one.
    on_the_way = [margins(attack(max_iter=steps, **settings).generate(tiny_images, y), y) for steps in range(6)]
    assert (best >= np.max(on_the_way, axis=0) - 1e-5).all()
    assert (best > on_the_way[-1] + 1e-3).any()


@pytest.mark.parametrize(("loss", "distance"), [("embedding_kl", embedding_kl), ("embedding_l2", embedding_l2)])
def test_embedding_losses_move_the_embedding_further_than_chance(tiny_images: np.ndarray, loss, distance) -> None:
    def moved(images: np.ndarray) -> np.ndarray:
        return distance(CLASSIFIER.image_features(tiny_images), CLASSIFIER.image_features(images)).numpy()

    eps = 0.05
    adversarial = attack(loss=loss, eps=eps, eps_step=0.02, max_iter=10).generate(tiny_images)
    rng = np.random.default_rng(0)
    for _ in range(20):
        noise = np.clip(tiny_images + eps * rng.choice([-1, 1], tiny_images.shape), 0, 1).astype(np.float32)
        assert (moved(adversarial) > moved(noise)).sum() >= 5
        assert moved(adversarial).mean() > 2 * moved(noise).mean()


def test_more_restarts_never_lower_the_loss(tiny_images: np.ndarray) -> None:
    y = np.arange(6) % 4
    losses = []
    for restarts in (1, 4):
        adversarial = attack(eps=0.1, eps_step=0.05, max_iter=3, num_random_init=restarts).generate(tiny_images, y)
        losses.append(CLASSIFIER.compute_loss(adversarial, np.eye(4)[y]))
    # The first of four restarts starts like the only one.
    assert (losses[1] >= losses[0] - 1e-5).all()
    assert losses[1].sum() > losses[0].sum()


def test_mask_protects_pixels(tiny_images: np.ndarray) -> None:
    mask = np.zeros((1, 1, 8, 8), dtype=np.float32)
    mask[..., :4] = 1
    adversarial = attack(eps=0.3, eps_step=0.1, max_iter=3).generate(tiny_images, mask=mask)
    np.testing.assert_array_equal(adversarial[..., 4:], tiny_images[..., 4:])
    assert not np.allclose(adversarial[..., :4], tiny_images[..., :4])


class Blur(PreprocessorPyTorch):
    """A differentiable defence, as ART's torch preprocessors are (those need kornia)."""

    params: list[str] = []

    def forward(self, x, y=None):
        return torch.nn.functional.avg_pool2d(x, 3, stride=1, padding=1), y


@pytest.mark.parametrize(
    "defence",
    [
        Blur(),
        SpatialSmoothing(window_size=3, channels_first=True),
        JpegCompression(clip_values=(0, 1), quality=50, channels_first=True),
    ],
)
def test_attacks_go_through_arts_defences(tiny_images: np.ndarray, defence) -> None:
    defended = ZeroShotClassifier(TinyEncoder().eval(), CLASSES, preprocessing_defences=defence, device_type="cpu")
    y = defended.predict(tiny_images).argmax(axis=1)
    eps = 0.1
    adaptive = attack(defended, eps=eps, eps_step=0.02, max_iter=20).generate(tiny_images, y)
    assert_within(adaptive, tiny_images, np.inf, eps)
    noise = np.random.default_rng(0).choice([-eps, eps], tiny_images.shape)
    random = np.clip(tiny_images + noise, 0, 1).astype(np.float32)
    one_hot = np.eye(4)[y]
    assert defended.compute_loss(adaptive, one_hot).mean() > defended.compute_loss(random, one_hot).mean() + 0.1
    embedding = attack(defended, loss="embedding_l2", eps=eps, eps_step=0.02, max_iter=5).generate(tiny_images)
    assert_within(embedding, tiny_images, np.inf, eps)


@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
@pytest.mark.parametrize("prompts", [None, PROMPT_SETS[0], PROMPT_SETS])
def test_one_step_is_one_forward_pass(tiny_images: np.ndarray, loss, prompts) -> None:
    classifier = ZeroShotClassifier(TinyEncoder().eval(), CLASSES, device_type="cpu")
    rows = []
    classifier.model.image_encoder.register_forward_hook(lambda m, i, o: rows.append(len(o)))
    texts = []
    classifier.dual_encoder.text.register_forward_hook(lambda m, i, o: texts.append(len(o)))
    settings = {"loss": loss, "eps": 0.1, "eps_step": 0.1, "max_iter": 7, "batch_size": 4}
    attack(classifier, **settings).generate(tiny_images, np.zeros(6, dtype=int), prompts=prompts)
    assert sum(rows) == 7 * 6
    # Texts do not depend on the images: each is embedded once, however many steps and images there are.
    distinct = {text for entry in (PROMPT_SETS if prompts is None else prompts).flat for text in entry}
    assert sum(texts) == (4 if prompts is None else len(distinct))


def test_empty_batch() -> None:
    assert attack().generate(np.zeros((0, 3, 8, 8), np.float32), np.zeros(0, int)).shape == (0, 3, 8, 8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eps": -1}, "eps must be"),
        ({"eps": np.nan}, "eps must be"),
        ({"eps_step": 0}, "eps_step must be"),
        ({"max_iter": -1}, "max_iter must be"),
        ({"max_iter": 2.5}, "max_iter must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"num_random_init": True}, "num_random_init must be"),
        ({"norm": 1}, "norm must be 2 or inf"),
        ({"loss": "mse"}, "loss must be one of"),
        ({"loss": "embedding_l2", "num_random_init": 0}, "no gradient at the clean image"),
        ({"loss": "embedding_kl", "targeted": True}, "no wanted label"),
    ],
)
def test_bad_settings(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        attack(**settings)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.array([0, 1, 2, 3, 4, 0]), "Label 4 is out of range"),
        (np.array([0, -1, 2, 3, 0, 0]), "Label -1 is out of range"),
        (np.zeros(5), r"shape \(6,\)"),
        (np.full(6, 0.5), "whole class indices"),
    ],
)
def test_bad_labels(tiny_images: np.ndarray, y, message) -> None:
    with pytest.raises(InputError, match=message):
        attack().generate(tiny_images, y)


def test_bad_images(tiny_images: np.ndarray) -> None:
    with pytest.raises(InputError, match="Divide them by 255"):
        attack().generate(tiny_images * 255)
    with pytest.raises(InputError, match="NaN"):
        attack().generate(np.where(np.arange(8) == 3, np.nan, tiny_images))


def test_set_params_is_checked() -> None:
    pgd = attack()
    pgd.set_params(eps=0.5, max_iter=3)
    assert (pgd.eps, pgd.max_iter) == (0.5, 3)
    with pytest.raises(ValueError, match="eps must be"):
        pgd.set_params(eps=-0.5)
