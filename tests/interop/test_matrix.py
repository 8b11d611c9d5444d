"""Every row of the matrix on every subject. ``make interop`` runs the slow ones too, and writes the page."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from interop.matrix import ROWS
from interop.row import Row
from interop.subjects import SUBJECTS, Subject

# Attacks and defences leave the box on their way, and are warned; ART warns about much.
pytestmark = pytest.mark.filterwarnings("ignore")


#: Of ART's attacks on pairs, one for each way in which they ask: by batches, by the sample, with targets, with a start
#: of their own, over all images at once. That no attack meets a wrong text is tested of every one in
#: ``tests/attacks/test_for_each_pair.py``; how strong each is on pairs is left to the slow tests.
_ON_PAIRS = (
    "FastGradientMethod",
    "ProjectedGradientDescent, targeted",
    "AutoProjectedGradientDescent, logits ratio",
    "DeepFool",
    "SquareAttack",
    "HopSkipJump",
    "UniversalPerturbation",
    "SpatialTransformation",
)


def cases() -> list:
    found = []
    for row in ROWS:
        for subject in SUBJECTS:
            if subject in row.not_for:
                continue
            # On ART's own classifier a row changes with ART alone; attacks are what fusions are here for.
            elsewhere = subject == "control" or (subject == "fusion" and row.name not in _ON_PAIRS)
            marks = [pytest.mark.slow] if row.slow or elsewhere else []
            if row.broken is not None and subject in row.broken.on:
                marks.append(pytest.mark.xfail(strict=True, raises=row.broken.raises, reason=row.broken.where))
            found.append(pytest.param(row, subject, marks=marks, id=f"{row.name}-{subject}"))
    return found


@pytest.mark.parametrize(("row", "name"), cases())
def test_row(row: Row, name: str, results: dict) -> None:
    if row.missing:
        pytest.skip(f"needs {', '.join(row.missing)}, which `make interop` installs")
    np.random.seed(0)
    torch.manual_seed(0)
    random.seed(0)
    subject = Subject(name)
    subject.classifier()  # trained before the row runs, if it is not yet
    entry = results.setdefault(row.name, {}).setdefault(name, {})
    try:
        entry["measured"] = row.run(subject)
    except Exception as error:
        entry["failed"] = type(error).__name__
        raise
    if subject.name == "fusion" and row.family == "evasion attacks":
        entry["rows_with_wrong_text"] = subject.wrong_texts
        assert subject.evaluated
    assert subject.wrong_texts == 0, f"{subject.wrong_texts} of {subject.evaluated} rows met a wrong text"


def test_names_are_unique() -> None:
    names = [row.name for row in ROWS]
    assert len(names) == len(set(names)) and set(_ON_PAIRS) <= set(names)
