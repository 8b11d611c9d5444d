"""A model that counts its answers is the model in everything that a contract names."""

from __future__ import annotations

import inspect

from several import separate

from art_multimodal import FusionClassifier
from art_multimodal.attacks.budget import Ball, Budget
from art_multimodal.evaluations.audit.counting import CountedModel
from art_multimodal.evaluations.suite import ATTACKS
from art_multimodal.models.multimodal import MultimodalModel

#: What follows from the others, or is told by the constructor.
_FOLLOWS = {"collate", "parts", "forward"}


def test_it_hands_on_all_that_a_model_may_say_of_itself() -> None:
    public = {name for name, what in vars(MultimodalModel).items() if not name.startswith("_") and callable(what)}
    public |= {name for name, what in vars(MultimodalModel).items() if isinstance(what, property)}
    assert public - _FOLLOWS - vars(CountedModel).keys() == set()


def test_properties_are_those_of_the_model() -> None:
    for fusion in ("late", "consensus", "concat", "gated"):
        model = separate(fusion)
        counted = CountedModel(model)
        properties = inspect.getmembers(MultimodalModel, lambda what: isinstance(what, property))
        for name in (name for name, _ in properties if not name.startswith("_")):
            assert getattr(counted, name) == getattr(model, name), (fusion, name)


def test_attacks_on_votes_are_offered_in_audits() -> None:
    budget = Budget(eps=0.1, balls={"rgb": Ball(0.1, 0.05)})
    for fusion, expected in (("late", {"confidence"}), ("consensus", {"confidence", "agreement"}), ("concat", set())):
        estimator = FusionClassifier(CountedModel(separate(fusion)), device_type="cpu")
        offered = {
            name for name in ("confidence", "agreement") if ATTACKS[f"{name}@MODALITY"].fits(estimator, "rgb", budget)
        }
        assert offered == expected, fusion
