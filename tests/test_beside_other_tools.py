"""Another package called art, and homes that cannot be written to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from forked import Forked

ROOT = Path(__file__).parents[1]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, cwd=ROOT)


@pytest.fixture(params=["package", "module", "half"])
def other_art(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A package of ASCII art, a file of one's own, and ART of which one file was overwritten."""
    if request.param == "module":
        (tmp_path / "art.py").write_text("print('my drawings')\n")
        return tmp_path
    (tmp_path / "art").mkdir()
    said = '"""ASCII art library."""\n'
    (tmp_path / "art" / "utils.py").write_text(said)
    ours = '"""\nThe Adversarial Robustness Toolbox (ART).\n"""\n'
    (tmp_path / "art" / "__init__.py").write_text(ours if request.param == "half" else said)
    return tmp_path


@pytest.mark.parametrize("arguments", [["list", "data"], ["--help"]])
def test_another_package_called_art_is_said_in_one_line(other_art: Path, arguments: list[str]) -> None:
    done = run("-m", "art_multimodal", *arguments, PYTHONPATH=f"{other_art}{os.pathsep}{ROOT}")
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith("error: The package art at ") and done.stderr.count("\n") == 1
    assert str(other_art) in done.stderr and "pip uninstall art" in done.stderr
    assert "pip install --force-reinstall --no-deps adversarial-robustness-toolbox" in done.stderr


def test_in_python_it_is_an_import_error(other_art: Path) -> None:
    done = run("-c", "import art_multimodal", PYTHONPATH=f"{other_art}{os.pathsep}{ROOT}")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("ImportError: The package art at ")


def test_art_writes_where_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    # Of both nothing is imported any more; what others they import is, which takes the time.
    said = (
        "import sys; ours = {'art', 'art_multimodal'}; "
        "[sys.modules.pop(name) for name in [*sys.modules] if name.partition('.')[0] in ours]; "
        "import art_multimodal; from art import config; print(config.ART_DATA_PATH)"
    )
    told = {"HOME": str(tmp_path / "home"), "ART_DATA_PATH": str(tmp_path / "data")}
    done = Forked(tmp_path, "-c", said, environment=told)
    assert done.wait() == 0, done.stderr[-2000:]
    assert done.stdout.startswith(str(tmp_path / "data"))
    assert not list((tmp_path / "home").glob(".art*")) and (tmp_path / "data").is_dir()


def test_a_place_for_art_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("-m", "art_multimodal", "list", "data", ART_DATA_PATH=str(tmp_path / "file" / "x"), PYTHONPATH=str(ROOT))
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ART_DATA_PATH cannot be used")
