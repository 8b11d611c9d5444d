"""Every defence that has a name, and every class of those at test time, keeps its contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from named_defences import written

from art_multimodal.defences import test_time
from art_multimodal.defences.entry import DEFENCES
from art_multimodal.defences.registry import parse_defence
from art_multimodal.defences.test_time import TestTimeDefence
from art_multimodal.testing import ContractReport, check_preprocessor, check_test_time_defence

from .guarded import DEFENCES as SMALL

AT_TEST_TIME = [name for name, entry in DEFENCES.items() if entry.test_time]
IN_FRONT = [name for name, entry in DEFENCES.items() if not entry.test_time]
#: What takes long or does little on small images as it stands.
OPTIONS = {
    "r_tpt": "views=4,selected=0.5,neighbours=2",
    "ttc": "threshold=0.3",
    "coarse_grid": "side=6",
    "tapt": "statistics={statistics},views=3,selected=0.7,lr=0.01",
}
#: What is meant to be otherwise.
DRAWS = "it draws from numpy's global generator, as ART's classes do"
BUT: dict[str, dict[str, str]] = {
    "feature_squeezing": {"dtype": "ART's returns float64"},
    "gaussian_augmentation": dict.fromkeys(
        ("leaves-no-trace", "repeatable", "batch-independence", "memory-layout", "copies"), DRAWS
    ),
}


@pytest.fixture
def statistics(tmp_path: Path) -> Path:
    """A file of those of the model that defences are asked in front of."""
    file = tmp_path / "clean.safetensors"
    SMALL["tapt"].clean.save(file)
    return file


def left_out(report: ContractReport) -> set[str]:
    assert report.held and all(why.strip() for why in report.skipped.values())
    return set(report.skipped)


def expected(defence: Any) -> set[str]:
    """What is not looked at: an alarm that there is not, other classes where prompts are tuned, and what jumps."""
    kind = type(defence).__name__
    # JPEG, one of the views of DBD, is computed in numpy: differences tell nothing of it.
    parts = {"alarm": not defence.has_alarm, "class-order": "PromptTuning" in kind, "gradient": "Bias" in kind}
    return {name for name, left in parts.items() if left}


@pytest.mark.parametrize("name", AT_TEST_TIME)
def test_those_at_test_time(name: str, statistics: Path) -> None:
    options = OPTIONS.get(name, "").format(statistics=statistics)
    defence = parse_defence(f"{name}:{options}" if options else name).build()
    assert defence.random == DEFENCES[name].random
    assert left_out(check_test_time_defence(defence)) == expected(defence)


def test_no_class_at_test_time_is_forgotten(tmp_path: Path) -> None:
    public = [getattr(test_time, name) for name in test_time.__all__]
    kinds = {one.__name__ for one in public if isinstance(one, type) and issubclass(one, TestTimeDefence)}
    named = {type(parse_defence(written(name, tmp_path)).build()).__name__ for name in AT_TEST_TIME}
    assert kinds - {"TestTimeDefence"} == named


@pytest.mark.parametrize("name", IN_FRONT)
def test_preprocessors(name: str) -> None:
    entry, but = DEFENCES[name], BUT.get(name, {})
    assert entry.random == (name == "gaussian_augmentation")
    built = parse_defence(name).build(["cat", "dog"])
    skipped = left_out(check_preprocessor(built, but=but))
    assert skipped == ({"range"} if entry.modality == "text" else {"pairs", "strings", "idempotent"} | set(but))


def test_a_preprocessor_of_images_that_do_not_change_is_one_of_them() -> None:
    flat = np.full((3, 3, 8, 8), 0.5, dtype=np.float32)
    assert "range" in check_preprocessor(parse_defence("jpeg").build(), x=flat).held
