"""Install the package under each Python that it states, and with the lowest versions that it allows, and try it.

python -m tools.pythons [--versions 3.12 3.13] [--lowest] [--tests quick|whole|none] [--reuse]

Writes what was tried, and what was not and why, to docs/pythons.json, of which docs/versions.md shows a table.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.release_check import AUDIT, PYTHONS

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "pythons.json"
#: What stands for itself and takes a minute or two, and one run of each command on the demo models.
QUICK = ("tests/functional", "tests/modalities", "tests/models", "tests/test_layers.py", "tests/test_cli.py")
#: How the table names what was run.
NAMES = {"quick": "the quick tests", "whole": "all tests"}
#: The versions of these are shown.
SHOWN = ("torch", "numpy", "transformers", "open_clip_torch", "adversarial-robustness-toolbox")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--versions", nargs="*", default=list(PYTHONS), help="Pythons, with the tested versions")
    parser.add_argument("--lowest", action="store_true", help="the lowest versions, too, under the first Python")
    parser.add_argument("--tests", choices=("quick", "whole", "none"), default="quick")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "pythons")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--reuse", action="store_true", help="let pip mend environments that are there already")
    options = parser.parse_args(arguments)
    wanted = [(version, "constraints.txt") for version in options.versions]
    if options.lowest:
        wanted.append((PYTHONS[0], "constraints-lowest.txt"))
    known = json.loads(options.results.read_text()) if options.results.exists() else {}
    for version, constraints in wanted:
        found = tried(version, constraints, options.folder, options.tests, options.reuse)
        known[f"{version}, {constraints}"] = found
        options.results.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
        print(f"{version}, {constraints}: {found['said']}", flush=True)
    if any(not known[f"{version}, {constraints}"]["passed"] for version, constraints in wanted):
        raise SystemExit(1)


def interpreters(version: str) -> Iterator[Path]:
    """Interpreters of a version: on the path, and those of pyenv and uv."""
    if on_path := shutil.which(f"python{version}"):
        yield Path(on_path)
    for folder in (Path.home() / ".pyenv" / "versions", Path.home() / ".local" / "share" / "uv" / "python"):
        yield from sorted(folder.glob(f"*{version}.*/bin/python{version}"), reverse=True)


def works(interpreter: Path, version: str) -> bool:
    """Whether an interpreter starts, and is of the version."""
    if not interpreter.exists():
        return False
    asked = [str(interpreter), "-c", "import sys, ensurepip; print('%d.%d' % sys.version_info[:2])"]
    found = subprocess.run(asked, capture_output=True, text=True)
    return found.returncode == 0 and found.stdout.strip() == version


def tried(version: str, constraints: str, folder: Path, tests: str, reuse: bool = False) -> dict[str, Any]:
    """What came of one Python: each step is taken only where the one before it went well.

    :param tests: What of the tests is run.
    :param reuse: Whether an environment that is there, of this Python, is kept: pip then installs what it lacks.
    """
    interpreter = next((one for one in interpreters(version) if works(one, version)), None)
    if interpreter is None:
        return {"passed": False, "said": "not tried: no interpreter was found"}
    environment = folder / f"{version}-{Path(constraints).stem}"
    if not (reuse and works(environment / "bin" / "python", version)):
        shutil.rmtree(environment, ignore_errors=True)
    environment.parent.mkdir(parents=True, exist_ok=True)
    python = environment / "bin" / "python"
    # Nothing is compiled that is not imported later.
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    install = [*pip, "install", "--quiet", "--no-compile", "-c", constraints]
    # Tests want more than the package does, whose versions nothing holds back.
    steps: dict[str, list[Any]] = {
        "environment": [interpreter, "-m", "venv", environment],
        "installation": [*install, "--editable", ".[test]" if tests != "none" else "."],
        "check": [*pip, "check"],
        "audit": [python, "-m", "art_multimodal", *AUDIT.split(), folder / f"audit-{environment.name}", "--overwrite"],
    }
    if tests != "none":
        steps["tests"] = [python, "-m", "pytest", "-q", *(QUICK if tests == "quick" else ())]
    for name, step in steps.items():
        done = subprocess.run([str(part) for part in step], cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            (folder / f"{environment.name}-{name}.log").write_text(done.stdout + done.stderr)
            last = f", {NAMES[tests]}: {counted(done.stdout)}" if name == "tests" else ""
            return {"passed": False, "said": f"the step {name} failed{last}"} | versions(python)
    said = f"{NAMES[tests]}: {counted(done.stdout)}" if tests != "none" else "the audit; no tests were run"
    return {"passed": True, "said": said} | versions(python)


def counted(printed: str) -> str:
    """What pytest counted, without the time it took."""
    lines = re.findall(r"^\d+ (?:passed|failed|error).*?(?= in )", printed, flags=re.MULTILINE)
    return lines[-1] if lines else "no test ran"


def versions(python: Path) -> dict[str, Any]:
    """The version of the interpreter, and those of what the package needs most."""
    code = (
        "import json, sys, importlib.metadata as m\n"
        f"known = {{d.metadata['Name']: d.version for d in m.distributions()}}\n"
        f"print(json.dumps([sys.version.split()[0], {{n: known.get(n) for n in {SHOWN!r}}}]))"
    )
    found = subprocess.run([str(python), "-c", code], capture_output=True, text=True)
    if found.returncode:
        return {}
    full, known = json.loads(found.stdout)
    return {"python": full, "versions": known}


if __name__ == "__main__":
    main()
