"""The pages on universal perturbations and on preprocessing: their blocks run, and say what is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from art_multimodal.functional.resizing import RESIZERS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["universal", "preprocessing"])
def test_the_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", (DOCS / f"{name}.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict = {}
    exec(block, names)
    if name == "universal":
        assert names["attacked"].shape == names["images"].shape and (tmp_path / "uap.safetensors").is_file()
    else:
        assert f"{names['attack'].price(256, 256):.3f}" == "0.173"
        assert re.search(r"attack\.price\(256, 256\) +# 0\.173", block)
        assert names["attack"].records[0].residual < 2 / 255


def test_resizes_that_pages_name_are_known() -> None:
    for page in ("universal", "preprocessing", "audit"):
        for name in re.findall(r"--resize (\w+)", (DOCS / f"{page}.md").read_text(encoding="utf-8")):
            assert name in RESIZERS or name == "NAME"
