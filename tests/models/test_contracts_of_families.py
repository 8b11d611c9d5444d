"""Models of every family keep the contracts that ``art_multimodal.testing`` asks for: tiny ones, weights at random."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from models.conftest import OPEN_CLIP
from models.families import DUAL_ENCODERS
from models.fusion_families import FUSION_FAMILIES
from models.test_custom_encoder import custom

from art_multimodal import load_model
from art_multimodal.models.families.late_fusion.model import LateFusion
from art_multimodal.models.loading import MODEL_SOURCES
from art_multimodal.testing import ContractReport, check_dual_encoder, check_multimodal_model

#: Which are looked at whenever tests run; the others take seconds each, and are like one of these.
QUICK = ("clip", "siglip", "tiny-test", "tiny-test-sigmoid", "vilt_answers")
#: What a model of pairs does not promise, and what one has whose parts are not known.
OF_PAIRS, UNKNOWN = {"missing", "nothing", "unimodal-scores"}, {"shortcuts"}


def quick_first(names: Iterable[str]) -> list[Any]:
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


def left_out(report: ContractReport) -> set[str]:
    assert report.held and all(why.strip() for why in report.skipped.values())
    return set(report.skipped)


@pytest.mark.parametrize("family", quick_first(DUAL_ENCODERS))
def test_dual_encoders_of_transformers(saved: Callable[[str], Any], family: str) -> None:
    model = load_model(f"hf:{saved(family).folder}")
    assert left_out(check_dual_encoder(model)) == (set() if model.shares_prefixes or model.drops_tokens else UNKNOWN)


@pytest.mark.parametrize("architecture", quick_first(name for name in OPEN_CLIP if "eos" not in name))
def test_dual_encoders_of_open_clip(open_clip_checkpoint: Callable[[str], Any], architecture: str) -> None:
    model = load_model(f"open_clip:{architecture}/{open_clip_checkpoint(architecture)[1]}")
    assert left_out(check_dual_encoder(model)) == (set() if model.shares_prefixes or model.drops_tokens else UNKNOWN)


@pytest.mark.parametrize("family", quick_first(FUSION_FAMILIES))
def test_fusion_models_of_transformers(saved_fusion: Callable[[str], Any], family: str) -> None:
    assert left_out(check_multimodal_model(load_model(f"hf:{saved_fusion(family).folder}"))) == OF_PAIRS


def test_late_fusion_over_a_dual_encoder(saved: Callable[[str], Any]) -> None:
    model = LateFusion(load_model(f"hf:{saved('clip').folder}"), ("yes", "no", "maybe"))
    assert left_out(check_multimodal_model(model)) == OF_PAIRS - {"unimodal-scores"}


def test_mmbt(checkpoints: dict[str, Path]) -> None:
    assert left_out(check_multimodal_model(load_model(f"mmbt:{checkpoints['mmbt:0']}"))) == OF_PAIRS


def test_what_was_saved_here(checkpoints: dict[str, Path]) -> None:
    assert left_out(check_dual_encoder(load_model(f"checkpoint:{checkpoints['checkpoint:0']}"))) == set()


def test_a_dual_encoder_from_callables() -> None:
    # Its tokenizer is a lambda of the test, and cuts by itself.
    for model, unknown in ((custom(context_length=64), set()), (custom(), {"tokens"})):
        report = check_dual_encoder(model, but={"copies": "a lambda", "long-texts": "cut before the model"})
        assert left_out(report) == {"copies", "long-texts", "saved", "shortcuts"} | unknown


def test_no_source_of_models_is_forgotten() -> None:
    # Of demos and modular models: tests/testing.
    here = {"hf", "open_clip", "mmbt", "checkpoint", "python"}
    assert set(MODEL_SOURCES) == here | {"demo", "modular"}
