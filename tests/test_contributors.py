"""The page on extending: each walk is made on a copy of the package, where files are added and none is changed.

A modality of one's own needs no copy; see tests/modalities/test_own_modality.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import art_multimodal

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
AUDIT = ["--data", "demo:digits", "--limit", "8", "--steps", "2", "--device", "cpu"]


def written_files() -> dict[str, str]:
    """The files of the page, by their place in the package."""
    blocks = re.findall(r"```python\n# art_multimodal/(\S+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return dict(blocks)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, with the further files; no file of it is changed."""
    root = tmp_path_factory.mktemp("copy")
    package = root / "art_multimodal"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(art_multimodal.__file__).parent, package, ignore=ignored)
    written = written_files()
    written["models/families/colours/__init__.py"] = '"""Models that know the mean colour only."""\n'
    for name, text in written.items():
        path = package / name
        assert not path.exists()
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def run(copy: Path, folder: Path, *commands: list[str]) -> str:
    """What commands print, one after the other, in one process."""
    script = textwrap.dedent(
        """
        import json, sys
        from pathlib import Path
        import art_multimodal
        assert Path(art_multimodal.__file__).parent.parent == Path(sys.argv[1]), art_multimodal.__file__
        from art_multimodal.cli.program import main
        for command in json.loads(sys.argv[2]):
            code = main(command)
            assert code == 0, (command, code)
        """
    )
    given = [sys.executable, "-c", script, str(copy), json.dumps(commands)]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    done = subprocess.run(given, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def test_an_attack_is_one_file(copy: Path, tmp_path: Path) -> None:
    audit = ["audit", "demo:digits", *AUDIT, "--attacks", "fgsm,apgd", "--eps", "16/255", "--out", "out"]
    printed = run(copy, tmp_path, ["list", "attacks"], audit)
    assert "  fgsm " in printed and "one step along the sign" in printed
    found = report(tmp_path / "out")["results"]
    assert found["fgsm"]["accuracy"] < found["clean"]["accuracy"]
    assert "fgsm" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_method_with_its_inner_attack_is_one_file(copy: Path, tmp_path: Path) -> None:
    data = ["--data", "demo:digits", "--limit", "40", "--batch-size", "20", "--epochs", "1", "--steps", "1"]
    train = ["train", "short", "demo:digits", *data, "--option", "weight=0.5", "--out", "out", "--device", "cpu"]
    assert "short" in run(copy, tmp_path, ["list", "methods"], train)
    assert (tmp_path / "out" / "best").is_dir()


def test_a_family_is_one_folder(copy: Path, tmp_path: Path) -> None:
    audit = ["audit", "colours:6", *AUDIT, "--attacks", "pgd,bert_attack", "--out", "audit"]
    data = ["--data", "demo:digits", "--limit", "40", "--batch-size", "20", "--epochs", "1", "--steps", "1"]
    train = ["train", "tecoa", "colours:6", *data, "--out", "trained", "--device", "cpu"]
    again = ["audit", "checkpoint:trained", *AUDIT, "--attacks", "pgd", "--out", "again"]
    printed = run(copy, tmp_path, ["list", "models"], audit, train, again)
    assert printed.index("  mmbt:") < printed.index("  colours:WIDTH") < printed.index("  python:")
    assert {"pgd", "bert_attack"} <= set(report(tmp_path / "audit")["results"])
    assert report(tmp_path / "again")["results"]["clean"]["n"] == 8


def test_the_counts_of_the_page() -> None:
    folders = [Path(name).parent.as_posix() for name in written_files()]
    assert folders.count("evaluations/suite") == folders.count("defences/trainer") == 1
    assert set(folders) == {"evaluations/suite", "defences/trainer", "models/families/colours"}
    # The modality's lines are those of its test.
    (radar,) = re.findall(r"# radar.py\n.*?(class Radar.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    test = (Path(__file__).parent / "modalities" / "test_own_modality.py").read_text(encoding="utf-8")
    assert radar.strip() in test
