"""What an attack on a dual encoder raises: one number per sample."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def class_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy over all class prompts (arXiv:2404.19287, image attack).

    >>> class_cross_entropy(torch.zeros(2, 4), torch.tensor([0, 3])).exp().round().tolist()
    [4.0, 4.0]

    :param logits: Shape ``[N, K]``.
    :param labels: Class indices, shape ``[N]``.
    :return: Shape ``[N]``, at least 0.
    """
    return F.cross_entropy(logits, labels, reduction="none")


def margin_loss(logits: Tensor, labels: Tensor, targeted: bool = False, rivals: Tensor | None = None) -> Tensor:
    """How far the label is from being the answer: the best other logit minus the label's.

    >>> margin_loss(torch.tensor([[5.0, 2.0, 1.0], [0.0, 3.0, 1.0]]), torch.tensor([0, 0])).tolist()
    [-3.0, 3.0]

    :param logits: Shape ``[N, K]``, at least two classes.
    :param labels: Class indices, shape ``[N]``.
    :param targeted: The labels are wanted: the other sign.
    :param rivals: Take the margin over these classes, shape ``[N]``, instead of over the best other one; -1 for that.
    :return: Shape ``[N]``; positive where the label loses, or wins when targeted.
    """
    own = logits.gather(1, labels[:, None])[:, 0]
    other = _of_another(logits, labels, rivals)
    return own - other if targeted else other - own


def _of_another(values: Tensor, labels: Tensor, rivals: Tensor | None) -> Tensor:
    """The largest value of a class other than the label, or that of the rival."""
    others = values.scatter(1, labels[:, None], -torch.inf)
    if rivals is None:
        return others.amax(dim=1)
    chosen = torch.where(rivals < 0, others.argmax(dim=1), rivals)
    return others.gather(1, chosen[:, None])[:, 0]


def embedding_kl(clean: Tensor, adversarial: Tensor) -> Tensor:
    """KL(softmax(clean) || softmax(adversarial)) of unit embeddings (Co-Attack, arXiv:2206.09391).

    >>> one, other = torch.eye(4)[:2], torch.eye(4)[[0, 2]]
    >>> (embedding_kl(one, other) > 1e-3).tolist()
    [False, True]

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

    >>> embedding_l2(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])).tolist()
    [25.0]

    :param clean: Shape ``[N, D]``.
    :param adversarial: Shape ``[N, D]``.
    :return: Shape ``[N]``, at least 0.
    """
    return (clean - adversarial).square().sum(dim=-1)


def vote_margin(
    scores: Tensor, weights: Tensor, labels: Tensor, targeted: bool = False, rivals: Tensor | None = None
) -> Tensor:
    """What some modalities contribute to another class less what they contribute to the label.

    With one modality ``m``, its scores ``l`` and weight ``w`` it is ``w (l_j - l_y)``.

    >>> scores = torch.tensor([[[2.0, 1.0], [0.0, 4.0]]])
    >>> vote_margin(scores, torch.tensor([[0.5, 0.25]]), torch.tensor([0])).tolist()
    [0.5]

    :param scores: Of each modality alone, ``[N, M, K]``.
    :param weights: Of the modalities, ``[N, M]``.
    :param labels: Class indices ``[N]``.
    :param targeted: As for :func:`margin_loss`.
    :param rivals: Likewise; the best other class is that to which they contribute most.
    :return: Shape ``[N]``.
    """
    return margin_loss((weights[:, :, None] * scores).sum(dim=1), labels, targeted, rivals)


def vote_share(
    scores: Tensor, weights: Tensor, labels: Tensor, targeted: bool = False, rivals: Tensor | None = None
) -> Tensor:
    """The logarithm of the probability that some modalities give a class, where predictions are mixed.

    With one modality ``m``, its prediction ``p`` and weight ``w`` it is ``log(w p_j)``. Where ``w`` falls with the
    distance from the other modalities, it is raised by agreeing with them and by another answer at once.

    >>> even = torch.zeros(1, 2, 2)
    >>> vote_share(even, torch.tensor([[0.5, 0.25]]), torch.tensor([0])).exp().tolist()
    [0.375]

    :param scores: Of each modality alone, ``[N, M, K]``.
    :param weights: Of the modalities, at least 0, ``[N, M]``.
    :param labels: Class indices ``[N]``: the class is the most probable other one.
    :param targeted: The class is the label itself.
    :param rivals: The class, ``[N]``; -1 for the most probable other one.
    :return: Shape ``[N]``, at most 0 where weights add up to 1.
    """
    tiny = torch.finfo(weights.dtype).tiny
    logs = torch.log_softmax(scores, dim=2) + weights.clamp_min(tiny).log()[:, :, None]
    mixed = torch.logsumexp(logs, dim=1)
    if targeted:
        return mixed.gather(1, labels[:, None])[:, 0]
    return _of_another(mixed, labels, rivals)
