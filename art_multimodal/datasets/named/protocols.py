"""Which data sets published evaluations measure on, and how: read by benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from art_multimodal.registry import Registry

#: A model is measured on the data set that it was trained on, or on one that it never saw.
IN_DISTRIBUTION, ZERO_SHOT = "in-distribution", "zero-shot"


@dataclass(frozen=True)
class Protocol:
    """Data sets that a paper measures on.

    >>> from art_multimodal.datasets.named.protocols import PROTOCOLS
    >>> protocol = PROTOCOLS[next(iter(PROTOCOLS))]
    >>> isinstance(protocol, Protocol), sorted(set(protocol.roles.values()))
    (True, ['in-distribution', 'zero-shot'])

    :param title: What it evaluates.
    :param paper: Where it is published.
    :param templates: Its prompt templates, for all data sets alike.
    :param roles: Data sets by name, and what each is in it: ``"in-distribution"`` or ``"zero-shot"``.
    :param note: How this differs from what was published, fit to be shown; or empty.
    """

    title: str
    paper: str
    templates: tuple[str, ...]
    roles: Mapping[str, str]
    note: str = ""


#: Every protocol by name.
PROTOCOLS: Registry[Protocol] = Registry("protocol", Protocol)

PROTOCOLS.add(
    "mmcoa",
    Protocol(
        "MMCoA: robustness in the distribution of training, and zero-shot",
        "Zhou et al., Revisiting the Adversarial Robustness of Vision Language Models: a Multimodal Perspective, "
        "arXiv:2404.19287",
        ("This is a photo of a {}",),
        {
            **dict.fromkeys(("cifar10", "cifar100", "tiny-imagenet", "imagenet"), IN_DISTRIBUTION),
            **dict.fromkeys(
                (
                    *("stl10", "caltech101", "caltech256", "oxford-pets", "flowers102", "fgvc-aircraft"),
                    *("stanford-cars", "sun397", "food101", "dtd", "eurosat", "country211"),
                ),
                ZERO_SHOT,
            ),
        },
        "the data sets that its published test script names, which are one more than the 15 of the paper",
    ),
)
