import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from art_multimodal.functional.losses import class_cross_entropy, embedding_kl, embedding_l2, margin_loss

EMBEDDING_LOSSES = (embedding_kl, embedding_l2)


# Independent of the code under test: numpy, float64, straight from the definitions.
def softmax(z):
    exponentials = np.exp(z - z.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def numpy_cross_entropy(logits, labels):
    return -np.log(softmax(logits)[np.arange(len(labels)), labels])


def numpy_kl(clean, adversarial):
    p, q = (softmax(e / np.linalg.norm(e, axis=-1, keepdims=True)) for e in (clean, adversarial))
    return (p * (np.log(p) - np.log(q))).sum(axis=-1)


def numpy_l2(clean, adversarial):
    return np.linalg.norm(clean - adversarial, axis=-1) ** 2


NUMPY = {embedding_kl: numpy_kl, embedding_l2: numpy_l2}


def embeddings(n, d, seed, distance=1.0):
    rng = np.random.default_rng(seed)
    clean = rng.normal(size=(n, d))
    return clean, clean + distance * rng.normal(size=(n, d))


@settings(deadline=None, max_examples=50)
@given(n=st.integers(0, 4), k=st.integers(2, 9), scale=st.floats(0.01, 100), seed=st.integers(0, 999))
def test_cross_entropy_is_the_textbook_one(n, k, scale, seed):
    rng = np.random.default_rng(seed)
    logits, labels = scale * rng.normal(size=(n, k)), rng.integers(k, size=n)
    loss = class_cross_entropy(torch.tensor(logits), torch.tensor(labels))
    assert loss.shape == (n,)
    # The textbook form underflows far from the label; 1 - exp(-loss) does not ask for more digits than it has.
    np.testing.assert_allclose(np.exp(-loss.numpy()), np.exp(-numpy_cross_entropy(logits, labels)), atol=1e-12)


@settings(deadline=None, max_examples=50)
@given(n=st.integers(0, 4), k=st.integers(2, 9), targeted=st.booleans(), seed=st.integers(0, 999))
def test_margin_is_the_best_other_logit_minus_the_labels(n, k, targeted, seed):
    rng = np.random.default_rng(seed)
    # Rounded, so that there are ties.
    logits, labels = rng.normal(size=(n, k)).round(1), rng.integers(k, size=n)
    margins = margin_loss(torch.tensor(logits), torch.tensor(labels), targeted)
    assert margins.shape == (n,)
    for row, label, margin in zip(logits, labels, margins.tolist(), strict=True):
        wrong = max(value for index, value in enumerate(row) if index != label) - row[label]
        assert margin == pytest.approx(-wrong if targeted else wrong, abs=1e-12)
        if margin > 0:
            assert (row.argmax() == label) == targeted


@pytest.mark.parametrize("loss", EMBEDDING_LOSSES)
@settings(deadline=None, max_examples=50)
@given(
    n=st.integers(0, 4),
    d=st.integers(2, 64),
    scale=st.floats(0.01, 100),
    far=st.floats(0.01, 9),
    seed=st.integers(0, 999),
)
def test_embedding_losses_are_the_textbook_ones(loss, n, d, scale, far, seed):
    clean, adversarial = (scale * e for e in embeddings(n, d, seed, far))
    value = loss(torch.tensor(clean), torch.tensor(adversarial))
    assert value.shape == (n,)
    np.testing.assert_allclose(value.numpy(), NUMPY[loss](clean, adversarial), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("d", [64, 512])
@pytest.mark.parametrize("distance", [1e-3, 1e-2, 1e-1, 1.0])
def test_kl_keeps_its_digits_in_float32(d, distance):
    # Embeddings move little under a small budget; a difference of logarithms is off by 500 % at d=512, distance=0.01.
    clean, adversarial = (torch.tensor(e, dtype=torch.float32) for e in embeddings(200, d, 0, distance))
    exact = embedding_kl(clean.double(), adversarial.double())
    assert (embedding_kl(clean, adversarial) > 0).all()
    torch.testing.assert_close(embedding_kl(clean, adversarial).double(), exact, rtol=5e-3, atol=0)


@pytest.mark.parametrize("loss", EMBEDDING_LOSSES)
def test_no_distance_and_no_gradient_where_nothing_changed(loss):
    clean = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    adversarial = clean.clone().requires_grad_(True)
    value = loss(clean, adversarial)
    assert torch.equal(value, torch.zeros(5))
    assert torch.autograd.grad(value.sum(), adversarial)[0].abs().max() < 1e-7


def test_kl_sees_directions_only_and_l2_sees_lengths():
    clean, adversarial = (torch.tensor(e) for e in embeddings(6, 16, 1))
    torch.testing.assert_close(embedding_kl(3 * clean, 0.1 * adversarial), embedding_kl(clean, adversarial))
    assert embedding_kl(clean, 2 * clean).abs().max() < 1e-15
    torch.testing.assert_close(embedding_l2(clean, 2 * clean), clean.square().sum(dim=1))


@pytest.mark.parametrize("loss", EMBEDDING_LOSSES)
def test_gradients_are_those_of_finite_differences(loss):
    clean, adversarial = (torch.tensor(e) for e in embeddings(3, 7, 2))
    # Of both arguments: trainers move the clean embedding too.
    assert torch.autograd.gradcheck(loss, (clean.requires_grad_(True), adversarial.requires_grad_(True)))


@pytest.mark.parametrize("loss", [class_cross_entropy, margin_loss])
def test_gradients_to_logits_are_those_of_finite_differences(loss):
    logits = torch.tensor(np.random.default_rng(3).normal(size=(3, 5)), requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: loss(z, torch.tensor([0, 4, 2])), (logits,))


@pytest.mark.parametrize("loss", [class_cross_entropy, margin_loss, *EMBEDDING_LOSSES])
def test_rows_do_not_touch_each_other(loss):
    first, second = (torch.tensor(e) for e in embeddings(4, 8, 4))
    if loss in (class_cross_entropy, margin_loss):
        second = torch.tensor([1, 0, 7, 3])
    alone = torch.cat([loss(first[i : i + 1], second[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(loss(first, second), alone)
