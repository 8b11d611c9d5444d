"""Modalities that take turns on one head, which keeps what it says of those it has seen (MLA)."""

from __future__ import annotations

import pytest
import torch

from art_multimodal.defences.trainer import (
    FusionTrainerMLA,
    TrainingSettings,
)
from art_multimodal.defences.trainer.fusion.learner import SampleLearner

from .fusions import COUNT, WIDTH, Y, classifier, data, model, plain, tensors, watch_steps


def test_modalities_take_turns_and_leave_each_others_towers_alone() -> None:
    of = classifier("mla")
    seen, taken = watch_steps(of)
    # With momentum, decay and Adam's state, which none of the others may feel.
    settings = TrainingSettings(learning_rate=0.01, weight_decay=0.1)
    FusionTrainerMLA(of, settings).fit(data(), Y, batch_size=6, nb_epochs=2, callback=taken)
    assert [{name.split(".")[1] for name in names} for names in seen] == [
        {name, "heads"} for name in ("pix", "lab", "gas")
    ] * 4


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_the_head_keeps_what_it_says_of_a_modality_it_has_seen(optimizer: str) -> None:
    """A step on the second modality leaves the answer at the first one's mean feature, and moves it elsewhere."""

    def change(alpha: float) -> torch.Tensor:
        """Of the head's weights and bias by the second step, ``[K, D + 1]``."""
        of, found = classifier("mla"), []
        head = of.multimodal.fusion.heads.head

        def taken(record) -> None:
            found.append(torch.cat([head.weight, head.bias[:, None]], dim=1).detach().clone())

        settings = TrainingSettings(optimizer=optimizer, learning_rate=0.05, betas=(0.9, 0.9), weight_decay=0.1)
        FusionTrainerMLA(of, settings, alpha=alpha).fit(data(), Y, batch_size=COUNT, nb_epochs=1, callback=taken)
        return found[1] - found[0]

    with torch.no_grad():
        mean = model("mla").tower("pix").module(tensors(data())["pix"]).mean(dim=0)
    seen = torch.cat([mean, torch.ones(1, dtype=torch.float64)])
    seen = seen / seen.norm()
    protected, free = change(1e-6), change(1e12)
    assert (protected @ seen).abs().max() < 1e-4 * (free @ seen).abs().max()
    # Across the direction that is protected, all of the step is taken.
    torch.testing.assert_close(
        protected - torch.outer(protected @ seen, seen), free - torch.outer(free @ seen, seen), rtol=1e-6, atol=1e-9
    )


def test_the_projection_is_the_closed_form_and_begins_anew_in_every_epoch() -> None:
    of = classifier("mla")
    trainer = FusionTrainerMLA(of, plain(learning_rate=1e-12), alpha=0.5)
    found = []

    class Kept(SampleLearner):
        def after_step(self, batch, found_, progress) -> None:
            super().after_step(batch, found_, progress)
            found.append((progress, batch.turn, self.memory.tensors["projection"].clone()))

    trainer._learner = lambda count: Kept(of, trainer.method, trainer.settings, trainer.options, count)
    trainer.fit(data(), Y, batch_size=COUNT, nb_epochs=2)
    eye = torch.eye(WIDTH + 1, dtype=torch.float64)
    inverse = eye.clone()
    for step, (progress, turn, projection) in enumerate(found):
        if step == 3:
            inverse = eye.clone()
        features = of.multimodal.tower(turn).module(tensors(data())[turn]).mean(dim=0)
        h = torch.cat([features, torch.ones(1, dtype=torch.float64)])
        # 1/P grows by h h' / alpha: recursive least squares.
        inverse = inverse + torch.outer(h, h) / 0.5 ** (1 + progress)
        torch.testing.assert_close(projection, torch.linalg.inv(inverse), rtol=1e-7, atol=1e-9)
