"""Checkpoints that were changed, and what is said when they are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from art_multimodal.errors import InputError
from art_multimodal.language.masked_language_model import load_masked_language_model
from art_multimodal.models.loading import load_model


def refusal(spec: str) -> str:
    with pytest.raises(InputError) as caught:
        load_masked_language_model(spec[4:]) if spec.startswith("mlm:") else load_model(spec)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit(path: Path, keys: str, value: Any) -> None:
    settings = json.loads(path.read_text())
    inner = settings
    *outer, last = keys.split(".")
    for key in outer:
        inner = inner[key]
    inner[last] = value
    path.write_text(json.dumps(settings))
