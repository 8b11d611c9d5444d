"""``python:FILE:FUNCTION``: the user's own code makes the model; whatever goes wrong in it is one line."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from art_multimodal import InputError, load_model
from art_multimodal.cli.program import main
from art_multimodal.models.loading import MODEL_SOURCES

GOOD = """
from dataclasses import dataclass
from art_multimodal import load_model
from beside import NAME

@dataclass
class Settings:
    name: str = NAME

def load():
    return load_model(Settings().name)

def as_tuple():
    return (load(),)

def fusion():
    return load_model("demo:shapes/late")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "beside.py").write_text("NAME = 'demo:digits'\n")
    (tmp_path / "my.py").write_text(GOOD)
    return tmp_path


def test_the_model_that_a_function_returns(folder: Path) -> None:
    for spec in ("python:my.py:load", f"python:{folder}/my.py:load", "python:./my.py:as_tuple"):
        model = load_model(spec)
        assert type(model).__name__ == "DigitsEncoder" and not model.training
        assert model.source_sha256 == hashlib.sha256(GOOD.encode()).hexdigest()
    assert load_model("python:my.py:fusion").class_names == ("no", "yes")
    assert "python" in MODEL_SOURCES
    # Behind what was there: a file beside it takes no library's place.
    assert sys.path[-1] == str(folder.resolve()) and sys.path.count(str(folder.resolve())) == 1


def test_a_changed_file_is_run_again(folder: Path) -> None:
    load_model("python:my.py:load")
    (folder / "my.py").write_text(GOOD.replace("load():", "other():"))
    with pytest.raises(InputError, match="Unknown function of my.py 'load'"):
        load_model("python:my.py:load")


WRONG = [
    ("", "load", r"Unknown function of wrong.py 'load'.*it defines none"),
    ("def lode(): pass", "load", "Did you mean lode"),
    ("load = 3", "load", "Unknown function"),
    ("def load(:", "load", r"wrong.py, line 1, is no Python"),
    ("\0", "load", "wrong.py.*(SyntaxError|ValueError|is no Python)"),
    ("\n\n1 / 0", "load", r"wrong.py, line 3: it ends with ZeroDivisionError: division by zero"),
    ("import nothing_of_this_name", "load", r"line 1: it ends with ModuleNotFoundError"),
    (
        "def load():\n    raise ValueError('two\\nlines\\x1b[31m')",
        "load",
        r"line 2: load\(\) ends with ValueError: two lines",
    ),
    (
        "def load():\n    return deep()\ndef deep():\n    assert False",
        "load",
        r"line 4: load\(\) ends with AssertionError",
    ),
    ("def load():\n    raise SystemExit(0)", "load", r"line 2: load\(\) ends with SystemExit"),
    ("import sys; sys.exit('bye')", "load", "it ends with SystemExit: bye"),
    ("def load(a, b, c): pass", "load", r"load\(\) in wrong.py takes 3 arguments: a model takes images"),
    ("def load(): pass", "load", r"load\(\) in wrong.py returns cannot be used.*not NoneType"),
    ("def load(): return 'demo:digits'", "load", "load_model"),
    ("import torch\ndef load(): return torch.nn.Linear(2, 2)", "load", "CustomDualEncoder"),
    ("def load(): return 1, 2, 3, 4", "load", "not tuple"),
]


@pytest.mark.parametrize(("source", "function", "message"), WRONG)
def test_what_goes_wrong_is_one_line(folder: Path, capsys, source: str, function: str, message: str) -> None:
    (folder / "wrong.py").write_text(source)
    with pytest.raises(InputError, match=message) as error:
        load_model(f"python:wrong.py:{function}")
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value)


@pytest.mark.parametrize(
    "rest", ["", ":", "my.py", "my.py:", ":load", "no.py:load", ".:load", "a\0b:load", "x" * 300 + ":f"]
)
def test_names_that_name_nothing(folder: Path, rest: str) -> None:
    with pytest.raises(InputError, match=r"python:my_model.py:load") as error:
        load_model(f"python:{rest}")
    assert "\n" not in str(error.value) and "\0" not in str(error.value)


def test_the_command_line_ends_with_2(folder: Path, capsys) -> None:
    (folder / "wrong.py").write_text("def load():\n    raise RuntimeError('no weights here')")
    assert main(["audit", "python:wrong.py:load", "--data", "demo:digits", "--attacks", "pgd"]) == 2
    said = capsys.readouterr().err
    assert "wrong.py, line 2" in said and "no weights here" in said and "Traceback" not in said


def test_nothing_runs_before_it_is_named(folder: Path, capsys) -> None:
    (folder / "canary.py").write_text("open('CANARY', 'w')\ndef load(): pass")
    for spec in ("checkpoint:canary.py:load", "hf:canary.py:load", "mmbt:canary.py:load", "open_clip:canary.py:load"):
        with pytest.raises(InputError):
            load_model(spec)
    assert not (folder / "CANARY").exists()
