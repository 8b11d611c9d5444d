"""Which elements a vote sees of each modality, and how many votes some touched elements can reach.

Not public: what is has a place in ``estimators.certification``.
"""

from __future__ import annotations

from collections.abc import Mapping

from art_multimodal.errors import unknown_name
from art_multimodal.estimators.certification.masks.ballot import MOST_VOTES, Ballot, Masks
from art_multimodal.estimators.certification.masks.counted import AllSubsets, Design, Grid, Partition
from art_multimodal.estimators.certification.masks.drawn import Bernoulli, Independent, Joint, Sampled

__all__ = [
    "MASKS",
    "MOST_VOTES",
    "AllSubsets",
    "Ballot",
    "Bernoulli",
    "Design",
    "Grid",
    "Independent",
    "Joint",
    "Masks",
    "Partition",
    "Sampled",
    "masks_of",
]

#: By name, for the command line.
MASKS: dict[str, type[Masks]] = {
    kind.name: kind for kind in (AllSubsets, Partition, Design, Independent, Joint, Bernoulli)
}


def masks_of(name: str, keep: Mapping[str, int], **options: object) -> Masks:
    """Make masks by their name.

    >>> type(masks_of("partition", {"image": 4})).__name__
    'Partition'

    :raises InputError: For an unknown name; one that is not known must never go on without hiding anything.
    """
    if name not in MASKS:
        raise unknown_name("kind of masks", name, MASKS)
    return MASKS[name](keep, **options)
