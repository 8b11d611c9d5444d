"""Published ways of training fusions: what a step minimises, what training remembers, and what an attack changes."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from several import Joint
from torch import nn
from torch.nn import functional as F

from art_multimodal import FusionClassifier, InputError
from art_multimodal.defences.trainer import (
    METHODS,
    AdversarialFusionTrainer,
    FusionTrainer,
    FusionTrainerCRMT,
    FusionTrainerMLA,
    FusionTrainerMMLoRA,
    FusionTrainerQMF,
    FusionTrainerUmURL,
    FusionTrainerUniSMMC,
    Method,
    ScoreAscent,
    TrainingSettings,
)
from art_multimodal.defences.trainer.checkpoint import load_checkpoint
from art_multimodal.defences.trainer.fusion import learner as of_learner
from art_multimodal.defences.trainer.fusion.batches import SampleBatch
from art_multimodal.defences.trainer.fusion.learner import SampleLearner
from art_multimodal.defences.trainer.fusion.memory import LossHistory
from art_multimodal.functional.fusion_objectives import quality_ranking
from art_multimodal.modalities import image, skeleton, table
from art_multimodal.models.adapters import without_adapters
from art_multimodal.models.families.modular.model import ModularModel, Tower
from art_multimodal.models.families.modular.towers import fitting_model
from art_multimodal.models.fusions import FUSIONS, UnifiedStream
from art_multimodal.sample_arrays import samples

from .training import OF_FUSIONS, PLAIN, assert_equal_weights, watch_samples, weights

WIDTH, COUNT = 6, 12
CLASSES = ("one", "two", "three")
Y = np.arange(COUNT) % 3
EPS = {"lab": 0.1, "pix": 0.05}
every_method = pytest.mark.parametrize("method", OF_FUSIONS)


def model(fusion: str = "late", seed: int = 0, dtype: torch.dtype = torch.float64, width: int = WIDTH) -> ModularModel:
    torch.manual_seed(seed)
    pix = nn.Sequential(nn.Flatten(), nn.Linear(16, WIDTH), nn.Tanh())
    lab, gas = (nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, out)) for out in (WIDTH, width))
    towers = [Tower(image("pix", 1, 4, 4), pix, WIDTH), Tower(table("lab", 4), lab, WIDTH)]
    return ModularModel([*towers, Tower(table("gas", 4), gas, width)], fusion, CLASSES).to(dtype).eval()


def data(count: int = COUNT) -> np.ndarray:
    rng = np.random.default_rng(5)
    labels = np.arange(count) % 3
    lab = 0.6 * rng.random((count, 4)) + 0.1 * labels[:, None]
    gas = 0.6 * rng.random((count, 4)) + 0.1 * (2 - labels[:, None])
    pix = 0.6 * rng.random((count, 1, 4, 4)) + 0.1 * labels[:, None, None, None]
    return samples(**{name: of.astype(np.float32) for name, of in (("pix", pix), ("lab", lab), ("gas", gas))})


def classifier(fusion: str = "late", **options) -> FusionClassifier:
    return FusionClassifier(model(fusion, **options), device_type="cpu")


def plain(**changes) -> TrainingSettings:
    return TrainingSettings(**{**PLAIN, "learning_rate": 0.1, "max_iter": 2, **changes})


def tensors(x: np.ndarray) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(x[name].copy()).double() for name in x.dtype.names}


def own_scores(of: ModularModel, x: np.ndarray) -> dict[str, torch.Tensor]:
    features = {name: of.tower(name).module(values) for name, values in tensors(x).items()}
    return of.fusion.unimodal_scores(features)


def assert_step(before: ModularModel, after: ModularModel, loss: torch.Tensor, rate: float = 0.1) -> None:
    """The parameters have moved by the gradient of a loss, as torch computes it of the model before."""
    named = dict(before.named_parameters())
    gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    assert sum(gradient is not None for gradient in gradients) > 1
    for (name, old), gradient in zip(named.items(), gradients, strict=True):
        expected = old if gradient is None else old - rate * gradient
        torch.testing.assert_close(dict(after.named_parameters())[name], expected, rtol=1e-9, atol=1e-11)


def test_one_step_of_qmf_is_that_of_its_formula() -> None:
    """In the first step no loss is known and the ranking is 0; in the second it is that of the losses before."""
    of, x = classifier("qmf"), data()
    copies = [copy.deepcopy(of.multimodal)]
    settings = plain(seed=3)
    trainer = FusionTrainerQMF(of, settings, lambda_rank=0.7)
    rows = []

    def taken(record) -> None:
        copies.append(copy.deepcopy(of.multimodal))
        rows.append(list(record.place.rows))

    trainer.fit(x, Y, batch_size=COUNT, nb_epochs=3, callback=taken)
    known = {name: torch.zeros(COUNT, dtype=torch.float64) for name in of.modalities}
    for step, order in enumerate(rows):
        before, targets = copies[step].train(), torch.from_numpy(Y[order])
        said = own_scores(before, x[order])
        weighs = {name: scores.logsumexp(dim=1) / 10 for name, scores in said.items()}
        fused = sum(weighs[name][:, None] * said[name] for name in said)
        total = F.cross_entropy(fused, targets) + sum(F.cross_entropy(scores, targets) for scores in said.values())
        for name, losses in known.items():
            scaled = losses if not step else (losses - losses.min()) / (losses.max() - losses.min())
            # Targets are float32: so exact is what is compared with them.
            total = total + 0.7 * quality_ranking(weighs[name], scaled[order].float())
            with torch.no_grad():
                losses[order] += F.cross_entropy(said[name], targets, reduction="none")
        assert trainer.losses[step] == pytest.approx(total.item(), rel=1e-7)
        assert_step(before, copies[step + 1], total)


@every_method
def test_what_a_sample_lacks_takes_no_part(method: str) -> None:
    """The gradient of the tower of a modality does not depend on samples that lack it."""
    x, gone = data(), [0, 3, 4]
    x["lab"][gone] = np.nan
    of = classifier(OF_FUSIONS[method])
    trainer = FusionTrainer(of, method)
    learner = trainer._learner(COUNT)
    if learner.memory is not None and method == "qmf":
        learner.memory.tensors["lab"][:] = torch.arange(COUNT)

    def gradients(filled: float) -> list[torch.Tensor]:
        """With something else in the place of what is missing."""
        seen = learner.parts(x)
        part = seen["lab"]
        values = part.values.clone()
        values[gone] = filled
        learner.parts = lambda _: {**seen, "lab": replace(part, values=values)}
        batch = trainer._samples(x, Y, known=True).batch(np.arange(COUNT), np.random.default_rng(0))
        loss = learner.loss(replace(batch, turn="lab"), None)[0]
        del learner.parts
        return list(torch.autograd.grad(loss, list(of.multimodal.tower("lab").parameters())))

    ones, others = gradients(0.2), gradients(0.9)
    assert any(bool(one.abs().sum() > 0) for one in ones)
    for one, other in zip(ones, others, strict=True):
        assert torch.isfinite(one).all()
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@every_method
def test_the_loss_falls_under_every_schedule_of_attacks(method: str) -> None:
    for schedule in (None, "joint", "in-turn", "most-vulnerable"):
        of = classifier(OF_FUSIONS[method], dtype=torch.float32)
        attack = None if schedule is None else ScoreAscent(EPS, schedule)
        settings = TrainingSettings(learning_rate=0.05, max_iter=1, schedule="constant")
        trainer = FusionTrainer(of, method, settings, attack)
        trainer.fit(data(), Y, batch_size=COUNT, nb_epochs=24)
        first = trainer.losses[: {"crmt": 18, "mmlora": 12}.get(method)]
        assert np.mean(first[-3:]) < 0.9 * np.mean(first[:3]), (schedule, first)


@every_method
def test_a_run_that_was_stopped_ends_like_one_that_was_not(method: str, tmp_path) -> None:
    settings = TrainingSettings(learning_rate=1e-2, max_iter=2, modality_dropout=0.2)

    def trainer(of: FusionClassifier) -> FusionTrainer:
        return FusionTrainer(of, method, settings, ScoreAscent(EPS, "in-turn"), ratio=0.5)

    whole, stopped, again = (classifier(OF_FUSIONS[method]) for _ in range(3))
    trainer(whole).fit(data(), Y, batch_size=5, nb_epochs=4)

    def stop(record) -> None:
        if record.place.step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(stopped).fit(data(), Y, 5, 4, checkpoint=tmp_path, checkpoint_every=2, callback=stop)
    kept = load_checkpoint(tmp_path).memory
    assert set(kept) == {"qmf": {"pix", "lab", "gas"}, "mla": {"projection"}}.get(method, set())
    assert all(bool(of.count_nonzero()) for of in kept.values())
    trainer(again).fit(data(), Y, 5, 4, checkpoint=tmp_path, resume=True)
    assert_equal_weights(weights(again.multimodal), weights(whole.multimodal))
    with pytest.raises(InputError, match="another run: attack.schedule was 'in-turn', now 'joint'"):
        FusionTrainer(classifier(OF_FUSIONS[method]), method, settings, EPS).fit(
            data(), Y, 5, 4, checkpoint=tmp_path, resume=True
        )


def test_modalities_take_turns_and_leave_each_others_towers_alone() -> None:
    of, seen = classifier("mla"), []
    before = weights(of.multimodal)

    def taken(record) -> None:
        nonlocal before
        now = weights(of.multimodal)
        seen.append({name.split(".")[1] for name in now if not torch.equal(now[name], before[name])})
        before = now

    # With momentum, decay and Adam's state, which none of the others may feel.
    settings = TrainingSettings(learning_rate=0.01, weight_decay=0.1)
    FusionTrainerMLA(of, settings).fit(data(), Y, batch_size=6, nb_epochs=2, callback=taken)
    assert seen == [{name, "heads"} for name in ("pix", "lab", "gas")] * 4


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


def test_crmt_trains_everything_and_then_the_weights_alone() -> None:
    of, seen = classifier("orthogonal"), []
    before = weights(of.multimodal)

    def taken(record) -> None:
        nonlocal before
        now = weights(of.multimodal)
        seen.append({name for name in now if not torch.equal(now[name], before[name])})
        before = now

    settings = TrainingSettings(learning_rate=0.01, schedule="constant", weight_decay=0.1)
    trainer = FusionTrainerCRMT(of, settings, largest_radius=10.0)
    trainer.fit(data(), Y, batch_size=COUNT, nb_epochs=12, callback=taken)
    assert seen[:9] == [set(before)] * 9 and seen[9:] == [{"fusion.raw"}] * 3
    # The mean radius grows.
    assert trainer.losses[9] > trainer.losses[10] > trainer.losses[11]


@pytest.mark.parametrize(("fusion", "joined"), [("late", set()), ("unis_mmc", {"fusion.head"})])
def test_mmlora_trains_each_modality_and_then_what_joins_them(fusion: str, joined: set[str]) -> None:
    of, seen = classifier(fusion), []

    def taken(record) -> None:
        nonlocal before
        now = weights(of.multimodal)
        seen.append({name for name in now if not torch.equal(now[name], before[name])})
        before = now

    settings = TrainingSettings(learning_rate=0.01, schedule="constant", weight_decay=0.1)
    trainer = FusionTrainerMMLoRA(of, settings)
    before = weights(of.multimodal)
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
    seen = []
    trainer = FusionTrainerUmURL(of, TrainingSettings(learning_rate=0.01, schedule="constant"))
    before = weights(of.multimodal)

    def taken(record) -> None:
        nonlocal before
        now = weights(of.multimodal)
        seen.append({name for name in now if not torch.equal(now[name], before[name])})
        before = now

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


@pytest.mark.parametrize(
    ("method", "fusion", "quantity"), [("qmf", "qmf", "weights"), ("crmt", "orthogonal", "radius")]
)
def test_a_process_without_samples_has_quantities_of_the_same_shape(method, fusion, quantity, monkeypatch) -> None:
    """It does not see what the others have: rows of some width, which of numbers is 1."""
    monkeypatch.setattr(of_learner, "gathered_rows", lambda own, count, device: torch.zeros(count, 1))
    chosen = METHODS[method].stages[-1]
    learner = SampleLearner(classifier(fusion), chosen, plain(), count=COUNT)
    labels = np.zeros(3, dtype=int)
    targets = torch.eye(3)[labels]
    present = {name: torch.ones(3, dtype=torch.bool) for name in learner.multimodal.modalities}
    batch = SampleBatch(data()[:0], slice(3, 3), labels, targets, present, np.arange(3), 0)
    found = learner.quantities(batch, None)[quantity]
    shapes = {of.shape for of in (found.values() if isinstance(found, dict) else [found])}
    assert shapes == {torch.Size([3])}


def smaller(scores: torch.Tensor) -> torch.Tensor:
    return scores.square().mean()


@pytest.mark.parametrize("schedule", ["joint", "in-turn", "most-vulnerable"])
def test_which_modalities_a_batch_is_attacked_on(schedule: str, monkeypatch) -> None:
    of, seen = classifier("late"), watch_samples(monkeypatch)
    trainer = AdversarialFusionTrainer(of, EPS, "plain", plain(max_iter=3), schedule, ratio=0.6)
    trainer.fit(data(), Y, batch_size=5, nb_epochs=2)
    names = []
    for batch, found in seen:
        changed = {name: (found[name] != batch.x[name]).reshape(batch.size, -1).any(axis=1) for name in of.modalities}
        names.append({name for name, rows in changed.items() if rows.any()})
        assert int(np.any(list(changed.values()), axis=0).sum()) == math.ceil(0.6 * batch.size)
        for name, eps in EPS.items():
            assert np.abs(found[name] - batch.x[name]).max() <= eps + 1e-6
    if schedule == "joint":
        assert names == [{"pix", "lab"}] * 6
    elif schedule == "in-turn":
        assert names == [{"lab"}, {"pix"}] * 3
    else:
        assert all(len(one) == 1 and one <= set(EPS) for one in names)


def test_the_most_vulnerable_modality_is_the_one_whose_attack_costs_most(monkeypatch) -> None:
    """A modality that the model does not look at is never chosen."""
    of, seen = classifier("late"), watch_samples(monkeypatch)
    with torch.no_grad():
        of.multimodal.tower("lab").module[2].weight.zero_()
    AdversarialFusionTrainer(of, {"lab": 0.9, "pix": 0.01}, "plain", plain(learning_rate=1e-9)).fit(data(), Y, 4, 1)
    assert all(np.array_equal(found["lab"], batch.x["lab"]) for batch, found in seen)
    assert all(not np.array_equal(found["pix"], batch.x["pix"]) for batch, found in seen)


def test_a_share_of_the_modalities_is_missing_but_never_all(monkeypatch) -> None:
    of, seen = classifier("late"), watch_samples(monkeypatch)
    x = data(300)
    x["pix"][:100] = x["lab"][:100] = np.nan
    settings = plain(modality_dropout=0.5)
    FusionTrainer(of, "plain", settings).fit(x, np.arange(300) % 3, batch_size=300, nb_epochs=1)
    [(batch, _)] = seen
    there = np.stack([of.numpy() for of in batch.present.values()])
    own = np.stack([~np.isnan(x[name]).reshape(300, -1).any(axis=1) for name in x.dtype.names])[:, batch.rows]
    assert there.any(axis=0).all() and not (there & ~own).any()
    whole = own.all(axis=0)
    # Of 600 draws each stays with 1/2, and one of three in any case: 2/3 in the mean, give or take 6 deviations.
    assert abs(there[:, whole].mean() - 2 / 3) < 6 * math.sqrt(0.25 / 600)


def test_a_generator_trains_what_needs_no_history() -> None:
    from art.data_generators import NumpyDataGenerator

    generator = partial(NumpyDataGenerator, data(), Y, batch_size=4, drop_remainder=False)
    of = classifier("mla")
    trainer = FusionTrainerMLA(of, plain())
    trainer.fit_generator(generator(), nb_epochs=2)
    assert len(trainer.losses) == 3 * 3 * 2
    with pytest.raises(InputError, match="remembers the losses of each sample"):
        FusionTrainerQMF(classifier("qmf"), plain()).fit_generator(generator(), nb_epochs=1)


def test_batches_of_one_class_and_of_one_sample_train() -> None:
    for method, fusion in OF_FUSIONS.items():
        for count, labels in ((5, np.zeros(5, dtype=int)), (1, np.zeros(1, dtype=int))):
            of = classifier(fusion)
            trainer = FusionTrainer(of, method, plain(learning_rate=1e-3), EPS)
            trainer.fit(data(count), labels, batch_size=2, nb_epochs=4)
            assert np.isfinite(trainer.losses).all()


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


def test_a_model_that_is_refused_is_left_as_it_is() -> None:
    for fusion, attack in (("concat", None), ("late", {"rgb": 0.1})):
        of = classifier(fusion)
        before = weights(of.multimodal)
        with pytest.raises(InputError):
            FusionTrainerMMLoRA(of, attack=attack)
        assert_equal_weights(weights(of.multimodal), before)


def test_what_a_method_needs_is_asked_for_before_training() -> None:
    for attempt, message in [
        (lambda: FusionTrainerQMF(classifier("concat")), "needs scores of each modality alone|weights of modalities"),
        (lambda: FusionTrainer(classifier("concat"), "auxiliary"), "needs scores of each modality alone: give a model"),
        (lambda: FusionTrainerMLA(classifier("late")), "one head that all modalities share"),
        (lambda: FusionTrainerMMLoRA(classifier("concat")), "needs scores of each modality alone"),
        (lambda: FusionTrainerUmURL(classifier("late")), "a model of skeletons: a UnifiedStream"),
        (lambda: FusionTrainerCRMT(classifier("late")), "orthonormal heads: give a model with the fusion orthogonal"),
        (lambda: FusionTrainerUniSMMC(classifier("unis_mmc", width=9)), "towers of one width, not pix 6, lab 6, gas 9"),
        (lambda: FusionTrainer(FusionClassifier(Joint(), device_type="cpu"), "qmf"), "needs|trains"),
        (lambda: FusionTrainer(classifier(), "plain", attack={}), "at least one modality"),
        (lambda: FusionTrainer(classifier(), "plain", attack={"lab": 0.0}), "radius greater than 0"),
        (lambda: FusionTrainer(classifier(), "plain", attack={"lab": "2/255"}), "radius greater than 0"),
        (lambda: FusionTrainer(classifier(), "plain", attack=["lab"]), r"radius greater than 0.* not \['lab'\]"),
        (lambda: FusionTrainer(classifier(), "plain", attack={"rgb": 0.1}), "knows no modality 'rgb'"),
        (lambda: FusionTrainer(classifier(), Method(smaller, ""), attack=EPS), "knows no labels to attack"),
        (lambda: FusionTrainer(classifier(), "plain", attack=EPS, ratio="half"), "not 'half'"),
        (lambda: FusionTrainerMLA(classifier("mla"), alpha=-1.0), "alpha .* greater than 0, not -1.0"),
        (lambda: FusionTrainerMLA(classifier("mla"), alpha=0.0), "alpha .* greater than 0, not 0.0"),
        (
            lambda: FusionTrainerUniSMMC(classifier("unis_mmc"), temperature=-1.0).fit(data(), Y, 4, 1),
            "temperature .* greater than 0, not -1.0",
        ),
        (
            lambda: FusionTrainerCRMT(classifier("orthogonal"), largest_radius=0.0).fit(data(), Y, 4, 2),
            "largest_radius .* greater than 0, not 0.0",
        ),
        (lambda: FusionTrainer(classifier(), "plain", attack=ScoreAscent(EPS), ratio=2.0), "not 2.0"),
        (lambda: ScoreAscent(EPS, "all"), "one of joint, in-turn, most-vulnerable, not 'all'"),
        (lambda: FusionTrainer(classifier(), "adversarial"), "Name the modalities that are attacked"),
        (
            lambda: FusionTrainerCRMT(classifier("orthogonal")).fit(data(), Y, 4, 1),
            "has 2 stages, of at least one epoch each, not 1",
        ),
        (lambda: FusionTrainer(classifier(), "plain").fit(data()["lab"], Y), "samples"),
        (lambda: FusionTrainer(classifier(), "plain").fit(data(), None), "give labels in `y`"),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            attempt()
        assert "\n" not in str(caught.value)
