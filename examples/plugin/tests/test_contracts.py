"""Whether what this plug-in adds keeps the contracts of art-multimodal: ``python -m pytest`` in its folder.

A check raises an error that names each broken property, what was seen, and what to mend.
"""

from __future__ import annotations

import pytest
from art_multimodal_example import report
from art_multimodal_example.data import CLASSES, open_grips
from art_multimodal_example.defence import Grey
from art_multimodal_example.training import LogitMargin

from art_multimodal import load_model
from art_multimodal.defences.trainer import IMAGE_ATTACKS
from art_multimodal.errors import InputError
from art_multimodal.models.families.modular.towers import fitting_model
from art_multimodal.testing import (
    check_attack,
    check_data,
    check_dual_encoder,
    check_fusion,
    check_multimodal_model,
    check_objective,
    check_preprocessor,
)


def test_attack() -> None:
    assert "budget" in check_attack("momentum").held


def test_objective_and_inner_attack() -> None:
    check_objective("hinge", least=0.5)
    assert isinstance(IMAGE_ATTACKS["logit_margin"], LogitMargin)


def test_fusion() -> None:
    check_fusion("mean")


def test_family() -> None:
    assert "saved" in check_dual_encoder(load_model("pooled:4")).held


def test_modality_and_data() -> None:
    grips = open_grips("30", None, None)
    check_data(grips, again=lambda: open_grips("30", None, None))
    model = fitting_model("mean", grips.modalities.values(), CLASSES, grips.samples(), width=4, hidden=8)
    check_multimodal_model(model, x=grips.samples(slice(0, 4)))


def test_defence() -> None:
    check_preprocessor(Grey(share=0.5))


def test_report() -> None:
    found = {"results": {"clean": {"n": 4, "accuracy": 1.0}}}
    assert report.to_rows(found).splitlines() == ["row,n,accuracy,attack_success_rate", "clean,4,1.0,"]


@pytest.mark.parametrize("name", ["pooled:x", "pooled:99"])
def test_what_cannot_be_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(InputError, match="whole number from 1 to 32"):
        load_model(name)
