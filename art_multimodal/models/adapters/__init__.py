"""What is added to the layers of a model that stays as it is, and can be taken off again."""

from art_multimodal.models.adapters.low_rank import (
    LowRank,
    adapter_parameters,
    add_low_rank,
    drop_low_rank,
    merge_low_rank,
    without_adapters,
)

__all__ = [
    "LowRank",
    "adapter_parameters",
    "add_low_rank",
    "drop_low_rank",
    "merge_low_rank",
    "without_adapters",
]
