"""The package as others have it: the built wheel in a folder of its own, and commands that know nothing else of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools.environments import Done

ROOT = Path(__file__).parents[1]
#: What a wheel is built of.
_SOURCE = ("art_multimodal", "pyproject.toml", "setup.py", "README.md", "LICENSE", "MANIFEST.in")
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
#: Runs each command in a process of its own, which imports nothing twice: it begins as a copy of this one.
_DRIVER = """\
import json, os, sys
from pathlib import Path
import art_multimodal
assert Path(art_multimodal.__file__).parents[1] == Path(sys.argv[1]), art_multimodal.__file__
import art_multimodal.cli.program, art_multimodal.defences.training_run, art_multimodal.evaluations.plans
for number, (command, environment) in enumerate(json.loads(sys.argv[2])):
    child = os.fork()
    if child == 0:
        os.environ.update(environment)
        for stream, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{sys.argv[3]}/{number}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        code = art_multimodal.cli.program.main(command)
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    Path(f"{sys.argv[3]}/{number}.code").write_text(str(code))
"""


def build_wheel(folder: Path) -> Path:
    """Build the wheel of the package from a copy of its source."""
    copy = folder / "source"
    copy.mkdir(parents=True)
    for name in _SOURCE:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, copy / name)
    return _built(copy, folder / "wheels")


def build_example(folder: Path) -> Path:
    """Build the wheel of the plug-in of the examples."""
    copy = folder / "example"
    shutil.copytree(
        ROOT / "examples" / "plugin", copy, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    )
    return _built(copy, folder / "example_wheels")


def _built(source: Path, folder: Path) -> Path:
    pip = (*_PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder), str(source))
    subprocess.run(pip, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, site: Path) -> None:
    """Install a wheel into a folder, which stands before all others on the path."""
    pip = (*_PIP, "install", "--no-deps", "--no-index", "--no-compile", "--target", str(site), str(wheel))
    subprocess.run(pip, check=True, capture_output=True)


def run(
    site: Path, folder: Path, commands: list[str], environments: dict[int, dict[str, str]] | None = None
) -> list[Done]:
    """Run commands one after the other, each in a process of its own, in a folder.

    :param site: Where the package is installed, and nothing of the repository.
    :param environments: Further variables of some commands, by their number.
    """
    said = folder / ".said"
    said.mkdir(exist_ok=True)
    given = [[command.split()[1:], (environments or {}).get(number, {})] for number, command in enumerate(commands)]
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    environment.pop("ART_MULTIMODAL_NO_PLUGINS", None)
    driver = [sys.executable, "-P", "-c", _DRIVER, str(site), json.dumps(given), str(said)]
    done = subprocess.run(driver, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [
        Done(
            command,
            int((said / f"{number}.code").read_text()),
            *((said / f"{number}.{stream}").read_text(encoding="utf-8") for stream in ("out", "err")),
        )
        for number, command in enumerate(commands)
    ]
