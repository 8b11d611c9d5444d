"""What an attack on a dual encoder raises: one number per sample."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def class_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy over all class prompts (arXiv:2404.19287, image attack).

    :param logits: Shape ``[N, K]``.
    :param labels: Class indices, shape ``[N]``.
    :return: Shape ``[N]``, at least 0.
    """
    return F.cross_entropy(logits, labels, reduction="none")


def margin_loss(logits: Tensor, labels: Tensor, targeted: bool = False, rivals: Tensor | None = None) -> Tensor:
    """How far the label is from being the answer: the best other logit minus the label's.

    :param logits: Shape ``[N, K]``, at least two classes.
    :param labels: Class indices, shape ``[N]``.
    :param targeted: The labels are wanted: the other sign.
    :param rivals: Take the margin over these classes, shape ``[N]``, instead of over the best other one; -1 for that.
    :return: Shape ``[N]``; positive where the label loses, or wins when targeted.
    """
    own = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -torch.inf)
    if rivals is None:
        other = others.amax(dim=1)
    else:
        chosen = torch.where(rivals < 0, others.argmax(dim=1), rivals)
        other = others.gather(1, chosen[:, None])[:, 0]
    return own - other if targeted else other - own


def embedding_kl(clean: Tensor, adversarial: Tensor) -> Tensor:
    """KL(softmax(clean) || softmax(adversarial)) of unit embeddings (Co-Attack, arXiv:2206.09391).

    :param clean: Shape ``[N, D]``; scaled to unit length here.
    :param adversarial: Shape ``[N, D]``; scaled to unit length here.
    :return: Shape ``[N]``, at least 0, and 0 where the directions agree.
    """
    # Unit vectors give nearly equal distributions: a difference of logarithms would be lost in float32's rounding, and
    # even negative. With d = q's logits - p's, the same number is log E_p exp(d - E_p d), which loses nothing.
    clean = F.normalize(clean, dim=-1)
    p = clean.softmax(dim=-1)
    d = F.normalize(adversarial, dim=-1) - clean
    d = d - (p * d).sum(dim=-1, keepdim=True)
    return (p * d.expm1()).sum(dim=-1).log1p()


def embedding_l2(clean: Tensor, adversarial: Tensor) -> Tensor:
    """Squared Euclidean distance of unnormalised embeddings (FARE, arXiv:2402.12336, equation 3).

    :param clean: Shape ``[N, D]``.
    :param adversarial: Shape ``[N, D]``.
    :return: Shape ``[N]``, at least 0.
    """
    return (clean - adversarial).square().sum(dim=-1)
