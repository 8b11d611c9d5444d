"""Published ways of training fusions: what a step minimises, what training remembers, and what an attack changes."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import combinations

import numpy as np
import pytest
import torch
from several import Joint
from torch.nn import functional as F

from art_multimodal import FusionClassifier, InputError
from art_multimodal.defences.trainer import (
    FusionTrainer,
    FusionTrainerCRMT,
    FusionTrainerDEQ,
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
from art_multimodal.defences.trainer.samples import generator_of
from art_multimodal.functional.fusion_objectives import quality_ranking
from art_multimodal.models.families.modular.model import ModularModel

from .fusions import COUNT, EPS, Y, classifier, data, every_method, own_scores, plain, tensors
from .training import OF_FUSIONS, assert_equal_weights, weights


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


@pytest.mark.parametrize("wrong", [("pix", "lab"), ()])
def test_contrasts_of_two_that_are_right_about_nothing_are_counted(wrong: tuple[str, ...]) -> None:
    """Labels that neither of two modalities names; with weights that stay, each step counts alike."""
    of, x = classifier(OF_FUSIONS["unis_mmc"]), data()
    with torch.no_grad():
        named = {name: scores.argmax(dim=1).numpy() for name, scores in own_scores(of.multimodal.eval(), x).items()}
    labels = named["pix"].copy()
    if wrong:
        labels = np.array(
            [min({*range(of.nb_classes)} - {*row}) for row in zip(*(named[n] for n in wrong), strict=True)]
        )
    right = {name: bool((said == labels).any()) for name, said in named.items()}
    expected = sum(not (right[one] or right[other]) for one, other in combinations(right, 2))
    assert expected == 0 if not wrong else expected >= 1
    trainer = FusionTrainer(of, "unis_mmc", replace(plain(), learning_rate=1e-12))
    said = f"{2 * expected} of 6 pairs of modalities, one of each step, were left out"
    with pytest.warns(UserWarning, match=said) if expected else nullcontext():
        trainer.fit(x, np.eye(of.nb_classes, dtype=np.float32)[labels], batch_size=COUNT, nb_epochs=2)


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
        # Those of two phases are looked at in the first.
        trainer.fit(data(), Y, batch_size=COUNT, nb_epochs=24 if method in ("crmt", "mmlora") else 14)
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
    assert set(kept) == {
        "qmf": {"pix", "lab", "gas"},
        "mla": {"projection"},
        "unis_mmc": {"contrasts"},
    }.get(method, set())
    assert all(bool(of.count_nonzero()) for of in kept.values())
    trainer(again).fit(data(), Y, 5, 4, checkpoint=tmp_path, resume=True)
    assert_equal_weights(weights(again.multimodal), weights(whole.multimodal))
    with pytest.raises(InputError, match="another run: attack.schedule was 'in-turn', now 'joint'"):
        FusionTrainer(classifier(OF_FUSIONS[method]), method, settings, EPS).fit(
            data(), Y, 5, 4, checkpoint=tmp_path, resume=True
        )


def test_one_step_of_deq_is_that_of_its_formula() -> None:
    """Cross-entropy, and the squares of two random rows of the Jacobian, per entry of the states."""
    of, x = classifier("deq"), data()
    of.multimodal.fusion.max_iter, of.multimodal.fusion.tolerance = 500, 1e-12
    before = copy.deepcopy(of.multimodal)
    trainer = FusionTrainerDEQ(of, plain(seed=3), gamma=0.7)
    rows: list[int] = []
    trainer.fit(x, Y, batch_size=COUNT, nb_epochs=1, callback=lambda record: rows.extend(record.place.rows))
    fusion = before.fusion
    features = {name: before.tower(name).module(values) for name, values in tensors(x[rows]).items()}
    there = {name: torch.ones(COUNT, dtype=torch.bool) for name in features}
    loss = F.cross_entropy(fusion.predict(fusion(features, there)), torch.from_numpy(Y[rows]))
    layer, start = fusion.iteration(features, there)
    state = fusion.found.state.detach().requires_grad_()
    drawn = torch.from_numpy(generator_of(3, 5, 0).standard_normal((2, *start.shape)))
    image = layer(state)
    for vectors in drawn:
        (back,) = torch.autograd.grad(image, state, vectors, create_graph=True)
        loss = loss + 0.7 * back.square().sum() / start.numel() / 2
    assert trainer.losses[0] == pytest.approx(loss.item(), rel=1e-6)


def smaller(scores: torch.Tensor) -> torch.Tensor:
    return scores.square().mean()


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
        (lambda: FusionTrainer(classifier("late"), "deq"), "the layer of an equilibrium .* with the fusion deq"),
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
