"""Every embedded model confirms its own evidence to the last sample, at other batch sizes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from audits import read_report
from evidence import kept

from art_multimodal.demo.night import NIGHT
from art_multimodal.demo.rgbd import RGBD
from art_multimodal.demo.shapes import FUSIONS as OF_SHAPES
from art_multimodal.demo.spoken import FUSIONS as OF_SPOKEN
from art_multimodal.demo.spoken import TASKS
from art_multimodal.demo.views import FUSIONS as OF_VIEWS
from art_multimodal.demo.views import WEIGHTS
from art_multimodal.evaluations.audit import AuditSettings
from art_multimodal.evaluations.evidence.bundle import Bundle
from art_multimodal.evaluations.evidence.rescoring import rescore

_OF_MODALITIES = "apgd,noise,pgd_multimodal,modality_swap,modality_missing,modality_removed,decoupling_guided"
_OF_PAIRS = "art_pgd,character_attack,co_attack,typographic,decoupling_guided"
#: By model its data and attacks.
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "demo:digits": ("demo:digits", "pgd,character_attack,joint,worst,decoupling_guided", {}),
    "demo:digits/robust": ("demo:digits", "pgd,character_attack,joint,worst,decoupling_guided", {}),
    "demo:scenes": ("demo:scenes", "pgd,similarity_pgd,character_attack,worst_image", {"task": "retrieval"}),
    **{f"demo:shapes/{fusion}": ("demo:shapes", _OF_PAIRS, {}) for fusion in OF_SHAPES},
    **{f"demo:views/{fusion}": ("demo:views", _OF_MODALITIES, {}) for fusion in OF_VIEWS},
    **{f"demo:night/{fusion}": ("demo:night", _OF_MODALITIES, {}) for fusion in NIGHT.fusions},
    **{f"demo:rgbd/{fusion}": ("demo:rgbd", _OF_MODALITIES, {}) for fusion in RGBD.fusions},
    **{
        f"demo:spoken/{task}/{fusion}": (f"demo:spoken/{task}", _OF_MODALITIES + ",time_shift", {})
        for task in TASKS
        for fusion in OF_SPOKEN
    },
}
#: Of each kind of sample that no other test of evidence has, one is looked at in every run.
_QUICK = ("demo:digits/robust", "demo:rgbd/gated", "demo:spoken/redundant/concat")


def test_no_embedded_model_is_left_out() -> None:
    stems = {path.stem for path in WEIGHTS.glob("*.safetensors")}
    assert {name.removeprefix("demo:").replace("/", "_") for name in MODELS} == stems


@pytest.mark.parametrize(
    "name", [name if name in _QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]
)
def test_a_model_confirms_its_evidence(tmp_path: Path, name: str) -> None:
    data, attacks, more = MODELS[name]
    settings: Mapping[str, Any] = {"limit": 5, "batch_size": 4, "group_size": 3, "steps": 1, "max_queries": 20, **more}
    written = kept(AuditSettings(name, data, attacks, **settings), tmp_path / "out")
    bundle, results = Bundle(written.folder, written.digest), read_report(tmp_path / "out")["results"]
    for size in (2, 7):
        found = rescore(bundle, batch_size=size, device="cpu")
        assert found.same_weights and found.confirmed and found.within_budget and found.pages == ""
        assert sum(one.same + one.near for one in found.tallies.values()) > 0
        assert not any(one.unkept for one in found.tallies.values())
        assert {row: found.report[row]["accuracy"] for row in results} == {
            row: one["accuracy"] for row, one in results.items()
        }
        if not found.near:
            assert {row: found.now[row]["accuracy"] for row in results} == {
                row: one["accuracy"] for row, one in results.items()
            }
    # Distances are of every modality that has a radius; nobody attacks a model that is right about no sample.
    assert bool(found.distances.measured) == (results["clean"]["accuracy"] > 0)
    assert all(one.farthest > 0 for one in found.distances.moved.values())
