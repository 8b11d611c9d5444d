"""What is in the tree keeps its contracts: no false alarm, and nothing is left out without a reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from art.attacks.attack import EvasionAttack
from several import MODELS, contracting, make
from tiny import TinyEncoder, TinyFusion, TinyJointFusion

from art_multimodal import load_model
from art_multimodal.defences.trainer import METHODS
from art_multimodal.demo.loading import demo_models
from art_multimodal.errors import InputError
from art_multimodal.evaluations.suite import ATTACKS, SAMPLES, Budget
from art_multimodal.evaluations.suite.entry import Make
from art_multimodal.evaluations.suite.image import Build, art_pgd, image_attack, pgd
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.fusion import FusionModel
from art_multimodal.models.fusions import FUSIONS, Equilibrium, Fusion
from art_multimodal.testing import (
    ContractReport,
    check_attack,
    check_dual_encoder,
    check_fusion,
    check_multimodal_model,
    check_objective,
    check_preprocessor,
)
from art_multimodal.testing.attack_cases import VICTIMS, small_budget

pytestmark = pytest.mark.usefixtures("little_effort")


def equilibrium(widths: Mapping[str, int], classes: int) -> Fusion:
    """One that is exact, and soon: where its layer does not contract, every question takes all steps."""
    return contracting(Equilibrium(widths, classes, tolerance=1e-12))


#: What is made otherwise, by name; and what is not as deep.
MADE = {"deq": equilibrium}
OPTIONS: dict[str, dict[str, Any]] = {"mcmult": {"hidden": 10, "layers": 2, "self_layers": 1}}
#: What papers say otherwise.
BUT = {
    "qmf": {"batch-order": "each sample is ranked against the next one (arXiv:2306.02050)"},
    "unis_mmc": {"gradient": "a modality that is right alone stays where it is (arXiv:2305.09299)"},
}


def aimed(build: Build) -> Make:
    """An attack that is given targets."""

    def made(estimator: Any, budget: Budget, seed: int) -> EvasionAttack:
        attack = build(estimator, budget, seed)
        attack.set_params(targeted=True)
        return attack

    return image_attack(made)


#: Attacks that may be given targets, as they are then made.
TARGETED = {"pgd": aimed(pgd), "art_pgd": aimed(art_pgd)}
#: Run everything that there is once more, for each modality: minutes.
OF_ALL = ("worst@MODALITY", "worst_multimodal")
#: For these, and other ensembles.
FEW = [replace(small_budget("inf"), max_iter=2, max_queries=8)]
NO_FORMAT, NO_MISSING = {"saved"}, {"missing", "nothing"}


def left_out(report: ContractReport) -> set[str]:
    assert report.held and all(why.strip() for why in report.skipped.values())
    return set(report.skipped)


def test_dual_encoders() -> None:
    assert left_out(check_dual_encoder(TinyEncoder(dropout=0.3))) == NO_FORMAT | {"shortcuts"}
    model = TinyEncoder().train()
    check_dual_encoder(model)
    assert model.training


@pytest.mark.parametrize("kind", MODELS)
def test_models_over_several_modalities(kind: str) -> None:
    expected = NO_FORMAT | ({"unimodal-scores"} if kind == "joint" else set())
    assert left_out(check_multimodal_model(make(kind))) == expected


def test_models_of_pairs() -> None:
    assert left_out(check_multimodal_model(TinyFusion())) == NO_FORMAT | NO_MISSING
    assert left_out(check_multimodal_model(TinyJointFusion())) == NO_FORMAT | NO_MISSING | {"unimodal-scores"}


@pytest.mark.parametrize("name", demo_models())
def test_demos(name: str) -> None:
    model: Any = load_model(f"demo:{name}")
    if isinstance(model, DualEncoder):
        assert left_out(check_dual_encoder(model)) == set()
        return
    skipped = NO_MISSING if isinstance(model, FusionModel) else {"texts"}
    skipped = skipped | (set() if model.separate_towers else {"unimodal-scores"})
    assert left_out(check_multimodal_model(model)) == skipped


@pytest.mark.parametrize("name", FUSIONS)
def test_fusions(name: str) -> None:
    skipped = left_out(check_fusion(MADE.get(name, name), **OPTIONS.get(name, {})))
    assert skipped <= {"unimodal-scores", "steps"}
    assert ("steps" in skipped) != FUSIONS[name].takes_steps


@pytest.mark.parametrize("name", METHODS)
def test_objectives(name: str) -> None:
    assert left_out(check_objective(name, BUT.get(name))) <= {"class-order", *BUT.get(name, {})}


@pytest.mark.parametrize("name", [name for name in ATTACKS if name not in OF_ALL])
def test_attacks(name: str) -> None:
    budgets = FEW if name.startswith("worst") else None
    targeted = TARGETED.get(name)
    skipped = left_out(check_attack(name, budgets=budgets, targeted=targeted))
    assert skipped <= {"words", "labels", "targets"} and ("targets" in skipped) == (targeted is None)


@pytest.mark.parametrize("name", ["worst_multimodal", "worst@lab"])
def test_attacks_that_run_all_others(name: str) -> None:
    """On samples of several modalities, which are the smallest models."""
    assert left_out(check_attack(name, victims=[VICTIMS[SAMPLES](8)], budgets=FEW)) <= {"words", "targets"}


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_ALL)
def test_attacks_that_run_all_others_on_every_task(name: str) -> None:
    assert left_out(check_attack(name, budgets=FEW)) <= {"words", "labels", "targets"}


def test_preprocessors_of_art() -> None:
    from art.defences.preprocessor import FeatureSqueezing, SpatialSmoothing

    texts = {"pairs", "strings"}
    smoothing = SpatialSmoothing(channels_first=True, clip_values=(0, 1))
    assert left_out(check_preprocessor(smoothing)) == texts | {"idempotent"}
    squeezing = FeatureSqueezing(clip_values=(0, 1), bit_depth=3)
    report = check_preprocessor(squeezing, idempotent=True, but={"dtype": "ART's returns float64"})
    assert left_out(report) == texts | {"dtype"}


def test_excuses_have_a_name_and_a_reason() -> None:
    with pytest.raises(InputError, match="Did you mean copies"):
        check_fusion("late", {"copy": "it has a lambda"})
    with pytest.raises(InputError, match="needs the reason"):
        check_fusion("late", {"copies": ""})
    assert check_fusion("late", {"copies": "it has a lambda"}).skipped["copies"] == "it has a lambda"
