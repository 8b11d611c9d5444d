"""Methods of several stages: what each trains, what it leaves alone, and where it goes on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from art_multimodal import FusionClassifier, InputError
from art_multimodal.defences.trainer import (
    METHODS,
    FusionTrainer,
    FusionTrainerCRMT,
    FusionTrainerMMLoRA,
    FusionTrainerUmURL,
    TrainingSettings,
)
from art_multimodal.defences.trainer.fusion.memory import LossHistory
from art_multimodal.modalities import skeleton, table
from art_multimodal.models.adapters import without_adapters
from art_multimodal.models.families.modular.towers import fitting_model
from art_multimodal.models.fusions import FUSIONS, UnifiedStream
from art_multimodal.sample_arrays import samples

from .fusions import CLASSES, COUNT, Y, classifier, data, model, own_scores, tensors, watch_steps
from .training import assert_equal_weights, watch_samples, weights


def test_crmt_trains_everything_and_then_the_weights_alone() -> None:
    of = classifier("orthogonal")
    before = weights(of.multimodal)
    seen, taken = watch_steps(of)
    settings = TrainingSettings(learning_rate=0.01, schedule="constant", weight_decay=0.1)
    trainer = FusionTrainerCRMT(of, settings, largest_radius=10.0)
    trainer.fit(data(), Y, batch_size=COUNT, nb_epochs=12, callback=taken)
    assert seen[:9] == [set(before)] * 9 and seen[9:] == [{"fusion.raw"}] * 3
    # The mean radius grows.
    assert trainer.losses[9] > trainer.losses[10] > trainer.losses[11]


@pytest.mark.parametrize(("fusion", "joined"), [("late", set()), ("unis_mmc", {"fusion.head"})])
def test_mmlora_trains_each_modality_and_then_what_joins_them(fusion: str, joined: set[str]) -> None:
    of = classifier(fusion)
    settings = TrainingSettings(learning_rate=0.01, schedule="constant", weight_decay=0.1)
    trainer = FusionTrainerMMLoRA(of, settings)
    # With the adapters that the trainer has put in.
    before = weights(of.multimodal)
    seen, taken = watch_steps(of)
    adapters = {name for name in before if name.endswith((".down", ".up"))}
    # Two layers of each table's tower and one of the image's, with two matrices each.
    assert len(adapters) == 2 * 5
    trainer.fit(data(), Y, batch_size=COUNT, nb_epochs=4, callback=taken)
    of_heads = {name for name in before if name.startswith("fusion.heads.")}
    rest = {name for name in before if name.startswith("fusion.")} - of_heads
    alone = set(before) - adapters - rest
    assert seen[:2] == [alone, alone]
    # The first gradient of the matrix that comes first is 0, since the other one is.
    up = {name for name in adapters if name.endswith(".up")}
    assert seen[2] - {name for name in adapters if name.endswith(".down")} == up | rest
    assert seen[3] == adapters | rest
    assert bool(rest) == bool(joined)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_first_of_all_adapters_wait_for_what_each_modality_reaches_alone(fusion: str) -> None:
    """What is trained first is what scores of each modality alone depend on, of every fusion that has them."""
    of = model(fusion)
    said = of.unimodal_scores({name: of.tower(name).module(values) for name, values in tensors(data()).items()})
    if said is None:
        return
    named = dict(of.named_parameters())
    total = torch.stack(list(said.values())).square().sum()
    gradients = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    reached = {name for name, gradient in zip(named, gradients, strict=True) if gradient is not None}
    trains = METHODS["mmlora"].trains
    assert trains is not None and {name for name in named if trains(name)} == reached


def test_adapters_begin_as_the_ensemble_of_what_the_modalities_say() -> None:
    of = classifier("late")
    trainer = FusionTrainerMMLoRA(of, TrainingSettings(learning_rate=0.05, schedule="constant"))
    told: list[tuple[np.ndarray, torch.Tensor]] = []

    def ended(epochs: int) -> None:
        said = own_scores(of.multimodal, data())
        told.append((of.predict(data()), torch.stack(list(said.values())).mean(dim=0).detach()))

    trainer.fit(data(), Y, batch_size=COUNT, nb_epochs=6, epoch_callback=ended)
    scores, ensemble = told[3]
    np.testing.assert_allclose(scores, ensemble.numpy(), rtol=1e-6, atol=1e-7)
    with without_adapters(of.multimodal):
        np.testing.assert_array_equal(of.predict(data()), scores)
    assert np.abs(of.predict(data()) - scores).max() > 1e-3


def skeletons(count: int) -> tuple[FusionClassifier, np.ndarray]:
    torch.manual_seed(0)
    joint = skeleton("joint", 6, 4, 2, clip_values=(-1.0, 1.0))
    of = UnifiedStream(joint, CLASSES, (0, 0, 1, 1), hidden=8, projection=6)
    x = np.random.default_rng(2).uniform(-1, 1, (count, 6, 4, 2)).astype(np.float32)
    return FusionClassifier(of.eval(), device_type="cpu"), samples(joint=x)


def test_umurl_is_attacked_where_there_are_labels(monkeypatch) -> None:
    (of, x), seen = skeletons(COUNT), watch_samples(monkeypatch)
    FusionTrainerUmURL(of, TrainingSettings(max_iter=1), {"joint": 0.1}).fit(x, Y, batch_size=COUNT, nb_epochs=4)
    assert [found is None for _, found in seen] == [True, True, True, False]


def test_umurl_learns_without_labels_and_then_a_head() -> None:
    of, x = skeletons(COUNT)
    trainer = FusionTrainerUmURL(of, TrainingSettings(learning_rate=0.01, schedule="constant"))
    seen, taken = watch_steps(of)
    trainer.fit(x, Y, batch_size=COUNT, nb_epochs=8, callback=taken)
    head = {"head.weight", "head.bias"}
    assert all(not names & head and len(names) > 20 for names in seen[:6])
    assert seen[6:] == [head, head]
    # Statistics of the projectors go by the batch.
    assert any("running_mean" in name for name in seen[0])
    assert trainer.losses[7] < trainer.losses[6]


def test_umurl_goes_on_where_it_was_stopped(tmp_path) -> None:
    settings = TrainingSettings(learning_rate=0.01)
    (whole, x), (stopped, _), (again, _) = (skeletons(COUNT) for _ in range(3))
    FusionTrainerUmURL(whole, settings).fit(x, Y, batch_size=5, nb_epochs=4)

    def stop(record) -> None:
        if record.place.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FusionTrainerUmURL(stopped, settings).fit(x, Y, 5, 4, checkpoint=tmp_path, checkpoint_every=2, callback=stop)
    FusionTrainerUmURL(again, settings).fit(x, Y, 5, 4, checkpoint=tmp_path, resume=True)
    assert_equal_weights(weights(again.multimodal), weights(whole.multimodal))


def test_umurl_leaves_out_a_sample_that_is_alone_in_its_batch() -> None:
    """It would be compared with nothing, and has no variance; with labels it teaches its class."""
    of, x = skeletons(7)
    trainer = FusionTrainerUmURL(of, TrainingSettings(learning_rate=0.01))
    with pytest.warns(UserWarning, match="3 of 12 batches were left out"):
        trainer.fit(x, Y[:7], batch_size=3, nb_epochs=4)
    assert len(trainer.losses) == 9 and np.isfinite(trainer.losses).all()
    for count, size in ((7, 1), (1, 4)):
        of, x = skeletons(count)
        with pytest.raises(InputError, match="batch_size must be at least 2"):
            FusionTrainerUmURL(of).fit(x, Y[:count], batch_size=size, nb_epochs=4)


@pytest.mark.parametrize(("method", "fusion", "moving"), [("crmt", "orthogonal", 3), ("mmlora", "late", 2)])
def test_a_stage_moves_no_statistics_of_what_it_does_not_train(method, fusion, moving, tmp_path) -> None:
    """What it does not train stays bit for bit, and a run that goes on in the middle of it ends alike."""

    def normed() -> FusionClassifier:
        torch.manual_seed(0)
        kinds = [table("lab", 4), table("gas", 4)]
        return FusionClassifier(fitting_model(fusion, kinds, CLASSES), device_type="cpu")

    x, seen = samples(**{name: data()[name] for name in ("lab", "gas")}), []
    settings = TrainingSettings(learning_rate=0.01, update_batch_norm=True)
    whole, stopped, again = normed(), normed(), normed()
    statistics = [of for name, of in whole.multimodal.named_buffers() if name.endswith("running_mean")]
    before = torch.cat(statistics).clone()

    def taken(record) -> None:
        nonlocal before
        now = torch.cat(statistics).clone()
        seen.append(not torch.equal(now, before))
        before = now

    FusionTrainer(whole, method, settings).fit(x, Y, 4, 4, callback=taken)
    assert seen == [True] * 3 * moving + [False] * 3 * (4 - moving)

    def stop(record) -> None:
        if record.place.step == 11:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FusionTrainer(stopped, method, settings).fit(x, Y, 4, 4, checkpoint=tmp_path, checkpoint_every=1, callback=stop)
    FusionTrainer(again, method, settings).fit(x, Y, 4, 4, checkpoint=tmp_path, resume=True)
    assert_equal_weights(weights(again.multimodal), weights(whole.multimodal))


def test_stages_that_do_not_fit_together_are_refused_when_a_method_is_made() -> None:
    """What the loop would leave out without a word, or miss in the middle of training."""
    mla, qmf, fused = (METHODS[name] for name in ("mla", "qmf", "plain"))
    for changes, message in [
        ({"objective": mla.objective}, "asks for turn: give alternates=True"),
        ({"objective": qmf.objective}, "asks for history: give memory=LossHistory"),
        ({"then": mla}, "must both alternate, or neither"),
        ({"then": METHODS["tecoa"]}, "different kinds of models"),
        ({"memory": LossHistory, "then": replace(fused, then=qmf)}, "both have a memory"),
        ({"share": -1.0, "then": fused}, "share must be greater than 0, not -1.0"),
    ]:
        with pytest.raises(ValueError, match=message):
            replace(fused, **changes)
