"""Images made on surrogates: a second implementation of the steps, the budget, and who is never asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from tiny import TinyEncoder
from torch.nn import functional as F

from art_multimodal import ZeroShotClassifier, load_model
from art_multimodal.attacks.evasion import TransferAttack
from art_multimodal.datasets.loading import open_images
from art_multimodal.errors import InputError

NAMES = ("cat", "dog", "bird", "fish")


def classifier(seed: int = 0, side: int = 8, **changes: Any) -> ZeroShotClassifier:
    encoder = TinyEncoder(side=side, seed=seed)
    return ZeroShotClassifier(encoder.eval(), NAMES, device_type="cpu", **changes)


def images(count: int = 5, side: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.2, 0.8, (count, 3, side, side)).astype(np.float32)


LABELS = np.array([0, 1, 2, 3, 1])


def attack(surrogates: Any, **changes: Any) -> TransferAttack:
    settings: dict[str, Any] = {"eps": 0.1, "eps_step": 0.02, "max_iter": 6, "seed": 0, "verbose": False}
    return TransferAttack(surrogates, **{**settings, **changes})


def by_hand(surrogates: list[ZeroShotClassifier], x: np.ndarray, ensemble: str, decay: float) -> np.ndarray:
    """Iterated steps of Euclidean length 0.02 in a ball of 0.1 with momentum, by autograd on the whole model."""
    clean = torch.from_numpy(x).double()
    now, kept = clean.clone(), torch.zeros_like(clean)
    for one in surrogates:
        one.dual_encoder.double()
    try:
        for _ in range(6):
            now = now.detach().requires_grad_(True)
            texts = [
                one.dual_encoder.encode_text(one.dual_encoder.tokenize([p[0] for p in one.prompts]))
                for one in surrogates
            ]
            cosines = [one.dual_encoder.encode_image(now) @ t.T for one, t in zip(surrogates, texts, strict=True)]
            labels = torch.from_numpy(LABELS)
            if ensemble == "logits":
                logits = [one.dual_encoder.logit_scale.exp() * c for one, c in zip(surrogates, cosines, strict=True)]
                raised = F.cross_entropy(torch.stack(logits).mean(dim=0), labels, reduction="sum")
            else:
                raised = -torch.stack([c[torch.arange(5), labels] for c in cosines]).mean(dim=0).sum()
            gradient = torch.autograd.grad(raised, now)[0]
            kept = decay * kept + gradient / gradient.abs().mean(dim=(1, 2, 3), keepdim=True)
            step = kept / kept.flatten(1).norm(dim=1).view(-1, 1, 1, 1) * 0.02
            moved = now.detach() + step - clean
            moved = moved * (0.1 / moved.flatten(1).norm(dim=1)).clamp_max(1).view(-1, 1, 1, 1)
            now = (clean + moved).clamp(0, 1)
    finally:
        for one in surrogates:
            one.dual_encoder.float()
    return now.detach().float().numpy()


@pytest.mark.parametrize("ensemble", ["logits", "embeddings"])
@pytest.mark.parametrize(("count", "decay"), [(1, 0.0), (2, 0.0), (2, 0.9), (3, 1.0)])
def test_steps_are_those_of_the_papers(ensemble: str, count: int, decay: float) -> None:
    surrogates, x = [classifier(seed) for seed in range(count)], images()
    made = attack(surrogates, norm=2, ensemble=ensemble, decay=decay, diversity=0.0).generate(x, LABELS)
    np.testing.assert_allclose(made, by_hand(surrogates, x, ensemble, decay), atol=2e-5)
    assert np.abs(made - x).max() > 1e-3


@pytest.mark.parametrize("norm", [np.inf, 2])
@pytest.mark.parametrize(
    "views", [{}, {"crops": 2, "diversity": 1.0}, {"scales": (0.5, 1.5), "ensemble": "embeddings"}, {"decay": 0.0}]
)
def test_the_budget_holds(norm: float, views: dict[str, Any]) -> None:
    x = images()
    x[0], x[1] = 0.0, 1.0
    made = attack([classifier(), classifier(1, side=6)], norm=norm, eps_step=0.09, **views).generate(x, LABELS)
    moved = (made.astype(np.float64) - x).reshape(len(x), -1)
    lengths = np.abs(moved).max(axis=1) if norm == np.inf else np.linalg.norm(moved, axis=1)
    assert made.dtype == np.float32 and made.min() >= 0 and made.max() <= 1
    assert lengths.max() <= 0.1 * (1 + 1e-6) and lengths.min() > 0.01


def test_a_result_belongs_to_its_image() -> None:
    surrogates, x = [classifier(), classifier(1, side=6)], images()
    settings: dict[str, Any] = {"crops": 1, "diversity": 0.5, "norm": 2}
    together = attack(surrogates, **settings).generate(x, LABELS)
    np.testing.assert_array_equal(attack(surrogates, **settings).generate(x, LABELS), together)
    np.testing.assert_allclose(attack(surrogates, batch_size=2, **settings).generate(x, LABELS), together, atol=1e-5)
    order = np.array([3, 0, 4])
    np.testing.assert_allclose(
        attack(surrogates, **settings).generate(x[order], LABELS[order]), together[order], atol=1e-5
    )
    other = attack(surrogates, **{**settings, "seed": 1}).generate(x, LABELS)
    assert np.abs(other - together).max() > 1e-4


def test_the_target_is_never_asked() -> None:
    target, surrogates, x = classifier(7), [classifier(), classifier(1)], images()
    asked = {id(one): 0 for one in (target, *surrogates)}

    def count(key: int) -> Any:
        return lambda module, given, out: asked.__setitem__(key, asked[key] + len(given[0]))

    for one in (target, *surrogates):
        one.dual_encoder.preprocess.register_forward_hook(count(id(one)))
    attack(surrogates, crops=2, scales=(0.5,)).generate(x, LABELS)
    # Two crops and a scale in each of six steps; the target not at all.
    assert [asked[id(one)] for one in (target, *surrogates)] == [0, 5 * 6 * 3, 5 * 6 * 3]


def test_without_labels_what_surrogates_say_together() -> None:
    surrogates, x = [classifier(), classifier(1)], images()
    said = np.mean([one.predict(x) for one in surrogates], axis=0).argmax(axis=1)
    np.testing.assert_array_equal(
        attack(surrogates, diversity=0.0).generate(x), attack(surrogates, diversity=0.0).generate(x, said)
    )


@pytest.mark.parametrize("ensemble", ["logits", "embeddings"])
def test_targeted(ensemble: str) -> None:
    surrogate, x = classifier(), images()
    wanted = (surrogate.predict_labels(x) + 1) % 4
    rows = np.arange(len(x))
    made = attack(surrogate, ensemble=ensemble, targeted=True, eps=0.3, eps_step=0.05).generate(x, wanted)
    before, after = (
        of if ensemble == "embeddings" else of - logsumexp(of, axis=1, keepdims=True)
        for of in (surrogate.predict(x), surrogate.predict(made))
    )
    assert (after[rows, wanted] > before[rows, wanted]).all()
    with pytest.raises(ValueError, match="needs the wanted labels"):
        attack(surrogate, targeted=True).generate(x)


def test_no_image_and_no_step() -> None:
    assert attack(classifier()).generate(images(0), LABELS[:0]).shape == (0, 3, 8, 8)
    np.testing.assert_array_equal(attack(classifier(), max_iter=0).generate(images(), LABELS), images())


def test_it_carries_over_above_noise() -> None:
    data = open_images("demo:digits")
    order = np.random.default_rng(1).permutation(len(data))[:40]
    read = [data.read(int(index)) for index in order]
    x, y = np.stack([one.image for one in read]), np.array([one.label for one in read])
    target, other = (
        ZeroShotClassifier(load_model(name), data.class_names, data.templates, device_type="cpu")
        for name in ("demo:digits", "demo:digits/robust")
    )
    eps = 16 / 255
    made = TransferAttack(other, eps=eps, eps_step=eps / 8, max_iter=20, seed=0, verbose=False).generate(x, y)
    right = target.predict_labels(x) == y
    drawn = np.clip(x + eps * np.random.default_rng(0).choice([-1, 1], x.shape), 0, 1).astype(np.float32)
    fooled, by_noise = (int((target.predict_labels(of)[right] != y[right]).sum()) for of in (made, drawn))
    # Measured: some 25 of 40, and none.
    assert fooled >= by_noise + 8


def test_what_cannot_be_used() -> None:
    one = classifier()
    for surrogates, said in (
        ([], "at least one surrogate"),
        ([one.dual_encoder], "A surrogate is a ZeroShotClassifier, not TinyEncoder"),
        ([one, ZeroShotClassifier(TinyEncoder(), ("a", "b"), device_type="cpu")], "cat, dog, bird, fish; and a, b"),
    ):
        with pytest.raises(InputError, match=said):
            attack(surrogates)
    for changes, said in (
        ({"ensemble": "votes"}, "ensemble must be one of logits, embeddings"),
        ({"eps": -1.0}, "eps must be"),
        ({"eps_step": 0.0}, "eps_step must be"),
        ({"decay": 1.5}, "decay must be in"),
        ({"diversity": -0.1}, "diversity must be in"),
        ({"least_size": 0.0}, "least_size must be in"),
        ({"crops": -1}, "crops must be a whole number"),
        ({"crop_area": (0.9, 0.5)}, "crop_area must be two shares"),
        ({"scales": (0.5, 0.0)}, "scales must be numbers greater than 0"),
        ({"norm": 1}, "norm must be 2 or inf"),
    ):
        with pytest.raises(ValueError, match=said):
            attack(one, **changes)
