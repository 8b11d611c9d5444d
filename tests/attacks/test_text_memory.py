"""The memory of embeddings serves what the model computes now, whoever wrote its weights and whoever asks meanwhile."""

from __future__ import annotations

import contextlib
import threading

import numpy as np
import pytest
import torch
from attacks.text_attacks import images, zero_shot

from art_multimodal.estimators.asking.memory import memory_of

TEXTS = ["a photo of a cat", "the dog", "small boat"]


def served(estimator, texts=TEXTS) -> torch.Tensor:
    """The embeddings that an attack works with."""
    rows, table = estimator.asking(8).text_table.rows(texts)
    return table[[rows[text] for text in texts]]


@torch.no_grad()
def computed(estimator, texts=TEXTS) -> torch.Tensor:
    model = estimator.dual_encoder
    return torch.cat([model.encode_text(model.tokenize([text])) for text in texts])


class WritesToData(torch.optim.Optimizer):
    """As optimizers were written before torch had ``no_grad``."""

    def __init__(self, parameters) -> None:
        super().__init__(parameters, {})

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.data.sub_(parameter.grad.data)


@pytest.mark.parametrize(
    "make",
    [
        lambda weights: torch.optim.SGD(weights, 1.0),
        lambda weights: torch.optim.AdamW(weights, 0.1, foreach=True),
        lambda weights: torch.optim.AdamW(weights, 0.1, fused=True),
        WritesToData,
    ],
    ids=["sgd", "foreach", "fused", "data"],
)
@pytest.mark.parametrize("training", [False, True])
def test_embeddings_are_new_after_a_step_of_any_optimizer(make, training):
    estimator = zero_shot()
    model, x = estimator.dual_encoder, images(3)
    optimizer = make(list(model.parameters()))
    for _ in range(2):
        before, scores = served(estimator), estimator.predict(x)
        model.train(training)
        model.encode_text(model.tokenize(TEXTS), normalize=False)[:, 0].sum().backward()
        optimizer.step()
        # Measuring in between puts the model into evaluation mode before the attack sees it.
        assert np.abs(estimator.predict(x) - scores).max() > 1e-3
        after = served(estimator)
        assert (after - before).abs().max() > 1e-3
        torch.testing.assert_close(after, computed(estimator))


def test_embeddings_are_new_after_training_that_torch_does_not_see():
    estimator = zero_shot()
    served(estimator)
    estimator.model.train()
    for parameter in estimator.dual_encoder.parameters():
        parameter.data.mul_(torch.linspace(0.5, 2, parameter.numel()).view_as(parameter))
    estimator.predict(images(2))
    torch.testing.assert_close(served(estimator), computed(estimator))


def test_threads_share_a_memory():
    estimator = zero_shot()
    texts = [f"{number} cats" for number in range(600)]
    expected = computed(estimator, texts)
    memory, wrong = memory_of(estimator.dual_encoder), []
    keep = memory.keep
    both = threading.Barrier(2)

    def together(*arguments):
        # Without the lock both threads are here at the same time, and would write to the same rows.
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.05)
        keep(*arguments)

    memory.keep = together

    def work(rows):
        for start in range(0, len(rows), 50):
            part = rows[start : start + 50]
            found = served(estimator, [texts[row] for row in part])
            wrong.append(float((found - expected[part]).abs().max()))

    threads = [threading.Thread(target=work, args=(list(range(first, 600, 2)),)) for first in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 12 and max(wrong) < 1e-6
