"""Losses that know how a fusion weighs: against formulas written out, finite differences, and each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from attacks.voting import CLASSES, NAMES, WIDTH, classifier, drawn
from several import classifier as of_several
from several import make_samples
from torch import Tensor

from art_multimodal import FusionClassifier
from art_multimodal.attacks.budget import Ball
from art_multimodal.attacks.evasion import ProjectedGradientDescentMultimodal
from art_multimodal.attacks.evasion.multimodal.balls import Batch
from art_multimodal.attacks.evasion.multimodal.raising import LOSSES, Look, Raised, losses_for
from art_multimodal.errors import InputError
from art_multimodal.evaluations.single_source import SingleSource
from art_multimodal.evaluations.suite import ATTACKS, SAMPLES, Budget, select_attacks
from art_multimodal.evaluations.suite.selection import entries_for
from art_multimodal.models.fusions import FUSIONS

WEIGHING = [name for name, fusion in FUSIONS.items() if fusion.weighs]
VOTES = [(loss, fusion) for fusion in WEIGHING for loss in ("confidence", "agreement")]
VOTES = [(loss, fusion) for loss, fusion in VOTES if loss == "confidence" or FUSIONS[fusion].by_agreement]
LABELS = np.array([0, 1, 2, 0, 1, 2, 0])


def goals(
    found: FusionClassifier, x: np.ndarray, loss: str, names=("a",), **settings
) -> tuple[Batch, Look, list[Raised]]:
    attack = ProjectedGradientDescentMultimodal(found, dict.fromkeys(names, 0.1), loss=loss, verbose=False, **settings)
    batch = Batch(attack, x)
    look = batch.look(batch.clean)
    return batch, look, attack.raised(look, torch.from_numpy(LABELS[: len(x)]))


def by_hand(found: FusionClassifier, fusion: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores of each modality alone, ``(M, N, K)``, and weights, ``(M, N)``; numpy, one formula for each fusion."""
    parts = {name: of.detach().numpy() for name, of in found.multimodal.named_parameters()}
    scores = []
    for name in NAMES:
        features = x[name].astype(np.float64) @ parts[f"towers.{name}.module.weight"].T
        features = features + parts[f"towers.{name}.module.bias"]
        head = "fusion.heads.head" if fusion == "mla" else f"fusion.heads.{name}"
        scores.append(features @ parts[f"{head}.weight"].T + parts[f"{head}.bias"])
    said = np.array(scores)
    energy = np.log(np.exp(said).sum(axis=2))
    p = np.exp(said - energy[:, :, None])
    if fusion == "late":
        return said, np.full(said.shape[:2], 0.5)
    if fusion == "qmf":
        return said, energy / 10
    if fusion == "mla":
        negative = (p * np.log(p)).sum(axis=2)
        return said, np.exp(negative) / np.exp(negative).sum(axis=0)
    # Of two modalities each is as far from the other.
    return said, np.full(said.shape[:2], 0.5)


def test_the_closed_forms_below_are_those_of_all_fusions_that_weigh() -> None:
    assert set(WEIGHING) == {"late", "qmf", "mla", "consensus"}


@pytest.mark.parametrize("fusion", WEIGHING)
def test_confidence_is_weight_times_difference_of_scores(fusion: str) -> None:
    found, x = classifier(fusion), drawn()
    said, weights = by_hand(found, fusion, x)
    rows = np.arange(len(x))
    for place, name in enumerate(NAMES):
        _, look, aimed = goals(found, x, "confidence", (name,))
        assert len(aimed) == len(CLASSES) - 1
        for goal in aimed:
            rival = goal.aim.rivals.numpy()
            assert (rival != LABELS).all()
            wanted = weights[place] * (said[place][rows, rival] - said[place][rows, LABELS])
            np.testing.assert_allclose(goal(look).detach().numpy(), wanted, atol=1e-12)
        # All other classes are aimed at, each once.
        assert (
            np.sort([goal.aim.rivals.numpy() for goal in aimed], axis=0)
            == np.sort([[k for k in range(3) if k != label] for label in LABELS], axis=1).T
        ).all()
        _, look, (best,) = goals(found, x, "confidence", (name,), targets=0)
        contributed = weights[place][:, None] * said[place]
        own = contributed[rows, LABELS].copy()
        contributed[rows, LABELS] = -np.inf
        np.testing.assert_allclose(best(look).detach().numpy(), contributed.max(axis=1) - own, atol=1e-12)
    # Of both modalities together it is what all contribute: in the fusions that add votes, the margin itself.
    if fusion != "consensus":
        _, look, aimed = goals(found, x, "confidence", NAMES, targets=0)
        fused = (weights[:, :, None] * said).sum(axis=0)
        np.testing.assert_allclose(look.scores.detach().numpy(), fused, atol=1e-12)
        np.testing.assert_allclose(aimed[0](look).detach(), LOSSES["margin"](look, aimed[0].aim)(look).detach())


def test_agreement_is_what_a_modality_adds_to_a_mixture() -> None:
    found, x = classifier("consensus"), drawn()
    said, weights = by_hand(found, "consensus", x)
    p = np.exp(said) / np.exp(said).sum(axis=2, keepdims=True)
    rows = np.arange(len(x))
    _, look, aimed = goals(found, x, "agreement")
    for goal in aimed:
        wanted = np.log(weights[0] * p[0][rows, goal.aim.rivals.numpy()])
        np.testing.assert_allclose(goal(look).detach().numpy(), wanted, atol=1e-12)
    # What both add is the probability that the model gives.
    _, look, aimed = goals(found, x, "agreement", NAMES)
    for goal in aimed:
        scores = look.scores.detach().numpy()[rows, goal.aim.rivals.numpy()]
        np.testing.assert_allclose(goal(look).detach().numpy(), scores, atol=1e-12)


@pytest.mark.parametrize(("loss", "fusion"), VOTES)
def test_gradients_are_those_of_finite_differences(loss: str, fusion: str) -> None:
    found, x = classifier(fusion), drawn(3)
    batch, _, aimed = goals(found, x, loss)

    for goal in aimed:
        given = batch.clean["a"].double().requires_grad_()
        assert torch.autograd.gradcheck(lambda part, goal=goal: goal(batch.look({"a": part})), (given,), atol=1e-6)
    assert all(of.requires_grad and of.grad is None for of in found.model.parameters())


@pytest.mark.parametrize("fusion", ["late", "qmf"])
def test_where_the_others_weights_stay_confidence_is_the_margin_towards_a_class(fusion: str) -> None:
    found, x = classifier(fusion), drawn()

    def gradients(loss: str) -> list[Tensor]:
        batch, _, aimed = goals(found, x, loss, targets=2)
        part = batch.clean["a"].double().requires_grad_()
        return [torch.autograd.grad(goal(batch.look({"a": part})).sum(), part)[0] for goal in aimed]

    for own, fused in zip(gradients("confidence"), gradients("margin"), strict=True):
        torch.testing.assert_close(own, fused, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize(("loss", "fusion"), VOTES)
@pytest.mark.parametrize("norm", [np.inf, 2])
def test_the_budget_holds_and_nothing_else_moves(loss: str, fusion: str, norm: float) -> None:
    found = classifier(fusion)
    for count, eps in ((1, 0.3), (4, 1e-3), (7, 2.5)):
        x = drawn(count, missing=(2,) if count > 2 else ())
        attack = ProjectedGradientDescentMultimodal(
            found, {"a": eps}, norm, max_iter=3, loss=loss, seed=0, batch_size=3, verbose=False
        )
        after = attack.generate(x, LABELS[:count])
        assert after["b"].tobytes() == x["b"].tobytes()
        gone = np.isnan(x["a"]).all(axis=1)
        assert after["a"][gone].tobytes() == x["a"][gone].tobytes()
        size = np.linalg.norm((after["a"] - x["a"])[~gone].astype(np.float64), norm, axis=1)
        assert (size <= eps * (1 + 1e-6) + 1e-7).all() and np.abs(after["a"][~gone]).max() <= 1


@pytest.mark.parametrize(("loss", "fusion"), VOTES)
def test_a_sample_is_attacked_as_it_is_alone_and_never_helped(loss: str, fusion: str) -> None:
    found, x = classifier(fusion), drawn()

    def attacked(of: np.ndarray, labels: np.ndarray, batch_size: int) -> np.ndarray:
        settings = {"max_iter": 4, "loss": loss, "seed": 3, "batch_size": batch_size, "verbose": False}
        return ProjectedGradientDescentMultimodal(found, {"a": 0.3}, **settings).generate(of, labels)

    whole = attacked(x, LABELS, 7)
    alone = np.concatenate([attacked(x[row : row + 1], LABELS[row : row + 1], 1) for row in reversed(range(7))])[::-1]
    np.testing.assert_allclose(whole["a"], alone["a"], atol=1e-6)

    def margin(of: np.ndarray) -> np.ndarray:
        scores = found.predict(of)
        own = scores[np.arange(7), LABELS].copy()
        scores[np.arange(7), LABELS] = -np.inf
        return scores.max(axis=1) - own

    assert (margin(whole) >= margin(x)).all()
    assert (margin(whole) > margin(x)).any()


def test_what_a_model_allows() -> None:
    for name, fusion in FUSIONS.items():
        found = classifier(name)
        features = {of: torch.randn(2, WIDTH, dtype=torch.float64) for of in NAMES}
        present = {of: torch.ones(2, dtype=torch.bool) for of in NAMES}
        both = (found.multimodal.unimodal_scores(features), found.multimodal.weights(features, present))
        # What a fusion says of itself is what it does.
        assert fusion.weighs == (None not in both), name
        asking = found.asking()
        x = asking.fields(drawn(2))
        seen = {of: asking.see_field(of, x[of]) for of in NAMES}
        assert (asking.weighed(seen) is not None) == fusion.weighs
        wanted = ["cross_entropy", "margin", *["confidence"] * fusion.weighs, *["agreement"] * fusion.by_agreement]
        assert losses_for(found.multimodal) == wanted
        if not fusion.weighs:
            with pytest.raises(InputError, match=r"^loss='confidence' needs a model .* late, qmf, mla, consensus"):
                ProjectedGradientDescentMultimodal(found, {"a": 0.1}, loss="confidence")
        if not fusion.by_agreement:
            with pytest.raises(InputError, match=r"^loss='agreement' needs a model .* consensus"):
                ProjectedGradientDescentMultimodal(found, {"a": 0.1}, loss="agreement")
    with pytest.raises(InputError, match="confidence"):
        ProjectedGradientDescentMultimodal(of_several("joint"), {"rgb": 0.1}, loss="confidence")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"loss": "confidenc"}, "loss must be one of cross_entropy, margin, fused, confidence, agreement"),
        ({"targets": -1}, "targets must be a whole number of at least 0"),
        ({"targets": 2}, "targets is for attacks that are not targeted, with a loss of margin, confidence, agreement"),
        ({"targets": 2, "loss": "margin", "targeted": True}, "targets is for attacks that are not targeted"),
    ],
)
def test_what_cannot_be_used(more: dict, said: str) -> None:
    attack = ProjectedGradientDescentMultimodal(classifier("qmf"), {"a": 0.1})
    with pytest.raises(ValueError, match=said):
        ProjectedGradientDescentMultimodal(classifier("qmf"), {"a": 0.1}, **more)
    with pytest.raises(ValueError, match=said):
        attack.set_params(**more)


def test_a_targeted_attack_raises_the_wanted_class() -> None:
    found, x = classifier("mla"), drawn()
    wanted = (found.predict(x).argmax(axis=1) + 1) % 3
    attack = ProjectedGradientDescentMultimodal(
        found, {"a": 2.0, "b": 2.0}, loss="confidence", targeted=True, max_iter=20, seed=0, verbose=False
    )
    hits = found.predict(attack.generate(x, wanted)).argmax(axis=1) == wanted
    assert hits.mean() > 0.5


def test_audits_run_it_where_a_fusion_weighs() -> None:
    eps = {"a": 0.1, "b": 0.2}
    for fusion, wanted in (("qmf", ["confidence"]), ("consensus", ["confidence", "agreement"]), ("concat", [])):
        found = classifier(fusion)
        budget = Budget(max_iter=2, max_queries=20, balls={name: Ball(of, of / 4) for name, of in eps.items()})
        names = entries_for(SAMPLES, found, budget)
        assert [name for name in names if name.partition("@")[0] in ("confidence", "agreement")] == [
            f"{loss}@{name}" for name in NAMES for loss in wanted
        ]
        single = select_attacks("single_source", 3, SAMPLES, found, budget)
        assert {f"{loss}@a" for loss in wanted} <= set(single)
        ensemble = ATTACKS["worst@MODALITY"].on("a").prepare(found, budget)
        assert [name for name in ensemble.members if name[:4] in ("conf", "agre")] == [f"{loss}@a" for loss in wanted]
        x = drawn()
        labels = found.predict_labels(x)
        for loss in wanted:
            attacked = ATTACKS[f"{loss}@MODALITY"].on("a").run(found, x, labels, budget, 0)
            assert attacked.x["b"].tobytes() == x["b"].tobytes()
            assert np.abs(attacked.x["a"] - x["a"]).max() <= 0.1 * (1 + 1e-5)
        assert len(SingleSource(found, eps, max_iter=1, verbose=False)._attacks_on("a")) == 2 + len(wanted)


def test_texts_and_what_is_behind_a_sequence_are_left_alone() -> None:
    found, x = of_several("late"), make_samples()
    attack = ProjectedGradientDescentMultimodal(
        found, {"audio": 0.3}, loss="confidence", max_iter=2, seed=0, verbose=False
    )
    after = attack.generate(x)
    assert after["audio"]["length"].tolist() == x["audio"]["length"].tolist()
    assert not after["audio"]["values"][~found.modalities["audio"].present(x["audio"])].any()
    assert after["rgb"].tobytes() == x["rgb"].tobytes() and after["note"].tolist() == x["note"].tolist()
