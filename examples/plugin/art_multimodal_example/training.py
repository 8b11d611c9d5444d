"""A method of training: the hinge loss of the margin, against an inner attack that lowers the margin."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from art_multimodal.attacks.evasion.image_ascent import Objective, own_score
from art_multimodal.defences.trainer.inner_attacks import IMAGE_ATTACKS, ImageAscent
from art_multimodal.defences.trainer.methods import METHODS, Method
from art_multimodal.functional.objectives import cosine_logits


def margins(logits: Tensor, targets: Tensor) -> Tensor:
    """By how much the right class is ahead of the best other one.

    :param logits: Shape ``[N, K]``, at least two classes.
    :param targets: Shape ``[N, K]``; the largest probability is that of the right class.
    :return: Shape ``[N]``; negative where another one is ahead.
    """
    right = torch.zeros_like(logits, dtype=torch.bool).scatter(1, targets.argmax(dim=1, keepdim=True), True)
    others = logits.masked_fill(right, -torch.inf)
    return logits.masked_fill(~right, 0.0).sum(dim=1) - others.max(dim=1).values


class LogitMargin(ImageAscent):
    """Lower the margin of the right class."""

    name = "logit_margin"
    needs_class_texts = True

    def raised(self, ask: Any, batch: Any) -> Objective:
        targets, (classes, scale) = batch.targets[batch.own], ask.class_directions(batch)
        return own_score(lambda inputs: -margins(cosine_logits(ask.image_features(inputs), classes, scale), targets))


def hinge(
    adversarial_images: Tensor, class_texts: Tensor, targets: Tensor, scale: Tensor, least: float = 1.0
) -> Tensor:
    """Mean of how much each margin lacks.

    :param least: The margin that is enough, in logits.
    """
    return (least - margins(cosine_logits(adversarial_images, class_texts, scale), targets)).clamp(min=0.0).mean()


IMAGE_ATTACKS.add(LogitMargin.name, LogitMargin())
METHODS.add("hinge", Method(hinge, "hinge loss of the margin under attack", LogitMargin.name))
