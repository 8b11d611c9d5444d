"""What adversarial training of CLIP-like models minimises: embeddings in, one number out.

An objective asks for what it needs by the names of its parameters, which a training loop fills in:

- ``clean_images``, ``adversarial_images``, ``clean_texts``, ``adversarial_texts``: embeddings ``[N, D]`` by the model
  in training. A sample's text is its caption, or a prompt of its class.
- ``class_texts``: ``[K, D]``, one embedding for each class, or for each distinct caption of the batch.
- ``original_images``, ``original_texts``: of what is clean, by the model as it was before training;
  ``original_adversarial_images`` and ``original_class_texts`` likewise.
- ``reference_texts``, ``original_reference_texts``: ``[N, D]``, of texts about anything, drawn anew in every step.
- ``ablated_images``: ``[V, N, D]``, of the images under ``V`` masks each, by the model in training.
- ``targets``: ``[N, K]``, the probability that each of the class texts should have for each image.
- ``positives``: boolean ``[N, N]``, which texts of the batch belong to which images; every row and column has one.
- ``scale``, ``original_scale``: ``exp(logit_scale)``.

Of fusion models there are ``targets``, and ``clean_scores`` and ``adversarial_scores``, ``[N, K]``: of the samples as
they are, and as the attack returns them; and what :mod:`art_multimodal.functional.fusion_objectives` lists.

Embeddings have the length that their tower gives them. Parameters with a default are settings. No objective depends on
the order of the samples. A constant that is added to all logits (SigLIP's bias) would change nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from art_multimodal.errors import InputError
from art_multimodal.functional.contrastive import contrastive_cross_entropy
from art_multimodal.functional.losses import embedding_l2


def cosine_logits(images: Tensor, texts: Tensor, scale: Tensor | float) -> Tensor:
    """Logits of images against texts: the scale times the cosine.

    >>> cosine_logits(torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 3.0]]), scale=100.0).tolist()
    [[100.0, 0.0]]

    :param images: Shape ``[N, D]``, of any length.
    :param texts: Shape ``[M, D]``, of any length.
    :return: Shape ``[N, M]``.
    """
    return scale * F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy against probabilities.

    >>> even = torch.full((1, 2), 0.5)
    >>> soft_cross_entropy(torch.zeros(1, 2), even).exp().tolist()
    [2.0]

    :param logits: Shape ``[N, K]``.
    :param targets: Shape ``[N, K]``; rows sum to 1.
    :return: Shape ``[N]``, at least 0.
    """
    return -(targets.to(logits) * logits.log_softmax(dim=1)).sum(dim=1)


def kl_of_logits(logits: Tensor, reference: Tensor) -> Tensor:
    """KL(softmax(logits) || softmax(reference)).

    >>> logits = torch.tensor([[2.0, 0.0]])
    >>> kl_of_logits(logits, logits + 5).abs().max().item() < 1e-6
    True

    :param logits: Shape ``[N, K]``.
    :param reference: Shape ``[N, K]``.
    :return: Shape ``[N]``, at least 0 but for rounding.
    """
    own = logits.log_softmax(dim=1)
    return (own.exp() * (own - reference.log_softmax(dim=1))).sum(dim=1)


def vote_variance(logits: Tensor) -> Tensor:
    """How far the votes of several views of a sample are apart: the variance of their probabilities, over classes.

    The unbiased variance over the views of each class's probability, summed. For two views it is half of the squared
    distance of ``p`` and ``q``; over random masks its mean is the variance over all masks.

    >>> agreed = torch.tensor([[[9.0, 0.0]], [[9.0, 0.0]]])
    >>> vote_variance(agreed).tolist()
    [0.0]
    >>> vote_variance(torch.tensor([[[99.0, 0.0]], [[0.0, 99.0]]])).tolist()
    [1.0]

    :param logits: Shape ``[V, N, K]``, of at least two views.
    :return: Shape ``[N]``, from 0 to 1.
    :raises InputError: For a single view.
    """
    if len(logits) < 2:
        raise InputError("One view of each sample has no variance: give logits of at least two.")
    return logits.softmax(dim=2).var(dim=0).sum(dim=1)


def under_masks(logits: Tensor, targets: Tensor, consistency: float = 0.0) -> Tensor:
    """Mean cross-entropy over views of each sample, and how far their votes are apart.

    >>> logits = torch.zeros(2, 1, 4)
    >>> round(under_masks(logits, torch.eye(4)[:1], consistency=1.0).exp().item(), 3)
    4.0

    :param logits: Shape ``[V, N, K]``.
    :param targets: Shape ``[N, K]``; rows sum to 1.
    :param consistency: Weight of :func:`vote_variance`, at least 0; above 0 there are at least two views.
    """
    loss = torch.stack([soft_cross_entropy(of, targets).mean() for of in logits]).mean()
    return loss + consistency * vote_variance(logits).mean() if consistency else loss


def mmcoa(
    clean_images: Tensor,
    adversarial_images: Tensor,
    clean_texts: Tensor,
    adversarial_texts: Tensor,
    positives: Tensor,
    scale: Tensor,
    lambda_img: float = 0.5,
    lambda_txt: float = 0.5,
) -> Tensor:
    """Adversarial images meet clean texts, and adversarial texts meet clean images (MMCoA, arXiv:2404.19287).

    ``lambda_img * [CE(s I' T) + CE(s T I')] + lambda_txt * [CE(s I T') + CE(s T' I)]``, means over the batch. With the
    diagonal for ``positives`` it is the published loss. With one text and one adversarial text for each class that loss
    and the one of all samples of a class as positives are equal, and so are their gradients; with varied captions they
    are not.

    >>> unit, scale = torch.eye(4), torch.tensor(100.0)
    >>> right = mmcoa(unit, unit, unit, unit, torch.eye(4, dtype=torch.bool), scale)
    >>> wrong = mmcoa(unit, unit.flip(0), unit, unit, torch.eye(4, dtype=torch.bool), scale)
    >>> bool(right < 1e-3), bool(wrong > 10)
    (True, True)

    :param lambda_img: Weight of the adversarial images.
    :param lambda_txt: Weight of the adversarial texts.
    """
    of_images = contrastive_cross_entropy(cosine_logits(adversarial_images, clean_texts, scale), positives)
    of_texts = contrastive_cross_entropy(cosine_logits(clean_images, adversarial_texts, scale), positives)
    # contrastive_cross_entropy is the mean of the two directions, the paper's terms are their sums.
    return 2 * (lambda_img * of_images + lambda_txt * of_texts).mean()


def text_contrastive(clean_images: Tensor, adversarial_texts: Tensor, positives: Tensor, scale: Tensor) -> Tensor:
    """Adversarial texts meet clean images: ``[CE(s I T') + CE(s T' I)] / 2`` (the text side of arXiv:2404.19287).

    >>> unit, scale = torch.eye(4), torch.tensor(100.0)
    >>> bool(text_contrastive(unit, unit, torch.eye(4, dtype=torch.bool), scale) < 1e-3)
    True
    """
    return contrastive_cross_entropy(cosine_logits(clean_images, adversarial_texts, scale), positives).mean()


def joint_anchored(
    clean_images: Tensor,
    adversarial_images: Tensor,
    original_images: Tensor,
    adversarial_texts: Tensor,
    original_texts: Tensor,
    reference_texts: Tensor,
    original_reference_texts: Tensor,
    class_texts: Tensor,
    targets: Tensor,
    positives: Tensor,
    scale: Tensor,
    lambda_txt: float = 0.0,
    lambda_joint: float = 0.5,
    lambda_image_anchor: float = 2.0,
    lambda_text_anchor: float = 50.0,
    lambda_reference: float = 50.0,
) -> Tensor:
    """Adversarial images are classified, adversarial texts meet clean and adversarial images, all held where they were.

    ``CE(s I' C) + lambda_txt S(s I T') + lambda_joint S(s I' T') + lambda_image_anchor (|I - O|^2 + |I' - O|^2)
    + lambda_text_anchor |T' - Q|^2 + lambda_reference |R - R_original|^2``
    with unit embeddings all over, the class texts C, and O and Q where the original model has the clean images and
    texts. S sets each pair that belongs together against those that do not: see :func:`pairs_against_others`. R are
    texts about other things: what a text attack puts in for a word of training must not become a word without meaning.

    >>> unit = torch.eye(4)
    >>> settled = {"original_images": unit, "original_texts": unit, "reference_texts": unit}
    >>> settled |= {"original_reference_texts": unit, "class_texts": unit, "targets": unit}
    >>> settled |= {"positives": torch.eye(4, dtype=torch.bool), "scale": torch.tensor(100.0)}
    >>> bool(joint_anchored(unit, unit, adversarial_texts=unit, **settled) < 1e-3)
    True
    >>> bool(joint_anchored(unit, unit.flip(0), adversarial_texts=unit, **settled) > 10)
    True

    :param lambda_txt: Weight of adversarial texts against clean images.
    :param lambda_joint: Weight of adversarial texts against adversarial images.
    :param lambda_image_anchor: Weight of the distance of clean and adversarial images to the original clean ones.
    :param lambda_text_anchor: Weight of the distance of adversarial texts to the original clean ones.
    :param lambda_reference: Weight of the distance of reference texts to the original ones.
    """
    loss = tecoa(adversarial_images, class_texts, targets, scale)
    of_texts = pairs_against_others(cosine_logits(clean_images, adversarial_texts, scale), positives)
    of_both = pairs_against_others(cosine_logits(adversarial_images, adversarial_texts, scale), positives)
    loss = loss + lambda_txt * of_texts + lambda_joint * of_both
    images = _moved(clean_images, original_images) + _moved(adversarial_images, original_images)
    loss = loss + lambda_image_anchor * images + lambda_text_anchor * _moved(adversarial_texts, original_texts)
    return loss + lambda_reference * _moved(reference_texts, original_reference_texts)


def _moved(embeddings: Tensor, original: Tensor) -> Tensor:
    """The mean squared distance of unit embeddings."""
    return embedding_l2(F.normalize(original, dim=-1), F.normalize(embeddings, dim=-1)).mean()


def pairs_against_others(logits: Tensor, positives: Tensor) -> Tensor:
    """Cross-entropy of every pair that belongs together against those of its row, and of its column, that do not.

    Unlike :func:`contrastive_cross_entropy`, pairs that belong together do not compete with each other: nothing is
    gained by making one of them as likely as the next, and the least likely one is raised the most.

    >>> logits = 100 * torch.eye(3)
    >>> bool(pairs_against_others(logits, torch.eye(3, dtype=torch.bool)) < 1e-3)
    True

    :param logits: Shape ``[N, M]``.
    :param positives: Boolean, shape ``[N, M]``; every row and column has one.
    :return: One number: the mean over rows, then over their pairs, and the same of the columns, averaged.
    """
    return (_against_others(logits, positives) + _against_others(logits.T, positives.T)) / 2


def _against_others(logits: Tensor, positives: Tensor) -> Tensor:
    # Finite, so that a row without others has a gradient of zero.
    others = logits.masked_fill(positives, torch.finfo(logits.dtype).min).logsumexp(dim=1, keepdim=True)
    of_pairs = F.softplus(others - logits) * positives
    return (of_pairs.sum(dim=1) / positives.sum(dim=1)).mean()


def clean_cross_entropy(clean_images: Tensor, class_texts: Tensor, targets: Tensor, scale: Tensor) -> Tensor:
    """Cross-entropy of clean images over the class texts: fine-tuning without an attack, for comparison.

    >>> unit = torch.eye(4)
    >>> bool(clean_cross_entropy(unit, unit, targets=unit, scale=torch.tensor(100.0)) < 1e-3)
    True
    """
    return soft_cross_entropy(cosine_logits(clean_images, class_texts, scale), targets).mean()


def image_ablation(
    ablated_images: Tensor, class_texts: Tensor, targets: Tensor, scale: Tensor, consistency: float = 0.0
) -> Tensor:
    """Cross-entropy over the class texts of images of which some elements are hidden (arXiv:1911.09272).

    >>> unit = torch.eye(4)
    >>> bool(image_ablation(unit[None], unit, unit, scale=torch.tensor(100.0)) < 1e-3)
    True

    :param consistency: Weight of the variance of two masks' votes (:func:`vote_variance`), at least 0; above 0 each
        image is seen under two masks.
    """
    logits = torch.stack([cosine_logits(images, class_texts, scale) for images in ablated_images])
    return under_masks(logits, targets, consistency)


def tecoa(adversarial_images: Tensor, class_texts: Tensor, targets: Tensor, scale: Tensor) -> Tensor:
    """Cross-entropy of adversarial images over the class texts (TeCoA, arXiv:2212.07016).

    >>> unit, scale = torch.eye(4), torch.tensor(100.0)
    >>> bool(tecoa(unit, unit, unit, scale) < tecoa(unit.flip(0), unit, unit, scale))
    True
    """
    return soft_cross_entropy(cosine_logits(adversarial_images, class_texts, scale), targets).mean()


def fare(adversarial_images: Tensor, original_images: Tensor) -> Tensor:
    """Squared distance of adversarial images to where the original model has the clean ones (FARE, arXiv:2402.12336).

    Embeddings are not normalised, and labels not used.

    >>> fare(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2)).item()
    25.0
    """
    return embedding_l2(original_images, adversarial_images).mean()


def pmg_aft(
    clean_images: Tensor,
    adversarial_images: Tensor,
    class_texts: Tensor,
    original_adversarial_images: Tensor,
    original_class_texts: Tensor,
    targets: Tensor,
    scale: Tensor,
    original_scale: Tensor,
    lambda_original: float = 1.0,
    lambda_clean: float = 1.0,
) -> Tensor:
    """TeCoA held near the original model, and near the model's own clean answers (PMG-AFT, arXiv:2401.04350).

    ``CE(adv) + lambda_original KL(P_adv || P_orig(adv)) + lambda_clean KL(P_adv || P_clean)`` over the class texts.
    Gradients flow through both sides of the last term.

    >>> unit, scale = torch.eye(4), torch.tensor(100.0)
    >>> settled = pmg_aft(unit, unit, unit, unit, unit, unit, scale, scale)
    >>> bool(settled < 1e-3), bool(pmg_aft(unit, unit.flip(0), unit, unit, unit, unit, scale, scale) > settled)
    (True, True)

    :param lambda_original: Weight of the distance to the original model's answers on the same adversarial images.
    :param lambda_clean: Weight of the distance to the model's answers on the clean images.
    """
    adversarial = cosine_logits(adversarial_images, class_texts, scale)
    original = cosine_logits(original_adversarial_images, original_class_texts, original_scale)
    clean = cosine_logits(clean_images, class_texts, scale)
    distances = lambda_original * kl_of_logits(adversarial, original) + lambda_clean * kl_of_logits(adversarial, clean)
    return (soft_cross_entropy(adversarial, targets) + distances).mean()


def leaf(adversarial_texts: Tensor, original_texts: Tensor) -> Tensor:
    """Squared distance of adversarial texts to where the original model has the clean ones (LEAF, arXiv:2506.03355).

    Embeddings are not normalised, and labels not used.

    >>> leaf(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2)).item()
    25.0
    """
    return embedding_l2(original_texts, adversarial_texts).mean()
