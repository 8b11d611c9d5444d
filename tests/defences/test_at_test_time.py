"""Defences that compute at test time: what they promise, by hand on small models and against finite differences."""

from __future__ import annotations

import math
from unittest.mock import patch

import numpy as np
import pytest
import torch
from tiny import TinyEncoder

from art_multimodal import InputError, ZeroShotClassifier
from art_multimodal.attacks.evasion import AlarmEvasion, BertAttack, ProjectedGradientDescentDualEncoder
from art_multimodal.attacks.gradient_checks import check_gradients, suspicions
from art_multimodal.defences.test_time import (
    EnergyGuidedTransformation,
    Purification,
    RandomResizePad,
    RobustPromptTuning,
    TestTimeCounterattack,
    ViewVoting,
    directional_bias,
)
from art_multimodal.defences.test_time.contract import drawn
from art_multimodal.defences.test_time.plain import _variation_gradient
from art_multimodal.defences.test_time.prompt_tuning import TunablePrompts
from art_multimodal.estimators.test_time import BareModel
from art_multimodal.evaluations.audit.subject import counted_queries
from art_multimodal.functional.losses import margin_loss

from .guarded import DEFENCES, NAMES, LinearEncoder, classifier, images, small_clip


@pytest.fixture(scope="module")
def clip():
    return small_clip()


@pytest.mark.parametrize("name", list(DEFENCES))
def test_an_answer_belongs_to_its_image_alone(clip, name) -> None:
    guarded, x = classifier(clip, DEFENCES[name]), images().numpy()
    whole = guarded.predict(x)
    # Kernels of other batch sizes round otherwise; steps by signs turn that into a pixel now and then, so not to zero.
    np.testing.assert_allclose(guarded.predict(x[::-1].copy())[::-1], whole, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(guarded.predict(x[2:3]), whole[2:3], rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(guarded.predict(x), whole)
    again = classifier(clip, DEFENCES[name].with_params(seed=1)).predict(x)
    assert np.allclose(again, whole, atol=1e-6) == (not DEFENCES[name].random)


def test_draws_belong_to_pixels_seed_and_number() -> None:
    defence, x = TestTimeCounterattack(), images()
    of_all = drawn(defence.generators(x), x)
    assert torch.equal(drawn(defence.generators(x[1:3]), x[1:3]), of_all[1:3])
    for other in (
        drawn(defence.generators(x, 1), x),
        drawn(defence.with_params(seed=5).generators(x), x),
        drawn(defence.generators(x + 1e-3), x),
    ):
        assert not torch.isclose(other, of_all).any(dim=-1).all()
    assert -1 <= of_all.min() < -0.99 and 0.99 < of_all.max() < 1


@pytest.mark.parametrize("name", list(DEFENCES))
def test_passes_are_counted_exactly(clip, name) -> None:
    defence, x = DEFENCES[name], images(3).numpy()
    guarded = classifier(clip, defence)
    guarded.class_features()
    sets, project = [], clip.text.project

    def watched(states: torch.Tensor) -> torch.Tensor:
        sets.append((len(states) // len(NAMES), states.requires_grad))
        return project(states)

    with counted_queries(clip) as count, patch.object(clip.text, "project", watched):
        guarded.predict(x)
    passes = defence.passes()
    assert count == {"queries": 3 * passes.forward, "gradients": 3 * passes.backward}
    assert sum(number for number, _ in sets) == 3 * passes.texts_forward
    assert sum(number for number, gradient in sets if gradient) == 3 * passes.texts_backward
    assert passes.times(2).texts_forward == 2 * passes.texts_forward


@pytest.mark.parametrize("name", list(DEFENCES))
def test_attacks_meet_the_very_answers_of_the_defence(clip, name) -> None:
    guarded, x = classifier(clip, DEFENCES[name]), images()
    with_gradient = guarded.model(x.clone().requires_grad_(True))
    assert with_gradient.requires_grad
    np.testing.assert_allclose(with_gradient.detach().numpy(), guarded.predict(x.numpy()), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", list(DEFENCES))
def test_unrolled_gradients_are_those_of_finite_differences(name) -> None:
    model = small_clip().double()
    guarded = classifier(model, DEFENCES[name].with_params(gradient="smooth", softness=2.0))
    guarded.model.double()
    x, y = images(2, dtype=torch.float64), torch.tensor([0, 2])
    head, defence = guarded.model.head, guarded.test_time_defence
    classes = head.class_features().detach()

    def loss(at: torch.Tensor) -> torch.Tensor:
        # Draws belong to the pixels, and a difference must not change them.
        generators = [torch.Generator().manual_seed(row) for row in range(len(at))] if defence.random else []
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            scores = defence.one_answer(BareModel(head), at, classes, generators)
        return torch.nn.functional.cross_entropy(scores, y)

    # JPEG is computed in numpy, with a stand-in for a gradient.
    # A median has a kink where pixels are equal, as they are at a border.
    with patch.object(directional_bias, "QUALITIES", ()), patch.object(directional_bias, "MEDIANS", ()):
        at = x.clone().requires_grad_(True)
        gradient = torch.autograd.grad(loss(at), at)[0]
        generator = torch.Generator().manual_seed(1)
        for _ in range(2):
            direction = torch.randn(x.shape, generator=generator, dtype=torch.float64)
            step = 1e-6
            with torch.enable_grad():
                ahead, behind = (loss((x + s * step * direction).requires_grad_(True)) for s in (1, -1))
            slope = float((ahead - behind).detach()) / (2 * step)
            assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-3, abs=1e-7)
        assert gradient.abs().max() > 1e-8


def test_a_counterattack_on_a_linear_model_by_hand() -> None:
    model, x = LinearEncoder(), torch.full((3, 3, 4, 4), 0.5) + 0.2 * (images(3, side=4) - 0.5)
    matrix = model.matrix.detach()
    start = 0.1 * drawn(TestTimeCounterattack(seed=4).generators(x), x).flatten(1)
    share = (start @ matrix.T).norm(dim=1) / (x.flatten(1) @ matrix.T).norm(dim=1)
    # Two of the three count as attacked.
    threshold = float(share.sort().values[1:].mean())
    steps = [start]
    for _ in range(2):
        uphill = (steps[-1] @ matrix.T @ matrix).sign()
        steps.append((steps[-1] + 0.04 * uphill).clamp(-0.1, 0.1))
    weights = np.exp([0.0, 1.5, 3.0])
    mean = sum(w * step for w, step in zip(weights / weights.sum(), steps, strict=True))
    added = torch.where((share < threshold)[:, None], mean, start)
    defence = TestTimeCounterattack(eps=0.1, eps_step=0.04, max_iter=2, beta=1.5, threshold=threshold, seed=4)
    guarded, bare = classifier(model, defence), classifier(model)
    np.testing.assert_allclose(
        guarded.predict(x.numpy()), bare.predict((x + added.view_as(x)).numpy()), rtol=1e-4, atol=1e-5
    )
    alarm = defence.alarm(guarded.model.head.bare, x, guarded.class_features())
    np.testing.assert_allclose(alarm.detach().numpy(), (threshold - share).numpy(), rtol=1e-4, atol=1e-5)


def test_energy_falls_and_the_ball_holds() -> None:
    model, x = TinyEncoder(), images(6, side=8)
    bare = classifier(model)
    seen = []
    plain = bare.model.head.similarity_of

    def logits_of(pictures: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return plain(model.encode_image(pictures, normalize=False), bare.class_features())

    defence = EnergyGuidedTransformation(eps=0.2, eps_step=0.05, max_iter=3)
    guarded = classifier(model, defence)
    encode = model.encode_image

    def watched(pictures: torch.Tensor, normalize: bool = True) -> torch.Tensor:
        seen.append(pictures.detach())
        return encode(pictures, normalize)

    with patch.object(model, "encode_image", watched):
        guarded.predict(x.numpy())
    energies = [-logits_of(pictures).logsumexp(dim=1) for pictures in seen]
    assert len(seen) == 4 and torch.equal(seen[0], x)
    assert (energies[-1] < energies[0]).all()
    lengths = (seen[-1] - x).flatten(1).norm(dim=1)
    assert (lengths <= 0.2 * (1 + 1e-5)).all() and lengths.max() > 0.14


def test_purification_descends_on_total_variation_and_bpda_is_the_gradient_behind() -> None:
    x = images(2, side=8, dtype=torch.float64).requires_grad_(True)
    total = sum((x.diff(dim=axis).square() + 0.02**2).sqrt().sum() for axis in (-1, -2))
    torch.testing.assert_close(torch.autograd.grad(total, x)[0], _variation_gradient(x.detach(), 0.02))
    model, y = TinyEncoder(), np.array([0, 1])
    pictures = images(2, side=8)
    with patch.object(Purification, "transformed", lambda self, before, after: seen.append(after.detach()) or after):
        seen: list[torch.Tensor] = []
        classifier(model, Purification()).predict(pictures.numpy())
    guarded = classifier(model, Purification(gradient="bpda"))
    found = guarded.loss_gradient(pictures.numpy(), y)
    behind = classifier(model).loss_gradient(seen[0].numpy(), y)
    np.testing.assert_allclose(found, behind, rtol=1e-4, atol=1e-7)


def test_votes_are_means_of_probabilities_and_no_steps_are_no_defence(clip) -> None:
    x, bare = images().numpy(), classifier(clip)
    nothing = (
        ViewVoting(views=1),
        RandomResizePad(smallest=1.0),
        Purification(strength=0.0),
        EnergyGuidedTransformation(max_iter=0),
        TestTimeCounterattack(eps=0.0),
    )
    expected = torch.from_numpy(bare.predict(x)).log_softmax(dim=1)
    for defence in nothing:
        found = torch.from_numpy(classifier(clip, defence).predict(x)).log_softmax(dim=1)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    both = torch.from_numpy(classifier(clip, RandomResizePad(seed=3, draws=2)).predict(x))
    defence, pictures = RandomResizePad(seed=3), torch.from_numpy(x)
    head = classifier(clip, defence).model.head
    classes = head.class_features().detach()
    answers = [defence.one_answer(head.bare, pictures, classes, defence.generators(pictures, n)) for n in range(2)]
    mean = torch.stack(answers).softmax(dim=-1).mean(dim=0).log()
    torch.testing.assert_close(both, mean.detach(), rtol=1e-4, atol=1e-5)


def test_tunable_prompts_without_a_change_are_the_prompts(clip) -> None:
    guarded = ZeroShotClassifier(clip, NAMES, ["a {}.", "this is a {}"], device_type="cpu")
    prompts = TunablePrompts.of(guarded.model.head)
    with torch.no_grad():
        found = prompts.class_features(prompts.zeros(2, images()))
    for one in found:
        torch.testing.assert_close(one, guarded.class_features(), rtol=1e-4, atol=1e-5)
    # "a " of the first template and "this is a " of the second, without the tokens that mark the beginning.
    assert prompts.free.sum(dim=1).tolist() == [2, 10] * 3


def test_prompt_tuning_lowers_the_entropy_that_it_looks_at(clip) -> None:
    x = images()
    sharp = RobustPromptTuning(views=4, selected=1.0, neighbours=3, temperature=100.0, lr=0.02, max_iter=5)
    blunt = sharp.with_params(lr=0.0)
    entropy = []
    for defence in (blunt, sharp):
        logits = torch.from_numpy(classifier(clip, defence).predict(x.numpy()))
        entropy.append(-(logits.softmax(1) * logits.log_softmax(1)).sum(dim=1))
    assert (entropy[1] < entropy[0]).all()


def test_a_lottery_is_flagged_and_a_fixed_answer_is_not() -> None:
    # A model whose classes lie close together: of each image draws decide.
    clip, x = small_clip(4), images(8, seed=3).numpy()
    y = classifier(clip).predict_labels(x)
    wild = classifier(clip, TestTimeCounterattack(eps=0.3, threshold=1e-6))
    verdicts = wild.verdicts(x, asks=10)
    assert verdicts.shape == (10, 8)
    np.testing.assert_array_equal(wild.verdicts(x, asks=10), verdicts)
    np.testing.assert_array_equal(verdicts[0], wild.predict_labels(x))
    seen = check_gradients(wild, x, y, "inf", 4 / 255)
    assert seen.random_verdicts == int((verdicts != verdicts[0]).any(axis=0).sum()) > 0 and seen.random == 0
    assert any("more than one label" in said for said in suspicions(seen.flags(), 8))
    assert check_gradients(classifier(clip, Purification()), x, y, "inf", 4 / 255).random_verdicts == 0


def test_training_leaves_the_defence_out(clip) -> None:
    guarded, x = classifier(clip, DEFENCES["ttc"]), images()
    with guarded.model.trainable(), torch.no_grad():
        learning = guarded.model(x)
    np.testing.assert_allclose(learning.numpy(), classifier(clip).predict(x.numpy()), rtol=1e-4, atol=1e-5)


def test_what_needs_embeddings_is_refused(clip) -> None:
    guarded, x = classifier(clip, DEFENCES["ttc"]), images(2).numpy()
    with pytest.raises(InputError, match="answers with class scores"):
        guarded.image_features(x)
    with pytest.raises(InputError, match="answers with class scores"):
        ProjectedGradientDescentDualEncoder(guarded, loss="embedding_l2")
    with pytest.raises(InputError, match="answers with class scores"):
        BertAttack(guarded, loss="margin", verbose=False).generate(x, np.array([0, 1]))
    with pytest.raises(InputError, match="looks whether images are attacked"):
        AlarmEvasion(classifier(clip, Purification()))
    with pytest.raises(InputError, match="looks whether images are attacked"):
        AlarmEvasion(classifier(clip))
    with pytest.raises(InputError, match="has no alarm"):
        Purification().alarm(guarded.model.head.bare, images(), guarded.class_features())
    with pytest.raises(InputError, match="own prompts"):
        classifier(clip, DEFENCES["r_tpt"]).predict_on(x, ["one", "two", "three"])
    with pytest.raises(InputError, match="causal text tower"):
        classifier(TinyEncoder(), DEFENCES["r_tpt"]).predict(images(2, side=8).numpy())
    with pytest.raises(InputError, match="in front of the class name"):
        ZeroShotClassifier(clip, NAMES, "{} here", test_time_defence=DEFENCES["r_tpt"], device_type="cpu").predict(x)


def test_other_prompts_meet_the_defence_too(clip) -> None:
    guarded, x = classifier(clip, DEFENCES["et3"]), images(3).numpy()
    prompts = ["one", "two", "three"]
    expected = guarded.with_prompts(prompts).predict(x)
    np.testing.assert_allclose(guarded.predict_on(x, prompts, batch_size=2), expected, rtol=1e-4, atol=1e-4)
    assert guarded.with_prompts(prompts).test_time_defence is guarded.test_time_defence
    assert guarded.with_test_time_defence(None).test_time_defence is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TestTimeCounterattack(eps=-1), "eps must be a number from 0 to 1, not -1"),
        (lambda: TestTimeCounterattack(max_iter=1.5), "max_iter must be a whole number of at least 0"),
        (lambda: TestTimeCounterattack(gradient="exact"), "gradient must be one of unrolled, smooth, bpda"),
        (lambda: Purification(strength=math.nan), "strength must be a number"),
        (lambda: ViewVoting(views=0), "views must be a whole number of at least 1"),
        (lambda: RobustPromptTuning(selected=0), "selected must be a number"),
        (lambda: Purification().with_params(sigma=1), "Purification has no parameter 'sigma'. It has strength"),
        (lambda: RandomResizePad(draws=True), "draws must be a whole number"),
    ],
)
def test_parameters_that_are_refused(make, message) -> None:
    with pytest.raises(InputError) as error:
        make()
    assert message in str(error.value)


def test_parameters_as_in_art() -> None:
    defence = TestTimeCounterattack(eps=0.1)
    assert defence.params["eps"] == 0.1 and "beta=2.0" in repr(defence)
    other = defence.with_params(eps=0.2)
    assert (defence.eps, other.eps, other.eps_step) == (0.1, 0.2, pytest.approx(0.075))
    defence.set_params(draws=3)
    assert defence.draws == 3 and defence.asked_again(1).draws == 1


def test_an_attack_on_the_alarm_raises_what_it_says() -> None:
    model, x, y = LinearEncoder(), images(6, side=4), torch.tensor([0, 1, 2, 0, 1, 2])
    guarded, bare = classifier(model, TestTimeCounterattack(eps=0.05, threshold=0.08)), classifier(model)
    classes, defence = guarded.class_features(), guarded.test_time_defence
    attack = AlarmEvasion(guarded, eps=0.1, eps_step=0.02, max_iter=5, num_random_init=0, weight=3.0, verbose=False)
    raised, score = attack._objective(x, y, classes)(x)
    alarm = defence.alarm(guarded.model.head.bare, x, classes)
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(bare.predict(x.numpy())), y, reduction="none")
    assert (alarm > 0).any() and (alarm < 0).any()
    torch.testing.assert_close(raised, loss - 3 * alarm.clamp_min(0), rtol=1e-4, atol=1e-4)
    found = attack.generate(x.numpy(), y.numpy())
    assert np.abs(found - x.numpy()).max() <= 0.1 + 1e-6

    def margins(pictures: np.ndarray) -> torch.Tensor:
        return margin_loss(torch.from_numpy(guarded.predict(pictures)), y)

    torch.testing.assert_close(margins(x.numpy()), score, rtol=1e-4, atol=1e-4)
    # Of all steps the best counts, and the first is the image itself.
    assert (margins(found) >= score - 1e-4).all() and (margins(found) > score + 1e-3).any()
    with pytest.raises(ValueError, match="weight must be"):
        AlarmEvasion(guarded, weight=-1)
    with pytest.raises(ValueError, match="cross-entropy, untargeted"):
        AlarmEvasion(guarded, loss="margin")
