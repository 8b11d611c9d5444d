"""What embedding prompts takes, counted by hand for a few."""

from __future__ import annotations

import torch

from benchmarks.prompt_work import LAYERS, WIDTH, ways


def test_tokens_and_operations_of_a_few_texts() -> None:
    tokens = torch.tensor([[1, 5, 6, 9, 0, 0], [1, 5, 7, 8, 9, 0], [1, 5, 6, 7, 9, 0]])
    found = {way: (count, work) for way, count, work in ways(tokens, (tokens == 9).int().argmax(dim=1), 100)}
    counts = [count for count, _ in found.values()]
    # Once: 1 5 6 9, then 7 8 9 behind 1 5, then 7 9 behind 1 5 6.
    assert counts == [18, 15, 14, 9, 9, 9]
    weights = LAYERS * (3 * WIDTH**2 + WIDTH**2 + 2 * 4 * WIDTH**2)
    works = [work for _, work in found.values()]
    assert works[:4] == [2 * weights * count for count in counts[:4]]
    # Six of the nine tokens are no ends: in the last layer only their queries, keys and values are computed.
    assert works[4] == works[3] - 6 * 2 * 9 * WIDTH**2
    # Two of them are 9 in the last column: it opens the first layer once.
    assert works[5] == works[4] - 2 * 3 * WIDTH**2
