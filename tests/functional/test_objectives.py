"""Objectives against finite differences, numpy in double precision, and each other."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch

from art_multimodal.errors import InputError
from art_multimodal.functional import objectives

ALL = ("mmcoa", "text_contrastive", "clean_cross_entropy", "tecoa", "fare", "pmg_aft", "leaf", "joint_anchored")
LABELS = torch.tensor([0, 1, 0, 2, 1, 0])
N, K, D = len(LABELS), 3, 5


def inputs(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    draw = {
        name: torch.randn(K if "class" in name else N, D, generator=generator, dtype=torch.float64)
        for name in (
            *("clean_images", "adversarial_images", "clean_texts", "adversarial_texts", "class_texts"),
            *("original_images", "original_texts", "original_adversarial_images", "original_class_texts"),
            *("reference_texts", "original_reference_texts"),
        )
    }
    return {
        **draw,
        "targets": torch.eye(K, dtype=torch.float64)[LABELS],
        "positives": LABELS[:, None] == LABELS,
        "scale": torch.tensor(7.0, dtype=torch.float64),
        "original_scale": torch.tensor(5.0, dtype=torch.float64),
    }


def value(name: str, given: dict[str, torch.Tensor], **settings: Any) -> torch.Tensor:
    function = getattr(objectives, name)
    return function(**{key: given[key] for key in inspect.signature(function).parameters if key in given}, **settings)


def slow(name: str, given: dict[str, torch.Tensor]) -> float:
    """Each formula with plain loops."""
    a = {key: tensor.numpy() for key, tensor in given.items()}

    def logits(images, texts, scale):
        table = np.empty((len(images), len(texts)))
        for i, image in enumerate(images):
            for j, text in enumerate(texts):
                table[i, j] = scale * image @ text / np.sqrt((image @ image) * (text @ text))
        return table

    def probabilities(row):
        return np.exp(row) / np.exp(row).sum()

    def contrastive(images, texts):
        table, total = logits(images, texts, a["scale"]), 0.0
        for i in range(N):
            own = [j for j in range(N) if a["positives"][i, j]]
            total -= np.mean([np.log(probabilities(table[i])[j]) for j in own])
            total -= np.mean([np.log(probabilities(table[:, i])[j]) for j in own])
        return total / N

    def answers(images, texts, scale):
        return [probabilities(row) for row in logits(images, texts, scale)]

    def entropy(answers):
        return -np.mean([np.log(answer[label]) for answer, label in zip(answers, LABELS, strict=True)])

    def distance(answers, others):
        return np.mean([sum(p * np.log(p / q)) for p, q in zip(answers, others, strict=True)])

    if name == "mmcoa":
        return 0.5 * contrastive(a["adversarial_images"], a["clean_texts"]) + 0.5 * contrastive(
            a["clean_images"], a["adversarial_texts"]
        )
    if name == "text_contrastive":
        return 0.5 * contrastive(a["clean_images"], a["adversarial_texts"])
    clean, adversarial = (
        answers(a[key], a["class_texts"], a["scale"]) for key in ("clean_images", "adversarial_images")
    )
    if name == "clean_cross_entropy":
        return entropy(clean)
    if name == "tecoa":
        return entropy(adversarial)
    if name == "joint_anchored":

        def against_others(images, texts):
            table, found = logits(images, texts, a["scale"]), []
            for one, together in ((table, a["positives"]), (table.T, a["positives"].T)):
                for row, own in zip(one, together, strict=True):
                    others = np.exp(row[~own]).sum()
                    found.append(np.mean([-np.log(np.exp(x) / (np.exp(x) + others)) for x in row[own]]))
            return np.mean(found)

        def moved(embeddings, others):
            pairs = zip(embeddings, others, strict=True)
            return np.mean([((x / np.linalg.norm(x) - y / np.linalg.norm(y)) ** 2).sum() for x, y in pairs])

        images, attacked, texts = a["clean_images"], a["adversarial_images"], a["adversarial_texts"]
        anchors = 2 * (moved(images, a["original_images"]) + moved(attacked, a["original_images"]))
        anchors += 50 * moved(texts, a["original_texts"])
        anchors += 50 * moved(a["reference_texts"], a["original_reference_texts"])
        contrasts = 0.3 * against_others(images, texts) + 0.5 * against_others(attacked, texts)
        return entropy(adversarial) + contrasts + anchors
    if name == "pmg_aft":
        original = answers(a["original_adversarial_images"], a["original_class_texts"], a["original_scale"])
        return entropy(adversarial) + distance(adversarial, original) + distance(adversarial, clean)
    moved, kept = {"fare": ("adversarial_images", "original_images"), "leaf": ("adversarial_texts", "original_texts")}[
        name
    ]
    return np.mean([sum((x - y) ** 2) for x, y in zip(a[moved], a[kept], strict=True)])


@pytest.mark.parametrize("name", ALL)
def test_equals_the_formula_written_with_loops(name):
    given = inputs()
    # By default it is left out.
    settings = {"lambda_txt": 0.3} if name == "joint_anchored" else {}
    assert float(value(name, given, **settings)) == pytest.approx(slow(name, given), rel=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_those_of_finite_differences(name):
    given = inputs()
    wanted = [key for key in inspect.signature(getattr(objectives, name)).parameters if key in given]
    leaves = [key for key in wanted if key not in ("positives", "targets")]

    def of_leaves(*tensors: torch.Tensor) -> torch.Tensor:
        return value(name, {**given, **dict(zip(leaves, tensors, strict=True))})

    tensors = [given[key].clone().requires_grad_(True) for key in leaves]
    assert torch.autograd.gradcheck(of_leaves, tensors)
    gradients = torch.autograd.grad(of_leaves(*tensors), tensors)
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


@pytest.mark.parametrize("name", ALL)
def test_the_order_of_samples_and_classes_does_not_matter(name):
    given = inputs()
    rows, classes = torch.randperm(N, generator=torch.Generator().manual_seed(1)), torch.tensor([2, 0, 1])
    shuffled = {}
    for key, tensor in given.items():
        if "class" in key:
            shuffled[key] = tensor[classes]
        else:
            shuffled[key] = tensor[rows] if tensor.ndim else tensor
    shuffled["positives"] = given["positives"][rows][:, rows]
    shuffled["targets"] = given["targets"][rows][:, classes]
    assert float(value(name, shuffled)) == pytest.approx(float(value(name, given)), rel=1e-12)


def gradients_of_mmcoa(given: dict[str, torch.Tensor], texts: torch.Tensor, adversarial: torch.Tensor, positives):
    """With respect to images and to the distinct texts, whose rows are picked for the samples."""
    leaves = [
        tensor.clone().requires_grad_(True)
        for tensor in (given["clean_images"], given["adversarial_images"], texts, adversarial)
    ]
    loss = objectives.mmcoa(
        leaves[0], leaves[1], leaves[2][LABELS], leaves[3][LABELS], positives, given["scale"], 0.3, 0.9
    )
    return loss, torch.autograd.grad(loss, leaves)


def test_with_one_text_per_class_both_kinds_of_positives_are_one():
    given = inputs()
    texts, adversarial = given["class_texts"], given["original_class_texts"]
    loss, gradients = gradients_of_mmcoa(given, texts, adversarial, given["positives"])
    published, of_published = gradients_of_mmcoa(given, texts, adversarial, torch.eye(N, dtype=torch.bool))
    assert loss.item() == pytest.approx(published.item(), rel=1e-12)
    for ours, theirs in zip(gradients, of_published, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_with_varied_texts_they_are_not():
    given = inputs()
    index = {**given, "positives": torch.eye(N, dtype=torch.bool)}
    assert abs(float(value("mmcoa", given) - value("mmcoa", index))) > 0.1


def test_the_weights_of_mmcoa_are_those_of_its_two_sides():
    given = inputs()
    both = value("mmcoa", given, lambda_img=0.7, lambda_txt=0.2)
    images = value("mmcoa", given, lambda_img=0.7, lambda_txt=0.0)
    texts = value("text_contrastive", given)
    assert float(both) == pytest.approx(float(images + 0.4 * texts), rel=1e-12)


def test_distances_are_zero_where_nothing_has_moved():
    given = inputs()
    still = {**given, "adversarial_images": given["original_images"], "adversarial_texts": given["original_texts"]}
    assert float(value("fare", still)) == float(value("leaf", still)) == 0.0
    answers = {
        **given,
        "adversarial_images": given["clean_images"],
        "original_adversarial_images": given["clean_images"],
        "original_class_texts": given["class_texts"],
        "original_scale": given["scale"],
    }
    assert float(value("pmg_aft", answers)) == pytest.approx(float(value("clean_cross_entropy", given)), rel=1e-12)


def of_views(views: int, seed: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits ``[V, N, K]`` and targets."""
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(views, N, K, generator=generator, dtype=torch.float64), inputs()["targets"]


@pytest.mark.parametrize("views", [2, 3, 5])
def test_the_variance_of_votes_is_that_of_numpy_and_unbiased(views: int) -> None:
    logits, _ = of_views(views)
    votes = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(axis=2, keepdims=True)
    found = objectives.vote_variance(logits)
    np.testing.assert_allclose(found, votes.var(axis=0, ddof=1).sum(axis=1), rtol=1e-12)
    # Two of them drawn with replacement differ, in the mean over all draws, by the variance of all.
    pairs = [objectives.vote_variance(logits[[i, j]]) for i in range(views) for j in range(views)]
    np.testing.assert_allclose(torch.stack(pairs).mean(dim=0), votes.var(axis=0).sum(axis=1), rtol=1e-12)


def test_votes_are_apart_from_zero_to_one() -> None:
    logits, _ = of_views(1)
    assert not objectives.vote_variance(logits.expand(4, N, K)).any()
    sure = 100 * torch.eye(K, dtype=torch.float64)[torch.tensor([[0, 1], [1, 1]])]
    torch.testing.assert_close(objectives.vote_variance(sure), torch.tensor([1.0, 0.0], dtype=torch.float64))
    with pytest.raises(InputError, match="One view of each sample has no variance"):
        objectives.vote_variance(logits)


@pytest.mark.parametrize("consistency", [0.0, 0.7])
def test_under_masks_the_loss_is_the_mean_over_views(consistency: float) -> None:
    logits, targets = of_views(2)
    expected = 0.0
    for n in range(N):
        votes = [np.exp(view[n].numpy()) / np.exp(view[n].numpy()).sum() for view in logits]
        expected -= np.mean([np.log(vote[LABELS[n]]) for vote in votes]) / N
        expected += consistency * ((votes[0] - votes[1]) ** 2).sum() / 2 / N
    assert float(objectives.under_masks(logits, targets, consistency)) == pytest.approx(expected, rel=1e-12)
    leaf = logits.clone().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda of: objectives.under_masks(of, targets, consistency), [leaf])


def test_images_under_masks_are_classified_by_the_class_texts() -> None:
    given = inputs()
    views = torch.stack([given["clean_images"], given["adversarial_images"]])
    found = objectives.image_ablation(views, given["class_texts"], given["targets"], given["scale"])
    whole = [float(value(name, given)) for name in ("clean_cross_entropy", "tecoa")]
    assert float(found) == pytest.approx(np.mean(whole), rel=1e-12)
    one = objectives.image_ablation(views[:1], given["class_texts"], given["targets"], given["scale"])
    assert float(one) == pytest.approx(whole[0], rel=1e-12)
