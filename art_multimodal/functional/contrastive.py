"""The loss that CLIP-like models are trained with, over a batch of pairs."""

from __future__ import annotations

from torch import Tensor


def contrastive_cross_entropy(logits: Tensor, positives: Tensor) -> Tensor:
    """Symmetric cross-entropy of images against texts, with several positives (arXiv:2103.00020, arXiv:2004.11362).

    The target of a row, and of a column, is uniform over its positives. With the diagonal alone this is CLIP's loss.

    :param logits: Images against texts, shape ``[N, N]``.
    :param positives: Which text belongs to which image, boolean, shape ``[N, N]``; at least one in every row and
        column.
    :return: Shape ``[N]``: for each pair the mean of its image's and its text's cross-entropy; at least 0.
    """
    wanted = positives.to(logits)
    of_images = -(logits.log_softmax(dim=1) * wanted).sum(dim=1) / wanted.sum(dim=1)
    of_texts = -(logits.log_softmax(dim=0) * wanted).sum(dim=0) / wanted.sum(dim=0)
    return (of_images + of_texts) / 2
